//! Reads pages and items: from the table, from an index, and by listed keys.

use std::sync::atomic::Ordering;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use futures::stream::{self, StreamExt as _};
use tokio::time::Instant;

use super::failure::cost_of_failure;
use super::{Attempts, ReadPage, Requests};
use crate::change::Filter;
use crate::dynamodb::{FatalKind, FilteredPage, GetReply, Page, PageRequest, TableError};
use crate::engine::measure::Operation;
use crate::engine::stop::Stopped;
use crate::item::{Item, ItemKey, PartitionHash, Position, Units, item_bytes, read_units};
use crate::plan::Access;
use crate::ratelimit::Bucket;
use crate::state::Spend;

/// The maximum number of listed items that one segment reads at the same time. At 5 ms for a read, a segment reads
/// about 1,600 items per second. One partition key serves at most 3,000 read units per second.
const MAX_KEY_READS: usize = 8;

/// A page of listed items ends when its items reach this size in bytes. DynamoDB ends a page of a scan at the same
/// size.
pub(super) const MAX_LISTED_BYTES: usize = 1 << 20;

/// The maximum number of entries in a page of an index. The items of a page are in memory together, and each has at
/// most 400 KB.
const MAX_INDEX_PAGE: u32 = 100;

impl Requests {
    /// Reads one page. `estimate` is the probable cost of the page in read units. If the source yields only keys, reads
    /// the items with these keys, strongly consistently. In that case, each read acquires its own permits.
    pub(crate) async fn read_page(&self, request: &PageRequest, estimate: Units) -> Result<ReadPage, Stopped> {
        if self.source.yields_keys() {
            return self.read_listed_items(request, estimate).await;
        }
        // The first items of a page usually have the same partition key as the start position. So charge that partition
        // key only for its share of the page.
        let start = request.start.as_ref().and_then(Position::key);
        let key = start.map(|key| key.partition_hash(&self.partition_key));
        let share = |page: &Page| {
            let of_key = |item: &&Item| item.get(&*self.partition_key).map(PartitionHash::from_value) == key;
            page.items.iter().filter(of_key).count() as f64 / page.items.len().max(1) as f64
        };
        // Only the survey requests keys without items. The survey needs the keys of all items, so it reads without the
        // filter.
        let is_rejected = self.is_filter_rejected.load(Ordering::Relaxed);
        if let Some(filter) = self.filter.as_deref().filter(|_| !request.keys_only && !is_rejected) {
            // The keys of the items that the filter left out are unknown. If the next page starts with the same
            // partition key, these items have that key. In every other case, assume that these items have that key too.
            let consumed = |FilteredPage { page, left_out }: &FilteredPage| {
                let next = page.next.as_ref().and_then(Position::key);
                let stays = next.is_some_and(|next| Some(next.partition_hash(&self.partition_key)) == key);
                let share = if stays || *left_out > 0 { 1.0 } else { share(page) };
                page.units.map(|units| (units, units * share))
            };
            let read = || self.read_filtered_page(request, filter).boxed();
            let FilteredPage { page, left_out } =
                self.read(Operation::Scan, key, estimate, None, read, consumed).await?;
            return Ok(ReadPage { page, missing: 0, left_out });
        }
        let consumed = |page: &Page| page.units.map(|units| (units, units * share(page)));
        let page = self.read(Operation::Scan, key, estimate, None, || self.source.read_page(request), consumed).await?;
        Ok(ReadPage { page, missing: 0, left_out: 0 })
    }

    /// Reads a page with this filter. If DynamoDB rejects the request and accepts it without the filter, the run
    /// continues without the filter. (The rejected request consumes no capacity.)
    async fn read_filtered_page(&self, request: &PageRequest, filter: &Filter) -> Result<FilteredPage, TableError> {
        let reply = self.source.read_filtered_page(request, filter).await;
        let Err(TableError::Fatal { kind: FatalKind::Request, message: rejection }) = &reply else { return reply };
        let page = self.source.read_page(request).await?;
        if !self.is_filter_rejected.swap(true, Ordering::Relaxed) {
            tracing::warn!("DynamoDB rejected the filter, so this run reads without one: {rejection}");
        }
        Ok(FilteredPage { page, left_out: 0 })
    }

    /// Reads the next keys of the source, and the items with these keys. The items keep the order of the keys. The page
    /// ends early when its items have [`MAX_LISTED_BYTES`].
    async fn read_listed_items(&self, request: &PageRequest, estimate: Units) -> Result<ReadPage, Stopped> {
        let keys = self.read_keys(request, estimate).await?;
        let total = keys.items.len();
        let reads = keys.items.into_iter().map(|key| async move { self.get(&ItemKey::new(key)).await });
        let mut reads = stream::iter(reads).buffered(MAX_KEY_READS);
        let mut page = Page { items: Vec::new(), next: keys.next, units: keys.units };
        let mut missing = 0;
        let mut bytes = 0;
        let mut done = 0;
        while let Some(read) = reads.next().await {
            let GetReply { item, units } = read?;
            page.units = Some(page.units.unwrap_or(0.0) + units.unwrap_or(0.0));
            done += 1;
            match item {
                Some(item) => {
                    bytes += item_bytes(&item);
                    page.items.push(item);
                }
                None => missing += 1,
            }
            // Read a page of an index to its end. Such a page is short, and positions inside it are unknown.
            if bytes >= MAX_LISTED_BYTES && self.source.index().is_none() {
                break;
            }
        }
        drop(reads);
        if done < total {
            // The source is a file that cannot change. So a page that ends early ends before the first unread key.
            let limit = u32::try_from(done).ok();
            page.next = self.read_keys(&PageRequest { limit, ..request.clone() }, 0.0).await?.next;
        }
        Ok(ReadPage { page, missing, left_out: 0 })
    }

    /// Reads a page of a source that yields only keys. A page of a file consumes no capacity.
    async fn read_keys(&self, request: &PageRequest, estimate: Units) -> Result<Page, Stopped> {
        if self.source.index().is_some() {
            let index = self.index_reads.as_deref();
            let consumed = |page: &Page| page.units.map(|units| (units, units));
            let limit = request.limit.map_or(MAX_INDEX_PAGE, |limit| limit.min(MAX_INDEX_PAGE));
            let request = &PageRequest { limit: Some(limit), consistent: false, ..request.clone() };
            return self
                .read(Operation::Scan, None, estimate, index, || self.source.read_page(request), consumed)
                .await;
        }
        let mut attempts = Attempts::default();
        loop {
            match self.source.read_page(request).await {
                Ok(page) => return Ok(page),
                Err(error) => self.after_failure(&error, &mut attempts).await?,
            }
        }
    }

    /// Reads one item of the sink, strongly consistently. If source and sink are different tables, the read needs
    /// permits from both: from the source's scopes and from the sink's bucket. The sink's bucket limits only the whole
    /// table. The source's scopes also limit each key range and each partition key.
    pub(crate) async fn get(&self, key: &ItemKey) -> Result<GetReply, Stopped> {
        let hash = key.partition_hash(&self.partition_key);
        let consumed = |got: &GetReply| got.units.map(|units| (units, units));
        let sink = self.sink_reads.as_deref();
        self.read(Operation::Get, Some(hash), read_units(4096, true), sink, || self.sink.get(key), consumed).await
    }

    async fn read<'a, T>(
        &'a self,
        operation: Operation,
        key: Option<PartitionHash>,
        estimate: Units,
        sink: Option<&Bucket>,
        send: impl Fn() -> BoxFuture<'a, Result<T, TableError>>,
        consumed: impl Fn(&T) -> Option<(Units, Units)>,
    ) -> Result<T, Stopped> {
        let mut attempts = Attempts::default();
        loop {
            let since = Instant::now();
            let opening = self.wait_until_open().await?;
            let mut grant = self.allowance.read(estimate, &self.stop).await?;
            self.stop.unless_stopping(self.read_permits(key, estimate, sink)).await?;
            let closed_meanwhile = self.wait_until_open().await? != opening;
            attempts.waited(since.elapsed());
            if closed_meanwhile {
                // The permits are no longer valid, so acquire new ones (see [`Requests::admit`]).
                continue;
            }
            grant.send();
            let in_flight = self.in_flight.send(Access::Read);
            let result = self.progress.measures().timed(operation, send()).await;
            drop(in_flight);
            if result.is_ok() {
                self.answered();
            }
            let reported = result.as_ref().ok().and_then(&consumed);
            if let Some((units, _)) = reported.filter(|_| self.measures_units) {
                self.progress.measures().record_read(units, estimate);
            }
            let (units, of_key) = match &result {
                Ok(_) => reported.unwrap_or((estimate, estimate)),
                Err(error) => (cost_of_failure(error, estimate), cost_of_failure(error, estimate)),
            };
            if !matches!(result, Err(TableError::Throttled { .. })) {
                self.scopes.reconcile_read(&self.range, key, estimate, units, of_key);
                sink.iter().for_each(|sink| sink.reconcile(estimate, units));
            }
            grant.reconcile(Spend { write: 0.0, read: units });
            match result {
                Ok(reply) => return Ok(reply),
                Err(error) => {
                    self.handle_read_failure(key, sink, &error);
                    self.after_failure(&error, &mut attempts).await?;
                }
            }
        }
    }

    async fn read_permits(&self, key: Option<PartitionHash>, units: Units, other: Option<&Bucket>) {
        // The bucket of an index or of another table is narrower than the scopes of the source.
        if let Some(other) = other {
            other.acquire(units).await;
        }
        self.scopes.read(&self.range, key, units).await;
    }

    /// Applies the effects of a failed read to the scopes. If the sink is a different table, a throttle of the sink
    /// slows only the sink's bucket, because such a throttle says nothing about the source.
    fn handle_read_failure(&self, key: Option<PartitionHash>, sink: Option<&Bucket>, error: &TableError) {
        if let (TableError::Throttled { .. }, Some(sink)) = (error, sink) {
            sink.throttled();
            self.progress.measures().record_error(error);
        } else {
            self.handle_failure(Access::Read, key, error);
        }
    }
}
