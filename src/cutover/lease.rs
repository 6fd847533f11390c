//! The lease: an item beside the flag, so that two hosts do not work on one migration at the same time.
//!
//! No clock of one host is compared with another's. Who holds the lease counts up in it every third of its duration; who
//! wants it watches that count, and takes the lease over when it has not moved for the whole duration by his own monotonic
//! clock. The holder sends nothing when he has not renewed for two thirds of it ([`Validity`]), by whichever of his clocks
//! shows more time, which leaves a third to let requests in flight end; and he stops where he cannot.
//!
//! A machine that slept, or a process that was stopped, finds its lease out of date before it sends anything, and renews it
//! under the condition that it is still as it was: if nobody has taken it, the work goes on. Only what was handed to the
//! network before may still arrive: writes of items are guarded by their own conditions, and so are changes of the flag.

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

/// How long a lease outlives its last renewal: long enough for a table that throttles or fails over, short enough to wait
/// for after a crash.
pub const LEASE_DURATION: Duration = Duration::from_secs(60);

/// Longer than this nobody waits for a lease, whatever its item says.
const LONGEST: Duration = Duration::from_secs(600);

/// Between two attempts to renew that failed for good reasons.
const RENEW_AGAIN: Duration = Duration::from_secs(1);

/// So long a release is tried; what is not released expires.
const RELEASE_PATIENCE: Duration = Duration::from_secs(5);

/// Others may come first so many times before it is said that somebody is always faster.
const TRIES: u32 = 10;

/// Why the lease was not had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LeaseError {
    /// Another process works on this migration, and is alive.
    #[error(
        "another process works on this migration: {owner} holds the lease ({item}) and renews it. Nothing was done. Wait \
         for it, or stop it: it stops in good order on SIGTERM. Where it died, the lease expires {} s after its last renewal",
        .expires.as_secs()
    )]
    Held {
        /// Who: host, pid, and a number that is drawn for each process.
        owner: OutsideText,
        /// The lease's item.
        item: String,
        /// How long it outlives a renewal.
        expires: Duration,
    },
    /// What is there is no lease.
    #[error(
        "{item} is not a lease of backfill: something else wrote it. Remove it, or name another `key` in [cutover]"
    )]
    Foreign {
        /// The lease's item.
        item: String,
    },
    /// The table does not work.
    #[error(transparent)]
    Control(#[from] ControlError),
}

/// Why the lease is no longer ours. The run must stop.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LeaseLost {
    /// Somebody else has it.
    #[error("the lease was taken over by {by}: this process did not renew it in time. Wait for that one, then resume")]
    Taken {
        /// Who has it.
        by: OutsideText,
    },
    /// It could not be renewed for so long that somebody else may take it soon.
    #[error(
        "the lease could not be renewed ({why}): the last time was {} s ago, and others may take it. Resume when the table \
         answers",
        .after.as_secs()
    )]
    NotRenewed {
        /// Since it was renewed last; also the time that a machine slept.
        after: Duration,
        /// The last error.
        why: String,
    },
}

/// What the item of a lease says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseRecord {
    /// Who has it, or had it last.
    pub owner: OutsideText,
    /// Counts its holders.
    pub fence: u64,
    /// Counts the renewals of this holder.
    pub counter: u64,
    /// How long it outlives a renewal.
    pub duration: Duration,
    /// Given back.
    pub released: bool,
}

/// What a look at the lease comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It may be taken, on condition that it is still as it was seen.
    Free,
    /// Whether its holder is alive is not known; it is by then.
    Unknown {
        /// From now.
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
    /// What the lease comes to, as it was read by `now`.
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

/// A lease that is held. Dropping it ends the renewals, and it expires; [`Lease::release`] gives it back at once.
#[derive(Debug)]
pub struct Lease {
    fence: u64,
    validity: Validity,
    lost: watch::Receiver<Option<LeaseLost>>,
    stop: CancellationToken,
    renewals: JoinHandle<()>,
}

/// The name of a lease's owner: host, pid, and a random number that tells it from every other process.
pub fn lease_owner(host: &str, pid: u32, random: &Random) -> String {
    format!("{host} pid {pid} ({:016x})", random.number())
}

impl Lease {
    /// Takes the lease, and renews it from then on. One that its holder renews is refused as soon as that is seen, after
    /// a third of its duration or so; one that is not renewed is taken over after the whole, and one of `gone`, an owner
    /// that is known to be dead, at once.
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
        let (mut watch, began, mut tries) = (LeaseWatch::default(), Instant::now(), 0);
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

    /// Counts the holders: whoever has a larger one came later.
    pub fn fence(&self) -> u64 {
        self.fence
    }

    /// Ends when the lease is lost, and never while it is held.
    pub fn lost(&self) -> impl Future<Output = LeaseLost> + Send + 'static {
        let mut lost = self.lost.clone();
        async move {
            loop {
                if let Some(why) = lost.borrow_and_update().clone() {
                    return why;
                }
                if lost.changed().await.is_err() {
                    // It was released.
                    std::future::pending::<()>().await;
                }
            }
        }
    }

    /// Gives it back, so that the next one need not wait. When this returns it is free, or it expires.
    pub async fn release(mut self) {
        self.stop.cancel();
        // The renewals end by giving it back, in bounded time; a panic there leaves a lease that expires.
        let _ = (&mut self.renewals).await;
    }

    /// Whether it is certain that nobody else has it: nothing is sent while it is not.
    pub fn validity(&self) -> Validity {
        self.validity.clone()
    }

    fn keep(item: ControlItem, record: LeaseRecord, renewed: Moment, moments: Moments) -> Lease {
        let (tell, lost) = watch::channel(None);
        let (fence, stop) = (record.fence, CancellationToken::new());
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

/// Renews until it is told to stop, and then gives the lease back; or until the lease is lost.
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
            // Something waits to be sent: the machine slept, and its timers stood still.
            () = validity.wanted() => {}
        }
        let mut why = String::from("no reply");
        let result = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            // As long as this takes, also after a sleep; from two thirds of the duration on nothing is sent meanwhile.
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
    // What cannot be given back in time expires.
    let _ = timeout(RELEASE_PATIENCE, release(&item, &record)).await;
}

/// Counts up, and says since when that is so at the latest: before the request was sent.
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
                // A renewal of ours that was given up arrived after all: count on from there.
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
    // A renewal may have been under way.
    match item.get().await?.as_ref().and_then(from_item) {
        Some(found) if same_holder(&found, record) => {
            put(item, &LeaseRecord { released: true, ..found.clone() }, Some(&found)).await
        }
        _ => Ok(()),
    }
}

/// Whether both are of one holder.
fn same_holder(one: &LeaseRecord, other: &LeaseRecord) -> bool {
    (&one.owner, one.fence) == (&other.owner, other.fence)
}

/// A few looks while the holder would renew once.
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
