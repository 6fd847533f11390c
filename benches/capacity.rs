//! Measures the fraction of a table's capacity that the job uses, and the job's effect on the application. Each
//! documented promise has one figure. The benchmark runs the real engine against the capacity model, in virtual time.
//!
//! `cargo bench --bench capacity [-- SCENARIO…]` runs all scenarios, or only those whose names begin with one of the
//! arguments. `--scale 0.1` scales the table and all rates down to a tenth. `--series` prints the figures of every
//! second of a run. `--sweep` compares different feedback constants. `--over-http` runs the scenarios in real time,
//! with the real binary over sockets. The exit code is 1 if a figure misses its target.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "the figures are the result")]

mod over_http;
#[path = "../tests/table/simulator/mod.rs"]
mod simulator;

use std::process::ExitCode;
use std::time::Instant;

use backfill::internals::ratelimit::Feedback;
use simulator::Run;
use simulator::figure::Figure;
use simulator::scenarios::{NAMES, scenario, sweep_feedback};

#[derive(Default)]
struct Arguments {
    scenarios: Vec<String>,
    scale: Option<f64>,
    series: bool,
    sweep: bool,
    over_http: bool,
}

fn arguments() -> Arguments {
    let mut read = Arguments::default();
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            // Cargo adds this argument.
            "--bench" => {}
            "--series" => read.series = true,
            "--sweep" => read.sweep = true,
            "--over-http" => read.over_http = true,
            "--scale" => read.scale = words.next().and_then(|scale| scale.parse().ok()),
            _ => read.scenarios.push(word),
        }
    }
    read
}

fn main() -> ExitCode {
    let arguments = arguments();
    let mut missed = false;
    let mut tell = |name: &str, figure: &Figure| {
        missed |= !figure.holds();
        println!("{}", figure.line(name));
    };
    if arguments.over_http {
        over_http::run(&arguments.scenarios, &mut tell);
    } else if arguments.sweep {
        sweep(arguments.scale.unwrap_or(0.1));
    } else {
        in_virtual_time(&arguments, &mut tell);
    }
    ExitCode::from(u8::from(missed))
}

fn in_virtual_time(arguments: &Arguments, tell: &mut impl FnMut(&str, &Figure)) {
    for (number, name) in NAMES.iter().enumerate() {
        let wanted = &arguments.scenarios;
        if !wanted.is_empty() && !wanted.iter().any(|wanted| name.starts_with(wanted.as_str())) {
            continue;
        }
        let began = Instant::now();
        let result = scenario(number, arguments.scale.unwrap_or(1.0));
        result.figures.iter().for_each(|figure| tell(name, figure));
        println!("{name:<10} ({} runs in {:.1} s)", result.runs.len(), began.elapsed().as_secs_f64());
        for (run_name, run) in result.runs.iter().filter(|_| arguments.series) {
            print_series(&format!("{name}: {run_name}"), run);
        }
    }
}

/// Compares sets of feedback constants. Measures each set in two situations: a limit that is lower than the budget, and
/// a minute in which requests are throttled.
fn sweep(scale: f64) {
    println!("decrease  recovery  floor   table %  throttled %   partitions %  throttled %   back after storm, s");
    for decrease in [0.5, 0.7, 0.8, 0.85, 0.9, 0.95] {
        for recovery in [10.0, 15.0, 20.0, 25.0, 30.0, 40.0] {
            for floor in [0.01, 0.05] {
                let sweep_feedback = sweep_feedback(Feedback { decrease, recovery, floor }, scale);
                println!(
                    "{decrease:>8} {recovery:>9} {floor:>6} {:>9.1} {:>12.2} {:>14.1} {:>12.2} {:>21}",
                    sweep_feedback.table.0,
                    sweep_feedback.table.1,
                    sweep_feedback.partitions.0,
                    sweep_feedback.partitions.1,
                    sweep_feedback.back
                );
            }
        }
    }
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
