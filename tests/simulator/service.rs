//! What stands for DynamoDB's admission: the capacity model at the virtual clock, a storm on request, and a record of
//! who asked for what, second by second.

use std::sync::Mutex;
use std::time::Duration;

use backfill::table::ThrottlingReason;
use tokio::time::Instant;

use super::model::{Demand, Limits, Model};

/// Who sends a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    /// The job.
    Job,
    /// The application.
    Application,
}

/// Every request in this span is throttled, by this chance, for a reason that names the table.
#[derive(Debug, Clone, PartialEq)]
pub struct Storm {
    /// In virtual time since the start.
    pub from: Duration,
    /// Its end.
    pub until: Duration,
    /// From 0 to 1.
    pub chance: f64,
}

/// What happened in one second.
#[derive(Debug, Clone, Default)]
pub struct Second {
    /// Write units of the job that were admitted: of the table, and of the index.
    pub job_writes: f64,
    /// Write units that they cost the index.
    pub job_index_writes: f64,
    /// Read units of the job that were admitted.
    pub job_reads: f64,
    /// Requests that the job sent.
    pub job_requests: u64,
    /// Of them, throttled.
    pub job_throttled: u64,
    /// Requests that the application sent.
    pub application_requests: u64,
    /// Of them, throttled.
    pub application_throttled: u64,
    /// Write units of the job by partition of the model.
    pub by_partition: Vec<f64>,
    /// What the job's rate limits were at the end of the second, by the engine's own word.
    pub rates: Vec<(String, f64)>,
}

/// The simulated service.
pub struct Service {
    start: Instant,
    storm: Option<Storm>,
    inner: Mutex<Inner>,
}

struct Inner {
    model: Model,
    random: fastrand::Rng,
    seconds: Vec<Second>,
    reasons: Vec<(String, u64)>,
}

impl Service {
    /// A service with these limits, whose clock starts now.
    pub fn new(limits: &Limits, storm: Option<Storm>, seed: u64) -> Service {
        let random = fastrand::Rng::with_seed(seed);
        let inner = Inner { model: Model::new(limits), random, seconds: Vec::new(), reasons: Vec::new() };
        Service { start: Instant::now(), storm, inner: Mutex::new(inner) }
    }

    /// Virtual time since the start.
    pub fn now(&self) -> Duration {
        self.start.elapsed()
    }

    /// A request arrives: it is served, or throttled for these reasons.
    pub fn ask(&self, who: Who, demand: Demand) -> Result<(), Vec<ThrottlingReason>> {
        let now = self.now();
        let inner = &mut *self.inner.lock().unwrap();
        let stormy = self.storm.as_ref().is_some_and(|storm| {
            (storm.from..storm.until).contains(&now) && inner.random.f64() < storm.chance
        });
        let answer = if stormy { Err(inner.model.table_reason(demand)) } else { inner.model.ask(now, demand) };
        let partition = inner.model.partition(demand.position);
        if let Err(reasons) = &answer && who == Who::Job {
            for found in reasons {
                match inner.reasons.iter_mut().find(|(reason, _)| *reason == found.reason) {
                    Some((_, count)) => *count += 1,
                    None => inner.reasons.push((found.reason.clone(), 1)),
                }
            }
        }
        inner.at(now).note(who, demand, partition, answer.is_ok());
        answer
    }

    /// Notes what the engine says its rates are.
    pub fn note_rates(&self, rates: Vec<(String, f64)>) {
        let now = self.now();
        self.inner.lock().unwrap().at(now).rates = rates;
    }

    /// Everything that was noted, and the reasons for which the job was throttled.
    pub fn take(&self) -> (Vec<Second>, Vec<(String, u64)>) {
        let mut inner = self.inner.lock().unwrap();
        (std::mem::take(&mut inner.seconds), std::mem::take(&mut inner.reasons))
    }
}

impl Inner {
    fn at(&mut self, now: Duration) -> &mut Second {
        let second = now.as_secs() as usize;
        while self.seconds.len() <= second {
            self.seconds.push(Second::default());
        }
        &mut self.seconds[second]
    }
}

impl Second {
    fn note(&mut self, who: Who, demand: Demand, partition: usize, admitted: bool) {
        match who {
            Who::Application => {
                self.application_requests += 1;
                self.application_throttled += u64::from(!admitted);
            }
            Who::Job => {
                self.job_requests += 1;
                self.job_throttled += u64::from(!admitted);
                if admitted {
                    self.job_writes += demand.write;
                    self.job_index_writes += demand.index;
                    self.job_reads += demand.read;
                    if self.by_partition.len() <= partition {
                        self.by_partition.resize(partition + 1, 0.0);
                    }
                    self.by_partition[partition] += demand.write;
                }
            }
        }
    }
}
