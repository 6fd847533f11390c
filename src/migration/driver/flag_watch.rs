//! Reads the flag repeatedly while a pass runs, in order to detect changes within the cache time.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{sleep, timeout};
use tokio_util::task::AbortOnDropHandle;

use crate::clock::{Moment, MomentClock};
use crate::cutover::{Flag, FlagStore, Validity};
use crate::engine::{StopReason, Stopper};
use crate::migration::history::read;
use crate::plan::Plan;
use crate::playbook::{Phase, may_expand};

/// The phase stops after a period in which no read of the flag succeeded in time. The length of this period is the
/// cache time plus `PATIENCE`. All other requests to the flag are also retried for at most `PATIENCE`. While the last
/// good read of the flag is too old, the phase sends only reads of the flag. This also relieves an overloaded server.
const PATIENCE: Duration = Duration::from_secs(30);

/// The time limit of one read of the flag, unless the cache time is longer. After this time, the read is retried. This
/// time can exceed the cache time, because the phase sends no other requests while the last good read is too old.
const ATTEMPT: Duration = Duration::from_secs(5);

/// The pause after a failed read.
const AGAIN: Duration = Duration::from_millis(500);

/// Watches the flag during a phase. The phase began under the flag state `began`.
pub(super) struct FlagWatch {
    pub(super) flags: Arc<dyn FlagStore>,
    pub(super) plan: Plan,
    pub(super) phase: Phase,
    pub(super) began: Flag,
    pub(super) stop: Stopper,
}

impl FlagWatch {
    /// Starts the watch. The watch stops the phase if the flag changes. It also stops the phase after a long period in
    /// which no read of the flag succeeded in time. The returned validity allows requests only while the last read of
    /// the flag is younger than the cache time. `requested_at` is the moment just before the phase first read the flag.
    /// Dropping the handle ends the watch.
    pub(super) fn begin(self, requested_at: Moment, moments: MomentClock) -> (Validity, AbortOnDropHandle<()>) {
        let validity = Validity::new(self.cache(), requested_at, moments);
        (validity.clone(), AbortOnDropHandle::new(tokio::spawn(async move { self.watch(&validity).await })))
    }

    async fn watch(self, validity: &Validity) {
        let limit = ATTEMPT.max(self.cache());
        let mut pause = self.cache() / 3;
        let mut unread = Duration::ZERO;
        loop {
            let round = validity.now().monotonic;
            tokio::select! {
                () = sleep(pause) => {}
                // A request has to wait because the last read of the flag is too old, for example after the machine
                // slept.
                () = validity.confirmation_needed() => {}
            }
            let requested_at = validity.now();
            let why = match timeout(limit, read(self.flags.as_ref(), &self.plan)).await {
                Ok(Ok(Some((flag, _)))) => {
                    if let Some(why) = flag_change_reason(self.phase, &self.began, &flag) {
                        return self.stop.stop(StopReason::FlagMoved(why));
                    }
                    validity.confirm(requested_at);
                    if validity.is_fresh() {
                        pause = self.cache() / 3;
                        unread = Duration::ZERO;
                        continue;
                    }
                    // This answer took longer than the cache time, so it is already too old. If every answer is late,
                    // the phase must stop, in the same way as if no answer arrived.
                    let took = validity.now().monotonic - requested_at.monotonic;
                    format!(
                        "an answer took {:.1} s, but applications obey it for only {} s",
                        took.as_secs_f64(),
                        self.cache().as_secs()
                    )
                }
                Ok(Ok(None)) => return self.stop.stop(StopReason::FlagMoved(flag_removal_reason(&self.began))),
                Ok(Err(error)) => error.to_string(),
                Err(_) => "no answer".to_owned(),
            };
            // Add only the time spent on attempts. The age of the last good read would also include jumps of the wall
            // clock, and the time for which the machine slept.
            unread += (validity.now().monotonic - round).min(pause + limit);
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

/// Returns the message about a removed flag.
pub(super) fn flag_removal_reason(began: &Flag) -> String {
    format!("it was [{began}] and has been removed")
}

/// Returns the reason why a phase must stop after the flag changed from `began` to `now`. Returns `None` if the phase
/// may continue.
pub(super) fn flag_change_reason(phase: Phase, began: &Flag, now: &Flag) -> Option<String> {
    let from_to = |why: &str| format!("it was [{began}] and is now [{now}]{why}");
    match phase {
        Phase::Expand | Phase::Retry => may_expand(now).err().map(|refused| from_to(&format!(": {refused}"))),
        Phase::Verify { .. } | Phase::OldFromNew | Phase::Undo | Phase::Contract => {
            (now.version != began.version).then(|| from_to(""))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicI64, Ordering};

    use async_trait::async_trait;
    use jiff::SignedDuration;
    use tokio::time::Instant;

    use super::*;
    use crate::cutover::{FlagMeta, FlagStoreError};
    use crate::plan::load;

    const PLAN: &str = "[migration]\nname = \"m\"\n[table]\nname = \"shop\"\n[[change]]\nmove = \"a\"\nto = \"b\"\n";

    /// The results of successive reads. Each entry contains the delay in seconds and the flag. After the last entry,
    /// every read returns the last entry again.
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
            panic!("the watch must not change the flag")
        }

        fn propagation_delay(&self) -> Duration {
            Duration::ZERO
        }

        fn location(&self) -> String {
            "the flag".into()
        }
    }

    /// The cache time of [`flag`].
    const CACHE: Duration = Duration::from_secs(2);

    fn flag(version: u64) -> Flag {
        Flag { version, ..Flag::new(2, jiff::Timestamp::UNIX_EPOCH) }
    }

    /// Starts a watch whose wall clock jumps by this many seconds.
    fn watch_with_clock_jump(
        jump: Arc<AtomicI64>,
        reads: Vec<(u64, Option<Flag>)>,
    ) -> (Stopper, Validity, AbortOnDropHandle<()>) {
        let plan = load("p", PLAN).unwrap().plan;
        let fingerprint = plan.fingerprint().as_str().into();
        let meta = FlagMeta { plan: fingerprint, report: None, actor: "jo@laptop".into(), reason: None };
        let flags = Arc::new(Script { reads: Mutex::new(reads), meta });
        let stop = Stopper::default();
        let watch = FlagWatch { flags, plan, phase: Phase::Contract, began: flag(7), stop: stop.clone() };
        let wall = move || jiff::Timestamp::UNIX_EPOCH + SignedDuration::from_secs(jump.load(Ordering::Relaxed));
        let moments: MomentClock = Arc::new(move || Moment { monotonic: Instant::now(), wall: wall() });
        let (validity, handle) = watch.begin(moments(), moments);
        (stop, validity, handle)
    }

    fn watch(reads: Vec<(u64, Option<Flag>)>) -> (Stopper, Validity, AbortOnDropHandle<()>) {
        watch_with_clock_jump(Arc::default(), reads)
    }

    /// Starts a task that waits for permission to send a request, as a worker does.
    fn waiter(validity: &Validity) -> AbortOnDropHandle<()> {
        let validity = validity.clone();
        AbortOnDropHandle::new(tokio::spawn(async move { validity.wait_until_fresh().await }))
    }

    /// RUNBOOK: *the flag could not be read in time for …*: the flag's table does not answer, or answers too late, for
    /// 30 s longer than `max_cache_seconds`.
    #[tokio::test(start_paused = true)]
    async fn a_flag_that_always_answers_too_late_stops_the_phase() {
        let began = Instant::now();
        let (stop, validity, _watch) = watch(vec![(3, Some(flag(7)))]);
        sleep(CACHE).await;
        let waiting = waiter(&validity);
        timeout(Duration::from_secs(600), stop.stopping()).await.expect("the phase stops");
        let took = began.elapsed();
        assert!(took > CACHE + PATIENCE && took < CACHE + PATIENCE + 2 * ATTEMPT, "{took:?}");
        assert!(!waiting.is_finished());
        let message = stop.reason().unwrap().to_string();
        let expected =
            "the flag could not be read in time for 33 s: an answer took 3.0 s, but applications obey it for only 2 s";
        assert!(message.starts_with(expected), "{message}");
    }

    /// The phase continues as long as some answers arrive in time, even if others are late.
    #[tokio::test(start_paused = true)]
    async fn the_time_counts_from_when_the_flag_was_last_read_in_time() {
        let late = || vec![(3, Some(flag(7))); 9];
        let in_time = || vec![(1, Some(flag(7)))];
        let (stop, _, _watch) = watch([late(), in_time(), late(), in_time(), late(), in_time()].concat());
        sleep(Duration::from_secs(600)).await;
        assert!(!stop.is_stopping(), "{:?}", stop.reason());
        // The time limit counts late answers and missing answers together.
        let mixed =
            [vec![(3, Some(flag(7))); 5], vec![(100, None); 2], vec![(3, Some(flag(7))); 5], in_time()].concat();
        let (stop, _, _watch) = watch(mixed);
        sleep(Duration::from_secs(600)).await;
        assert!(matches!(stop.reason(), Some(StopReason::FlagUnread { .. })), "{:?}", stop.reason());
    }

    /// The reported time without a read of the flag includes only the time that was spent on attempts. It excludes
    /// jumps of the wall clock, and the time for which the machine slept.
    #[tokio::test(start_paused = true)]
    async fn machine_sleep_does_not_count_as_unreadable_time() {
        let hung = |n| vec![(100, Some(flag(7))); n];
        let well = || vec![(0, Some(flag(7))); 2];
        // The machine goes to sleep before a failing attempt, or during it.
        for slept_at in [1.9, 4.0] {
            let jump = Arc::new(AtomicI64::new(0));
            let (stop, validity, _watch) = watch_with_clock_jump(Arc::clone(&jump), [well(), hung(1), well()].concat());
            sleep(Duration::from_secs_f64(slept_at)).await;
            jump.store(3_600, Ordering::Relaxed);
            let _waiting = waiter(&validity);
            sleep(Duration::from_secs(60)).await;
            assert!(!stop.is_stopping() && validity.is_fresh(), "{slept_at}: {:?}", stop.reason());
        }
        let jump = Arc::new(AtomicI64::new(0));
        let (stop, _, _watch) = watch_with_clock_jump(Arc::clone(&jump), [well(), hung(9)].concat());
        sleep(Duration::from_secs(10)).await;
        jump.store(3_600, Ordering::Relaxed);
        stop.stopping().await;
        let Some(StopReason::FlagUnread { unread, .. }) = stop.reason() else { panic!("{:?}", stop.reason()) };
        assert!(*unread > CACHE + PATIENCE && *unread < CACHE + PATIENCE + 2 * ATTEMPT, "{unread:?}");
    }

    /// A few late reads of the flag do not stop the phase. Requests wait until the next read succeeds.
    #[tokio::test(start_paused = true)]
    async fn a_late_flag_delays_requests_and_does_not_stop_the_phase() {
        let (stop, validity, _watch) = watch(vec![(4, Some(flag(7))), (4, Some(flag(7))), (0, Some(flag(7)))]);
        sleep(Duration::from_secs(3)).await;
        assert!(!validity.is_fresh() && !stop.is_stopping());
        let began = Instant::now();
        validity.wait_until_fresh().await;
        assert!(validity.is_fresh() && validity.expirations() > 0 && began.elapsed() < Duration::from_secs(8));
        sleep(Duration::from_secs(600)).await;
        assert!(validity.is_fresh() && !stop.is_stopping(), "{:?}", stop.reason());
    }

    /// The message contains the reason for the stop. After a change, it contains both states of the flag. Otherwise, it
    /// contains the length of the period in which no read of the flag succeeded in time.
    #[tokio::test(start_paused = true)]
    async fn a_moved_flag_and_an_unreadable_flag_give_different_messages() {
        let (stop, _, _watch) = watch(vec![(0, Some(flag(7))), (0, Some(flag(8)))]);
        stop.stopping().await;
        let message = stop.reason().unwrap().to_string();
        assert!(
            message.contains("moved") && message.contains("[version 7:") && message.contains("[version 8:"),
            "{message}"
        );

        let (stop, _, _watch) = watch(vec![(0, None)]);
        stop.stopping().await;
        assert!(stop.reason().unwrap().to_string().contains("has been removed"), "{:?}", stop.reason());

        let began = Instant::now();
        let (stop, _, _watch) = watch(vec![(100_000, None)]);
        stop.stopping().await;
        let message = stop.reason().unwrap().to_string();
        assert!(message.contains("could not be read in time for") && !message.contains("moved"), "{message}");
        assert!(began.elapsed() > PATIENCE && began.elapsed() < PATIENCE + 3 * ATTEMPT, "{:?}", began.elapsed());
    }
}
