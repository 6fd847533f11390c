//! Name and limits of this host. The name identifies the owner of a lock or lease, so that people can find the process.
//! No logic depends on it.

use std::fs;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// A number of open files that is always enough: connections for the maximum number of writes and segments, plus the
/// state. Some systems refuse more than about 10,000.
const ENOUGH_FILES: u64 = 4_096;

/// Number of files that are not connections of a run: its state, its terminal, the runtime, the flag. With a small
/// limit, half of the limit is reserved for them.
const OTHER_FILES: usize = 64;

/// Maximum number of open connections of a run in this process; see [`raise_open_files`].
static CONNECTIONS: AtomicUsize = AtomicUsize::new(usize::MAX);

/// Raises the soft limit of open files, as far as the hard limit allows. Returns the allowed number if it is not
/// enough; a run then stays within it through [`connections`].
pub fn raise_open_files() -> Option<u64> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).ok()?;
    let wanted = ENOUGH_FILES.min(hard);
    let allowed = if soft < wanted && setrlimit(Resource::RLIMIT_NOFILE, wanted, hard).is_ok() { wanted } else { soft };
    let files = usize::try_from(allowed).unwrap_or(usize::MAX);
    CONNECTIONS.store(files - OTHER_FILES.min(files / 2), Ordering::Relaxed);
    (allowed < ENOUGH_FILES).then_some(allowed)
}

/// Maximum number of connections that a run may have open at a time.
pub fn connections() -> usize {
    CONNECTIONS.load(Ordering::Relaxed)
}

/// Whether this process ignores that its terminal is closed, as with `nohup`. Detected only on Linux.
pub fn ignores_hangup() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    // Bit 0 is signal 1, SIGHUP.
    ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 == 1)
}

/// Whether a signal has stopped this process of this host. Detected only on Linux; false elsewhere.
pub fn is_stopped(pid: u32) -> bool {
    // The name is in parentheses and may contain any character. The state follows it.
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(')').and_then(|(_, rest)| rest.trim_start().chars().next());
    matches!(state, Some('T' | 't'))
}

/// The host name from the kernel, or otherwise from the command `hostname`. `(unknown)` if neither works.
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
