//! The lease: an item that is stored next to the flag and prevents two hosts from working on one migration at the same
//! time.
//!
//! The clocks of two hosts are never compared. Three times per lease duration, the holder raises a counter in the
//! lease. A host that wants the lease watches the counter, and measures time with its own monotonic clock. If the
//! counter has not changed for the whole duration, that host takes over the lease. The holder sends no requests if its
//! last renewal is older than two thirds of the duration ([`Validity`]). It measures this age with its monotonic clock
//! and its wall clock, and uses the higher value. The last third of the duration is for requests in flight, which must
//! end. A holder that cannot renew the lease stops its work.
//!
//! After a sleep of the machine or a pause of the process, the last renewal is too old, so the holder sends nothing.
//! The holder then renews the lease with a conditional write, which fails if the lease has changed. If no other process
//! has taken the lease, the work continues. Requests that were sent before the pause can still arrive late. Late item
//! writes and flag changes do no harm, because each has its own condition.

use std::future::Future;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::Validity;
use crate::clock::{self, Moment, MomentClock};
use crate::dynamodb::control::{ControlError, ControlItem};
use crate::item::{Item, Num, Value};
use crate::machine::Random;
use crate::outside::UntrustedText;

/// The time for which a lease is valid after its last renewal. If the table throttles or fails over, the holder can
/// work for two thirds of this time without a renewal. After a crash, the next process waits this long, which is
/// acceptable for an operator.
pub const LEASE_DURATION: Duration = Duration::from_secs(60);

/// The longest wait for a lease. A wait ends after this time even if the lease item states a longer duration.
const MAX_DURATION: Duration = Duration::from_secs(600);

/// The pause after a failed attempt to renew the lease.
const RENEW_RETRY_PAUSE: Duration = Duration::from_secs(1);

/// The maximum time for which a process retries the release of a lease. If the release fails, the lease expires.
const RELEASE_PATIENCE: Duration = Duration::from_secs(5);

/// The maximum number of attempts to take the lease. An attempt fails if another process takes the lease first.
const MAX_ATTEMPTS: u32 = 10;

/// The reason why the lease could not be acquired.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LeaseError {
    /// Another live process works on this migration.
    #[error(
        "another process works on this migration: {owner} holds the lease ({item}) and renews it. Nothing was done. Wait \
         for it, or stop it: it stops cleanly on SIGTERM. If it died, the lease expires {} s after its last renewal",
        .expires.as_secs()
    )]
    Held {
        /// The name of the holder: its host, its pid, and a random number that each process chooses.
        owner: UntrustedText,
        /// The name of the lease's item.
        item: String,
        /// The time for which the lease is valid after a renewal.
        expires: Duration,
    },
    /// The item with the lease's key is not a lease.
    #[error(
        "{item} is not a lease of backfill: something else wrote it. Remove it, or name another `key` in [cutover]"
    )]
    Foreign {
        /// The name of the lease's item.
        item: String,
    },
    /// The lease's table cannot be read or written.
    #[error(transparent)]
    Control(#[from] ControlError),
}

/// The reason why this process no longer holds the lease. The run must stop.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LeaseLost {
    /// Another process has taken over the lease.
    #[error(
        "the lease was taken over by {new_owner}: this process did not renew it in time. Wait for that process, then resume"
    )]
    Taken {
        /// The new holder.
        new_owner: UntrustedText,
    },
    /// The last renewal is so old that another process could soon take over the lease.
    #[error(
        "the lease could not be renewed ({why}): the last renewal was {} s ago, so another process may take it. Resume \
         when the table answers",
        .after.as_secs()
    )]
    NotRenewed {
        /// Time since the last renewal, including the time for which the machine slept.
        after: Duration,
        /// The error of the last attempt to renew.
        why: String,
    },
}

/// The content of a lease item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseRecord {
    /// The current holder, or the last one.
    pub owner: UntrustedText,
    /// The number of holders so far, which is also the fencing token.
    pub fence: u64,
    /// The number of renewals by this holder.
    pub counter: u64,
    /// The time for which the lease is valid after a renewal.
    pub duration: Duration,
    /// Whether the holder released the lease.
    pub released: bool,
}

/// The state of a lease, as a watching process sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaseState {
    /// The watching process can try to take the lease. The attempt fails if the lease has changed.
    Free,
    /// The watching process does not know yet whether the holder is alive.
    Unknown {
        /// After at most this time, the watching process knows whether the holder is alive.
        within: Duration,
    },
    /// The holder is alive: it renewed the lease while this process watched the lease.
    Alive,
}

/// Watches the counter of a lease to determine the lease's state. This type is pure. The caller passes the time of a
/// monotonic clock.
#[derive(Debug, Default)]
pub struct LeaseWatch {
    last_record: Option<(LeaseRecord, Duration)>,
}

impl LeaseWatch {
    /// Determines the state of the lease from a record that was read at `now`.
    pub fn observe(&mut self, record: Option<&LeaseRecord>, now: Duration) -> LeaseState {
        let Some(record) = record.filter(|record| !record.released) else { return LeaseState::Free };
        let duration = record.duration.min(MAX_DURATION);
        let mut renewed = false;
        if let Some((last_record, since)) = &self.last_record
            && same_holder(last_record, record)
        {
            let watched = now.saturating_sub(*since);
            match last_record.counter == record.counter {
                true if watched >= duration => return LeaseState::Free,
                true => return LeaseState::Unknown { within: duration - watched },
                false => renewed = true,
            }
        }
        self.last_record = Some((record.clone(), now));
        if renewed { LeaseState::Alive } else { LeaseState::Unknown { within: duration } }
    }
}

/// A lease that this process holds. If this value is dropped, the renewals end and the lease expires. After
/// [`Lease::release`], another process can take the lease immediately.
#[derive(Debug)]
pub struct Lease {
    fence: u64,
    validity: Validity,
    lost: watch::Receiver<Option<LeaseLost>>,
    stop: CancellationToken,
    renewals: JoinHandle<()>,
}

/// Returns the name of a lease's owner: host, pid, and a random number. Because of the random number, two processes
/// with the same host and pid have different names.
pub fn lease_owner(host: &str, pid: u32, random: &Random) -> String {
    format!("{host} pid {pid} ({:016x})", random.number())
}

impl Lease {
    /// Takes the lease, and keeps renewing it. If another process holds and renews the lease, this function notices the
    /// renewal after about a third of the duration, and fails. If nobody renews the lease, this function takes it over
    /// after one lease duration. `dead_owner` is the name of an owner that is known to be dead. If that owner holds the
    /// lease, this function takes it over immediately.
    ///
    /// If another process holds the lease, `on_wait` is called once with the holder and the longest time to wait.
    pub async fn acquire(
        item: ControlItem,
        owner: &str,
        dead_owner: Option<&str>,
        duration: Duration,
        on_wait: impl Fn(&UntrustedText, Duration) + Send,
    ) -> Result<Lease, LeaseError> {
        Box::pin(Lease::acquire_with_clock(clock::moments(), item, owner, dead_owner, duration, on_wait)).await
    }

    async fn acquire_with_clock(
        moments: MomentClock,
        item: ControlItem,
        owner: &str,
        dead_owner: Option<&str>,
        duration: Duration,
        on_wait: impl Fn(&UntrustedText, Duration) + Send,
    ) -> Result<Lease, LeaseError> {
        let mut announced = false;
        let mut watch = LeaseWatch::default();
        let began = Instant::now();
        let mut tries = 0;
        loop {
            let current = read(&item).await?;
            let lease_state = match &current {
                Some(record) if dead_owner == Some(record.owner.as_raw()) => LeaseState::Free,
                current => watch.observe(current.as_ref(), began.elapsed()),
            };
            match lease_state {
                LeaseState::Unknown { within } => {
                    if let Some(record) = current.as_ref().filter(|_| !std::mem::replace(&mut announced, true)) {
                        on_wait(&record.owner, within);
                    }
                    sleep(within.min(poll_interval(current.as_ref()))).await;
                }
                LeaseState::Alive => return Err(held_error(&item, current)),
                LeaseState::Free => {
                    let fence = current.as_ref().map_or(0, |record| record.fence).saturating_add(1);
                    let ours = LeaseRecord { owner: owner.into(), fence, counter: 0, duration, released: false };
                    let sent = moments();
                    match put(&item, &ours, current.as_ref()).await {
                        Ok(()) => return Ok(Lease::start_renewals(item, ours, sent, moments)),
                        Err(ControlError::Changed { .. }) if tries < MAX_ATTEMPTS => tries += 1,
                        Err(ControlError::Changed { .. }) => return Err(held_error(&item, read(&item).await?)),
                        Err(other) => return Err(other.into()),
                    }
                }
            }
        }
    }

    /// Returns the fencing token: the number of holders so far. A later holder has a larger token.
    pub fn fence(&self) -> u64 {
        self.fence
    }

    /// Waits until the lease is lost, and returns the reason. Never returns if the lease is not lost, even after this
    /// process has released the lease.
    pub fn lost(&self) -> impl Future<Output = LeaseLost> + Send + 'static {
        let mut lost = self.lost.clone();
        async move {
            loop {
                if let Some(why) = lost.borrow_and_update().clone() {
                    return why;
                }
                if lost.changed().await.is_err() {
                    // At this point, the lease was released, not lost.
                    std::future::pending::<()>().await;
                }
            }
        }
    }

    /// Releases the lease, so that the next process does not have to wait. When this function returns, other processes
    /// can take the lease. If the release failed, other processes must wait until the lease expires.
    pub async fn release(mut self) {
        self.stop.cancel();
        // The renewal task releases the lease in bounded time. If this task panics, the lease expires.
        let _ = (&mut self.renewals).await;
    }

    /// Returns the condition "this process still holds the lease". Requests may be sent only while this condition is
    /// confirmed.
    pub fn validity(&self) -> Validity {
        self.validity.clone()
    }

    fn start_renewals(item: ControlItem, record: LeaseRecord, renewed: Moment, moments: MomentClock) -> Lease {
        let (lost_sender, lost) = watch::channel(None);
        let fence = record.fence;
        let stop = CancellationToken::new();
        let validity = Validity::new(2 * record.duration / 3, renewed, moments);
        let renewals = tokio::spawn(renew_until(item, record, renewed, validity.clone(), stop.clone(), lost_sender));
        Lease { fence, validity, lost, stop, renewals }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.renewals.abort();
    }
}

/// Renews the lease until a stop is requested, and then releases it. Ends early if the lease is lost.
async fn renew_until(
    item: ControlItem,
    mut record: LeaseRecord,
    mut renewed: Moment,
    validity: Validity,
    stop: CancellationToken,
    lost_sender: watch::Sender<Option<LeaseLost>>,
) {
    loop {
        let third = record.duration / 3;
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            () = sleep_until(renewed.monotonic + third) => {}
            // A request is waiting for a renewal, because the timers of this task did not advance while the machine
            // slept.
            () = validity.confirmation_needed() => {}
        }
        let mut why = String::from("no reply");
        let result = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            // A renewal may take up to a third of the duration, even after a sleep. Meanwhile the lease stays safe,
            // because no requests are sent while the last renewal is older than two thirds of the duration.
            result = timeout(third, renew(&item, &mut record, &validity, &mut why)) => result,
        };
        match result {
            Ok(Ok(sent)) => {
                renewed = sent;
                validity.confirm(sent);
            }
            Ok(Err(lost)) => return drop(lost_sender.send(Some(lost))),
            Err(_) => {
                let after = validity.now().since(renewed);
                return drop(lost_sender.send(Some(LeaseLost::NotRenewed { after, why })));
            }
        }
    }
    // If the lease cannot be released in time, it expires.
    let _ = timeout(RELEASE_PATIENCE, release(&item, &record)).await;
}

/// Renews the lease by raising the counter. Returns the moment just before the request was sent. The renewal takes
/// effect after this moment.
async fn renew(
    item: &ControlItem,
    record: &mut LeaseRecord,
    validity: &Validity,
    why: &mut String,
) -> Result<Moment, LeaseLost> {
    loop {
        let next = LeaseRecord { counter: record.counter.saturating_add(1), ..record.clone() };
        let sent = validity.now();
        match put(item, &next, Some(record)).await {
            Ok(()) => {
                *record = next;
                return Ok(sent);
            }
            Err(ControlError::Changed { found, .. }) => match found.as_ref().and_then(from_item) {
                // An earlier renewal of this process timed out but still took effect. Continue with the counter that
                // this earlier renewal wrote.
                Some(found) if same_holder(&found, record) && !found.released => record.counter = found.counter,
                found => {
                    let new_owner = found.map_or_else(|| "somebody who removed it".into(), |found| found.owner);
                    return Err(LeaseLost::Taken { new_owner });
                }
            },
            Err(other) => {
                *why = other.to_string();
                sleep(RENEW_RETRY_PAUSE).await;
            }
        }
    }
}

async fn release(item: &ControlItem, record: &LeaseRecord) -> Result<(), ControlError> {
    // Read the lease before releasing it, because an earlier renewal may have arrived late and changed its counter.
    match item.get().await?.as_ref().and_then(from_item) {
        Some(found) if same_holder(&found, record) => {
            put(item, &LeaseRecord { released: true, ..found.clone() }, Some(&found)).await
        }
        _ => Ok(()),
    }
}

/// Returns whether both records have the same holder.
fn same_holder(one: &LeaseRecord, other: &LeaseRecord) -> bool {
    (&one.owner, one.fence) == (&other.owner, other.fence)
}

/// Returns the pause between two reads of the lease. The pause is short enough for several reads between two renewals
/// by the holder.
fn poll_interval(record: Option<&LeaseRecord>) -> Duration {
    (record.map_or(LEASE_DURATION, |record| record.duration) / 12).clamp(Duration::from_millis(20), MAX_DURATION)
}

fn held_error(item: &ControlItem, record: Option<LeaseRecord>) -> LeaseError {
    let expires = record.as_ref().map_or(LEASE_DURATION, |record| record.duration.min(MAX_DURATION));
    let owner = record.map_or_else(|| "somebody".into(), |record| record.owner);
    LeaseError::Held { owner, item: item.name().to_owned(), expires }
}

async fn read(item: &ControlItem) -> Result<Option<LeaseRecord>, LeaseError> {
    match item.get().await? {
        None => Ok(None),
        Some(found) => from_item(&found).map(Some).ok_or_else(|| LeaseError::Foreign { item: item.name().to_owned() }),
    }
}

async fn put(item: &ControlItem, record: &LeaseRecord, expected: Option<&LeaseRecord>) -> Result<(), ControlError> {
    item.put(to_item(record), expected.map(to_item).as_ref()).await.map(drop)
}

fn to_item(record: &LeaseRecord) -> Item {
    let number = |n: u64| Value::N(Num::from_wire(n.to_string()));
    let duration = u64::try_from(record.duration.as_millis()).unwrap_or(u64::MAX);
    [
        ("lease_version", number(1)),
        ("owner", Value::S(record.owner.as_raw().to_owned())),
        ("fence", number(record.fence)),
        ("counter", number(record.counter)),
        ("duration_ms", number(duration)),
        ("released", Value::Bool(record.released)),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
    .collect()
}

fn from_item(item: &Item) -> Option<LeaseRecord> {
    let number = |name: &str| {
        let Some(Value::N(number)) = item.get(name) else { return None };
        number.as_str().parse::<u64>().ok()
    };
    let (Some(Value::S(owner)), Some(Value::Bool(released)), Some(1)) =
        (item.get("owner"), item.get("released"), number("lease_version"))
    else {
        return None;
    };
    Some(LeaseRecord {
        owner: owner.as_str().into(),
        fence: number("fence")?,
        counter: number("counter")?,
        duration: Duration::from_millis(number("duration_ms")?),
        released: *released,
    })
}

#[cfg(test)]
mod tests;
