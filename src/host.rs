//! What this host is called and allows. Who holds a lock or a lease is told by the name, so that people find the process;
//! nothing rests on it.

use std::fs;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Open files that are always enough: connections for as many writes and segments as the engine ever has at a time, and
/// room for the state. Some systems refuse more than about 10,000.
const ENOUGH_FILES: u64 = 4_096;

/// Files that are no connections of a run: its state, its terminal, the runtime, the flag. Of a small limit, half.
const OTHER_FILES: usize = 64;

/// How many connections a run of this process may have open, see [`raise_open_files`].
static CONNECTIONS: AtomicUsize = AtomicUsize::new(usize::MAX);

/// Raises the soft limit of open files, as far as the hard one allows. What is allowed then, if that is not enough: a run
/// keeps within it by [`connections`].
pub fn raise_open_files() -> Option<u64> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).ok()?;
    let wanted = ENOUGH_FILES.min(hard);
    let allowed = if soft < wanted && setrlimit(Resource::RLIMIT_NOFILE, wanted, hard).is_ok() { wanted } else { soft };
    let files = usize::try_from(allowed).unwrap_or(usize::MAX);
    CONNECTIONS.store(files - OTHER_FILES.min(files / 2), Ordering::Relaxed);
    (allowed < ENOUGH_FILES).then_some(allowed)
}

/// How many connections a run may have open at a time.
pub fn connections() -> usize {
    CONNECTIONS.load(Ordering::Relaxed)
}

/// Whether somebody has this process ignore that its terminal goes away, as `nohup` does. Known on Linux alone.
pub fn ignores_hangup() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    // Bit 0 is signal 1, SIGHUP.
    ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 == 1)
}

/// Whether a signal has stopped this process of this host, as Linux tells it; false where that is not known.
pub fn is_stopped(pid: u32) -> bool {
    // The name stands in parentheses, and may have any character in it; the state comes behind it.
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(')').and_then(|(_, rest)| rest.trim_start().chars().next());
    matches!(state, Some('T' | 't'))
}

/// As the kernel tells it, else the command `hostname`; `(unknown)` where neither does.
pub fn name() -> String {
    let from_kernel = fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let name = from_kernel.or_else(|| {
        let output = Command::new("hostname").output().ok()?;
        String::from_utf8(output.stdout).ok()
    });
    match name.as_deref().map(str::trim) {
        Some(name) if !name.is_empty() => name.to_owned(),
        _ => "(unknown)".to_owned(),
    }
}
