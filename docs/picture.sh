#!/usr/bin/env bash
# Draws docs/demo.svg: two steps of a real `backfill demo` in a terminal with 110 columns. Needs tmux and Rust.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
cargo build --quiet --bins --examples
folder=$(mktemp -d "${TMPDIR:-/tmp}/backfill-picture.XXXXXX")
socket="backfill-picture-$$"
trap 'tmux -L "$socket" kill-server 2>/dev/null || true; rm -rf "$folder"' EXIT

cat >"$folder/session.sh" <<SESSION
cd "$folder"
PATH="$PWD/target/debug:\$PATH"
printf '$ backfill demo\n'
backfill demo --items 2000
tmux -L "$socket" wait-for -S ended
sleep 600
SESSION
tmux -L "$socket" new-session -d -x 110 -y 100 "bash '$folder/session.sh'"
tmux -L "$socket" wait-for ended
# -e keeps colours, -S - includes lines that have left the screen.
tmux -L "$socket" capture-pane -p -e -S - >"$folder/screen"
# Keep the command, and the run and its verification: the whole screen is too long for a picture.
sed -n -e '1p' -e '/^2\. backfill run/,/^4\. /p' "$folder/screen" | sed -e '1a…' -e '/^4\. /d' >"$folder/part"
target/debug/examples/picture <"$folder/part" >docs/demo.svg
