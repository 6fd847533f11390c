//! The simulated table, which implements the port trait that the engine uses.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use backfill::internals::change::GuardedWrite;
use backfill::internals::dynamodb::{
    Describe, Features, GetReply, IndexDescription, Page, PageRequest, Sink, Source, TableDescription, TableError,
    ThrottlingReason, WriteConsumption, WriteReply,
};
use backfill::internals::item::{
    IndexSchema, ItemKey, KeyAttribute, KeySchema, Position, Projection, read_units, write_units,
};
use backfill::internals::local::capacity::{ModelSpec, RequestKind};

use super::data::{Data, INDEX_KEY, SOURCE, TARGET};
use super::model::{INDEX, SimRequest, TABLE_ARN};
use super::service::{Sender, Service};

/// A page ends when it contains this number of bytes.
const PAGE_BYTES: usize = 1024 * 1024;

/// Number of bytes that the job's change adds to an item.
pub const GROWTH: usize = TARGET.len() + SOURCE.1.len();

/// A table of synthetic items. Each request takes virtual time and consumes the model's capacity.
pub struct SimTable {
    data: Mutex<Data>,
    service: Arc<Service>,
    description: Mutex<TableDescription>,
    /// The shortest and the longest duration of a request.
    latency: (Duration, Duration),
    random: Mutex<fastrand::Rng>,
}

impl SimTable {
    /// Creates a table with these items.
    pub fn new(
        data: Data,
        service: Arc<Service>,
        spec: &ModelSpec,
        latency: (Duration, Duration),
        seed: u64,
    ) -> SimTable {
        let description = Mutex::new(describe(&data, spec));
        let random = Mutex::new(fastrand::Rng::with_seed(seed));
        SimTable { data: Mutex::new(data), service, description, latency, random }
    }

    /// The table's description.
    pub fn description(&self) -> TableDescription {
        self.description.lock().unwrap().clone()
    }

    /// Applies these limits and indexes from now on.
    pub fn change(&self, spec: &ModelSpec) {
        self.service.change(spec);
        let description = describe(&self.data.lock().unwrap(), spec);
        *self.description.lock().unwrap() = description;
    }

    /// Number of items that have been written.
    pub fn done(&self) -> usize {
        self.data.lock().unwrap().items.iter().filter(|item| item.done).count()
    }

    /// Waits for half the duration of a request. Every request waits twice: for its arrival at the table, and for the
    /// reply's arrival at the client.
    async fn half_round_trip(&self) {
        let (least, most) = self.latency;
        let share = self.random.lock().unwrap().f64();
        tokio::time::sleep((least + (most - least).mul_f64(share)) / 2).await;
    }

    fn send(&self, sim_request: &SimRequest) -> Result<(), TableError> {
        self.service.send(Sender::Job, sim_request).map_err(|reasons| TableError::Throttled {
            message: reasons.first().map_or_else(String::new, |r: &ThrottlingReason| r.reason.clone()),
            reasons,
        })
    }

    fn page(&self, request: &PageRequest) -> (Page, SimRequest) {
        let data = self.data.lock().unwrap();
        let segment = data.segment(request.segment, request.total_segments);
        let start = request.start.as_ref().and_then(Position::key).map_or(segment.start, |key| Data::place(key) + 1);
        assert!((segment.start..=segment.end).contains(&start), "a start key of another segment");
        let limit = request.limit.map_or(usize::MAX, |limit| limit as usize);
        let mut bytes = 0;
        let mut end = start;
        while end < segment.end && end - start < limit && bytes < PAGE_BYTES {
            bytes += data.items[end].bytes as usize;
            end += 1;
        }
        // A full page contains a next position even if the segment has no more items. An empty page then follows.
        let full = end - start == limit || bytes >= PAGE_BYTES;
        let units = read_units(bytes, request.consistent);
        let bound = ((u128::from(request.segment) << 64) / u128::from(request.total_segments)) as u64;
        let at =
            |place: usize| data.items.get(place).filter(|_| place < segment.end).map_or(bound, |item| item.position);
        let position = at(start);
        let to = at(end.saturating_sub(1).max(start));
        let key = data.items.get(start).map_or(0, |item| item.partition_key);
        let next = (full && end > start).then(|| Position::Key(data.key(end - 1)));
        let page = Page { items: (start..end).map(|place| data.item(place)).collect(), next, units: Some(units) };
        (page, SimRequest { kind: RequestKind::Read, position, to, key, units, index: 0.0 })
    }

    fn apply(&self, write: &GuardedWrite) -> Result<WriteReply, TableError> {
        let place = Data::place(&write.key);
        let stored = self.data.lock().unwrap().items[place];
        let before = stored.bytes as usize + if stored.done { GROWTH } else { 0 };
        let after = stored.bytes as usize + GROWTH;
        let units = write_units(before, after);
        // The index contains whole items, so a change costs the index as much as the table. A rejected write does not
        // change the index.
        let indexed = !self.description.lock().unwrap().indexes.is_empty() && !stored.done;
        let index = if indexed { units } else { 0.0 };
        self.send(&SimRequest::write(stored.position, stored.partition_key, units, index))?;
        let mut data = self.data.lock().unwrap();
        if stored.done {
            return Ok(WriteReply::ConditionFailed { image: Some(data.item(place)) });
        }
        data.items[place].done = true;
        let indexes = if indexed { vec![(INDEX.to_owned(), index)] } else { Vec::new() };
        Ok(WriteReply::Applied {
            consumed: Some(WriteConsumption { table: units, indexes, elsewhere: None }),
            removed: None,
        })
    }
}

#[async_trait]
impl Describe for SimTable {
    async fn describe(&self) -> Result<TableDescription, TableError> {
        Ok(self.description())
    }
}

#[async_trait]
impl Source for SimTable {
    async fn read_page(&self, request: &PageRequest) -> Result<Page, TableError> {
        self.half_round_trip().await;
        let (page, sim_request) = self.page(request);
        let answer = self.send(&sim_request);
        self.half_round_trip().await;
        answer.map(|()| page)
    }
}

#[async_trait]
impl Sink for SimTable {
    async fn write(&self, chunk: &[&GuardedWrite]) -> Vec<Result<WriteReply, TableError>> {
        self.half_round_trip().await;
        let replies = chunk.iter().map(|write| self.apply(write)).collect();
        self.half_round_trip().await;
        replies
    }

    fn max_chunk(&self) -> usize {
        1
    }

    async fn get(&self, key: &ItemKey) -> Result<GetReply, TableError> {
        self.half_round_trip().await;
        let (item, stored) = {
            let data = self.data.lock().unwrap();
            let place = Data::place(key);
            (data.item(place), data.items[place])
        };
        let units = read_units(backfill::internals::item::item_bytes(&item), true);
        let answer = self.send(&SimRequest::read(stored.position, stored.partition_key, units));
        self.half_round_trip().await;
        answer.map(|()| GetReply { item: Some(item), units: Some(units) })
    }
}

fn describe(data: &Data, spec: &ModelSpec) -> TableDescription {
    let attribute = |name: &str| KeyAttribute { name: name.into(), kind: "S".into() };
    let scaled = |units: f64| units * spec.scale;
    let index = |write: f64| IndexDescription {
        schema: IndexSchema {
            name: INDEX.into(),
            key: vec![attribute(INDEX_KEY)],
            partition: 1,
            projection: Projection::All,
            local: false,
        },
        provisioned: spec.provisioned.map(|table| (scaled(table.read), scaled(write))),
        on_demand_max: (None, None),
        warm: None,
        is_ready: true,
        entries: None,
    };
    TableDescription {
        name: "simulated".into(),
        arn: TABLE_ARN.into(),
        id: None,
        status: "ACTIVE".into(),
        key: KeySchema { partition: attribute("pk"), sort: Some(attribute("sk")) },
        item_count: data.items.len() as u64,
        size_bytes: data.bytes(),
        provisioned: spec.provisioned.map(|table| (scaled(table.read), scaled(table.write))),
        on_demand_max: (None, None),
        warm: None,
        indexes: spec.indexes.iter().filter_map(|index| index.write).map(index).collect(),
        features: Features::default(),
        sink: None,
        derived: None,
    }
}
