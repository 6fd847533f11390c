#!/usr/bin/env bash
# Runs the long form of the properties (`tests/properties/`): 10,000 random plans on the table in memory, with at least 100,000
# items in all, and 250 plans on the embedded engine, with at least 2,000 items:
#
#     tests/properties.sh [SEED]
#
# SEED is the first seed; the default is 1000000. BACKFILL_TEST_PROPERTIES and BACKFILL_TEST_PROPERTIES_ENGINE change the numbers
# of plans. To check another engine: tests/engines.sh ministack tests/properties.sh. The output contains the figures. A failing
# plan is shrunk and printed. Put the figures into tests/RELIABILITY.md.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

export BACKFILL_TEST_PROPERTIES_FIRST=${1:-1000000}
export BACKFILL_TEST_PROPERTIES=${BACKFILL_TEST_PROPERTIES:-10000}
export BACKFILL_TEST_PROPERTIES_ENGINE=${BACKFILL_TEST_PROPERTIES_ENGINE:-250}
exec cargo test --test properties -- --nocapture random_plans
