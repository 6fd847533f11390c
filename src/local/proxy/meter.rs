//! Applies the capacity model to requests in real time. This module stores the current model and the key schema of the
//! model's table.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::{Map, Value as Json, json};

use super::advertise::advertise;
use super::demand::{Bill, Schema};
use super::wire::Metering;
use crate::local::capacity::{Model, Throttle};

/// The current model, if any.
#[derive(Default)]
pub(super) struct Meter(Mutex<Option<ActiveModel>>);

struct ActiveModel {
    model: Model,
    began: Instant,
    /// The table's key schema, from the table's description. The meter discards the schema when the table is created,
    /// changed or deleted.
    schema: Option<Schema>,
}

/// The meter's decision about a request, made before the request is forwarded.
pub(super) enum MeterDecision {
    /// The request is not for the modeled table, or there is no model.
    Unmetered,
    /// The key schema is unknown. The caller must first read this table's description.
    Describe(String),
    /// The request is admitted. When its reply arrives, the meter charges the units that the reply reports.
    Admitted(Bill),
    /// DynamoDB would throttle the request.
    Throttle(Throttle),
}

impl Meter {
    /// Sets the model. The model's time starts now.
    pub(super) fn set(&self, model: Option<Model>) {
        *self.lock() = model.map(|model| ActiveModel { model, began: Instant::now(), schema: None });
    }

    /// Calls `inspect` with the current model and the time since the model's start.
    pub(super) fn inspect<T>(&self, inspect: impl FnOnce(&mut Model, Duration) -> T) -> Option<T> {
        let mut active = self.lock();
        let ActiveModel { model, began, .. } = active.as_mut()?;
        Some(inspect(model, began.elapsed()))
    }

    /// Decides whether a request is admitted.
    pub(super) fn decide(&self, operation: &str, body: &Bytes, metering: Metering) -> MeterDecision {
        if metering == Metering::None {
            return MeterDecision::Unmetered;
        }
        let named =
            |model: &mut Model, _| std::str::from_utf8(body).is_ok_and(|text| text.contains(&model.spec().table));
        if !self.inspect(named).unwrap_or(false) {
            return MeterDecision::Unmetered;
        }
        // The body is parsed outside the lock, because a batch can be 16 MB long.
        let Ok(body) = serde_json::from_slice::<Json>(body) else { return MeterDecision::Unmetered };
        let mut active = self.lock();
        let Some(ActiveModel { model, began, schema }) = active.as_mut() else { return MeterDecision::Unmetered };
        let Some(schema) = schema else { return MeterDecision::Describe(model.spec().table.clone()) };
        let Some(bill) = Bill::parse(operation, &body, metering, schema, model) else {
            return MeterDecision::Unmetered;
        };
        match model.admit_all(began.elapsed(), &bill.demands) {
            Ok(()) => MeterDecision::Admitted(bill),
            Err(throttled) => MeterDecision::Throttle(throttled),
        }
    }

    /// Stores the table's key schema and ARN from the table's description. Returns false if the description contains no
    /// keys.
    pub(super) fn set_description(&self, described: &[u8]) -> bool {
        let described: Json = serde_json::from_slice(described).unwrap_or_default();
        let table = &described["Table"];
        let mut active = self.lock();
        let Some(active) = active.as_mut() else { return false };
        if let Some(arn) = table["TableArn"].as_str() {
            active.model.set_arn(arn);
        }
        active.schema = Schema::parse(table);
        active.schema.is_some()
    }

    /// Discards the stored key schema, because the table can have different keys from now on.
    pub(super) fn clear_schema(&self) {
        if let Some(active) = self.lock().as_mut() {
            active.schema = None;
        }
    }

    /// Charges a request according to its reply. For a successful reply, the charge is the reported `capacity`. For a
    /// failed condition, the error's body determines the charge. For any other error, nothing is charged.
    pub(super) fn charge(&self, bill: &Bill, error: Option<&str>, capacity: &Json, reply: &[u8]) {
        let mut active = self.lock();
        let Some(ActiveModel { model, began, schema: Some(schema) }) = active.as_mut() else { return };
        let now = began.elapsed();
        match error {
            None => bill.charge(model, now, capacity, reply, schema),
            Some("ConditionalCheckFailedException") => bill.charge_failed_condition(model, now, reply),
            // A refused request costs nothing. A cancelled transaction consumes units, but its reply does not report
            // them.
            Some(_) => {}
        }
    }

    /// Returns the `DescribeTable` reply with the model's limits. Returns `None` if the spec does not advertise them,
    /// or if the reply describes a different table.
    pub(super) fn advertised(&self, reply: &Bytes) -> Option<Bytes> {
        let active = self.lock();
        let model = &active.as_ref()?.model;
        let described = serde_json::from_slice::<Json>(reply).ok()?;
        let is_modeled = described["Table"]["TableName"] == model.spec().table.as_str();
        if is_modeled && model.spec().advertise { advertise(reply, model) } else { None }
    }

    /// Locks the model. The model stays usable even if a thread panics while it holds the lock.
    fn lock(&self) -> MutexGuard<'_, Option<ActiveModel>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the members of an error's body, except the exception's name and the message.
pub(super) fn reason_members(throttled: &Throttle) -> Map<String, Json> {
    if throttled.reasons.is_empty() {
        return Map::new();
    }
    let reasons = throttled.reasons.iter().map(|r| json!({ "reason": r.reason, "resource": r.resource }));
    Map::from_iter([(throttled.reasons_member().to_owned(), reasons.collect())])
}
