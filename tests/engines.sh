#!/usr/bin/env bash
# Runs a command against another implementation of DynamoDB's API:
#
#     tests/engines.sh ENGINE COMMAND [ARGUMENT...]
#     tests/engines.sh dynalite cargo test --test table contract::
#
# ENGINE is ministack or moto (Python 3.11 or later) or dynalite (Node.js 20 or later, npm). The ordinary package clients fetch
# each engine once, with the versions and hashes that tests/engines/ pins, and this script keeps it under target/. The engine
# runs in memory, on a free port of 127.0.0.1, until the command ends. BACKFILL_TEST_ENDPOINT and BACKFILL_TEST_ENGINE give
# the command the address and the name of the engine. The credentials are invented: no real account accepts them.
#
# The exit code is that of the command. If the engine cannot be installed on this machine, the script prints one line "SKIPPED:
# ENGINE: <reason>" and exits with 75, or with 1 if CI=true. An installed engine that does not start is a failure.
set -euo pipefail

readonly start_seconds=60
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
readonly here source="$here/engines"
readonly engine=${1:-}

readonly installed_thing=$engine folder=engines
# shellcheck source=tests/install.sh
source "$here/install.sh"

case $engine in
ministack | moto) readonly pinned=("$source/$engine.txt") ;;
dynalite) readonly pinned=("$source/dynalite/package.json" "$source/dynalite/package-lock.json") ;;
*)
    echo "usage: $0 ministack|moto|dynalite COMMAND [ARGUMENT...]" >&2
    exit 2
    ;;
esac
shift
if [ $# -eq 0 ]; then
    echo "usage: $0 $engine COMMAND [ARGUMENT...]" >&2
    exit 2
fi

work=$(mktemp -d "${TMPDIR:-/tmp}/backfill-engine.XXXXXX")
server='' command='' partial=''

# Ends everything that this script started, and nothing else: each job has its own process group.
stop_group() {
    local group=$1 signal
    for signal in TERM KILL; do
        kill -"$signal" -- "-$group" 2>/dev/null || return 0
        for _ in {1..50}; do
            kill -0 -- "-$group" 2>/dev/null || return 0
            sleep 0.1
        done
    done
}
cleanup() {
    trap '' INT TERM HUP
    if [ -n "$command" ]; then stop_group "$command"; fi
    if [ -n "$server" ]; then stop_group "$server"; fi
    rm -rf "$work"
    if [ -n "$partial" ]; then rm -rf "$partial"; fi
}
trap cleanup EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

# Succeeds if the server gives any HTTP answer on this port.
answers() {
    local line=''
    { exec 3<>"/dev/tcp/127.0.0.1/$1"; } 2>/dev/null || return 1
    printf 'GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n' >&3
    read -r -t 5 line <&3 || true
    exec 3>&-
    [[ $line == HTTP/1.* ]]
}

# The command must not use any profile, session, endpoint or metadata service of this machine.
unset AWS_PROFILE AWS_SESSION_TOKEN AWS_ENDPOINT_URL AWS_ENDPOINT_URL_DYNAMODB
export AWS_ACCESS_KEY_ID=backfilltest AWS_SECRET_ACCESS_KEY=backfilltest
export AWS_REGION=us-east-1 AWS_DEFAULT_REGION=us-east-1
export AWS_CONFIG_FILE=/dev/null AWS_SHARED_CREDENTIALS_FILE=/dev/null AWS_EC2_METADATA_DISABLED=true
export NO_PROXY="127.0.0.1${NO_PROXY:+,$NO_PROXY}" no_proxy="127.0.0.1${no_proxy:+,$no_proxy}"

case $engine in
ministack | moto)
    require_python
    python_packages=$source/$engine.txt
    install install_python python3
    serve=("$installed/bin/python" "$source/serve.py" "$engine")
    ;;
dynalite)
    require_node
    node_files=$source/dynalite
    install install_node node
    serve=(env "NODE_PATH=$installed/node_modules" node "$source/dynalite/serve.js")
    ;;
esac

mkfifo "$work/alive"
set -m
TMPDIR="$work" "${serve[@]}" "$work/port" <"$work/alive" >"$work/server.log" 2>&1 &
server=$!
set +m
# Only this shell has the pipe open. When the shell ends, even by SIGKILL, the server reads end of file and ends, too.
exec 9>"$work/alive"

deadline=$((SECONDS + start_seconds))
until [ -s "$work/port" ] && answers "$(<"$work/port")"; do
    if ! kill -0 "$server" 2>/dev/null || [ "$SECONDS" -ge "$deadline" ]; then
        echo "$engine did not start within $start_seconds s. The end of its log:" >&2
        tail -n 20 "$work/server.log" >&2
        exit 1
    fi
    sleep 0.1
done
BACKFILL_TEST_ENDPOINT="http://127.0.0.1:$(<"$work/port")"
export BACKFILL_TEST_ENDPOINT BACKFILL_TEST_ENGINE=$engine

# Run the command as a job and wait for it. So a signal to this script takes effect immediately, and reaches all processes of
# the command.
set -m
"$@" </dev/null 9>&- &
command=$!
set +m
code=0
wait "$command" || code=$?
exit "$code"
