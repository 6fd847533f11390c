//! The configuration of the capacity model, from the operator's TOML file.

use serde::Deserialize;

use super::reason::{Limit, Reason, Resource};
use crate::item::Units;
use crate::local::checks::{MOST, delay, not_negative, positive, share, some_count, some_positive};
use crate::local::traffic::TrafficSpec;

/// Number of partitions of a new on-demand table. These partitions are enough for the 4,000 writes and 12,000 reads per
/// second that such a table serves (developer guide, "Pre-warming on-demand capacity").
const NEW_ON_DEMAND_PARTITIONS: u32 = 4;

/// A table's capacity. If both `provisioned` and `on_demand` are absent, the table is on demand, and only its
/// partitions have limits.
///
/// All limits are in capacity units per second and are multiplied by `scale`, so that a small machine can reach the
/// limits of a large table.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ModelSpec {
    /// The name of the table to which the limits apply. All other tables have no limits. The default is the sample
    /// table.
    pub table: String,
    /// The factor that multiplies every limit.
    #[serde(deserialize_with = "positive")]
    pub scale: f64,
    /// The seed for choosing at random which requests a storm throttles.
    pub seed: u64,
    /// Whether `DescribeTable` shows these limits.
    pub advertise: bool,
    /// Whether throttling errors contain reasons. Older engines send no reasons.
    pub reasons: bool,
    /// Provisioned capacity. A spec should set either this field or `on_demand`. If both are set, this field applies.
    pub provisioned: Option<Throughput>,
    /// The maxima of an on-demand table.
    pub on_demand: Option<Maximum>,
    /// The account's limits. They apply to the table and its indexes together.
    pub account: Maximum,
    /// Partitions of the table.
    pub partitions: PartitionSpec,
    /// Burst credit of provisioned capacity.
    pub burst: BurstSpec,
    /// Global indexes. An unlisted index has no limit of its own.
    #[serde(rename = "index")]
    pub indexes: Vec<IndexSpec>,
    /// Periods in which the model throttles requests, regardless of the capacity that the requests consume.
    #[serde(rename = "storm")]
    pub storms: Vec<Storm>,
    /// The traffic of a simulated application. The model itself ignores this field.
    pub traffic: Option<TrafficSpec>,
}

/// Limits for reads and writes. Both limits are required.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Throughput {
    /// Read capacity units per second.
    #[serde(deserialize_with = "positive")]
    pub read: Units,
    /// Write capacity units per second.
    #[serde(deserialize_with = "positive")]
    pub write: Units,
}

/// Limits for reads and writes. Each limit is optional.
#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Maximum {
    /// Read capacity units per second.
    #[serde(deserialize_with = "some_positive")]
    pub read: Option<Units>,
    /// Write capacity units per second.
    #[serde(deserialize_with = "some_positive")]
    pub write: Option<Units>,
}

/// The partitions of a table.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PartitionSpec {
    /// Number of partitions at the start. All partitions have equally large ranges of the key hash. The default is the
    /// number that the provisioned capacity requires, or four for an on-demand table.
    #[serde(deserialize_with = "some_count")]
    pub count: Option<u32>,
    /// The limit of one partition in read capacity units per second. DynamoDB's limit is 3,000.
    #[serde(deserialize_with = "positive")]
    pub read: Units,
    /// The limit of one partition in write capacity units per second. DynamoDB's limit is 1,000.
    #[serde(deserialize_with = "positive")]
    pub write: Units,
    /// A partition that throttles for this number of seconds is split in the middle. The value `inf` means that
    /// partitions are never split. The default is an assumption, because DynamoDB publishes no figure.
    #[serde(deserialize_with = "delay")]
    pub split_after_seconds: f64,
}

/// Burst credit: unused provisioned capacity that is saved for later. DynamoDB does not guarantee burst credit, so
/// `available` sets the fraction that the model may use.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BurstSpec {
    /// The maximum burst credit, in seconds of unused capacity. DynamoDB saves up to 300 seconds.
    #[serde(deserialize_with = "not_negative")]
    pub seconds: f64,
    /// The usable fraction of the burst credit, from 0 to 1.
    #[serde(deserialize_with = "share")]
    pub available: f64,
    /// The fraction of the usable burst credit that is available at the start. The value 1 describes a table that was
    /// idle before.
    #[serde(deserialize_with = "share")]
    pub initial: f64,
}

/// A global index. If the table has provisioned capacity, so does the index. Otherwise the index's limits are on-demand
/// maxima.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IndexSpec {
    /// The name of the index.
    pub name: String,
    /// Read capacity units per second. The index has no read limit if this field is absent.
    #[serde(default, deserialize_with = "some_positive")]
    pub read: Option<Units>,
    /// Write capacity units per second. The index has no write limit if this field is absent.
    #[serde(default, deserialize_with = "some_positive")]
    pub write: Option<Units>,
    /// Number of the index's own partitions. These partitions have the same limits as the table's partitions. If this
    /// field is absent, the index has no partition limits.
    #[serde(default, deserialize_with = "some_count")]
    pub partitions: Option<u32>,
}

/// A period in which the model throttles a fraction of the requests, regardless of the capacity that the requests
/// consume.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Storm {
    /// Seconds from the start of the model to the start of the storm.
    #[serde(deserialize_with = "not_negative")]
    pub from: f64,
    /// Seconds from the start of the model to the end of the storm.
    #[serde(deserialize_with = "not_negative")]
    pub to: f64,
    /// The fraction of the requests that the storm throttles, from 0 to 1.
    #[serde(deserialize_with = "share")]
    pub fraction: f64,
    /// The throttling reason in the storm's errors. It also determines whether the storm throttles reads or writes.
    pub reason: Reason,
    /// The name of the throttled index, if `reason` is an `Index…` reason.
    pub index: Option<String>,
}

impl Default for ModelSpec {
    fn default() -> ModelSpec {
        ModelSpec {
            table: crate::local::sample::TABLE.to_owned(),
            scale: 1.0,
            seed: 1,
            advertise: true,
            reasons: true,
            provisioned: None,
            on_demand: None,
            account: Maximum::default(),
            partitions: PartitionSpec::default(),
            burst: BurstSpec::default(),
            indexes: Vec::new(),
            storms: Vec::new(),
            traffic: None,
        }
    }
}

impl Default for PartitionSpec {
    fn default() -> PartitionSpec {
        PartitionSpec { count: None, read: 3_000.0, write: 1_000.0, split_after_seconds: 600.0 }
    }
}

impl Default for BurstSpec {
    fn default() -> BurstSpec {
        BurstSpec { seconds: 300.0, available: 1.0, initial: 1.0 }
    }
}

/// The error for an invalid capacity model. If a single value is invalid, the error contains that value's line and
/// column.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SpecError(String);

impl ModelSpec {
    /// Parses TOML.
    pub fn from_toml(text: &str) -> Result<ModelSpec, SpecError> {
        let spec: ModelSpec = toml::from_str(text).map_err(|e| SpecError(e.to_string().trim_end().to_owned()))?;
        spec.check()?;
        Ok(spec)
    }

    /// Checks the rules that apply to several values together.
    fn check(&self) -> Result<(), SpecError> {
        let wrong = |text: String| Err(SpecError(text));
        if self.provisioned.is_some() && self.on_demand.is_some() {
            return wrong(
                "a table must have either [provisioned] capacity or [on_demand] maxima, not both: remove one".into(),
            );
        }
        for storm in &self.storms {
            let known = |name: &String| self.indexes.iter().any(|index| index.name == *name);
            match (storm.reason.resource, &storm.index) {
                (Resource::Index, Some(name)) if known(name) => {}
                (Resource::Index, Some(name)) => {
                    return wrong(format!("a [[storm]] names the index {name:?}, but no [[index]] has that name"));
                }
                (Resource::Index, None) => {
                    return wrong(format!("a [[storm]] with reason {} needs `index = \"…\"`", storm.reason));
                }
                (Resource::Table, Some(_)) => {
                    return wrong(format!(
                        "a [[storm]] with reason {} throttles the table and must not name an index: remove `index`",
                        storm.reason
                    ));
                }
                (Resource::Table, None) => {}
            }
            if storm.to <= storm.from {
                return wrong(format!(
                    "a [[storm]] must end after it starts, but this one is from {} s to {} s",
                    storm.from, storm.to
                ));
            }
        }
        match repeated(self.indexes.iter().map(|index| index.name.as_str())) {
            Some(name) => wrong(format!("two [[index]] tables have the name {name:?}")),
            None => Ok(()),
        }
    }

    /// Returns the kind of limit that an error reports if the table or an index has no capacity left.
    pub(super) fn own_limit(&self) -> Limit {
        if self.provisioned.is_some() { Limit::Provisioned } else { Limit::MaxOnDemand }
    }

    /// Returns the number of partitions at the start.
    pub(super) fn partition_count(&self) -> u32 {
        self.partitions.count.unwrap_or_else(|| match self.provisioned {
            Some(Throughput { read, write }) => {
                // The cast cannot overflow: the value is clamped.
                (read / self.partitions.read + write / self.partitions.write).ceil().clamp(1.0, f64::from(MOST)) as u32
            }
            None => NEW_ON_DEMAND_PARTITIONS,
        })
    }
}

fn repeated<'a>(names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let mut seen = std::collections::BTreeSet::new();
    names.into_iter().find(|name| !seen.insert(*name))
}

#[cfg(test)]
mod tests {
    use super::super::{LimitScope, Model, RequestKind};
    use super::*;

    #[test]
    fn a_file_sets_every_value() {
        let spec = ModelSpec::from_toml(
            r#"
        table = "orders"
        scale = 0.01
        reasons = false
        provisioned = { read = 4000, write = 2000 }
        [partitions]
        split_after_seconds = inf
        [burst]
        seconds = 60
        [[index]]
        name = "by-day"
        write = 500
        [[storm]]
        from = 10
        to = 70.5
        fraction = 0.9
        reason = "IndexWriteProvisionedThroughputExceeded"
        index = "by-day"
        [traffic]
        writes_per_second = 3
        "#,
        )
        .unwrap();
        assert_eq!((spec.table.as_str(), spec.partition_count(), spec.advertise), ("orders", 4, true));
        assert_eq!(spec.traffic.as_ref().map(|t| (t.writes_per_second, t.keys)), Some((3.0, 1_000)));
        let model = Model::new(spec);
        assert_eq!(model.allowed_rate(LimitScope::Table, RequestKind::Write), 20.0);
        assert_eq!(model.allowed_rate(LimitScope::Partition, RequestKind::Read), 30.0);
        assert_eq!(model.allowed_rate(LimitScope::Index(0), RequestKind::Write), 5.0);
        assert_eq!(model.allowed_rate(LimitScope::Index(0), RequestKind::Read), f64::INFINITY);
        assert_eq!(ModelSpec::from_toml("").unwrap(), ModelSpec::default());
    }

    #[test]
    fn errors_in_a_file_name_the_place() {
        for (text, wanted) in [
            ("scale = 1\nprovisioned = { read = 0, write = 1 }", "line 2"),
            ("scale = -1", "more than 0"),
            ("scale = nan", "more than 0"),
            ("scale = inf", "finite"),
            ("\n\nspeed = 1", "line 3"),
            ("[partitions]\ncount = 0", "from 1 to 65536"),
            ("[burst]\navailable = 1.5", "a fraction from 0 to 1"),
            ("[[storm]]\nfrom=0\nto=1\nfraction=1\nreason=\"Slow\"", "not a throttling reason"),
            (
                "[[storm]]\nfrom=5\nto=1\nfraction=1\nreason=\"TableWriteAccountLimitExceeded\"",
                "must end after it starts",
            ),
            ("[[storm]]\nfrom=0\nto=1\nfraction=1\nreason=\"IndexWriteAccountLimitExceeded\"", "needs `index"),
            (
                "[[storm]]\nfrom=0\nto=1\nfraction=1\nindex=\"i\"\nreason=\"IndexWriteAccountLimitExceeded\"",
                "no [[index]]",
            ),
            ("[[index]]\nname=\"i\"\n[[index]]\nname=\"i\"", "two [[index]]"),
            ("on_demand = { write = 1 }\nprovisioned = { read = 1, write = 1 }", "not both"),
            ("[traffic]\nkeys = 0", "line 2"),
            ("table = ", "line 1"),
        ] {
            let error = ModelSpec::from_toml(text).unwrap_err().to_string();
            assert!(error.contains(wanted), "{text}\n{error}");
        }
    }
}
