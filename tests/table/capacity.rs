//! What the job takes of a table's capacity, in virtual time: the real engine against the capacity model.
//!
//! The scenarios are those of `benches/capacity.rs`, which runs them at full size; here everything is a tenth of it, and
//! the same is required.
#![expect(clippy::print_stdout, reason = "the figures are part of the result")]

use crate::simulator::figure::{Figure, Required};
use crate::simulator::scenarios::{self, NAMES, scenario};
use crate::simulator::{follow, forecast};

const SCALE: f64 = 0.1;

/// Runs a scenario and holds every figure to what is required of it.
fn hold(number: usize) {
    hold_figures(NAMES[number], &scenario(number, SCALE).figures);
}

fn hold_figures(name: &str, figures: &[Figure]) {
    assert!(figures.iter().any(|figure| figure.required != Required::Nothing));
    let missed: Vec<_> = figures.iter().filter(|figure| !figure.holds()).collect();
    for figure in figures {
        println!("{name}: {} {:.2} ({:?})", figure.what, figure.value, figure.required);
    }
    assert!(missed.is_empty(), "{missed:#?}");
}

#[test]
fn a_budget_below_the_limit_is_used_and_nothing_is_throttled() {
    hold(0);
}

#[test]
fn a_budget_above_the_limit_settles_just_under_it() {
    hold(1);
}

#[test]
fn the_application_beside_the_job_is_not_throttled_for_its_sake() {
    hold(2);
}

#[test]
fn skewed_keys_take_no_longer_than_they_must() {
    hold(3);
}

#[test]
fn an_index_that_is_short_of_capacity_slows_the_job_alone() {
    hold(4);
}

#[test]
fn a_storm_leaves_no_harm() {
    hold(5);
}

#[test]
fn a_minute_of_pure_throttling_ends_no_run() {
    hold_figures("throttled", &scenarios::throttled_for_longer_than_it_is_retried().figures);
}

#[test]
fn a_share_follows_a_table_that_is_scaled_down_at_once_and_up_in_steps() {
    hold_figures("auto scaling", &follow::auto_scaled());
}

#[test]
fn a_default_follows_the_table_too() {
    hold_figures("default", &follow::by_default());
}

#[test]
fn an_index_that_is_added_gets_a_budget_and_writes_are_priced_for_it() {
    hold_figures("new index", &follow::new_index());
}

#[test]
fn the_forecast_knows_that_one_partition_key_has_a_pace_of_its_own() {
    hold_figures("forecast", &forecast::one_heavy_key());
}
