//! What the model is told: the operator's TOML file.

use serde::Deserialize;

use super::reason::{Limit, Reason, Resource};
use crate::item::Units;
use crate::local::checks::{MOST, delay, not_negative, positive, share, some_count, some_positive};
use crate::local::traffic::TrafficSpec;

/// Partitions of an on-demand table at its creation: enough for the 4,000 writes and 12,000 reads per second that it
/// serves then (developer guide, "Pre-warming on-demand capacity").
const NEW_ON_DEMAND: u32 = 4;

/// A table's capacity. Without `provisioned` and `on_demand` the table is on demand and has no limit but its partitions'.
///
/// All limits are in capacity units per second and are multiplied by `scale`, so that a small machine meets the limits
/// of a large table.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ModelSpec {
    /// The table that the limits are of; other tables have none. Default: the sample table.
    pub table: String,
    /// Multiplies every limit.
    #[serde(deserialize_with = "positive")]
    pub scale: f64,
    /// Seeds what is random: which requests a storm hits.
    pub seed: u64,
    /// Whether `DescribeTable` shows these limits.
    pub advertise: bool,
    /// Whether throttling errors carry reasons; older engines give none.
    pub reasons: bool,
    /// Provisioned capacity. A table has this or `on_demand`, not both; if both are set, this counts.
    pub provisioned: Option<Throughput>,
    /// The maxima of an on-demand table.
    pub on_demand: Option<Maximum>,
    /// What the account has, over the table and its indexes.
    pub account: Maximum,
    /// Partitions of the table.
    pub partitions: PartitionSpec,
    /// Burst credit of provisioned capacity.
    pub burst: BurstSpec,
    /// Global indexes. Those that are not named have no limit of their own.
    #[serde(rename = "index")]
    pub indexes: Vec<IndexSpec>,
    /// Times in which requests are throttled whatever they consume.
    #[serde(rename = "storm")]
    pub storms: Vec<Storm>,
    /// An application beside the job. The model itself does not look at it.
    pub traffic: Option<TrafficSpec>,
}

/// Reads and writes, both stated.
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

/// Reads and writes, each perhaps without a limit.
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

/// How a table is divided.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PartitionSpec {
    /// How many there are at the start, as equal ranges of the key hash. Default: as many as the provisioned capacity
    /// needs; four on demand.
    #[serde(deserialize_with = "some_count")]
    pub count: Option<u32>,
    /// What one serves, in read capacity units per second. DynamoDB: 3,000.
    #[serde(deserialize_with = "positive")]
    pub read: Units,
    /// What one serves, in write capacity units per second. DynamoDB: 1,000.
    #[serde(deserialize_with = "positive")]
    pub write: Units,
    /// A partition that has throttled for so many seconds is split in two at its middle. An assumption: DynamoDB
    /// publishes no figure. Infinite: never.
    #[serde(deserialize_with = "delay")]
    pub split_after_seconds: f64,
}

/// Unused provisioned capacity that is kept for later. Best effort, says DynamoDB; `available` is how much of it the model
/// keeps.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BurstSpec {
    /// Seconds of unused capacity that are kept. DynamoDB: up to 300.
    #[serde(deserialize_with = "not_negative")]
    pub seconds: f64,
    /// Which share of it can be had.
    #[serde(deserialize_with = "share")]
    pub available: f64,
    /// Which share of that is there at the start; 1 for a table that was idle.
    #[serde(deserialize_with = "share")]
    pub initial: f64,
}

/// A global index. Its limits are provisioned or maxima on demand, as the table's are.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IndexSpec {
    /// Its name.
    pub name: String,
    /// Read capacity units per second; none is no limit.
    #[serde(default, deserialize_with = "some_positive")]
    pub read: Option<Units>,
    /// Write capacity units per second; none is no limit.
    #[serde(default, deserialize_with = "some_positive")]
    pub write: Option<Units>,
    /// Partitions of its own, with the limits of the table's; without, no partition of it is ever hot.
    #[serde(default, deserialize_with = "some_count")]
    pub partitions: Option<u32>,
}

/// A time in which a share of the requests is throttled, whatever they consume.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Storm {
    /// Begins so many seconds after the start.
    #[serde(deserialize_with = "not_negative")]
    pub from: f64,
    /// Ends so many seconds after the start.
    #[serde(deserialize_with = "not_negative")]
    pub to: f64,
    /// Share of the requests, of 0..1.
    #[serde(deserialize_with = "share")]
    pub fraction: f64,
    /// What they are told. It hits reads or writes as the reason does.
    pub reason: Reason,
    /// The index that an `Index…` reason names.
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

/// A capacity model that cannot be: with line and column where the file is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SpecError(String);

impl ModelSpec {
    /// Reads it from TOML.
    pub fn from_toml(text: &str) -> Result<ModelSpec, SpecError> {
        let spec: ModelSpec = toml::from_str(text).map_err(|e| SpecError(e.to_string().trim_end().to_owned()))?;
        spec.check()?;
        Ok(spec)
    }

    /// What no single value can say.
    fn check(&self) -> Result<(), SpecError> {
        let wrong = |text: String| Err(SpecError(text));
        if self.provisioned.is_some() && self.on_demand.is_some() {
            return wrong("a table has [provisioned] capacity or [on_demand] maxima, not both: take one away".into());
        }
        for storm in &self.storms {
            let known = |name: &String| self.indexes.iter().any(|index| index.name == *name);
            match (storm.reason.resource, &storm.index) {
                (Resource::Index, Some(name)) if known(name) => {}
                (Resource::Index, Some(name)) => {
                    return wrong(format!("a [[storm]] names the index {name:?}, and no [[index]] has that name"));
                }
                (Resource::Index, None) => {
                    return wrong(format!("a [[storm]] with reason {} needs `index = \"…\"`", storm.reason));
                }
                (Resource::Table, Some(_)) => {
                    return wrong(format!(
                        "a [[storm]] with reason {} is of the table: take `index` away",
                        storm.reason
                    ));
                }
                (Resource::Table, None) => {}
            }
            if storm.to <= storm.from {
                return wrong(format!("a [[storm]] from {} to {} s has no length", storm.from, storm.to));
            }
        }
        match repeated(self.indexes.iter().map(|index| index.name.as_str())) {
            Some(name) => wrong(format!("two [[index]] have the name {name:?}")),
            None => Ok(()),
        }
    }

    /// The limit that the table's own throttles name.
    pub(super) fn own_limit(&self) -> Limit {
        if self.provisioned.is_some() { Limit::Provisioned } else { Limit::MaxOnDemand }
    }

    /// Partitions at the start.
    pub(super) fn partition_count(&self) -> u32 {
        self.partitions.count.unwrap_or_else(|| match self.provisioned {
            Some(Throughput { read, write }) => {
                // Counts beyond what fits are refused by nobody's memory: the cast saturates.
                (read / self.partitions.read + write / self.partitions.write).ceil().clamp(1.0, f64::from(MOST)) as u32
            }
            None => NEW_ON_DEMAND,
        })
    }
}

fn repeated<'a>(names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let mut seen = std::collections::BTreeSet::new();
    names.into_iter().find(|name| !seen.insert(*name))
}

#[cfg(test)]
mod tests {
    use super::super::{Kind, Model, Scope};
    use super::*;

    #[test]
    fn a_file_says_it_all() {
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
        assert_eq!(model.allows(Scope::Table, Kind::Write), 20.0);
        assert_eq!(model.allows(Scope::Partition, Kind::Read), 30.0);
        assert_eq!(model.allows(Scope::Index(0), Kind::Write), 5.0);
        assert_eq!(model.allows(Scope::Index(0), Kind::Read), f64::INFINITY);
        assert_eq!(ModelSpec::from_toml("").unwrap(), ModelSpec::default());
    }

    #[test]
    fn a_file_that_cannot_be_says_where() {
        for (text, wanted) in [
            ("scale = 1\nprovisioned = { read = 0, write = 1 }", "line 2"),
            ("scale = -1", "more than 0"),
            ("scale = nan", "more than 0"),
            ("scale = inf", "finite"),
            ("\n\nspeed = 1", "line 3"),
            ("[partitions]\ncount = 0", "from 1 to 65536"),
            ("[burst]\navailable = 1.5", "a share, from 0 to 1"),
            ("[[storm]]\nfrom=0\nto=1\nfraction=1\nreason=\"Slow\"", "no throttling reason"),
            ("[[storm]]\nfrom=5\nto=1\nfraction=1\nreason=\"TableWriteAccountLimitExceeded\"", "no length"),
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
