#!/usr/bin/env bash
# Runs a command that tests pages in a browser:
#
#     tests/browser.sh [COMMAND...]
#     tests/browser.sh cargo test --features otlp --test cli browser:: -- --ignored --nocapture
#
# Without a command, it runs the one above. The browser is Chromium from the operating system. The package client fetches
# Playwright (without its own browsers) and axe once, with the versions and hashes that tests/browser/ pins, and this script
# keeps them under target/. BACKFILL_TEST_BROWSER and NODE_PATH give the command the path of the browser and the modules. As root on
# Debian, the script installs Chromium if it is missing. If BACKFILL_TEST_SHOTS names a folder, the tests store pictures there.
#
# The exit code is that of the command. If something cannot be installed on this machine, the script prints one line "SKIPPED:
# browser: <reason>" and exits with 75, or with 1 if CI=true.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
readonly here installed_thing=browser folder=browser node_files="$here/browser"
readonly pinned=("$node_files/package.json" "$node_files/package-lock.json")
# shellcheck source=tests/install.sh
source "$here/install.sh"
if [ $# -eq 0 ]; then
    set -- cargo test --features otlp --test cli browser:: -- --ignored --nocapture
fi

work=$(mktemp -d "${TMPDIR:-/tmp}/backfill-browser.XXXXXX")
cleanup() {
    rm -rf "$work"
    if [ -n "$partial" ]; then rm -rf "$partial"; fi
}
trap cleanup EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

# Prints the path of the browser. Google Chrome has the same engine.
find_browser() {
    local name
    for name in chromium chromium-browser google-chrome google-chrome-stable \
        '/Applications/Google Chrome.app/Contents/MacOS/Google Chrome'; do
        if command -v "$name"; then return 0; fi
    done
    return 1
}

if ! find_browser >/dev/null && [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then
    echo "installing chromium" >&2
    (limited apt-get update -qq && limited apt-get install -y -qq --no-install-recommends chromium) >"$work/apt.log" 2>&1 ||
        tail -n 20 "$work/apt.log" >&2
fi
BACKFILL_TEST_BROWSER=$(find_browser) || skip "Chromium is missing (apt-get install chromium)"
require_node
install install_node node
NODE_PATH="$installed/node_modules"
export BACKFILL_TEST_BROWSER NODE_PATH
"$@" </dev/null
