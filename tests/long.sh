#!/usr/bin/env bash
# The long form of the proofs that `cargo test` holds in short: more seeds, more kills, more damage.
#
#     tests/long.sh [PART...]
#
# PART is damage, durable, tables, kills, playbook or world; by default all of them, for about 30 minutes on two cores (an estimate).
# Figures go into tests/RELIABILITY.md with the commit that they were measured at.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

part() {
    local name=$1 began=$SECONDS
    echo "== $name"
    case $name in
    # One bit of a state file each: noticed, or without effect on what a rollback decides by.
    damage) BACKFILL_TEST_BIT_FLIPS=4000 cargo test --test state store::damage:: -- --nocapture ;;
    # SIGKILL while four segments commit at once.
    durable) BACKFILL_TEST_KILLS=400 cargo test --test state store::durable:: -- --nocapture ;;
    # Random tables with indexes under random plans: the dry run is the run.
    tables) BACKFILL_TEST_TABLES=40 cargo test --test table random_tables -- --nocapture ;;
    # The real binary over a table, killed until it is done, from new seeds.
    kills) for _ in {1..10}; do cargo test --test playbook killed_runs:: -- --nocapture; done ;;
    # Every command of the playbook under kills, from new seeds.
    playbook) for _ in {1..5}; do cargo test --test playbook kills:: -- --nocapture; done ;;
    # Whole migrations from a seed. Our own crate is optimised; the dependencies are built as for every test. Then the
    # planted bugs: each must be found, and its seed is printed.
    world)
        CARGO_PROFILE_DEV_OPT_LEVEL=2 BACKFILL_TEST_WORLDS=10000 \
            cargo test --test world -- --nocapture --test-threads 1
        ;;
    *)
        echo "usage: $0 [damage|durable|tables|kills|playbook|world]..." >&2
        exit 2
        ;;
    esac
    echo "== $name: ok after $((SECONDS - began)) s"
}

if [ $# -eq 0 ]; then set -- damage durable tables kills playbook world; fi
for name; do part "$name"; done
