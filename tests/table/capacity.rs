//! Tests the fraction of a table's capacity that the job uses. The real engine runs against the capacity model, in
//! virtual time.
//!
//! The scenarios and the requirements are the same as in `benches/capacity.rs`. The benchmark runs them at full size,
//! and these tests at a tenth of it.
#![expect(clippy::print_stdout, reason = "the test prints its figures")]

use crate::simulator::figure::{Figure, Required};
use crate::simulator::scenarios::{self, NAMES, scenario};
use crate::simulator::{follow, forecast};

const SCALE: f64 = 0.1;

/// Runs a scenario and checks every figure against its requirement.
fn check_scenario(number: usize) {
    check_figures(NAMES[number], &scenario(number, SCALE).figures);
}

fn check_figures(name: &str, figures: &[Figure]) {
    assert!(figures.iter().any(|figure| figure.required != Required::Nothing));
    let missed: Vec<_> = figures.iter().filter(|figure| !figure.holds()).collect();
    for figure in figures {
        println!("{name}: {} {:.2} ({:?})", figure.what, figure.value, figure.required);
    }
    assert!(missed.is_empty(), "{missed:#?}");
}

#[test]
fn a_budget_below_the_limit_is_used_and_nothing_is_throttled() {
    check_scenario(0);
}

#[test]
fn a_budget_above_the_limit_settles_just_below_the_limit() {
    check_scenario(1);
}

#[test]
fn the_job_does_not_throttle_the_application() {
    check_scenario(2);
}

#[test]
fn skewed_keys_take_only_the_shortest_possible_time() {
    check_scenario(3);
}

#[test]
fn an_index_short_of_capacity_slows_only_the_job() {
    check_scenario(4);
}

#[test]
fn the_rate_recovers_after_a_storm() {
    check_scenario(5);
}

#[test]
fn a_minute_of_pure_throttling_does_not_end_a_run() {
    check_figures("throttled", &scenarios::throttled_for_longer_than_give_up_after().figures);
}

#[test]
fn a_share_follows_a_table_that_scales_down_suddenly_and_up_in_steps() {
    check_figures("auto scaling", &follow::auto_scaled());
}

#[test]
fn a_default_budget_also_follows_the_table() {
    check_figures("default", &follow::by_default());
}

#[test]
fn a_new_index_gets_a_budget_and_adds_to_the_price_of_writes() {
    check_figures("new index", &follow::new_index());
}

#[test]
fn the_forecast_considers_the_pace_of_a_single_partition_key() {
    check_figures("forecast", &forecast::one_heavy_key());
}
