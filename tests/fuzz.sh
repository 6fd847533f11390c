#!/usr/bin/env bash
# Runs the fuzz targets in fuzz/fuzz_targets/. It needs cargo-fuzz (`cargo install cargo-fuzz`) and a nightly toolchain.
#
#     tests/fuzz.sh [SECONDS [TARGET...]]
#
# The default is 600 seconds for each target. The first run builds the crate and its dependencies. Each target begins
# with the example plans, the bad plans or the examples of the documentation, and keeps what it found in fuzz/corpus/.
# If a target fails, the input is in fuzz/artifacts/: add it to a test of the module, and fix the module. Put the
# figures into tests/RELIABILITY.md.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

seconds=${1:-600}
shift || true
if [ $# -eq 0 ]; then set -- plan cel num dates exec; fi
if ! cargo +nightly fuzz --version >/dev/null 2>&1; then
    echo "SKIPPED: cargo-fuzz or the nightly toolchain is not installed" >&2
    exit 75
fi

# Writes the first inputs of a target.
seed() {
    local corpus=fuzz/corpus/$1
    mkdir -p "$corpus"
    case $1 in
    plan)
        cp tests/plans/*.toml "$corpus"
        # Some of these have the same name.
        for plan in migrations-examples/*.toml; do cp "$plan" "$corpus/example-${plan##*/}"; done
        ;;
    # The code spans of the reference are expressions.
    cel) grep -o '`[^`]*`' docs/expressions.md | tr -d '`' | sort -u | split -l 1 -a 4 - "$corpus/reference-" ;;
    num) printf '1.50E1-0.5' >"$corpus/numbers" && printf '9999999999999999999999999999999999999912E-130' >"$corpus/limits" ;;
    dates) printf '%%Y-%%m-%%dT%%H:%%M:%%SZ2024-02-29T23:59:60Z' >"$corpus/date" ;;
    exec)
        printf '\002{"id":3,"outputs":{"a":{"S":"x"},"b":{"N":"1.5"}}}\n{"id":4,"error":"no-text"}\n\n' >"$corpus/answers"
        printf '\003{"id":5,"outputs":{"a":{"L":[{"NULL":true}]},"b":{"SS":["x"]},"c d":{"M":{"k":{"B":"AA=="}}}}}\n' >"$corpus/values"
        ;;
    esac
}

for target; do
    seed "$target"
    echo "== $target: $seconds s"
    cargo +nightly fuzz run --sanitizer none "$target" -- \
        -max_total_time="$seconds" -timeout=25 -rss_limit_mb=2048 -max_len=4096 -verbosity=0 -print_final_stats=1
done
