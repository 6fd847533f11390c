//! What a sweep rests on is looked at as long as it lasts: the flag, as often as applications may read it anew.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{sleep, timeout};
use tokio_util::task::AbortOnDropHandle;

use super::read;
use crate::clock::{Moment, Moments};
use crate::cutover::{Flag, FlagStore, Validity};
use crate::engine::{StopReason, Stopper};
use crate::plan::Plan;
use crate::playbook::{Phase, may_expand};

/// For so long beyond its cache the flag may be unreadable before the phase stops: as long as every other use of the flag
/// tries. Nothing is sent meanwhile, which is also what a server that is too busy needs.
const PATIENCE: Duration = Duration::from_secs(30);

/// A read of the flag that takes longer is sent again. It may take longer than the cache: nothing is sent meanwhile.
const ATTEMPT: Duration = Duration::from_secs(5);

/// Between two reads of which the first failed.
const AGAIN: Duration = Duration::from_millis(500);

/// Watches the flag for a phase that begins under this one.
pub(super) struct FlagWatch {
    pub(super) flags: Arc<dyn FlagStore>,
    pub(super) plan: Plan,
    pub(super) phase: Phase,
    pub(super) began: Flag,
    pub(super) stop: Stopper,
}

impl FlagWatch {
    /// Stops the phase when the flag no longer says what it began under, or cannot be read for long. Requests are to be sent
    /// only while what was read is not older than applications may obey it. `asked` is the moment before the phase's flag was
    /// read. Ends when it is dropped.
    pub(super) fn begin(self, asked: Moment, moments: Moments) -> (Validity, AbortOnDropHandle<()>) {
        let validity = Validity::new(self.cache(), asked, moments);
        (validity.clone(), AbortOnDropHandle::new(tokio::spawn(async move { self.watch(&validity).await })))
    }

    async fn watch(self, validity: &Validity) {
        let mut pause = self.cache() / 3;
        loop {
            tokio::select! {
                () = sleep(pause) => {}
                // Something waits to be sent: the last read is too old, after a sleep of the machine for instance.
                () = validity.wanted() => {}
            }
            let asked = validity.now();
            let why = match timeout(ATTEMPT.max(self.cache()), read(self.flags.as_ref(), &self.plan)).await {
                Ok(Ok(Some((flag, _)))) => {
                    if let Some(why) = moved(self.phase, &self.began, &flag) {
                        return self.stop.stop(StopReason::FlagMoved(why));
                    }
                    validity.confirm(asked);
                    pause = self.cache() / 3;
                    continue;
                }
                Ok(Ok(None)) => return self.stop.stop(StopReason::FlagMoved(gone(&self.began))),
                Ok(Err(error)) => error.to_string(),
                Err(_) => "no answer".to_owned(),
            };
            let unread = validity.age();
            if unread > self.cache() + PATIENCE {
                return self.stop.stop(StopReason::FlagUnread { unread, why });
            }
            pause = AGAIN.min(self.cache() / 3);
        }
    }

    fn cache(&self) -> Duration {
        Duration::from_secs(u64::from(self.began.max_cache_seconds.max(1)))
    }
}

/// The flag was removed.
pub(super) fn gone(began: &Flag) -> String {
    format!("it was [{began}], and is gone")
}

/// Why a phase that began under one flag does not go on under another.
pub(super) fn moved(phase: Phase, began: &Flag, now: &Flag) -> Option<String> {
    let from_to = |why: &str| format!("it was [{began}], and is [{now}]{why}");
    match phase {
        Phase::Expand | Phase::Retry => may_expand(now).err().map(|refused| from_to(&format!(": {refused}"))),
        _ if now.version != began.version => Some(from_to("")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use async_trait::async_trait;
    use tokio::time::Instant;

    use super::*;
    use crate::cutover::{FlagMeta, FlagStoreError};
    use crate::plan::load;

    const PLAN: &str = "[migration]\nname = \"m\"\n[table]\nname = \"shop\"\n[[change]]\nmove = \"a\"\nto = \"b\"\n";

    /// What each read comes to: after how long, and with which flag; the last one again and again.
    struct Script {
        reads: Mutex<Vec<(u64, Option<Flag>)>>,
        meta: FlagMeta,
    }

    #[async_trait]
    impl FlagStore for Script {
        async fn read(&self) -> Result<Option<(Flag, FlagMeta)>, FlagStoreError> {
            let (after, flag) = {
                let mut reads = self.reads.lock().unwrap();
                if reads.len() > 1 { reads.remove(0) } else { reads[0].clone() }
            };
            sleep(Duration::from_secs(after)).await;
            Ok(flag.map(|flag| (flag, self.meta.clone())))
        }

        async fn change(&self, _: Option<&Flag>, _: &Flag, _: &FlagMeta) -> Result<Flag, FlagStoreError> {
            panic!("nobody changes it")
        }

        fn lead(&self) -> Duration {
            Duration::ZERO
        }

        fn place(&self) -> String {
            "the flag".into()
        }
    }

    fn flag(version: u64) -> Flag {
        Flag { version, ..Flag::first(2, jiff::Timestamp::UNIX_EPOCH) }
    }

    fn watch(reads: Vec<(u64, Option<Flag>)>) -> (Stopper, Validity, AbortOnDropHandle<()>) {
        let plan = load("p", PLAN).unwrap().plan;
        let plan_of = plan.fingerprint().as_str().into();
        let meta = FlagMeta { plan: plan_of, report: None, actor: "jo@laptop".into(), reason: None };
        let flags = Arc::new(Script { reads: Mutex::new(reads), meta });
        let stop = Stopper::default();
        let watch = FlagWatch { flags, plan, phase: Phase::Contract, began: flag(7), stop: stop.clone() };
        let wall = jiff::Timestamp::UNIX_EPOCH;
        let moments: Moments = Arc::new(move || Moment { monotonic: Instant::now(), wall });
        let (validity, handle) = watch.begin(moments(), moments);
        (stop, validity, handle)
    }

    /// A flag that is only read too late stops nothing: what is sent waits for it.
    #[tokio::test(start_paused = true)]
    async fn a_flag_that_is_late_holds_what_is_sent_and_stops_nothing() {
        let (stop, validity, _watch) = watch(vec![(4, Some(flag(7))), (4, Some(flag(7))), (0, Some(flag(7)))]);
        sleep(Duration::from_secs(3)).await;
        assert!(!validity.is_fresh() && !stop.is_stopping());
        let began = Instant::now();
        validity.fresh().await;
        assert!(validity.is_fresh() && validity.holds() > 0 && began.elapsed() < Duration::from_secs(8));
        sleep(Duration::from_secs(600)).await;
        assert!(validity.is_fresh() && !stop.is_stopping(), "{:?}", stop.reason());
    }

    /// What happened is said: it moved from here to there, or it could not be read for so long.
    #[tokio::test(start_paused = true)]
    async fn a_flag_that_moved_and_one_that_cannot_be_read_are_told_apart() {
        let (stop, _, _watch) = watch(vec![(0, Some(flag(7))), (0, Some(flag(8)))]);
        stop.stopping().await;
        let said = stop.reason().unwrap().to_string();
        assert!(said.contains("moved") && said.contains("[version 7:") && said.contains("[version 8:"), "{said}");

        let (stop, _, _watch) = watch(vec![(0, None)]);
        stop.stopping().await;
        assert!(stop.reason().unwrap().to_string().contains("is gone"), "{:?}", stop.reason());

        let began = Instant::now();
        let (stop, _, _watch) = watch(vec![(100_000, None)]);
        stop.stopping().await;
        let said = stop.reason().unwrap().to_string();
        assert!(said.contains("could not be read for") && !said.contains("moved"), "{said}");
        assert!(began.elapsed() > PATIENCE && began.elapsed() < PATIENCE + 3 * ATTEMPT, "{:?}", began.elapsed());
    }
}
