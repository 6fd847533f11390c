//! Kills the tool at named crash points. A process that reaches its crash point never continues. The call in which it
//! dies does not return, and the simulation drops the process.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use backfill::internals::state::CrashPoint;
use backfill::internals::state::memory::CrashHook;
use tokio::sync::Notify;

/// Kills processes at crash points, and counts the kills at each point.
#[derive(Debug, Default)]
pub(crate) struct Killer {
    inner: Mutex<Inner>,
    died: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    /// The crash point at which the running process dies, and the number of times that the process passes this point
    /// before it dies.
    target: Option<(CrashPoint, u32)>,
    /// Number of kills at each crash point.
    kills: BTreeMap<CrashPoint, u64>,
    dead: bool,
}

impl Killer {
    /// Sets the crash point at which the next process dies, and the number of times that the process passes this point
    /// before it dies. With `None`, the process dies at no crash point.
    pub(crate) fn aim(&self, target: Option<(CrashPoint, u32)>) {
        let mut inner = self.inner.lock().unwrap();
        inner.target = target;
        inner.dead = false;
    }

    /// Records that the process has reached a crash point. Returns whether the process dies there or is already dead.
    pub(crate) fn reach(&self, point: CrashPoint) -> bool {
        let mut inner = self.inner.lock().unwrap();
        if inner.dead {
            return true;
        }
        match &mut inner.target {
            Some((target, 0)) if *target == point => {
                inner.target = None;
                inner.dead = true;
                *inner.kills.entry(point).or_default() += 1;
                self.died.notify_one();
                true
            }
            Some((target, left)) if *target == point => {
                *left -= 1;
                false
            }
            Some(_) | None => false,
        }
    }

    /// Calls [`Killer::reach`]. Never returns if the process dies.
    pub(crate) async fn pass(&self, point: CrashPoint) {
        if self.reach(point) {
            std::future::pending::<()>().await;
        }
    }

    /// Waits until the process has died at its crash point.
    pub(crate) async fn died(&self) {
        loop {
            self.died.notified().await;
            // The process can complete before it is dropped. In this case, the next process must not die in its place.
            if self.inner.lock().unwrap().dead {
                return;
            }
        }
    }

    /// Returns the hook through which a state reports crash points.
    pub(crate) fn hook(killer: &Arc<Killer>) -> CrashHook {
        let killer = Arc::clone(killer);
        Arc::new(move |point| killer.reach(point))
    }

    /// Returns the number of kills at each crash point.
    pub(crate) fn kills(&self) -> BTreeMap<CrashPoint, u64> {
        self.inner.lock().unwrap().kills.clone()
    }
}
