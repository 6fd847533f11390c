//! Applies the capacity model to requests in real time. This module stores the current model and the key schema of the
//! model's table.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::{Map, Value as Json, json};

use super::advertise::advertise;
use super::demand::{Bill, Schema};
use super::wire::Metered;
use crate::local::capacity::{Model, Throttled};

/// The current model, if any.
#[derive(Default)]
pub(super) struct Meter(Mutex<Option<Running>>);

struct Running {
    model: Model,
    began: Instant,
    /// The key schema of the table. It comes from the table's description, and is deleted when the table is created,
    /// changed or deleted.
    schema: Option<Schema>,
}

/// The meter's decision about a request before it is forwarded.
pub(super) enum Verdict {
    /// The request is not for the modeled table, or there is no model.
    Unmetered,
    /// The caller must first read the description of this table, because the key schema is not known.
    Describe(String),
    /// The request is admitted. After the reply, the units that the reply states will be charged.
    Admitted(Bill),
    /// DynamoDB would throttle the request.
    Throttled(Throttled),
}

impl Meter {
    /// Sets the model. The model's time starts now.
    pub(super) fn set(&self, model: Option<Model>) {
        *self.lock() = model.map(|model| Running { model, began: Instant::now(), schema: None });
    }

    /// Calls `look` with the current model and the time since the model's start.
    pub(super) fn look<T>(&self, look: impl FnOnce(&mut Model, Duration) -> T) -> Option<T> {
        let mut running = self.lock();
        let Running { model, began, .. } = running.as_mut()?;
        Some(look(model, began.elapsed()))
    }

    /// Decides whether a request is admitted.
    pub(super) fn verdict(&self, operation: &str, body: &Bytes, metered: Metered) -> Verdict {
        if metered == Metered::No {
            return Verdict::Unmetered;
        }
        let named =
            |model: &mut Model, _| std::str::from_utf8(body).is_ok_and(|text| text.contains(&model.spec().table));
        if !self.look(named).unwrap_or(false) {
            return Verdict::Unmetered;
        }
        // The body is parsed outside the lock, because a batch can have 16 MB.
        let Ok(body) = serde_json::from_slice::<Json>(body) else { return Verdict::Unmetered };
        let mut running = self.lock();
        let Some(Running { model, began, schema }) = running.as_mut() else { return Verdict::Unmetered };
        let Some(schema) = schema else { return Verdict::Describe(model.spec().table.clone()) };
        let Some(bill) = Bill::of(operation, &body, metered, schema, model) else { return Verdict::Unmetered };
        match model.admit_all(began.elapsed(), &bill.demands) {
            Ok(()) => Verdict::Admitted(bill),
            Err(throttled) => Verdict::Throttled(throttled),
        }
    }

    /// Stores the key schema and the ARN of the table from its description. Returns false if the description has no
    /// keys.
    pub(super) fn learn(&self, described: &[u8]) -> bool {
        let described: Json = serde_json::from_slice(described).unwrap_or_default();
        let table = &described["Table"];
        let mut running = self.lock();
        let Some(running) = running.as_mut() else { return false };
        if let Some(arn) = table["TableArn"].as_str() {
            running.model.set_arn(arn);
        }
        running.schema = Schema::of(table);
        running.schema.is_some()
    }

    /// Deletes the stored key schema, because the table may have other keys from now on.
    pub(super) fn forget_keys(&self) {
        if let Some(running) = self.lock().as_mut() {
            running.schema = None;
        }
    }

    /// Charges a request according to its reply. For a successful reply, the charge is the stated `capacity`. For an
    /// error, the body of the error determines the charge.
    pub(super) fn charge(&self, bill: &Bill, error: Option<&str>, capacity: &Json, reply: &[u8]) {
        let mut running = self.lock();
        let Some(Running { model, began, schema: Some(schema) }) = running.as_mut() else { return };
        let now = began.elapsed();
        match error {
            None => bill.charge(model, now, capacity, reply, schema),
            Some("ConditionalCheckFailedException") => bill.charge_failed_condition(model, now, reply),
            // A refused request costs nothing. A cancelled transaction consumes units, but its reply does not state
            // them.
            Some(_) => {}
        }
    }

    /// The reply to `DescribeTable` with the model's limits, if the spec advertises them and the table is the modeled
    /// one.
    pub(super) fn advertised(&self, reply: &Bytes) -> Option<Bytes> {
        let running = self.lock();
        let model = &running.as_ref()?.model;
        let described = serde_json::from_slice::<Json>(reply).ok()?;
        let ours = described["Table"]["TableName"] == model.spec().table.as_str();
        if ours && model.spec().advertise { advertise(reply, model) } else { None }
    }

    /// Locks the model. The model stays usable after a panic of a thread that had the lock.
    fn lock(&self) -> MutexGuard<'_, Option<Running>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The members of an error body other than the name of the exception and the message.
pub(super) fn reasons_of(throttled: &Throttled) -> Map<String, Json> {
    if throttled.reasons.is_empty() {
        return Map::new();
    }
    let reasons = throttled.reasons.iter().map(|r| json!({ "reason": r.reason, "resource": r.resource }));
    Map::from_iter([(throttled.reasons_member().to_owned(), reasons.collect())])
}
