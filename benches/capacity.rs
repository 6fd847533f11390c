//! What the job takes of a table's capacity, and what that does to the application: every promise as a figure, in virtual
//! time, by the real engine against the capacity model.
//!
//! `cargo bench --bench capacity [-- SCENARIO…] [--scale 0.1] [--series]`: scenarios by the beginnings of their names;
//! `--series` prints every run second by second. The exit code is 1 if a figure is not as required.
#![expect(clippy::print_stdout, reason = "the figures are the result")]

#[path = "../tests/simulator/mod.rs"]
mod simulator;

use std::process::ExitCode;

use simulator::Run;
use simulator::scenarios::{Figure, NAMES, Required, scenario};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let scale = arguments.iter().position(|a| a == "--scale").map_or(1.0, |at| arguments[at + 1].parse().unwrap());
    let series = arguments.iter().any(|argument| argument == "--series");
    let wanted: Vec<&String> =
        arguments.iter().filter(|a| !a.starts_with("--") && (a.len() == 1 || a.parse::<f64>().is_err())).collect();
    let mut missed = false;
    for (number, name) in NAMES.iter().enumerate() {
        if !wanted.is_empty() && !wanted.iter().any(|wanted| name.starts_with(wanted.as_str())) {
            continue;
        }
        let began = std::time::Instant::now();
        let result = scenario(number, scale);
        for figure in &result.figures {
            missed |= !figure.holds();
            println!("{}", line(name, figure));
        }
        println!("{name:<10} ({} runs in {:.1} s)", result.runs.len(), began.elapsed().as_secs_f64());
        for (run_name, run) in result.runs.iter().filter(|_| series) {
            print_series(&format!("{name}: {run_name}"), run);
        }
    }
    ExitCode::from(u8::from(missed))
}

fn line(scenario: &str, figure: &Figure) -> String {
    let (required, verdict) = match figure.required {
        Required::AtLeast(bound) => (format!("≥ {bound}"), if figure.holds() { "ok" } else { "MISSED" }),
        Required::AtMost(bound) => (format!("≤ {bound}"), if figure.holds() { "ok" } else { "MISSED" }),
        Required::Nothing => (String::new(), ""),
    };
    format!("{scenario:<10} {:<88} {:>10.2}  {required:<8} {verdict}", figure.what, figure.value)
}

fn print_series(title: &str, run: &Run) {
    println!("\n{title}: started at {:?}, ended at {:?}, {:?}", run.started, run.ended, run.reasons);
    println!("second  writes  index  reads  sent  throttled  app sent  app throttled  by partition  rates");
    for (second, s) in run.seconds.iter().enumerate() {
        let partitions: Vec<String> = s.by_partition.iter().map(|units| format!("{units:.0}")).collect();
        println!(
            "{second:>6} {:>7.0} {:>6.0} {:>6.0} {:>5} {:>10} {:>9} {:>14}  [{}]  {:?}",
            s.job_writes,
            s.job_index_writes,
            s.job_reads,
            s.job_requests,
            s.job_throttled,
            s.application_requests,
            s.application_throttled,
            partitions.join(" "),
            s.rates
        );
    }
    println!("{:?} {:?}", run.counts, run.progress);
}
