//! Runs the real binary until it ends, and checks the properties that all output must have.

use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use backfill::internals::item::{Item, Num, Value};
use serde_json::Value as Json;

use super::Harness;

/// Every attribute value in the tests, except keys, contains this text. The tool must never print it.
pub(crate) const SECRET: &str = "S3CRET";

/// Every secret number in the tests contains these digits. The tool must never print them.
pub(crate) const SECRET_NUMBER: &str = "90210481516";

/// The maximum duration of one process. If a process runs longer, the test kills it and fails.
const PATIENCE: Duration = Duration::from_secs(90);

/// The result of a finished run of the tool.
#[derive(Debug)]
pub(crate) struct ToolOutput {
    /// Exit code. -1 if a signal ended the process.
    pub(crate) code: i32,
    /// Everything on stdout.
    pub(crate) stdout: String,
    /// Everything on stderr.
    pub(crate) stderr: String,
    /// The duration of the run.
    pub(crate) took: Duration,
}

/// Returns a secret text.
pub(crate) fn secret(what: impl std::fmt::Display) -> Value {
    Value::S(format!("{SECRET}-{what}"))
}

/// Returns a secret number.
pub(crate) fn secret_number(last: usize) -> Value {
    Value::N(Num::parse(&format!("{SECRET_NUMBER}{last}")).unwrap())
}

/// Returns an item with this key and these attributes.
pub(crate) fn item<const N: usize>(pk: &str, sk: &str, attributes: [(&str, Value); N]) -> Item {
    let mut item: Item = attributes.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    item.insert("pk".into(), Value::S(pk.into()));
    item.insert("sk".into(), Value::S(sk.into()));
    item
}

/// Runs the tool in the harness's directory, with all log lines and with backtraces.
pub(crate) fn tool(harness: &Harness, args: &[&str]) -> ToolOutput {
    let mut command = harness.command();
    command.args(args).arg("-vv");
    run(command)
}

/// Runs a command until it ends.
pub(crate) fn run(command: Command) -> ToolOutput {
    RunningTool::start(command).end()
}

/// Returns the published schema of the JSON documents.
fn schema() -> &'static jsonschema::Validator {
    static SCHEMA: OnceLock<jsonschema::Validator> = OnceLock::new();
    SCHEMA.get_or_init(|| {
        let text = include_str!("../../docs/output.schema.json");
        jsonschema::validator_for(&serde_json::from_str(text).unwrap()).unwrap()
    })
}

/// Returns the published schema of the lines of the JSON log.
fn log_schema() -> &'static jsonschema::Validator {
    static SCHEMA: OnceLock<jsonschema::Validator> = OnceLock::new();
    SCHEMA.get_or_init(|| {
        let text = include_str!("../../docs/log.schema.json");
        jsonschema::validator_for(&serde_json::from_str(text).unwrap()).unwrap()
    })
}

/// Reads the output of a process until it closes the pipe.
struct OutputReader {
    written: Arc<Mutex<Vec<u8>>>,
    thread: std::thread::JoinHandle<()>,
}

impl OutputReader {
    fn start(mut pipe: impl std::io::Read + Send + 'static) -> OutputReader {
        let written = Arc::new(Mutex::new(Vec::new()));
        let so_far = Arc::clone(&written);
        let thread = std::thread::spawn(move || {
            let mut part = [0; 4096];
            loop {
                match pipe.read(&mut part).unwrap() {
                    0 => return,
                    read => so_far.lock().unwrap().extend_from_slice(&part[..read]),
                }
            }
        });
        OutputReader { written, thread }
    }

    fn so_far(&self) -> String {
        String::from_utf8_lossy(&self.written.lock().unwrap()).into_owned()
    }

    fn join(self) -> String {
        self.thread.join().unwrap();
        String::from_utf8(std::mem::take(&mut self.written.lock().unwrap())).unwrap()
    }
}

/// A running process of the tool.
pub(crate) struct RunningTool {
    child: Child,
    stdout: OutputReader,
    stderr: OutputReader,
    began: Instant,
    what: String,
}

impl RunningTool {
    /// Starts a command.
    pub(crate) fn start(mut command: Command) -> RunningTool {
        command.env("RUST_BACKTRACE", "1").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let what = format!("{:?}", command.get_args().collect::<Vec<_>>());
        let mut child = command.spawn().unwrap();
        let stdout = OutputReader::start(child.stdout.take().unwrap());
        let stderr = OutputReader::start(child.stderr.take().unwrap());
        RunningTool { child, stdout, stderr, began: Instant::now(), what }
    }

    /// Returns the process ID.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Returns what the process has written on stderr so far.
    pub(crate) fn stderr_so_far(&self) -> String {
        self.stderr.so_far()
    }

    /// Returns what the process has written on stdout so far.
    pub(crate) fn stdout_so_far(&self) -> String {
        self.stdout.so_far()
    }

    /// Returns whether the process has ended.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Sends the process a signal.
    pub(crate) fn signal(&self, signal: nix::sys::signal::Signal) {
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(self.child.id().try_into().unwrap()), signal).unwrap();
    }

    /// Waits until the process ends, and checks the properties that all output must have.
    pub(crate) fn end(mut self) -> ToolOutput {
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            if self.began.elapsed() > PATIENCE {
                self.child.kill().unwrap();
                panic!("{} hangs; so far: {}", self.what, self.stderr.join());
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        let took = self.began.elapsed();
        let stdout = self.stdout.join();
        let stderr = self.stderr.join();
        let ran = ToolOutput { code: status.code().unwrap_or(-1), stdout, stderr, took };
        ran.check_output();
        if self.what.contains(r#""--output", "json""#) && !self.what.contains(r#""--help""#) {
            ran.check_document();
        }
        if self.what.contains(r#""--log-format", "json""#) {
            ran.check_log();
        }
        ran
    }
}

impl ToolOutput {
    /// Checks that the output contains no panic, backtrace, attribute value or control character.
    fn check_output(&self) {
        for text in [&self.stdout, &self.stderr] {
            for never in ["panicked", "stack backtrace", "RUST_BACKTRACE", SECRET, SECRET_NUMBER] {
                if let Some(at) = text.find(never) {
                    let line = text[..at].rfind('\n').map_or(0, |n| n + 1);
                    panic!("the tool printed {never}: {:.2000}", &text[line..]);
                }
            }
            let hostile = |c: char| {
                (c.is_control() && c != '\n')
                    || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
            };
            assert!(!text.chars().any(hostile), "control characters: {text:?}");
        }
    }

    /// Checks that stdout is a single document that follows docs/output.schema.json. The document must contain the
    /// process's exit code. If a signal killed the process, the document can be missing.
    fn check_document(&self) {
        if self.code == -1 && self.stdout.is_empty() {
            return;
        }
        let document: Json = serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("{e} in {self:?}"));
        let wrong: Vec<String> =
            schema().iter_errors(&document).map(|error| format!("{}: {error}", error.instance_path())).collect();
        assert!(wrong.is_empty(), "docs/output.schema.json: {wrong:?} in {document:#}");
        assert!(self.code == -1 || document["exit_code"] == self.code, "exit code {} in {document:#}", self.code);
    }

    /// Checks that each line on stderr is a JSON object that follows docs/log.schema.json, and that the first one
    /// states the versions.
    fn check_log(&self) {
        for (at, line) in self.log_lines().iter().enumerate() {
            let wrong: Vec<String> =
                log_schema().iter_errors(line).map(|error| format!("{}: {error}", error.instance_path())).collect();
            assert!(wrong.is_empty(), "docs/log.schema.json: {wrong:?} in {line:#}");
            assert_eq!(line["type"] == "version", at == 0, "only the first line is the version: {line:#}");
        }
    }

    /// Parses the lines on stderr as JSON.
    pub(crate) fn log_lines(&self) -> Vec<Json> {
        let parse = |line: &str| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e} in {line}"));
        self.stderr.lines().map(parse).collect()
    }

    /// Parses stdout as a single JSON document.
    pub(crate) fn json(&self) -> Json {
        let json: Json = serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("{e} in {self:?}"));
        assert_eq!(json["schema_version"], 1, "{self:?}");
        json
    }

    /// Asserts the exit code.
    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> ToolOutput {
        assert_eq!(self.code, code, "stdout:\n{}\nstderr:\n{:.20000}", self.stdout, self.stderr);
        self
    }

    /// Returns the text on stderr without the log lines. This text is for the operator.
    pub(crate) fn messages(&self) -> String {
        let is_log = |line: &str| {
            let mut words = line.split_whitespace();
            words.next().is_some_and(|w| w.ends_with('Z') && w.contains('T'))
                && words.next().is_some_and(|w| ["TRACE", "DEBUG", "INFO", "WARN", "ERROR"].contains(&w))
        };
        self.stderr.lines().filter(|line| !is_log(line)).collect::<Vec<_>>().join("\n")
    }
}
