# Shared by the scripts that fetch what some tests need. A script sets `here`, `installed_thing` and `folder` before it sources
# this file, and the other variables before it calls the function that is named below:
#   here             the folder of the tests
#   installed_thing  what is installed, for messages and for the name of its folder
#   folder           the folder under target/ for it
#   work             a temporary folder, for `install`
#   pinned           the files that pin the versions and hashes, for `install`
#   python_packages  the file that pins the Python packages, for `install install_python`
#   node_files       the folder with package.json, package-lock.json and .npmrc, for `install install_node`
# A script must remove the folder `partial`, if it is set, when it ends.

readonly fetch_seconds=600
partial=''

# Ends the script because this machine cannot run the tests: exit code 75 with one line "SKIPPED: THING: <reason>", or exit code
# 1 if CI=true.
skip() {
    if [ "${CI:-}" = true ]; then
        echo "$installed_thing cannot be installed, and CI must test with it: $*" >&2
        exit 1
    fi
    echo "SKIPPED: $installed_thing: $*"
    exit 75
}

require_node() {
    command -v node >/dev/null || skip "node 20 or later is needed, and there is none on the PATH"
    command -v npm >/dev/null || skip "there is no npm on the PATH"
    local version
    version=$(node --version)
    local major=${version#v}
    [ "${major%%.*}" -ge 20 ] || skip "node is $version, and 20 or later is needed"
}

require_python() {
    command -v python3 >/dev/null || skip "python3 3.11 or later is needed, and there is none on the PATH"
    python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || skip "$(python3 --version), and 3.11 or later is needed"
    python3 -c 'import ensurepip, venv' 2>/dev/null || skip "this Python has no venv module"
}

install_python() {
    python3 -m venv "$1" &&
        limited "$1/bin/python" -m pip install --quiet --disable-pip-version-check --no-input --no-compile --no-deps \
            --only-binary :all: --require-hashes --requirement "$python_packages"
}

# The identifier of an installation. It depends on the pinned files and on the version of the language.
fingerprint() {
    local hash=(sha256sum)
    command -v sha256sum >/dev/null || hash=(shasum -a 256)
    { cat "${pinned[@]}" && "$@" --version; } | "${hash[@]}" | cut -c 1-16
}

limited() {
    if command -v timeout >/dev/null; then timeout "$fetch_seconds" "$@"; else "$@"; fi
}

install_node() {
    cp "$node_files/package.json" "$node_files/package-lock.json" "$node_files/.npmrc" "$1/" &&
        cd "$1" && limited npm ci --silent --ignore-scripts --no-audit --no-fund
}

# Installs the thing if necessary and sets `installed` to its directory. The directory gets its final name only when it is
# complete, so an existing directory is always complete, even if two of these scripts install at the same time.
install() {
    local how=$1 language=$2 parent
    parent="${CARGO_TARGET_DIR:-$here/../target}/$folder"
    installed="$parent/$installed_thing-$(fingerprint "$language")"
    if [ ! -d "$installed" ]; then
        echo "installing $installed_thing" >&2
        mkdir -p "$parent"
        partial=$(mktemp -d "$parent/partial.XXXXXX")
        if ! ("$how" "$partial") </dev/null >"$work/install.log" 2>&1; then
            tail -n 20 "$work/install.log" >&2
            skip "it could not be fetched"
        fi
        chmod 755 "$partial"
        if [ -d "$installed" ]; then rm -rf "$partial"; else mv "$partial" "$installed"; fi
        partial=''
    fi
    installed=$(cd "$installed" && pwd)
}
