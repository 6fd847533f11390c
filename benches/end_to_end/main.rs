//! Measures the cost of an item from end to end. The real binary runs against a server that answers at once. For
//! comparison, simple loops that call the SDK directly, and a boto3 script, run in the same rounds.
//!
//! ```text
//! benches/end_to_end.sh [--items N] [--rounds N] [--latency MS] [--only update,scan,...] [--instructions]
//! ```
//!
//! The script installs boto3, which is pinned with hashes, and calls `cargo bench --bench end_to_end`. Without boto3,
//! the output has no row for it. In each round, every program of a scenario runs once. The order changes from round to
//! round. The figures are medians over the rounds. The ratios compare medians of the same scenario. The CPU time is a
//! process's user and system time from start to exit, divided by the number of items. For the binary, it includes the
//! work on the state file. With `--instructions`, valgrind counts the instructions of two runs with different numbers
//! of items. The difference of the two counts is the cost of the additional items, without the cost of the start.
//!
//! The server uses CPU time of the same machine. The rates therefore depend on the machine, but the ratios hardly do.
#![expect(clippy::print_stdout, reason = "the figures are the result")]

mod bare;
mod item;
mod process;
mod stub;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use bare::Mode;
use item::Shape;
use process::{Background, Taken, instructions, measure};
use serde_json::Value as Json;
use stub::{COUNTERS, TABLE};

/// The boto3 script processes this fraction (one tenth) of the items, because it needs much more time for each item
/// than the other programs.
const BOTO3_SHARE: u64 = 10;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().collect();
    let value = |name: &str| words.iter().position(|word| word == name).and_then(|at| words.get(at + 1)).cloned();
    let number = |name: &str| value(name).and_then(|text| text.parse::<u64>().ok());
    let has = |name: &str| words.iter().any(|word| word == name);
    let delay = Duration::from_millis(number("--latency").unwrap_or(0));
    if has("--stub") {
        let shape = Shape { padding: number("--padding").unwrap_or(0) as usize, migrated: has("--migrated") };
        stub::serve(stub::Table { items: number("--items").unwrap(), shape, delay });
        return ExitCode::SUCCESS;
    }
    if let Some(mode) = value("--bare") {
        let mode = match mode.as_str() {
            "scan" => Mode::Scan { consistent: false },
            "scan-strong" => Mode::Scan { consistent: true },
            "update" => Mode::Update,
            "batch" => Mode::Batch,
            other => panic!("--bare {other}"),
        };
        bare::run(mode, &value("--endpoint").unwrap());
        return ExitCode::SUCCESS;
    }
    let only: Option<Vec<String>> = value("--only").map(|names| names.split(',').map(str::to_owned).collect());
    let counts = has("--instructions");
    let setup = Setup {
        items: number("--items").unwrap_or(if counts { 2_000 } else { 50_000 }),
        rounds: number("--rounds").unwrap_or(5),
        padding: number("--padding").unwrap_or(0),
        delay,
        python: python(),
    };
    item::check_size(Shape { padding: setup.padding as usize, migrated: false });
    println!("machine: {}", machine());
    println!("table: {} items of {} bytes; rounds: {}", setup.items, setup.bytes(), setup.rounds);
    for scenario in SCENARIOS {
        if only.as_ref().is_none_or(|only| only.iter().any(|name| name == scenario.name)) {
            if counts { setup.count_instructions(&scenario) } else { setup.compare(&scenario) }
        }
    }
    ExitCode::SUCCESS
}

/// Programs that do the same work.
struct Scenario {
    name: &'static str,
    what: &'static str,
    /// Whether the items already have the new attribute.
    migrated: bool,
    /// The other programs are compared with the first one.
    programs: &'static [Program],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Program {
    /// `backfill run` with a new state file.
    Run,
    /// `backfill run --again` with the state file of a completed run.
    Again,
    /// `backfill run` with `[client] dynamodb = "lean"`.
    RunLean,
    /// `backfill run --again` with `[client] dynamodb = "lean"`.
    AgainLean,
    /// A simple loop that calls the SDK directly.
    Bare(&'static str),
    Boto3,
}

const SCENARIOS: [Scenario; 4] = [
    Scenario {
        name: "update",
        what: "one conditional UpdateItem for each item",
        migrated: false,
        programs: &[Program::Bare("update"), Program::Run, Program::RunLean, Program::Boto3],
    },
    Scenario {
        name: "batch",
        what: "a bare loop of BatchExecuteStatement, as a limit of what batches can reach",
        migrated: false,
        programs: &[Program::Bare("batch")],
    },
    Scenario {
        name: "first-pass",
        what: "a first pass over items that are already migrated, beside a scan of the same consistency",
        migrated: true,
        programs: &[Program::Bare("scan-strong"), Program::Run, Program::RunLean],
    },
    Scenario {
        name: "again",
        what: "`run --again`, beside a scan of the same consistency",
        migrated: true,
        programs: &[Program::Bare("scan-strong"), Program::Again, Program::AgainLean],
    },
];

impl Program {
    fn name(self) -> String {
        match self {
            Program::Run => "backfill run".to_owned(),
            Program::Again => "backfill run --again".to_owned(),
            Program::RunLean => "backfill run, lean".to_owned(),
            Program::AgainLean => "backfill --again, lean".to_owned(),
            Program::Bare(mode) => format!("SDK loop, {mode}"),
            Program::Boto3 => "boto3 script".to_owned(),
        }
    }
}

struct Setup {
    items: u64,
    rounds: u64,
    padding: u64,
    delay: Duration,
    /// A Python interpreter that has boto3.
    python: Option<PathBuf>,
}

/// The results of one program: a [`Taken`] for each round, and the counters of the last round.
struct Results {
    program: Program,
    items: u64,
    taken: Vec<Taken>,
    counters: Json,
}

impl Results {
    fn median(&self, of: fn(&Taken) -> f64) -> f64 {
        let mut values: Vec<f64> = self.taken.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        let middle = values.len() / 2;
        if values.len().is_multiple_of(2) { f64::midpoint(values[middle - 1], values[middle]) } else { values[middle] }
    }

    /// The CPU time per item, in microseconds: median, minimum and maximum.
    fn cpu(&self) -> [f64; 3] {
        let each = 1e6 / self.items as f64;
        let all = || self.taken.iter().map(|taken| taken.cpu * each);
        [self.median(|taken| taken.cpu) * each, all().fold(f64::INFINITY, f64::min), all().fold(0.0, f64::max)]
    }

    fn rate(&self) -> f64 {
        self.items as f64 / self.median(|taken| taken.seconds)
    }
}

impl Setup {
    fn bytes(&self) -> usize {
        Shape { padding: self.padding as usize, migrated: false }.bytes()
    }

    fn compare(&self, scenario: &Scenario) {
        let programs = scenario.programs.iter().filter(|program| **program != Program::Boto3 || self.python.is_some());
        let mut results: Vec<Results> = programs
            .map(|program| Results { program: *program, items: 0, taken: Vec::new(), counters: Json::Null })
            .collect();
        for round in 0..self.rounds {
            let places = results.len();
            for place in 0..places {
                let of = &mut results[(place + round as usize) % places];
                of.items = self.items / if of.program == Program::Boto3 { BOTO3_SHARE } else { 1 };
                let stub = Stub::start(of.items, self.padding, scenario.migrated, self.delay);
                let folder = tempfile::tempdir().unwrap();
                let mut command = self.command(of.program, &stub, folder.path());
                let (taken, _) = measure(&mut command);
                of.taken.push(taken);
                of.counters = stub.counters();
            }
        }
        println!("\n{}: {}", scenario.name, scenario.what);
        let first = results[0].cpu()[0];
        for of in &results {
            let [cpu, least, most] = of.cpu();
            println!(
                "  {:<24} {cpu:>8.1} µs CPU an item ({least:.1} to {most:.1}), {:>8.0} items/s, {:>5.0} MiB, ratio {:.2}",
                of.program.name(),
                of.rate(),
                of.median(|taken| taken.memory),
                cpu / first
            );
            println!("  {:<24} {}", "", of.counters);
        }
    }

    /// Prints the instructions that each program executes for an item.
    fn count_instructions(&self, scenario: &Scenario) {
        println!("\n{}: {}", scenario.name, scenario.what);
        for program in scenario.programs.iter().filter(|program| **program != Program::Boto3) {
            let [few, many] = [self.items, 3 * self.items].map(|items| {
                let stub = Stub::start(items, self.padding, scenario.migrated, self.delay);
                let folder = tempfile::tempdir().unwrap();
                instructions(&self.command(*program, &stub, folder.path()))
            });
            let each = (many as f64 - few as f64) / (2 * self.items) as f64;
            println!(
                "  {:<24} {each:>10.0} instructions an item, {few} in all for {} items",
                program.name(),
                self.items
            );
        }
    }

    /// Prepares a program. For `run --again`, this function first runs the plan once.
    fn command(&self, program: Program, stub: &Stub, folder: &Path) -> Command {
        let endpoint = format!("http://127.0.0.1:{}", stub.port);
        let mut command = match program {
            Program::Run | Program::RunLean | Program::Again | Program::AgainLean => {
                let is_lean = matches!(program, Program::RunLean | Program::AgainLean);
                let is_again = matches!(program, Program::Again | Program::AgainLean);
                write_plan(folder, &endpoint, if is_lean { "lean" } else { "sdk" });
                if is_again {
                    measure(clean(&mut tool(&["run", "plan.toml", "--yes"]), folder));
                    stub.counters();
                }
                let again: &[&str] = if is_again { &["--again"] } else { &[] };
                tool(&[&["run", "plan.toml", "--yes"], again].concat())
            }
            Program::Bare(mode) => {
                let mut command = Command::new(std::env::current_exe().unwrap());
                command.args(["--bare", mode, "--endpoint", &endpoint]);
                command
            }
            Program::Boto3 => {
                let script = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/end_to_end/boto3_script.py");
                let mut command = Command::new(self.python.as_ref().unwrap());
                command.arg(script).arg(stub.port.to_string());
                command
            }
        };
        clean(&mut command, folder);
        command
    }
}

fn tool(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_backfill"));
    command.args(arguments).stderr(std::process::Stdio::null());
    command
}

/// Clears the program's environment, and sets invented credentials.
fn clean<'a>(command: &'a mut Command, folder: &Path) -> &'a mut Command {
    let variables = [
        ("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"),
        ("AWS_SECRET_ACCESS_KEY", "example"),
        ("AWS_REGION", "us-east-1"),
        ("AWS_DEFAULT_REGION", "us-east-1"),
        ("AWS_EC2_METADATA_DISABLED", "true"),
    ];
    command.current_dir(folder).env_clear().env("HOME", folder).envs(variables)
}

/// Writes a plan whose budgets are so high that only the machine limits the run.
fn write_plan(folder: &Path, endpoint: &str, client: &str) {
    let text = format!(
        "[migration]\nname = \"end-to-end\"\n[table]\nname = \"{TABLE}\"\nkey = [\"pk\", \"sk\"]\nregion = \"us-east-1\"\n\
         endpoint_url = \"{endpoint}\"\n[[change]]\ncopy = \"email\"\nto = \"contact_email\"\n[capacity]\n\
         write = 1000000\nread = 1000000\nper_key_range = {{ write = 1000000, read = 1000000 }}\n\
         per_partition_key = {{ write = 1000000, read = 1000000 }}\n[client]\ndynamodb = \"{client}\"\n"
    );
    std::fs::write(folder.join("plan.toml"), text).unwrap();
}

/// The server's process.
struct Stub {
    port: u16,
    _process: Background,
}

impl Stub {
    fn start(items: u64, padding: u64, migrated: bool, delay: Duration) -> Stub {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--stub", "--items", &items.to_string(), "--padding", &padding.to_string()]);
        command.args(["--latency", &delay.as_millis().to_string()]);
        if migrated {
            command.arg("--migrated");
        }
        let (process, line) = Background::start(&mut command);
        Stub { port: line.parse().unwrap(), _process: process }
    }

    /// Returns the counters, and sets them to zero.
    fn counters(&self) -> Json {
        let mut socket = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        write!(socket, "POST / HTTP/1.1\r\nX-Amz-Target: {COUNTERS}\r\nContent-Length: 0\r\n\r\n").unwrap();
        let mut reply = Vec::new();
        // The server keeps the connection open, so read until the document is complete.
        let mut part = [0; 4096];
        loop {
            let read = socket.read(&mut part).unwrap();
            assert!(read > 0, "the server closed the connection");
            reply.extend_from_slice(&part[..read]);
            let text = String::from_utf8_lossy(&reply);
            let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
            if let Ok(counters) = serde_json::from_str(body) {
                return counters;
            }
        }
    }
}

/// Returns the Python interpreter in the variable BACKFILL_BENCH_PYTHON, if it has boto3.
fn python() -> Option<PathBuf> {
    let python = PathBuf::from(std::env::var_os("BACKFILL_BENCH_PYTHON")?);
    let has_boto3 = Command::new(&python).args(["-c", "import boto3"]).status().is_ok_and(|status| status.success());
    has_boto3.then_some(python)
}

/// Returns the processor's name and the number of cores.
fn machine() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = text
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .map_or("unknown", |n| n.trim_matches([' ', ':', '\t']));
    format!("{name}, {} cores", std::thread::available_parallelism().map_or(0, usize::from))
}
