//! Adapts the capacity model to the simulator. The inputs are an item's hash and the cost of a request. The output is
//! the reasons for a throttle, if any.

use std::time::Duration;

use backfill::internals::local::capacity::{
    BurstSpec, ConsumedUnits, Demand, IndexSpec, LimitScope, Model, ModelSpec, PartitionSpec, RequestKind, Throttle,
    Throughput,
};

/// The name of the optional index of a simulated table.
pub const INDEX: &str = "by-group";

/// The ARN of the simulated table.
pub const TABLE_ARN: &str = "arn:aws:dynamodb:us-east-1:000000000000:table/simulated";

/// A request to the table.
#[derive(Debug, Clone, Copy)]
pub struct SimRequest {
    /// The kind of request: a read or a write.
    pub kind: RequestKind,
    /// The hash of the partition key, from 0 to 2^64.
    pub position: u64,
    /// If the request reads a page, the hash of the page's last item.
    pub to: u64,
    /// The partition key's number.
    pub key: u32,
    /// Units consumed from the table.
    pub units: f64,
    /// Units consumed from the index.
    pub index: f64,
}

impl SimRequest {
    /// Creates a write to one item.
    pub fn write(position: u64, key: u32, units: f64, index: f64) -> SimRequest {
        SimRequest { kind: RequestKind::Write, position, to: position, key, units, index }
    }

    /// Creates a read of one partition key.
    pub fn read(position: u64, key: u32, units: f64) -> SimRequest {
        SimRequest { kind: RequestKind::Read, position, to: position, key, units, index: 0.0 }
    }
}

/// Returns the limits of a busy table with this number of partitions and this provisioned write and read capacity. Each
/// partition has DynamoDB's limits and never splits. There is no burst credit. All limits are multiplied by `scale`.
pub fn provisioned(partitions: u32, write: f64, read: f64, scale: f64) -> ModelSpec {
    ModelSpec {
        table: "simulated".into(),
        scale,
        provisioned: Some(Throughput { read, write }),
        partitions: PartitionSpec {
            count: Some(partitions),
            split_after_seconds: f64::INFINITY,
            ..PartitionSpec::default()
        },
        burst: BurstSpec { available: 0.0, ..BurstSpec::default() },
        ..ModelSpec::default()
    }
}

/// Adds an index with this write capacity to these limits.
pub fn with_index(spec: ModelSpec, write: f64) -> ModelSpec {
    let index = IndexSpec { name: INDEX.into(), read: None, write: Some(write), partitions: None };
    ModelSpec { indexes: vec![index], ..spec }
}

/// Creates a model with these limits.
pub fn model(spec: &ModelSpec) -> Model {
    let mut model = Model::new(spec.clone());
    model.set_arn(TABLE_ARN);
    model
}

/// Sends a request to the model, and charges it if it is admitted.
pub fn send(model: &mut Model, now: Duration, sim_request: &SimRequest) -> Result<(), Throttle> {
    let demand = Demand {
        kind: sim_request.kind,
        position: share(sim_request.position),
        key: u64::from(sim_request.key),
        index: None,
    };
    model.admit(now, &demand)?;
    if sim_request.kind == RequestKind::Read {
        model.charge_range(now, &demand, share(sim_request.to), sim_request.units);
    } else {
        let indexes = if sim_request.index > 0.0 { vec![(0, sim_request.index)] } else { Vec::new() };
        model.charge(now, &demand, &ConsumedUnits { table: sim_request.units, indexes });
    }
    Ok(())
}

/// Returns the number of the partition to which a hash belongs at the start.
pub fn partition(spec: &ModelSpec, position: u64) -> usize {
    let count = spec.partitions.count.unwrap_or(1);
    ((u128::from(position) * u128::from(count)) >> 64) as usize
}

/// Returns the rate that a scope serves, in units per second.
pub fn allowed_rate(spec: &ModelSpec, scope: LimitScope, kind: RequestKind) -> f64 {
    model(spec).allowed_rate(scope, kind)
}

fn share(position: u64) -> f64 {
    position as f64 / 2_f64.powi(64)
}
