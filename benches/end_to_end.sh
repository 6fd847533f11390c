#!/usr/bin/env bash
# Measures what an item costs, beside bare loops over the SDK and a boto3 script (see `benches/end_to_end/main.rs`):
#
#     benches/end_to_end.sh [--items N] [--rounds N] [--latency MS] [--padding BYTES] [--only SCENARIO,...] [--instructions]
#
# The script fetches boto3 once, with the versions and hashes that `benches/end_to_end/boto3.txt` pins, and keeps it under target/.
# The benchmark needs Linux. All programs talk to 127.0.0.1 only.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/../tests" && pwd)
readonly here installed_thing=boto3 folder=benches python_packages=$here/../benches/end_to_end/boto3.txt
readonly pinned=("$python_packages")
# shellcheck source=tests/install.sh
source "$here/install.sh"
work=$(mktemp -d "${TMPDIR:-/tmp}/backfill-bench.XXXXXX")
trap 'rm -rf "$work" "${partial:-}"' EXIT

require_python
install install_python python3
cd "$here/.."
BACKFILL_BENCH_PYTHON="$installed/bin/python" cargo bench --bench end_to_end -- "$@"
