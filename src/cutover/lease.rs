//! The lease: an item next to the flag that keeps two hosts from working on one migration at the same time.
//!
//! The clocks of two hosts are never compared. The holder raises a counter in the lease every third of its duration. A host
//! that wants the lease watches the counter, and takes the lease over if the counter has not moved for the whole duration by
//! its own monotonic clock. The holder sends nothing if it has not renewed for two thirds of the duration ([`Validity`]), by
//! whichever of its clocks shows more time. This leaves a third for requests in flight to end. A holder that cannot renew
//! stops.
//!
//! After a sleep of the machine or a pause of the process, the lease is out of date before anything is sent. The holder then
//! renews it, on condition that it is unchanged: if nobody has taken it, the work continues. Only requests handed to the
//! network earlier may still arrive. Item writes are guarded by their own conditions, and so are changes of the flag.

use std::future::Future;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::Validity;
use crate::clock::{self, Moment, Moments};
use crate::dynamodb::control::{ControlError, ControlItem};
use crate::item::{Item, Num, Value};
use crate::machine::Random;
use crate::outside::OutsideText;

/// How long a lease outlives its last renewal: long enough for a table that throttles or fails over, short enough for a wait
/// after a crash.
pub const LEASE_DURATION: Duration = Duration::from_secs(60);

/// The longest wait for a lease, whatever its item says.
const LONGEST: Duration = Duration::from_secs(600);

/// The pause between two failed attempts to renew.
const RENEW_AGAIN: Duration = Duration::from_secs(1);

/// How long a release is retried. A lease that is not released expires.
const RELEASE_PATIENCE: Duration = Duration::from_secs(5);

/// How often others may take the lease first before this process gives up.
const TRIES: u32 = 10;

/// Why the lease could not be acquired.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LeaseError {
    /// Another live process works on this migration.
    #[error(
        "another process works on this migration: {owner} holds the lease ({item}) and renews it. Nothing was done. Wait \
         for it, or stop it: it stops cleanly on SIGTERM. If it died, the lease expires {} s after its last renewal",
        .expires.as_secs()
    )]
    Held {
        /// The holder: host, pid, and a random number that is drawn for each process.
        owner: OutsideText,
        /// The lease's item.
        item: String,
        /// How long the lease outlives a renewal.
        expires: Duration,
    },
    /// The item is not a lease.
    #[error(
        "{item} is not a lease of backfill: something else wrote it. Remove it, or name another `key` in [cutover]"
    )]
    Foreign {
        /// The lease's item.
        item: String,
    },
    /// The table cannot be read or written.
    #[error(transparent)]
    Control(#[from] ControlError),
}

/// Why this process no longer holds the lease. The run must stop.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LeaseLost {
    /// Another process holds it.
    #[error(
        "the lease was taken over by {by}: this process did not renew it in time. Wait for that process, then resume"
    )]
    Taken {
        /// The new holder.
        by: OutsideText,
    },
    /// It could not be renewed for so long that another process may take it soon.
    #[error(
        "the lease could not be renewed ({why}): the last renewal was {} s ago, so others may take it. Resume when the table \
         answers",
        .after.as_secs()
    )]
    NotRenewed {
        /// Time since the last renewal, including time that the machine slept.
        after: Duration,
        /// The last error.
        why: String,
    },
}

/// The content of a lease item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseRecord {
    /// The current holder, or the last one.
    pub owner: OutsideText,
    /// Counts its holders.
    pub fence: u64,
    /// Counts the renewals of this holder.
    pub counter: u64,
    /// How long the lease outlives a renewal.
    pub duration: Duration,
    /// Whether it was released.
    pub released: bool,
}

/// The judgement after a look at the lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// The lease may be taken, on condition that it is unchanged.
    Free,
    /// Whether its holder is alive is not known yet.
    Unknown {
        /// It will be known within this time from now.
        within: Duration,
    },
    /// Its holder renewed it while we watched.
    Alive,
}

/// Judges a lease by watching it. Pure: the time is that of any clock that only moves forward.
#[derive(Debug, Default)]
pub struct LeaseWatch {
    seen: Option<(LeaseRecord, Duration)>,
}

impl LeaseWatch {
    /// Judges the lease, as read at `now`.
    pub fn look(&mut self, record: Option<&LeaseRecord>, now: Duration) -> Standing {
        let Some(record) = record.filter(|record| !record.released) else { return Standing::Free };
        let duration = record.duration.min(LONGEST);
        let mut renewed = false;
        if let Some((seen, since)) = &self.seen
            && same_holder(seen, record)
        {
            let watched = now.saturating_sub(*since);
            match seen.counter == record.counter {
                true if watched >= duration => return Standing::Free,
                true => return Standing::Unknown { within: duration - watched },
                false => renewed = true,
            }
        }
        self.seen = Some((record.clone(), now));
        if renewed { Standing::Alive } else { Standing::Unknown { within: duration } }
    }
}

/// A lease that this process holds. Dropping it ends the renewals, so it expires. [`Lease::release`] frees it immediately.
#[derive(Debug)]
pub struct Lease {
    fence: u64,
    validity: Validity,
    lost: watch::Receiver<Option<LeaseLost>>,
    stop: CancellationToken,
    renewals: JoinHandle<()>,
}

/// The name of a lease's owner: host, pid, and a random number that distinguishes it from every other process.
pub fn lease_owner(host: &str, pid: u32, random: &Random) -> String {
    format!("{host} pid {pid} ({:016x})", random.number())
}

impl Lease {
    /// Takes the lease, and keeps renewing it. If its holder renews it, this refuses as soon as it notices, after about a
    /// third of the duration. If nobody renews it, this takes it over after the whole duration. A lease of `gone`, an owner
    /// that is known to be dead, is taken over immediately.
    ///
    /// If another host holds it, `waits` is called once with the holder and the longest time to wait.
    pub async fn acquire(
        item: ControlItem,
        owner: &str,
        gone: Option<&str>,
        duration: Duration,
        waits: impl Fn(&OutsideText, Duration) + Send,
    ) -> Result<Lease, LeaseError> {
        Box::pin(Lease::acquire_by(clock::moments(), item, owner, gone, duration, waits)).await
    }

    async fn acquire_by(
        moments: Moments,
        item: ControlItem,
        owner: &str,
        gone: Option<&str>,
        duration: Duration,
        waits: impl Fn(&OutsideText, Duration) + Send,
    ) -> Result<Lease, LeaseError> {
        let mut told = false;
        let mut watch = LeaseWatch::default();
        let began = Instant::now();
        let mut tries = 0;
        loop {
            let there = read(&item).await?;
            let standing = match &there {
                Some(record) if gone == Some(record.owner.as_it_is()) => Standing::Free,
                there => watch.look(there.as_ref(), began.elapsed()),
            };
            match standing {
                Standing::Unknown { within } => {
                    if let Some(record) = there.as_ref().filter(|_| !std::mem::replace(&mut told, true)) {
                        waits(&record.owner, within);
                    }
                    sleep(within.min(look_again(there.as_ref()))).await;
                }
                Standing::Alive => return Err(held(&item, there)),
                Standing::Free => {
                    let fence = there.as_ref().map_or(0, |record| record.fence).saturating_add(1);
                    let ours = LeaseRecord { owner: owner.into(), fence, counter: 0, duration, released: false };
                    let sent = moments();
                    match put(&item, &ours, there.as_ref()).await {
                        Ok(()) => return Ok(Lease::keep(item, ours, sent, moments)),
                        Err(ControlError::Changed { .. }) if tries < TRIES => tries += 1,
                        Err(ControlError::Changed { .. }) => return Err(held(&item, read(&item).await?)),
                        Err(other) => return Err(other.into()),
                    }
                }
            }
        }
    }

    /// The fencing token. It counts the holders: a later holder has a larger one.
    pub fn fence(&self) -> u64 {
        self.fence
    }

    /// Completes when the lease is lost, and never while it is held.
    pub fn lost(&self) -> impl Future<Output = LeaseLost> + Send + 'static {
        let mut lost = self.lost.clone();
        async move {
            loop {
                if let Some(why) = lost.borrow_and_update().clone() {
                    return why;
                }
                if lost.changed().await.is_err() {
                    // The lease was released, not lost.
                    std::future::pending::<()>().await;
                }
            }
        }
    }

    /// Releases the lease, so that the next process need not wait. When this returns, the lease is free or will expire.
    pub async fn release(mut self) {
        self.stop.cancel();
        // The renewal task releases the lease in bounded time. If it panics, the lease expires.
        let _ = (&mut self.renewals).await;
    }

    /// Whether it is certain that nobody else holds the lease. Nothing may be sent while it is not.
    pub fn validity(&self) -> Validity {
        self.validity.clone()
    }

    fn keep(item: ControlItem, record: LeaseRecord, renewed: Moment, moments: Moments) -> Lease {
        let (tell, lost) = watch::channel(None);
        let fence = record.fence;
        let stop = CancellationToken::new();
        let validity = Validity::new(2 * record.duration / 3, renewed, moments);
        let renewals = tokio::spawn(renew_until(item, record, renewed, validity.clone(), stop.clone(), tell));
        Lease { fence, validity, lost, stop, renewals }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.renewals.abort();
    }
}

/// Renews the lease until told to stop and then releases it, or until the lease is lost.
async fn renew_until(
    item: ControlItem,
    mut record: LeaseRecord,
    mut renewed: Moment,
    validity: Validity,
    stop: CancellationToken,
    tell: watch::Sender<Option<LeaseLost>>,
) {
    loop {
        let third = record.duration / 3;
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            () = sleep_until(renewed.monotonic + third) => {}
            // A request waits to be sent: the machine slept, and its timers stood still.
            () = validity.wanted() => {}
        }
        let mut why = String::from("no reply");
        let result = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            // A renewal may take this long, even after a sleep. After two thirds of the duration, nothing is sent meanwhile.
            result = timeout(third, renew(&item, &mut record, &validity, &mut why)) => result,
        };
        match result {
            Ok(Ok(sent)) => {
                renewed = sent;
                validity.confirm(sent);
            }
            Ok(Err(lost)) => return drop(tell.send(Some(lost))),
            Err(_) => {
                let after = validity.now().since(renewed);
                return drop(tell.send(Some(LeaseLost::NotRenewed { after, why })));
            }
        }
    }
    // A lease that cannot be released in time expires.
    let _ = timeout(RELEASE_PATIENCE, release(&item, &record)).await;
}

/// Raises the counter. Returns a moment at or before the renewal: the one before the request was sent.
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
                // A renewal of ours that timed out arrived after all: continue from its counter.
                Some(found) if same_holder(&found, record) && !found.released => record.counter = found.counter,
                found => {
                    let by = found.map_or_else(|| "somebody who removed it".into(), |found| found.owner);
                    return Err(LeaseLost::Taken { by });
                }
            },
            Err(other) => {
                *why = other.to_string();
                sleep(RENEW_AGAIN).await;
            }
        }
    }
}

async fn release(item: &ControlItem, record: &LeaseRecord) -> Result<(), ControlError> {
    // A renewal may have been in flight.
    match item.get().await?.as_ref().and_then(from_item) {
        Some(found) if same_holder(&found, record) => {
            put(item, &LeaseRecord { released: true, ..found.clone() }, Some(&found)).await
        }
        _ => Ok(()),
    }
}

/// Whether both records are of the same holder.
fn same_holder(one: &LeaseRecord, other: &LeaseRecord) -> bool {
    (&one.owner, one.fence) == (&other.owner, other.fence)
}

/// The pause between two looks: several looks per renewal of the holder.
fn look_again(record: Option<&LeaseRecord>) -> Duration {
    (record.map_or(LEASE_DURATION, |record| record.duration) / 12).clamp(Duration::from_millis(20), LONGEST)
}

fn held(item: &ControlItem, record: Option<LeaseRecord>) -> LeaseError {
    let expires = record.as_ref().map_or(LEASE_DURATION, |record| record.duration.min(LONGEST));
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
        ("owner", Value::S(record.owner.as_it_is().to_owned())),
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
