#!/usr/bin/env bash
# Tests the crate outside the package (tests/outside/), which can use only the supported API. It reuses the package's Cargo.lock
# and the dependencies that `cargo test` built, so it compiles only two crates.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
cp Cargo.lock tests/outside/Cargo.lock
CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target} cargo test --offline --manifest-path tests/outside/Cargo.toml "$@"
