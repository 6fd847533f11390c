//! Simulates DynamoDB's admission of requests, with the capacity model and the virtual clock. Records the requests of
//! each second.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use backfill::internals::local::capacity::{Model, ModelSpec, RequestKind, ThrottlingReason};
use tokio::time::Instant;

use super::model::{self, SimRequest};

/// The sender of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sender {
    /// The tool's job.
    Job,
    /// The simulated application.
    Application,
}

/// The recorded figures of one second.
#[derive(Debug, Clone, Default)]
pub struct Second {
    /// The job's write units that the table served.
    pub job_writes: f64,
    /// The job's write units that the index served.
    pub job_index_writes: f64,
    /// The job's read units that the table served.
    pub job_reads: f64,
    /// Number of requests that the job sent.
    pub job_requests: u64,
    /// Number of the job's requests that were throttled.
    pub job_throttled: u64,
    /// Number of requests that the application sent.
    pub application_requests: u64,
    /// Number of the application's requests that were throttled.
    pub application_throttled: u64,
    /// The job's write units for each partition of the model.
    pub by_partition: Vec<f64>,
    /// The job's rate limits at the end of this second, as the engine reports them.
    pub rates: Vec<(String, f64)>,
}

/// The number of throttles for each reason.
pub type Reasons = BTreeMap<String, u64>;

/// The simulated service.
pub struct Service {
    start: Instant,
    inner: Mutex<Inner>,
}

struct Inner {
    model: Model,
    seconds: Vec<Second>,
    job_reasons: Reasons,
    application_reasons: Reasons,
}

impl Service {
    /// Creates a service with these limits. The service's clock starts now.
    pub fn new(spec: &ModelSpec) -> Service {
        let (job_reasons, application_reasons) = Default::default();
        let inner = Inner { model: model::model(spec), seconds: Vec::new(), job_reasons, application_reasons };
        Service { start: Instant::now(), inner: Mutex::new(inner) }
    }

    /// Returns the virtual time since the start.
    pub fn now(&self) -> Duration {
        self.start.elapsed()
    }

    /// Applies these limits from now on. The burst credit is zero at this moment.
    pub fn change(&self, spec: &ModelSpec) {
        self.inner.lock().unwrap().model = model::model(spec);
    }

    /// Decides whether to admit a request that arrives at this moment. If the service throttles the request, returns
    /// the reasons.
    pub fn send(&self, sender: Sender, sim_request: &SimRequest) -> Result<(), Vec<ThrottlingReason>> {
        let now = self.now();
        let inner = &mut *self.inner.lock().unwrap();
        let answer = model::send(&mut inner.model, now, sim_request).map_err(|throttled| throttled.reasons);
        if let Err(reasons) = &answer {
            let counts = if sender == Sender::Job { &mut inner.job_reasons } else { &mut inner.application_reasons };
            for found in reasons {
                *counts.entry(found.reason.clone()).or_default() += 1;
            }
        }
        let partition = model::partition(inner.model.spec(), sim_request.position);
        inner.at(now).note(sender, sim_request, partition, answer.is_ok());
        answer
    }

    /// Records the rates that the engine reports.
    pub fn note_rates(&self, rates: Vec<(String, f64)>) {
        let now = self.now();
        self.inner.lock().unwrap().at(now).rates = rates;
    }

    /// Returns and clears all records, and the reasons for which the job and the application were throttled.
    pub fn take(&self) -> (Vec<Second>, Reasons, Reasons) {
        let inner = &mut *self.inner.lock().unwrap();
        let seconds = std::mem::take(&mut inner.seconds);
        (seconds, std::mem::take(&mut inner.job_reasons), std::mem::take(&mut inner.application_reasons))
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
    fn note(&mut self, sender: Sender, sim_request: &SimRequest, partition: usize, admitted: bool) {
        match sender {
            Sender::Application => {
                self.application_requests += 1;
                self.application_throttled += u64::from(!admitted);
            }
            Sender::Job => {
                self.job_requests += 1;
                self.job_throttled += u64::from(!admitted);
                if admitted {
                    self.served(sim_request, partition);
                }
            }
        }
    }

    fn served(&mut self, sim_request: &SimRequest, partition: usize) {
        if sim_request.kind == RequestKind::Read {
            self.job_reads += sim_request.units;
            return;
        }
        self.job_writes += sim_request.units;
        self.job_index_writes += sim_request.index;
        if self.by_partition.len() <= partition {
            self.by_partition.resize(partition + 1, 0.0);
        }
        self.by_partition[partition] += sim_request.units;
    }
}
