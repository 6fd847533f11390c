#!/usr/bin/env bash
# Draws docs/demo.svg: two steps of a real `backfill demo` in a terminal with 110 columns. Needs tmux and Rust.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
cargo build --quiet --bins --examples
folder=$(mktemp -d "${TMPDIR:-/tmp}/backfill-picture.XXXXXX")
server=(tmux -f /dev/null -L "backfill-picture-$$")
trap '"${server[@]}" kill-server 2>/dev/null || true; rm -rf "$folder"' EXIT

export PATH="$PWD/target/debug:$PATH"
command='backfill demo --items 2000'
"${server[@]}" new-session -d -x 110 -y 100 -c "$folder" \
    "printf '\$ %s\n' '$command'; $command; tmux wait-for -S ended; sleep 600"
timeout 300 "${server[@]}" wait-for ended
# -e keeps colours, -S - includes lines that have left the screen.
"${server[@]}" capture-pane -p -e -S - >"$folder/screen"
# Keep the command, and the run and its verification: the whole screen is too long for a picture.
awk 'NR == 1 { print; print "…" } /^2\. / { keep = 1 } /^4\. / { keep = 0 } keep' "$folder/screen" >"$folder/part"
test "$(wc -l <"$folder/part")" -gt 20
target/debug/examples/picture <"$folder/part" >"$folder/demo.svg"
mv "$folder/demo.svg" docs/demo.svg
