#!/usr/bin/env bash
# Runs the long form of the tests that depend on chance: more seeds, more kills, more damage.
#
#     tests/long.sh [PART...]
#
# PART is damage, durable, tables, kills, playbook or world. The default is all parts, which take about 30 minutes on two
# cores (an estimate). Put the figures into tests/RELIABILITY.md, with the commit that you measured.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

part() {
    local name=$1 began=$SECONDS
    echo "== $name"
    case $name in
    # Flips one bit of a state file at a time. The tool must notice the flip, or a rollback must decide as if no bit was flipped.
    damage) BACKFILL_TEST_BIT_FLIPS=4000 cargo test --test state store::damage:: -- --nocapture ;;
    # Kills a process with SIGKILL while four segments commit at the same time.
    durable) BACKFILL_TEST_KILLS=400 cargo test --test state store::durable:: -- --nocapture ;;
    # Random tables with indexes, and random plans: the run must do what the dry run predicts.
    tables) BACKFILL_TEST_TABLES=40 cargo test --test table random_tables -- --nocapture ;;
    # Kills the real binary at random moments until it is done, with new seeds.
    kills) for _ in {1..10}; do cargo test --test playbook killed_runs:: -- --nocapture; done ;;
    # Kills every command of the playbook at random moments, with new seeds.
    playbook) for _ in {1..5}; do cargo test --test playbook kills:: -- --nocapture; done ;;
    # Simulates whole migrations from seeds, with this crate optimised, and kills them at every named crash point. Then
    # plants bugs: the test must find each bug, and prints the seed.
    world)
        CARGO_PROFILE_DEV_OPT_LEVEL=2 BACKFILL_TEST_WORLDS=10000 BACKFILL_TEST_WORLDS_PER_CELL=12 \
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
