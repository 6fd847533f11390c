//! Measures the cost of telemetry. Compares the CPU time and the memory of complete runs with and without telemetry, in
//! alternating rounds.
//!
//! With telemetry, a run measures its requests, watches its pass, draws the progress line on a terminal, and stores the
//! current pace and the pace history. It also serves metrics, which this benchmark scrapes every second. Without
//! telemetry, the same process does none of this. The table is in the embedded engine of another process.
//!
//! Run it with `cargo bench --bench telemetry [-- --items 20000 --rounds 20]`. With `--instructions`, valgrind counts
//! the instructions of one run of each kind. A run is about 50 times slower under valgrind. So it repeats telemetry's
//! once-per-second work about 50 times as often as a normal run. The result is therefore an upper bound.
#![expect(clippy::print_stdout, reason = "the figures are the result")]

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::time::Duration;

use backfill::internals::local::{Local, LocalOptions};
use backfill::internals::telemetry::metrics::Exports;
use backfill::{Answer, Migration, Notice, Observer, Options, Question, RunOptions};
use nix::pty::{Winsize, openpty};
use nix::sys::resource::{UsageWho, getrusage};
use serde_json::{Value as Json, json};

/// The argument that makes this program the measured process.
const CHILD: &str = "--child";

/// The text before the address of the metrics on stderr.
const METRICS: &str = "metrics ";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().collect();
    let number = |name: &str| words.iter().position(|word| word == name).and_then(|at| words.get(at + 1)?.parse().ok());
    if let Some(at) = words.iter().position(|word| word == CHILD) {
        return child(&words[at + 1], words[at + 2] == "on");
    }
    let instructions = words.iter().any(|word| word == "--instructions");
    let items = number("--items").unwrap_or(if instructions { 2_000 } else { 20_000 });
    println!("machine: {}", machine());
    if instructions {
        compare_instructions(items);
    } else {
        compare_cpu(items, number("--rounds").unwrap_or(20));
    }
    ExitCode::SUCCESS
}

/// Runs a plan in this process, with or without telemetry. Prints JSON with the CPU time and the memory that the
/// process used.
fn child(plan: &str, on: bool) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let outcome = runtime.block_on(async {
        let mut options = Options::default();
        options.observer = Arc::new(Terminal { on });
        let migration = Migration::open(plan, options).unwrap();
        let migration = if on {
            migration.with_exports(Exports { metrics: Some("127.0.0.1:0".parse().unwrap()), ..Exports::default() })
        } else {
            migration.without_telemetry()
        };
        Box::pin(migration.run(&RunOptions::default())).await.unwrap().report().unwrap().to_json(0)
    });
    let used = getrusage(UsageWho::RUSAGE_SELF).unwrap();
    let seconds = |time: nix::sys::time::TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
    let cpu = seconds(used.user_time()) + seconds(used.system_time());
    println!("{}", json!({ "cpu_s": cpu, "peak_kib": used.max_rss(), "run": outcome }));
    ExitCode::SUCCESS
}

/// Shows the progress line, and answers every question with yes.
struct Terminal {
    on: bool,
}

impl Observer for Terminal {
    fn confirm(&self, _: &Question<'_>) -> Answer {
        Answer::Yes
    }

    fn notice(&self, notice: &Notice<'_>) {
        if let Notice::MetricsServed(address) = notice {
            let _ = writeln!(std::io::stderr(), "{METRICS}{address}");
        }
    }

    fn shows_progress_line(&self) -> bool {
        self.on
    }
}

/// The resources that one run used.
#[derive(Clone, Copy)]
struct Used {
    cpu_s: f64,
    peak_kib: f64,
    instructions: Option<f64>,
    /// Number of answered scrapes.
    scrapes: u64,
}

/// A table and a directory for plans. Each plan adds a different attribute to the items.
struct Tables {
    local: Local,
    dir: tempfile::TempDir,
    runs: u32,
    items: u64,
}

impl Tables {
    fn new(items: u64) -> Tables {
        let options = LocalOptions { items: Some(items), seed: 1, proxy: false, ..LocalOptions::default() };
        Tables { local: Local::start(options).unwrap(), dir: tempfile::tempdir().unwrap(), runs: 0, items }
    }

    /// Runs a new plan in a new process.
    fn run(&mut self, on: bool, valgrind: bool) -> Used {
        self.runs += 1;
        let dir = self.dir.path().join(self.runs.to_string());
        std::fs::create_dir(&dir).unwrap();
        let plan = dir.join("plan.toml");
        let text = format!(
            "[migration]\nname = \"cost\"\n[table]\nname = \"shop\"\nkey = [\"pk\", \"sk\"]\nregion = \"us-east-1\"\n\
             endpoint_url = \"{}\"\n[[change]]\nset = \"run_{}\"\nvalue = {{ N = \"1\" }}\n[capacity]\nwrite = 40000\n\
             read = 40000\nper_key_range = {{ write = 40000, read = 40000 }}\n\
             per_partition_key = {{ write = 40000, read = 40000 }}\n",
            self.local.endpoint(),
            self.runs
        );
        std::fs::write(&plan, text).unwrap();
        let used = measure(&dir, &plan, on, valgrind);
        let applied = used.1["run"]["totals"]["counts"]["applied"].as_u64();
        assert_eq!(applied, Some(self.items), "{:#}", used.1);
        used.0
    }
}

/// Starts the measured process, scrapes its metrics, and waits until it ends.
fn measure(dir: &Path, plan: &Path, on: bool, valgrind: bool) -> (Used, Json) {
    let this = std::env::current_exe().unwrap();
    let mut command = Command::new(if valgrind { "valgrind".as_ref() } else { this.as_path() });
    let counts = dir.join("instructions");
    if valgrind {
        command.arg("--tool=callgrind").arg(format!("--callgrind-out-file={}", counts.display())).arg(&this);
    }
    command.arg(CHILD).arg(plan).arg(if on { "on" } else { "off" });
    command.current_dir(dir).env_clear().env("HOME", dir).env("TERM", "xterm").env("AWS_EC2_METADATA_DISABLED", "true");
    command.env("AWS_ACCESS_KEY_ID", "local").env("AWS_SECRET_ACCESS_KEY", "local");
    if let Some(path) = std::env::var_os("PATH") {
        command.env("PATH", path);
    }
    let size = Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
    let pty = openpty(Some(&size), None).unwrap();
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::from(pty.slave));
    let mut child = command.spawn().unwrap();
    // Close the command's copy of the terminal. Otherwise, reads from the terminal would never end.
    drop(command);
    let terminal = std::thread::spawn(move || scrape_until_closed(pty.master.into()));
    let mut document = String::new();
    child.stdout.take().unwrap().read_to_string(&mut document).unwrap();
    assert!(child.wait().unwrap().success(), "the run failed: {document}");
    let document: Json = serde_json::from_str(&document).unwrap();
    let figure = |name: &str| document[name].as_f64().unwrap();
    let instructions = std::fs::read_to_string(counts).ok().map(|text| instructions(&text));
    let scrapes = terminal.join().unwrap();
    (Used { cpu_s: figure("cpu_s"), peak_kib: figure("peak_kib"), instructions, scrapes }, document)
}

/// Reads the terminal until it is closed. Scrapes the metrics every second, once their address is known. Returns the
/// number of scrapes.
fn scrape_until_closed(mut terminal: std::fs::File) -> u64 {
    let (send, receive) = std::sync::mpsc::channel::<String>();
    let scraper = std::thread::spawn(move || {
        let Ok(address) = receive.recv() else { return 0 };
        let mut scrapes = 0;
        // The channel closes when the terminal closes.
        while let Err(std::sync::mpsc::RecvTimeoutError::Timeout) = receive.recv_timeout(Duration::from_secs(1)) {
            let Ok(mut stream) = TcpStream::connect(&address) else { continue };
            let _ = write!(stream, "GET /metrics HTTP/1.1\r\nHost: {address}\r\n\r\n");
            let mut answer = String::new();
            scrapes += u64::from(stream.read_to_string(&mut answer).is_ok() && answer.contains("backfill_"));
        }
        scrapes
    });
    let (mut text, mut part) = (String::new(), [0; 4096]);
    while let Ok(read @ 1..) = terminal.read(&mut part) {
        text += &String::from_utf8_lossy(&part[..read]);
        let address = text.split(METRICS).nth(1).and_then(|rest| Some(rest.split_once('\r')?.0.to_owned()));
        if let Some(address) = address {
            let _ = send.send(address.trim_start_matches("http://").trim_end_matches("/metrics").to_owned());
            text.clear();
        }
    }
    drop(send);
    scraper.join().unwrap()
}

/// Returns the number of instructions in callgrind's file.
fn instructions(text: &str) -> f64 {
    let total = text.lines().find_map(|line| line.strip_prefix("summary: ").or_else(|| line.strip_prefix("totals: ")));
    total.and_then(|total| total.trim().parse().ok()).unwrap()
}

fn compare_cpu(items: u64, rounds: u64) {
    let mut tables = Tables::new(items);
    // The first run only warms up the machine, so ignore its result.
    tables.run(true, false);
    let (mut ratios, mut memory, mut scrapes) = (Vec::new(), Vec::new(), 0);
    for round in 0..rounds {
        // Alternate the order, so that each kind of run comes first in half of the rounds.
        let order = [round % 2 == 0, round % 2 != 0];
        let [first, second] = order.map(|on| tables.run(on, false));
        let (on, off) = if order[0] { (first, second) } else { (second, first) };
        ratios.push(100.0 * (on.cpu_s / off.cpu_s - 1.0));
        memory.push((on.peak_kib - off.peak_kib) / 1024.0);
        scrapes += on.scrapes;
        let each = |used: Used| 1e6 * used.cpu_s / items as f64;
        println!("round {}: on {:.1}, off {:.1} µs of CPU for each item", round + 1, each(on), each(off));
    }
    println!("{rounds} rounds, {items} items in each run, {scrapes} scrapes");
    println!("CPU of telemetry: {}", spread(ratios, "%"));
    println!("memory of telemetry: {}", spread(memory, "MiB"));
}

fn compare_instructions(items: u64) {
    let mut tables = Tables::new(items);
    let [on, off] = [true, false].map(|on| tables.run(on, true).instructions.unwrap() / items as f64);
    println!("{items} items: on {on:.0}, off {off:.0} instructions for each item: {:+.2} %", 100.0 * (on / off - 1.0));
}

/// Returns the median, the quartiles and the extremes as text.
fn spread(mut values: Vec<f64>, unit: &str) -> String {
    values.sort_by(f64::total_cmp);
    let at = |share: f64| values[((values.len() - 1) as f64 * share).round() as usize];
    let [min, low, median, high, max] = [0.0, 0.25, 0.5, 0.75, 1.0].map(at);
    format!("median {median:+.2} {unit}, quartiles {low:+.2} to {high:+.2}, extremes {min:+.2} to {max:+.2}")
}

/// Returns the processor and the number of cores.
fn machine() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name =
        info.lines().find_map(|line| Some(line.strip_prefix("model name")?.split_once(':')?.1.trim().to_owned()));
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    format!("{}, {cores} cores, {}", name.as_deref().unwrap_or("unknown"), std::env::consts::ARCH)
}
