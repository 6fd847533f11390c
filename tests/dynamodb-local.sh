#!/usr/bin/env bash
# Runs a command against the official DynamoDB Local:
#
#     tests/dynamodb-local.sh cargo test --test contract
#
# The server comes from Maven Central (tests/dynamodb-local/pom.xml pins the version) and is kept under target/. It
# runs in memory, on a free port of 127.0.0.1, for as long as the command does. The command finds it in
# BACKFILL_TEST_ENDPOINT, with made-up credentials that no real account can be reached with.
#
# Exit code: the command's. 75, after one line "SKIPPED: DynamoDB Local: <reason>", where the server cannot be had on
# this machine. A server that was fetched and does not start is an error (1), not a skip.
set -euo pipefail

readonly start_seconds=90 fetch_seconds=900
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
readonly here source="$here/dynamodb-local"

skip() {
    echo "SKIPPED: DynamoDB Local: $*"
    exit 75
}

if [ $# -eq 0 ]; then
    echo "usage: $0 COMMAND [ARGUMENT...]" >&2
    exit 2
fi

work=$(mktemp -d "${TMPDIR:-/tmp}/dynamodb-local.XXXXXX")
server='' command=''

# Everything this script started ends with it, and only that: each job is a process group of its own.
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
}
trap cleanup EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

require_java() {
    command -v java >/dev/null || skip "there is no java on the PATH (17 or later is needed)"
    local version major
    version=$(java -XshowSettings:properties -version 2>&1 | sed -n 's/^ *java\.specification\.version = //p')
    major=${version%%.*}
    [[ $major =~ ^[0-9]+$ ]] && [ "$major" -ge 17 ] || skip "java is ${version:-of unknown version}, and 17 or later is needed"
    java --list-modules 2>/dev/null | grep -q '^jdk\.compiler' || skip "this Java is a runtime only, and a JDK is needed"
    case "$(uname -s)-$(uname -m)" in
    Linux-x86_64 | Linux-i?86 | Darwin-x86_64) ;;
    *) skip "its SQLite library has no build for $(uname -s) on $(uname -m)" ;;
    esac
}

# Prints the directory with the jars and native libraries. It is renamed into place when complete, so a directory that
# exists is whole, also when two of these scripts fetch at the same time.
fetch() {
    local version cache partial
    version=$(sed -n '/<artifactId>DynamoDBLocal</,/<\/version>/s:.*<version>\(.*\)</version>.*:\1:p' "$source/pom.xml")
    cache="${CARGO_TARGET_DIR:-$here/../target}/dynamodb-local/$version"
    if [ ! -d "$cache" ]; then
        command -v mvn >/dev/null || skip "there is no mvn on the PATH"
        echo "fetching DynamoDB Local $version with Maven" >&2
        mkdir -p "$(dirname "$cache")"
        partial=$(mktemp -d "$cache.XXXXXX")
        local limit=()
        if command -v timeout >/dev/null; then limit=(timeout "$fetch_seconds"); fi
        if ! "${limit[@]}" mvn --batch-mode --no-transfer-progress --file "$source/pom.xml" \
            org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies \
            -DoutputDirectory="$partial" -DincludeScope=runtime </dev/null >"$work/maven.log" 2>&1; then
            rm -rf "$partial"
            skip "Maven could not fetch it: $(grep -m 1 '^\[ERROR\]' "$work/maven.log" | cut -c 1-400 || echo 'no answer in time')"
        fi
        chmod 755 "$partial"
        if [ -d "$cache" ]; then rm -rf "$partial"; else mv "$partial" "$cache"; fi
    fi
    cd "$cache" && pwd
}

# Whether the server answers HTTP on this port; to a request without a signature it answers 400.
answers() {
    local line=''
    { exec 3<>"/dev/tcp/127.0.0.1/$1"; } 2>/dev/null || return 1
    printf 'GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n' >&3
    read -r -t 5 line <&3 || true
    exec 3>&-
    [[ $line == HTTP/1.1\ * ]]
}

require_java
# In a subshell a skip only ends the subshell: its line goes on, and so does its exit code.
jars=$(fetch) || { code=$?; echo "$jars"; exit "$code"; }
readonly jars

mkfifo "$work/alive"
set -m
java -cp "$jars/*" -Dsqlite4java.library.path="$jars" -Djava.awt.headless=true \
    "$source/LoopbackServer.java" "$work/port" <"$work/alive" >"$work/server.log" 2>&1 &
server=$!
set +m
# Held open by this shell alone: when it ends, even by SIGKILL, the server reads the end of its input and ends too.
exec 9>"$work/alive"

deadline=$((SECONDS + start_seconds))
until [ -s "$work/port" ] && answers "$(<"$work/port")"; do
    if ! kill -0 "$server" 2>/dev/null || [ "$SECONDS" -ge "$deadline" ]; then
        echo "DynamoDB Local did not start (it has $start_seconds s for it); its last words:" >&2
        tail -n 20 "$work/server.log" >&2
        exit 1
    fi
    sleep 0.2
done
port=$(<"$work/port")

# No profile, session or metadata service of this machine can slip in.
unset AWS_PROFILE AWS_SESSION_TOKEN AWS_ENDPOINT_URL AWS_ENDPOINT_URL_DYNAMODB
export BACKFILL_TEST_ENDPOINT="http://127.0.0.1:$port"
export AWS_ACCESS_KEY_ID=backfilltest AWS_SECRET_ACCESS_KEY=backfilltest
export AWS_REGION=us-east-1 AWS_DEFAULT_REGION=us-east-1
export AWS_CONFIG_FILE=/dev/null AWS_SHARED_CREDENTIALS_FILE=/dev/null AWS_EC2_METADATA_DISABLED=true
export NO_PROXY="127.0.0.1${NO_PROXY:+,$NO_PROXY}" no_proxy="127.0.0.1${no_proxy:+,$no_proxy}"

# A job of its own, waited for: a signal to this script is then acted on at once, and reaches all of the command.
set -m
"$@" </dev/null 9>&- &
command=$!
set +m
code=0
wait "$command" || code=$?
exit "$code"
