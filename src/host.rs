//! The name and the limits of this host. The name identifies the owner of a lock or a lease, so that people can find
//! the process. No logic depends on the name.

use std::fs;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// A limit on open files that is enough for every run. It allows one connection for each possible write and segment,
/// and the files of the state. It is not higher, because some systems refuse a limit above about 10,000.
const WANTED_OPEN_FILES: u64 = 4_096;

/// Number of open files that are not available to the connections of a run. They are reserved for the state, the
/// terminal, the runtime and the flag. If the limit is small, at most half of it is reserved.
const RESERVED_OPEN_FILES: usize = 64;

/// Maximum number of open connections of a run in this process; see [`raise_open_files`].
static CONNECTIONS: AtomicUsize = AtomicUsize::new(usize::MAX);

/// Raises the soft limit of open files, as far as the hard limit allows. If the new limit is too low, returns the new
/// limit. [`max_connections`] then limits the connections of a run.
pub fn raise_open_files() -> Option<u64> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).ok()?;
    let wanted = WANTED_OPEN_FILES.min(hard);
    let allowed = if soft < wanted && setrlimit(Resource::RLIMIT_NOFILE, wanted, hard).is_ok() { wanted } else { soft };
    let files = usize::try_from(allowed).unwrap_or(usize::MAX);
    CONNECTIONS.store(files - RESERVED_OPEN_FILES.min(files / 2), Ordering::Relaxed);
    (allowed < WANTED_OPEN_FILES).then_some(allowed)
}

/// Maximum number of connections that a run may have open at a time.
pub fn max_connections() -> usize {
    CONNECTIONS.load(Ordering::Relaxed)
}

/// Whether this process ignores SIGHUP, the signal for a closed terminal. A process under `nohup` does so. Detected
/// only on Linux.
pub fn ignores_hangup() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    // Bit 0 is signal 1, SIGHUP.
    ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 == 1)
}

/// Whether the process with this id on this host is currently stopped by a signal. Detected only on Linux; false
/// elsewhere.
pub fn is_stopped(pid: u32) -> bool {
    // The name of the process is in parentheses and may contain any character. The state of the process follows the
    // name.
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(')').and_then(|(_, rest)| rest.trim_start().chars().next());
    matches!(state, Some('T' | 't'))
}

/// The host name from the kernel. If the kernel does not report it, the host name from the command `hostname`.
/// `(unknown)` if neither works.
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
