//! The name and the limits of this host. The name identifies the owner of a lock or a lease, so that people can find
//! the process. No logic depends on the name.

use std::fs;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// The limit on open files that this process requests. This limit is enough for every run: one connection for each
/// possible write and segment, plus the state's files. A much higher limit could fail, because some systems refuse a
/// limit above about 10,000.
const WANTED_OPEN_FILES: u64 = 4_096;

/// Number of open files that are reserved for the state, the terminal, the runtime and the flag. A run's connections
/// cannot use them. If the limit is small, at most half of the limit is reserved.
const RESERVED_OPEN_FILES: usize = 64;

/// Maximum number of connections that a run in this process may have open; see [`raise_open_files`].
static CONNECTIONS: AtomicUsize = AtomicUsize::new(usize::MAX);

/// Raises the soft limit on open files to `WANTED_OPEN_FILES`, or to the hard limit if that is lower. Returns the
/// resulting limit if it is below `WANTED_OPEN_FILES`. [`max_connections`] then limits a run's connections.
pub fn raise_open_files() -> Option<u64> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).ok()?;
    let wanted = WANTED_OPEN_FILES.min(hard);
    let allowed = if soft < wanted && setrlimit(Resource::RLIMIT_NOFILE, wanted, hard).is_ok() { wanted } else { soft };
    let files = usize::try_from(allowed).unwrap_or(usize::MAX);
    CONNECTIONS.store(files - RESERVED_OPEN_FILES.min(files / 2), Ordering::Relaxed);
    (allowed < WANTED_OPEN_FILES).then_some(allowed)
}

/// Returns the maximum number of connections that a run may have open at the same time.
pub fn max_connections() -> usize {
    CONNECTIONS.load(Ordering::Relaxed)
}

/// Whether this process ignores SIGHUP, the signal for a closed terminal. A process that was started with `nohup`
/// ignores this signal. Always false on systems other than Linux.
pub fn ignores_hangup() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    // Bit 0 is signal 1, SIGHUP.
    ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 == 1)
}

/// Whether a signal has stopped the process with this ID on this host. Always false on systems other than Linux.
pub fn is_stopped(pid: u32) -> bool {
    // The name of the process is in parentheses and can contain any character. The state of the process follows the
    // name.
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(')').and_then(|(_, rest)| rest.trim_start().chars().next());
    matches!(state, Some('T' | 't'))
}

/// Returns the name of the user who runs this process. A container or a scheduler may set neither `USER` nor `LOGNAME`.
/// Then returns the name that the system has for the user ID or, without such a name, the ID: `uid 1000`.
pub fn user() -> String {
    let is_given = |name: &String| !name.is_empty();
    let named = ["USER", "LOGNAME"].into_iter().find_map(|name| std::env::var(name).ok().filter(is_given));
    named.unwrap_or_else(|| {
        let id = nix::unistd::geteuid();
        let user = nix::unistd::User::from_uid(id).ok().flatten();
        user.map_or_else(|| format!("uid {id}"), |user| user.name)
    })
}

/// Returns the host name that the kernel reports or, if the kernel reports none, the output of the command `hostname`.
/// Returns `(unknown)` if neither works.
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
