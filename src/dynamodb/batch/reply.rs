//! What the reply to a batch says about each of its writes.

use crate::change::GuardedWrite;
use crate::dynamodb::{FatalKind, TableError, WriteConsumption, WriteReply};
use crate::item::{Item, Units, item_bytes, write_units};

/// The reply to one batch of statements.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct BatchReply {
    /// The reply to each statement, in the order of the statements.
    pub replies: Vec<StatementReply>,
    /// The capacity that the batch consumed. `None` if the service reported none. It reports none if every statement
    /// failed.
    pub consumed: Option<BatchConsumption>,
}

/// The reply to one statement.
#[derive(Debug, Clone, PartialEq)]
pub enum StatementReply {
    /// The statement was carried out.
    Applied,
    /// The statement failed.
    Failed {
        /// The code, for example `ConditionalCheckFailed` (API reference, "BatchStatementError").
        code: String,
        /// The message, without attribute values.
        message: String,
        /// The current item, for a failed condition.
        image: Option<Item>,
    },
}

/// The write capacity that a batch consumed (`ReturnConsumedCapacity = INDEXES`).
#[derive(Debug, Clone, Default, PartialEq)]
pub struct BatchConsumption {
    /// All units, including those of failed conditions.
    pub total: Units,
    /// The units of the table and its local indexes for the statements that were carried out. `None` if the reply does
    /// not divide the total.
    pub table: Option<Units>,
    /// Each global index with its units.
    pub indexes: Vec<(String, Units)>,
}

/// What the reply says about one write.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Answer {
    /// The reply to the write.
    Reply(Result<WriteReply, TableError>),
    /// DynamoDB rejected the statement, so it changed nothing. The reply to an `UpdateItem` decides about the write.
    Rejected(String),
}

/// Returns what the reply says about each write, in the same order.
pub(super) fn answers(writes: &[&GuardedWrite], reply: BatchReply) -> Vec<Answer> {
    let mut answers: Vec<Answer> = reply.replies.into_iter().map(answer).collect();
    let Some(mut consumed) = reply.consumed else { return answers };
    consumed.indexes.sort_by(|one, other| one.0.cmp(&other.0));
    let members = writes.iter().zip(&mut answers);
    let mut failed = 0.0;
    let mut applied = Vec::new();
    for (write, answer) in members {
        match answer {
            Answer::Reply(Ok(WriteReply::Applied { consumed, .. })) => applied.push((*write, consumed)),
            // A failed condition costs the units of the item, but at least one.
            Answer::Reply(Ok(WriteReply::ConditionFailed { image })) => {
                failed += write_units(image.as_ref().map_or(0, item_bytes), 0);
            }
            Answer::Reply(Ok(WriteReply::EndpointChecked { .. } | WriteReply::DerivedExists { .. }) | Err(_))
            | Answer::Rejected(_) => {}
        }
    }
    let of_indexes: Units = consumed.indexes.iter().map(|(_, units)| units).sum();
    let table = consumed.table.unwrap_or_else(|| (consumed.total - of_indexes - failed).max(0.0));
    let estimates: Vec<(Units, Units)> =
        applied.iter().map(|(write, _)| (write.cost.table, write.cost.total() - write.cost.table)).collect();
    let table_shares = shares(estimates.iter().map(|(table, _)| *table));
    let index_shares = shares(estimates.iter().map(|(_, indexes)| *indexes));
    for ((_, slot), (of_table, of_index)) in applied.into_iter().zip(table_shares.into_iter().zip(index_shares)) {
        let indexes = consumed.indexes.iter().map(|(name, units)| (name.clone(), units * of_index));
        *slot = Some(WriteConsumption {
            table: table * of_table,
            indexes: indexes.filter(|(_, units)| *units > 0.0).collect(),
            elsewhere: None,
        });
    }
    answers
}

/// Returns the share of each member, in proportion to the estimates. Together, the shares are 1.
fn shares(estimates: impl ExactSizeIterator<Item = Units> + Clone) -> Vec<f64> {
    let sum: Units = estimates.clone().sum();
    let members = estimates.len() as f64;
    estimates.map(|units| if sum > 0.0 { units / sum } else { 1.0 / members }).collect()
}

fn answer(reply: StatementReply) -> Answer {
    let (code, message, image) = match reply {
        StatementReply::Applied => return Answer::Reply(Ok(WriteReply::Applied { consumed: None, removed: None })),
        StatementReply::Failed { code, message, image } => (code, message, image),
    };
    let text = || if message.is_empty() { code.clone() } else { format!("{code}: {message}") };
    let error = match code.as_str() {
        "ConditionalCheckFailed" => return Answer::Reply(Ok(WriteReply::ConditionFailed { image })),
        "ValidationError" => return Answer::Rejected(text()),
        "ProvisionedThroughputExceeded" | "ThrottlingError" | "RequestLimitExceeded" => {
            TableError::Throttled { reasons: Vec::new(), message: text() }
        }
        "TransactionConflict" => TableError::Transient { message: text(), ambiguous: false },
        "InternalServerError" => TableError::Transient { message: text(), ambiguous: true },
        "ItemCollectionSizeLimitExceeded" => TableError::Rejected { message: text() },
        "ResourceNotFound" => TableError::Fatal { kind: FatalKind::TableMissing, message: text() },
        "AccessDenied" => TableError::Fatal { kind: FatalKind::Permission, message: text() },
        // An unknown error stops the run, because it might occur for every item. The operator should see it first.
        _ => TableError::Fatal { kind: FatalKind::Request, message: text() },
    };
    Answer::Reply(Err(error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::change::WriteCost;
    use crate::item::Value;

    fn failed(code: &str, image: Option<Item>) -> StatementReply {
        StatementReply::Failed { code: code.to_owned(), message: "why".to_owned(), image }
    }

    fn write(table: Units, index: Units) -> GuardedWrite {
        let cost = WriteCost { table, indexes: vec![(0, index)] };
        GuardedWrite { cost, ..GuardedWrite::for_test("a") }
    }

    /// Returns the reported consumption of each write, in the order of the replies.
    fn consumed(
        writes: &[GuardedWrite],
        replies: Vec<StatementReply>,
        consumed: BatchConsumption,
    ) -> Vec<Option<WriteConsumption>> {
        let reply = BatchReply { replies, consumed: Some(consumed) };
        let of = |answer| {
            let Answer::Reply(Ok(WriteReply::Applied { consumed, .. })) = answer else { return None };
            consumed
        };
        answers(&writes.iter().collect::<Vec<_>>(), reply).into_iter().map(of).collect()
    }

    #[test]
    fn each_code_has_its_consequence() {
        let item = Item::from([("pk".to_owned(), Value::S("a".to_owned()))]);
        let error = |code: &str| match answer(failed(code, None)) {
            Answer::Reply(Err(error)) => error,
            other => panic!("{code}: {other:?}"),
        };
        let image = Some(item);
        assert_eq!(
            answer(failed("ConditionalCheckFailed", image.clone())),
            Answer::Reply(Ok(WriteReply::ConditionFailed { image }))
        );
        assert_eq!(answer(failed("ValidationError", None)), Answer::Rejected("ValidationError: why".to_owned()));
        for code in ["ProvisionedThroughputExceeded", "ThrottlingError", "RequestLimitExceeded"] {
            assert!(matches!(error(code), TableError::Throttled { reasons, .. } if reasons.is_empty()), "{code}");
        }
        assert!(!error("TransactionConflict").is_ambiguous());
        assert!(error("InternalServerError").is_ambiguous());
        assert!(matches!(error("ItemCollectionSizeLimitExceeded"), TableError::Rejected { .. }));
        for (code, expected) in [
            ("AccessDenied", FatalKind::Permission),
            ("ResourceNotFound", FatalKind::TableMissing),
            ("DuplicateItem", FatalKind::Request),
            ("Odd", FatalKind::Request),
        ] {
            assert!(matches!(error(code), TableError::Fatal { kind, .. } if kind == expected), "{code}");
        }
    }

    /// The units of failed conditions are in the total, and in no other figure.
    #[test]
    fn the_consumption_is_divided_among_the_applied_writes() {
        let writes = [write(1.0, 0.0), write(3.0, 2.0), write(5.0, 5.0)];
        let replies = || vec![StatementReply::Applied, StatementReply::Applied, failed("ConditionalCheckFailed", None)];
        let share = |table, index: Units| {
            let indexes = if index > 0.0 { vec![("g".to_owned(), index)] } else { Vec::new() };
            Some(WriteConsumption { table, indexes, elsewhere: None })
        };
        let reported = |table| BatchConsumption { total: 11.0, table, indexes: vec![("g".to_owned(), 2.0)] };
        let expected = [share(2.0, 0.0), share(6.0, 2.0), None];
        assert_eq!(consumed(&writes, replies(), reported(Some(8.0))), expected);
        // Without a division, the failed condition's own unit is subtracted.
        assert_eq!(consumed(&writes, replies(), reported(None)), expected);
        // A total that is too small never becomes negative.
        let small = BatchConsumption { total: 1.0, table: None, indexes: Vec::new() };
        assert_eq!(consumed(&writes[1..], replies().split_off(1), small), [share(0.0, 0.0), None]);
    }

    #[test]
    fn writes_without_estimates_share_equally() {
        let free = || GuardedWrite { cost: WriteCost::default(), ..GuardedWrite::for_test("a") };
        let reported = BatchConsumption { total: 4.0, table: Some(3.0), indexes: vec![("g".to_owned(), 1.0)] };
        let shared = consumed(&[free(), free()], vec![StatementReply::Applied; 2], reported);
        let half = WriteConsumption { table: 1.5, indexes: vec![("g".to_owned(), 0.5)], elsewhere: None };
        assert_eq!(shared, [Some(half.clone()), Some(half)]);
    }
}
