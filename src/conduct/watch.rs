//! What a sweep rests on is looked at as long as it lasts: the flag, as often as applications may read it anew.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout};
use tokio_util::task::AbortOnDropHandle;

use super::read;
use crate::cutover::{Flag, FlagStore};
use crate::engine::{StopReason, Stopper};
use crate::plan::Plan;
use crate::playbook::{Phase, may_expand};

/// Stops a phase when the flag no longer says what it began under, or cannot be read for longer than applications may obey
/// what they read of it. Ends when it is dropped.
pub(super) fn watch(
    flags: Arc<dyn FlagStore>,
    plan: Plan,
    phase: Phase,
    began: Flag,
    stop: Stopper,
) -> AbortOnDropHandle<()> {
    AbortOnDropHandle::new(tokio::spawn(async move {
        let cache = Duration::from_secs(u64::from(began.max_cache_seconds.max(1)));
        let mut seen = Instant::now();
        loop {
            tokio::time::sleep(cache / 3).await;
            let why = match timeout(cache, read(flags.as_ref(), &plan)).await {
                Ok(Ok(Some((flag, _)))) => {
                    seen = Instant::now();
                    moved(phase, &began, &flag)
                }
                Ok(Ok(None)) => Some("it is gone".to_owned()),
                // Applications that cannot read it stop obeying it by then, too.
                Ok(Err(error)) if seen.elapsed() > cache => Some(format!("it cannot be read: {error}")),
                Err(_) if seen.elapsed() > cache => Some("it cannot be read: no answer".to_owned()),
                Ok(Err(_)) | Err(_) => None,
            };
            if let Some(why) = why {
                return stop.stop(StopReason::FlagMoved(why));
            }
        }
    }))
}

/// Why a phase that began under one flag does not go on under another.
pub(super) fn moved(phase: Phase, began: &Flag, now: &Flag) -> Option<String> {
    match phase {
        Phase::Expand | Phase::Retry => may_expand(now).err().map(|refused| refused.to_string()),
        _ if now.version != began.version => Some(format!("somebody changed it: it was [{began}], and is [{now}]")),
        _ => None,
    }
}
