//! Runs processes from start to exit. Measures their duration, their user and system CPU time, and their memory.

use std::io::Read as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};

/// The interval between two samples of a process's memory.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// The resources that one process used.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Taken {
    pub(crate) seconds: f64,
    /// User and system CPU time, in seconds.
    pub(crate) cpu: f64,
    /// The peak resident memory, in MiB.
    pub(crate) memory: f64,
}

/// Runs the process until it exits. Returns its measurements and its stdout.
///
/// The CPU time is the increase in the CPU time of all ended children of this process. So no other child must end in
/// the meantime.
pub(crate) fn measure(command: &mut Command) -> (Taken, String) {
    let before = cpu_of_children();
    let began = Instant::now();
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let status_file = format!("/proc/{}/status", child.id());
    let mut stdout = child.stdout.take().unwrap();
    let printed = std::thread::spawn(move || {
        let mut text = String::new();
        stdout.read_to_string(&mut text).map(|_| text)
    });
    let mut memory = 0.0;
    let status = loop {
        memory = peak_memory(Path::new(&status_file)).unwrap_or(memory);
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        std::thread::sleep(LOOK_EVERY);
    };
    let taken = Taken { seconds: began.elapsed().as_secs_f64(), cpu: cpu_of_children() - before, memory };
    let printed = printed.join().unwrap().unwrap();
    assert!(status.success(), "{command:?} ended with {status}: {printed}");
    (taken, printed)
}

/// Runs a process under valgrind, and returns the number of executed instructions.
pub(crate) fn instructions(command: &Command) -> u64 {
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]).arg(command.get_program());
    valgrind.args(command.get_args());
    for (name, value) in command.get_envs() {
        valgrind.env(name, value.unwrap_or_default());
    }
    if let Some(folder) = command.get_current_dir() {
        valgrind.current_dir(folder);
    }
    let output = valgrind.stdin(Stdio::null()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    let count = text.lines().find_map(|line| line.split_once("Collected : ")).map(|(_, count)| count.trim());
    count.and_then(|count| count.parse().ok()).unwrap_or_else(|| panic!("valgrind printed no count: {text}"))
}

fn cpu_of_children() -> f64 {
    let used = getrusage(UsageWho::RUSAGE_CHILDREN).unwrap();
    let seconds = |time: nix::sys::time::TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
    seconds(used.user_time()) + seconds(used.system_time())
}

/// Returns the peak memory of a process so far, in MiB.
fn peak_memory(status: &Path) -> Option<f64> {
    let text = std::fs::read_to_string(status).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.parse::<f64>().ok().map(|kib| kib / 1024.0)
}

/// A process that is killed when this value is dropped.
pub(crate) struct Background(Child);

impl Background {
    /// Starts the process. Returns the first line of its output.
    pub(crate) fn start(command: &mut Command) -> (Background, String) {
        use std::io::{BufRead as _, BufReader};
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        (Background(child), line.trim().to_owned())
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        // Ignore the error of a process that has already ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
