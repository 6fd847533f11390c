//! Compares the units that a run reports as spent with the units that the server counted. Measures the error of the
//! run's own estimate. Also measures how much a run with `[limits] max_wcu` spends if it is killed repeatedly. The
//! benchmark uses the real binary, which talks to the embedded engine over sockets.
//!
//! `cargo bench --bench spend [-- SCENARIO…]` runs all scenarios, or only those whose names begin with one of the
//! arguments. The exit code is 1 if a figure misses its target.
#![expect(clippy::print_stdout, reason = "the figures are the result")]

#[expect(unreachable_pub, reason = "shared with the simulator")]
#[path = "../tests/table/simulator/figure.rs"]
mod figure;
#[expect(dead_code, unreachable_pub, reason = "the tests use the other parts of this module")]
#[path = "../tests/harness/mod.rs"]
mod harness;
#[expect(dead_code, reason = "the tests use the other parts of this module")]
#[path = "../tests/table/spend/mod.rs"]
mod spend;

use std::process::ExitCode;

use figure::{Figure, Required};
use spend::limited::{MAX_WCU, SLICE, Scene};
use spend::whole_run::{EXPAND, WITHIN, figures, three_indexes};

const ESTIMATE: &str = "7-estimate";
const MAX: &str = "8-max_wcu";

#[tokio::main]
async fn main() -> ExitCode {
    // Cargo adds the argument `--bench`.
    let wanted: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let is_wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|wanted| name.starts_with(wanted.as_str()));
    let mut missed = false;
    let mut tell = |name: &str, of_scenario: Vec<Figure>| {
        for figure in of_scenario {
            missed |= !figure.holds();
            println!("{}", figure.line(name));
        }
    };
    if is_wanted(ESTIMATE) {
        tell(ESTIMATE, estimate().await);
    }
    if is_wanted(MAX) {
        tell(MAX, max_wcu().await);
    }
    ExitCode::from(u8::from(missed))
}

/// Scenario 7: a whole run on the sample table, with and without indexes.
async fn estimate() -> Vec<Figure> {
    let mut told = Vec::new();
    for (name, indexes) in [("no index", &[][..]), ("indexes", &three_indexes()[..])] {
        let run = figures(indexes, "", EXPAND, 5).await;
        let within = Required::AtMost(100.0 * WITHIN);
        let off = 100.0 * (run.estimated / run.counted - 1.0).abs();
        told.extend([
            Figure::new(format!("{name}: deviation of the estimated WCU from the server's count, %"), off, within),
            Figure::new(
                format!("{name}: deviation of the dry run's WCU from the server's count, %"),
                100.0 * run.prediction_off(),
                within,
            ),
            Figure::new(format!("{name}: WCU that the server counted"), run.counted, Required::Nothing),
        ]);
    }
    told
}

/// Scenario 8: a run is killed ten times, and then `max_wcu` stops it. After that, the run is resumed with a higher
/// limit.
async fn max_wcu() -> Vec<Figure> {
    let scene = Scene::new(2_000, &format!("max_wcu = {MAX_WCU}")).await;
    scene.kill_ten_times();
    let lost = scene.status().spend.state.lost.write;
    scene.run().exits(6);
    let spent = scene.spent();
    scene.run().exits(6);
    let unchanged = scene.spent() - spent;
    scene.limit(&format!("max_wcu = {}", MAX_WCU + 100.0));
    scene.run().exits(6);
    let raised = scene.spent();
    let most = Required::AtMost;
    let least = Required::AtLeast;
    vec![
        Figure::new(format!("WCU spent of {MAX_WCU} with ten SIGKILLs, slice {SLICE}"), spent, most(MAX_WCU + SLICE)),
        Figure::new("WCU that were only reserved at a kill and count as spent", lost, Required::Nothing),
        Figure::new("resumed with the same limit: additional WCU spent", unchanged, most(0.0)),
        Figure::new("resumed with 100 more: total WCU spent", raised, most(MAX_WCU + 100.0 + SLICE)),
        Figure::new("resumed with 100 more: additional WCU spent", raised - spent, least(1.0)),
    ]
}
