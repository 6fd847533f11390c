//! The name of this host: who holds a lock or a lease is told by it, so that people find the process. Nothing rests on it.

use std::fs;
use std::process::Command;

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
