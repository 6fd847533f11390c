//! Measures the CPU time that one write takes. The time is divided into three parts: the tool, the embedded server's
//! proxy, and the embedded server's engine.
//!
//! Run it with `cargo bench --bench cpu [-- --items 4000]`. With `--profile dev`, the benchmark uses the same build as
//! the tests. The tool is the real binary in a separate process. The server is in this process, and stores its data in
//! a database file, as the demo does. Threads are identified by their names. The benchmark needs Linux, because it
//! reads the CPU times from `/proc`. Other processes on the machine hardly change these CPU times. They change the
//! ratio in the last line of the output even less, because the ratio compares two runs.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "the figures are the result")]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use backfill::internals::local::{Local, LocalOptions};

/// The kernel counts a thread's time in hundredths of a second (`USER_HZ`, which is 100 on every Linux platform).
const TICKS_PER_SECOND: f64 = 100.0;

/// The interval between two samples of a process. CPU time after the last sample is not counted.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// CPU seconds by thread name.
type Cpu = BTreeMap<String, f64>;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().collect();
    let stated = words.iter().position(|word| word == "--items").and_then(|at| words.get(at + 1)?.parse().ok());
    if !Path::new("/proc/self/task").exists() {
        eprintln!("there is no /proc here: nothing is measured");
        return ExitCode::SUCCESS;
    }
    let items = stated.unwrap_or(4_000);
    let [with, without] = [true, false].map(|proxy| measure(items, proxy));
    println!("without the proxy: {:.0} % of the CPU time with the proxy", 100.0 * without / with);
    ExitCode::SUCCESS
}

/// Runs a plan on a table with `items` items. Prints each part's CPU time per write and returns their sum, in
/// milliseconds.
fn measure(items: u64, proxy: bool) -> f64 {
    let dir = tempfile::tempdir().unwrap();
    let db = Some(dir.path().join("table.db"));
    let options = LocalOptions { db, items: Some(items), seed: 1, proxy, ..LocalOptions::default() };
    let local = Local::start(options).unwrap();
    let plan = dir.path().join("plan.toml");
    let text = format!(
        "[migration]\nname = \"cpu\"\n[table]\nname = \"shop\"\nkey = [\"pk\", \"sk\"]\nregion = \"us-east-1\"\n\
         endpoint_url = \"{}\"\n[[change]]\nmove = \"email\"\nto = \"contact_email\"\n[capacity]\nwrite = 40000\n\
         read = 40000\nper_key_range = {{ write = 40000, read = 40000 }}\n\
         per_partition_key = {{ write = 40000, read = 40000 }}\n",
        local.endpoint()
    );
    std::fs::write(&plan, text).unwrap();
    let before = threads("self");
    let (tool, writes) = run(dir.path(), &plan);
    let mut server = threads("self");
    server.iter_mut().for_each(|(name, seconds)| *seconds -= before.get(name).copied().unwrap_or(0.0));
    let of_server = |part: &str| server.iter().filter(|(name, _)| name.contains(part)).map(|(_, s)| s).sum::<f64>();
    let parts =
        [("tool", tool.values().sum::<f64>()), ("server's proxy", of_server("front")), ("engine", of_server("engine"))];
    let all: f64 = parts.iter().map(|(_, seconds)| seconds).sum();
    let each = |seconds: f64| 1e3 * seconds / writes as f64;
    println!("{writes} writes, {all:.2} s of CPU: {:.2} ms a write", each(all));
    for (part, seconds) in parts.into_iter().filter(|(_, seconds)| *seconds > 0.0) {
        println!("  {part:<16} {:>6.2} ms a write, {:>5.1} %", each(seconds), 100.0 * seconds / all);
    }
    for (name, seconds) in tool {
        println!("    tool, {name:<18} {:>6.2} ms a write", each(seconds));
    }
    each(all)
}

/// Runs the plan. Returns the CPU time of the tool's threads at the last sample, and the number of applied writes.
fn run(dir: &Path, plan: &Path) -> (Cpu, u64) {
    let report = dir.join("report.json");
    let mut tool = Command::new(env!("CARGO_BIN_EXE_backfill"))
        .current_dir(dir)
        .env_clear()
        .env("HOME", dir)
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .args(["run", "--yes", "--output", "json"])
        .arg(plan)
        .stdin(Stdio::null())
        .stdout(std::fs::File::create(&report).unwrap())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut taken = Cpu::new();
    while tool.try_wait().unwrap().is_none() {
        // The sum includes the last sample of each thread that has ended.
        for (name, seconds) in threads(&tool.id().to_string()) {
            let known = taken.entry(name).or_default();
            *known = known.max(seconds);
        }
        std::thread::sleep(LOOK_EVERY);
    }
    let report: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&report).unwrap()).unwrap();
    (taken, report["totals"]["counts"]["applied"].as_u64().unwrap())
}

/// Returns the CPU time of a process's threads since their start, by thread name.
fn threads(process: &str) -> Cpu {
    let mut cpu = Cpu::new();
    let Ok(tasks) = std::fs::read_dir(format!("/proc/{process}/task")) else { return cpu };
    for task in tasks.flatten() {
        let Ok(stat) = std::fs::read_to_string(task.path().join("stat")) else { continue };
        // The format is `pid (name) state …`. Fields 14 and 15 are the user time and the system time. The name can
        // contain spaces.
        let Some((head, rest)) = stat.rsplit_once(')') else { continue };
        let name = head.split_once('(').map_or("", |(_, name)| name).to_owned();
        let ticks = rest.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<f64>().ok());
        *cpu.entry(name).or_default() += ticks.sum::<f64>() / TICKS_PER_SECOND;
    }
    cpu
}
