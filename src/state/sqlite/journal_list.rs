//! Lists the journal for an operator. Each write of a whole item has one record. Any other write has one record for
//! each changed path.
//!
//! A delete or a put has several rows in the journal, in two groups. The first group is stored before the write is
//! sent: for a delete, a row of the item; for a put, a row with the key of the source and then a row of the derived
//! item. The second group is stored when DynamoDB confirms the write. It ends with a mark. For a delete, a row of the
//! removed item comes first if that item differs from the recorded one, and the mark says so; for a put, the same two
//! rows come first. The rows of a group have successive ids, because each group is stored in one transaction.

use rusqlite::{Connection, Row, params};

use super::super::packed::unpack;
use super::super::{JournaledWrite, ListQuery, PreImageId, PreImageRecord, RunId, UnreadableRow};
use super::error::StateFileError;
use super::journal::{CONFIRMED, CONFIRMED_CHANGED, CONFIRMED_EARLIER, PUT_BACK, WHOLE_ITEM};
use super::read::{collect_rows, key_from, parse_path};
use crate::item::{ItemKey, Value};

/// Number of rows that are read at a time.
const ROWS_AT_A_TIME: u32 = 1_000;

/// Returns records, oldest first. Omits records of refused writes.
pub(super) fn list(
    connection: &Connection,
    query: ListQuery,
) -> Result<Vec<Result<PreImageRecord, UnreadableRow>>, StateFileError> {
    let sql = "SELECT id, run, key, path, value, at, wrote, kind FROM pre_images \
         WHERE id > ?1 AND refused = 0 AND kind = 'value' AND (?2 IS NULL OR run = ?2) ORDER BY id LIMIT ?3";
    let limit = query.limit as usize;
    let mut listed = Vec::new();
    let mut after = query.after.0;
    while listed.len() < limit {
        let query = params![after, query.run.map(|run| run.0), ROWS_AT_A_TIME];
        let rows = collect_rows(connection, sql, query, stored_row)?;
        let Some(last) = rows.last() else { break };
        after = last.as_ref().map_or_else(|unreadable| unreadable.id.0, |row| row.id);
        for row in rows {
            match row {
                Ok(row) => listed.extend(record_that_begins(connection, row)?.map(Ok)),
                Err(unreadable) => listed.push(Err(unreadable)),
            }
        }
    }
    listed.truncate(limit);
    Ok(listed)
}

/// A row of the journal.
#[derive(Debug, Clone, PartialEq)]
struct StoredRow {
    id: i64,
    run: i64,
    key: ItemKey,
    path: crate::item::Path,
    /// `None` if the row has no readable value.
    value: Option<Value>,
    at: String,
    kind: RowKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RowKind {
    /// A value, or the source of a put.
    Value,
    /// A whole item.
    Item,
    /// The mark that DynamoDB confirmed a write.
    Confirmation(ConfirmedItem),
    /// The mark that a rollback is done with the item.
    Undone,
}

/// What a confirmation says about the row before it, if that row is an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ConfirmedItem {
    /// The row is the item that was to be deleted or put.
    Planned,
    /// The row is the removed item, which a writer had changed.
    Changed,
    /// Unknown, because an earlier version of this program stored the mark.
    Unknown,
}

fn stored_row(row: &Row<'_>) -> Result<StoredRow, StateFileError> {
    let wrote = row.get::<_, Option<[u8; 8]>>(6)?;
    let kind = match (row.get::<_, String>(7)?.as_str(), wrote) {
        ("same", Some(PUT_BACK)) => RowKind::Undone,
        ("same", Some(CONFIRMED_CHANGED)) => RowKind::Confirmation(ConfirmedItem::Changed),
        ("same", Some(CONFIRMED_EARLIER)) => RowKind::Confirmation(ConfirmedItem::Unknown),
        ("same", _) => RowKind::Confirmation(ConfirmedItem::Planned),
        (_, Some(WHOLE_ITEM)) => RowKind::Item,
        (_, _) => RowKind::Value,
    };
    Ok(StoredRow {
        id: row.get(0)?,
        run: row.get(1)?,
        key: key_from(row, 2)?,
        path: parse_path(&row.get::<_, String>(3)?)?,
        value: row.get::<_, Option<Vec<u8>>>(4)?.and_then(|packed| unpack(&packed)),
        at: row.get(5)?,
        kind,
    })
}

/// Returns the record whose first row is this one. Returns `None` if the row continues a record or confirms one.
fn record_that_begins(connection: &Connection, row: StoredRow) -> Result<Option<PreImageRecord>, StateFileError> {
    // Only rows with the path of the partition key can belong to a write of a whole item.
    if !row.path.is_top_level() || !row.key.attributes().contains_key(row.path.root()) {
        return Ok(Some(record(row, JournaledWrite::Value)));
    }
    let sql = "SELECT id, run, key, path, value, at, wrote, kind FROM pre_images \
         WHERE key = ?1 AND refused = 0 AND path = ?2 AND (kind = 'value' OR kind = 'same' AND wrote IN (?3, ?4, ?5, ?6)) \
         ORDER BY id";
    let (key, path) = (row.key.to_text(), row.path.to_string());
    let marked = params![key, path, CONFIRMED, CONFIRMED_CHANGED, CONFIRMED_EARLIER, PUT_BACK];
    let rows = collect_rows(connection, sql, marked, stored_row)?;
    // Drop unreadable rows, because the list shows each of them separately. The group of such a row stays incomplete.
    let records = grouped(rows.into_iter().flatten().collect());
    Ok(records.into_iter().find(|record| record.id == PreImageId(row.id)))
}

/// Joins the rows of one key, oldest first, into records.
fn grouped(rows: Vec<StoredRow>) -> Vec<PreImageRecord> {
    let mut records: Vec<PreImageRecord> = Vec::new();
    let mut rows = rows.into_iter().peekable();
    while let Some(first) = rows.next() {
        let mut next_if = |is_due: fn(RowKind) -> bool, after: &StoredRow| {
            rows.next_if(|next| is_due(next.kind) && next.id == after.id + 1 && next.run == after.run)
        };
        let is_confirmation = |kind| matches!(kind, RowKind::Confirmation(_));
        match first.kind {
            RowKind::Value => match next_if(|kind| kind == RowKind::Item, &first) {
                None => records.push(record(first, JournaledWrite::Value)),
                Some(item) => {
                    let confirmation = next_if(is_confirmation, &item);
                    let source = match &first.value {
                        Some(Value::M(source)) => Some(ItemKey::new(source.clone())),
                        Some(_) | None => None,
                    };
                    let put = PreImageRecord { value: item.value, ..record(first, JournaledWrite::Value) };
                    add_put(&mut records, put, source, confirmation.map(|mark| mark.at));
                }
            },
            RowKind::Item => match next_if(is_confirmation, &first) {
                Some(mark) if is_own_delete(&records, &first, &mark) => {
                    let write = JournaledWrite::Delete { confirmed_at: Some(mark.at), removed: None };
                    records.push(record(first, write));
                }
                Some(mark) => confirm_delete(&mut records, Some(first), mark),
                None => {
                    // A rollback that deleted a changed derived item stores the item together with its mark.
                    let confirmed_at = next_if(|kind| kind == RowKind::Undone, &first).map(|mark| mark.at);
                    records.push(record(first, JournaledWrite::Delete { confirmed_at, removed: None }));
                }
            },
            RowKind::Undone => {}
            RowKind::Confirmation(_) => confirm_delete(&mut records, None, first),
        }
    }
    records
}

/// Confirms the newest unconfirmed record of the same put. If there is none, adds a record.
fn add_put(records: &mut Vec<PreImageRecord>, put: PreImageRecord, source: Option<ItemKey>, confirmed: Option<String>) {
    if confirmed.is_some() {
        for earlier in records.iter_mut().rev().filter(|earlier| earlier.value == put.value) {
            if let JournaledWrite::Put { source: known, confirmed_at: at @ None } = &mut earlier.write
                && *known == source
            {
                *at = confirmed;
                return;
            }
        }
    }
    records.push(PreImageRecord { write: JournaledWrite::Put { source, confirmed_at: confirmed }, ..put });
}

/// Returns whether an item's row and the mark in the next row are a delete and its confirmation. Otherwise, the row is
/// the removed item, which differs from the row of its delete. The mark of an earlier version does not say so. Both rows
/// of its confirmation have the same time, because one call stores them. If the times are equal, the value decides.
fn is_own_delete(records: &[PreImageRecord], row: &StoredRow, mark: &StoredRow) -> bool {
    match mark.kind {
        RowKind::Confirmation(ConfirmedItem::Planned) => return true,
        RowKind::Confirmation(ConfirmedItem::Changed) => return false,
        RowKind::Confirmation(ConfirmedItem::Unknown) | RowKind::Value | RowKind::Item | RowKind::Undone => {}
    }
    let is_unconfirmed =
        |record: &&PreImageRecord| matches!(record.write, JournaledWrite::Delete { confirmed_at: None, .. });
    let earlier = records.iter().rev().find(is_unconfirmed);
    row.at != mark.at || earlier.is_some_and(|earlier| earlier.value.is_some() && earlier.value == row.value)
}

/// Confirms the newest unconfirmed delete. `changed` is the row of the removed item, if that item differs from the
/// recorded one.
fn confirm_delete(records: &mut Vec<PreImageRecord>, changed: Option<StoredRow>, mark: StoredRow) {
    for earlier in records.iter_mut().rev() {
        if let JournaledWrite::Delete { confirmed_at: at @ None, removed } = &mut earlier.write {
            *at = Some(mark.at);
            *removed = changed.and_then(|row| row.value);
            return;
        }
    }
    // The row of the item before the delete is damaged or purged, so the record begins with the removed item.
    if let Some(changed) = changed {
        let write = JournaledWrite::Delete { confirmed_at: Some(mark.at), removed: None };
        records.push(record(changed, write));
    }
}

fn record(row: StoredRow, write: JournaledWrite) -> PreImageRecord {
    let StoredRow { id, run, key, path, value, at, kind: _ } = row;
    PreImageRecord { id: PreImageId(id), run: RunId(run), key, path, value, at, write }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{Strategy, prop_assert, prop_assert_eq, prop_oneof, proptest};

    use super::*;
    use crate::item::Item;

    /// What happened to the derived item of one key.
    #[derive(Debug, Clone, Copy)]
    enum Event {
        /// A put of the derived item of this source. DynamoDB may have confirmed it.
        Put { source: u8, is_confirmed: bool },
        /// A delete of an item with this value. DynamoDB may have confirmed it, and a writer may have changed the item
        /// before.
        Delete { value: u8, is_confirmed: bool, is_changed: bool },
        /// An entry of the journal for another item comes in between.
        OtherItem,
    }

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![
            (0..2_u8, proptest::bool::ANY).prop_map(|(source, is_confirmed)| Event::Put { source, is_confirmed }),
            (0..2_u8, proptest::bool::ANY, proptest::bool::ANY)
                .prop_map(|(value, is_confirmed, is_changed)| { Event::Delete { value, is_confirmed, is_changed } }),
            proptest::strategy::Just(Event::OtherItem),
        ]
    }

    fn map(name: &str) -> Value {
        Value::M([("pk".to_owned(), Value::S(name.to_owned()))].into())
    }

    #[derive(Default)]
    struct Journal {
        rows: Vec<StoredRow>,
        next: i64,
        /// The time of the transaction.
        time: u32,
        /// Whether all transactions have the same time.
        has_coarse_clock: bool,
    }

    impl Journal {
        /// Begins a transaction. If `is_adjacent`, no row of another item comes before its rows.
        fn begin(&mut self, is_adjacent: bool) {
            self.next += i64::from(!is_adjacent);
            self.time += u32::from(!self.has_coarse_clock);
        }

        fn add(&mut self, kind: RowKind, value: Option<Value>) -> i64 {
            self.next += 1;
            let key = ItemKey::new(Item::from([("pk".to_owned(), Value::S("derived".to_owned()))]));
            let path = crate::item::Path::attribute("pk");
            self.rows.push(StoredRow { id: self.next, run: 1, key, path, value, at: self.time.to_string(), kind });
            self.next
        }
    }

    proptest! {
        /// Each write has one record with its own confirmation, whatever came before and in between, and even if
        /// transactions have the same time. If an earlier version stored the marks, only the value then shows whether a
        /// row next to a mark is a delete of its own. So all deletes have the same value in that case.
        #[test]
        fn each_write_has_one_record(
            events in proptest::collection::vec((event(), proptest::bool::ANY, proptest::bool::ANY), 0..12),
            has_coarse_clock in proptest::bool::ANY,
            is_earlier in proptest::bool::ANY,
        ) {
            let mark = |of: ConfirmedItem| RowKind::Confirmation(if is_earlier { ConfirmedItem::Unknown } else { of });
            let mut journal = Journal { has_coarse_clock, ..Journal::default() };
            let mut expected: Vec<(i64, bool, bool, bool)> = Vec::new();
            for (event, follows, is_confirmed_at_once) in &events {
                journal.begin(*follows);
                match *event {
                    Event::OtherItem => journal.next += 1,
                    Event::Put { source, is_confirmed } => {
                        let rows = |journal: &mut Journal| {
                            let id = journal.add(RowKind::Value, Some(map(&format!("source {source}"))));
                            journal.add(RowKind::Item, Some(map(&format!("item {source}"))));
                            id
                        };
                        let id = rows(&mut journal);
                        if is_confirmed {
                            journal.begin(*is_confirmed_at_once);
                            rows(&mut journal);
                            journal.add(mark(ConfirmedItem::Planned), None);
                        }
                        expected.push((id, true, is_confirmed, false));
                    }
                    Event::Delete { value, is_confirmed, is_changed } => {
                        let value = if has_coarse_clock && is_earlier { 0 } else { value };
                        let id = journal.add(RowKind::Item, Some(map(&format!("deleted {value}"))));
                        if is_confirmed {
                            journal.begin(*is_confirmed_at_once);
                        }
                        if is_confirmed && is_changed {
                            journal.add(RowKind::Item, Some(map(&format!("deleted {}", value + 1))));
                        }
                        if is_confirmed {
                            let of = if is_changed { ConfirmedItem::Changed } else { ConfirmedItem::Planned };
                            journal.add(mark(of), None);
                        }
                        expected.push((id, false, is_confirmed, is_confirmed && is_changed));
                    }
                }
            }
            let found: Vec<(i64, bool, bool, bool)> = grouped(journal.rows)
                .into_iter()
                .map(|record| match record.write {
                    JournaledWrite::Put { source, confirmed_at } => {
                        (record.id.0, source.is_some(), confirmed_at.is_some(), false)
                    }
                    JournaledWrite::Delete { confirmed_at, removed } => {
                        (record.id.0, false, confirmed_at.is_some(), removed.is_some())
                    }
                    JournaledWrite::Value => (record.id.0, false, false, false),
                })
                .collect();
            prop_assert!(found.is_sorted());
            prop_assert_eq!(found, expected);
        }
    }
}
