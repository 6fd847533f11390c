//! Puts derived items with `TransactWriteItems`. The transaction contains a condition check of the source item and a
//! put of the derived item.
//!
//! The SDK gives each request a new `ClientRequestToken`, so DynamoDB never answers a request with the result of an
//! earlier request. After a lost reply, the caller rereads the derived item.
//!
//! Sources: API reference, "TransactWriteItems" and "CancellationReason" (one reason per action, in the order of the
//! actions; an action without a fault has the code `None`).

use std::collections::HashMap;

use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::error::TransactionCanceledException;
use aws_sdk_dynamodb::types::{
    CancellationReason, ConditionCheck, ConsumedCapacity, Put, ReturnConsumedCapacity,
    ReturnValuesOnConditionCheckFailure, TransactWriteItem,
};

use super::classify::{Call, classify, clean};
use super::values::{from_sdk_item, to_sdk_item};
use super::write::{names, values};
use super::{DynamoTable, consumed, unusable_reply};
use crate::change::{Condition, Expression, GuardedWrite};
use crate::dynamodb::{FatalKind, TableError, ThrottlingReason, WriteConsumption, WriteReply, names_table};
use crate::item::{Item, ItemKey};

impl DynamoTable {
    /// Sends the transaction of a write that puts a derived item. `expression` contains the conditions on the source
    /// item.
    pub(super) async fn transact(
        &self,
        write: &GuardedWrite,
        expression: &Expression,
        (derived_key, derived): (&ItemKey, &Item),
    ) -> Result<WriteReply, TableError> {
        if !write.conditions.iter().any(|condition| matches!(condition, Condition::ItemExists(_))) {
            return Err(unusable_reply("the transaction does not require that its source item exists"));
        }
        // An existing item has all its key attributes, so any of them shows whether the item exists.
        let Some(of_key) = derived_key.attributes().keys().next() else {
            return Err(unusable_reply("the derived item has no key"));
        };
        let derived_table = write.other_table().unwrap_or(&self.name);
        if derived_table == self.name && derived_key == &write.key {
            return Err(unusable_reply("a transaction cannot check and put the same item"));
        }
        let check = ConditionCheck::builder()
            .table_name(&self.name)
            .set_key(Some(to_sdk_item(write.key.attributes())))
            .condition_expression(&expression.condition)
            .set_expression_attribute_names(names(expression))
            .set_expression_attribute_values(values(expression))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .build();
        let put = Put::builder()
            .table_name(derived_table)
            .set_item(Some(to_sdk_item(derived)))
            .condition_expression("attribute_not_exists(#0)")
            .set_expression_attribute_names(Some(HashMap::from([("#0".to_owned(), of_key.clone())])))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .build();
        let (Ok(check), Ok(put)) = (check, put) else {
            return Err(unusable_reply("the transaction could not be built"));
        };
        let actions = [
            TransactWriteItem::builder().condition_check(check).build(),
            TransactWriteItem::builder().put(put).build(),
        ];
        let sent = self
            .connection
            .send(|client| {
                client
                    .transact_write_items()
                    .set_transact_items(Some(actions.to_vec()))
                    .return_consumed_capacity(ReturnConsumedCapacity::Indexes)
                    .send()
            })
            .await;
        match sent {
            Ok(reply) => {
                let consumed = consumed_by_tables(reply.consumed_capacity(), &self.name, write.other_table());
                Ok(WriteReply::Applied { consumed, removed: None })
            }
            Err(error) => match error.as_service_error() {
                Some(TransactWriteItemsError::TransactionCanceledException(canceled)) => {
                    reply_of(canceled, write.other_table().map(|other| [self.name.as_str(), other]))
                }
                _ => Err(classify(&error, Call::TransactWriteItems)),
            },
        }
    }
}

/// Returns the capacity that a transaction consumed. The reply has one figure for each table. Without a figure for each
/// of two tables, the consumption is unknown.
fn consumed_by_tables(replied: &[ConsumedCapacity], name: &str, other: Option<&str>) -> Option<WriteConsumption> {
    let Some(other) = other else { return consumed(replied.first()) };
    let of = |table: &str| consumed(replied.iter().find(|one| names_table(one.table_name().unwrap_or(""), table)));
    Some(WriteConsumption { elsewhere: Some(Box::new(of(other)?)), ..of(name)? })
}

/// Returns why DynamoDB canceled the transaction. A canceled transaction changed nothing. `tables` has the names of the
/// tables of the two actions, if they differ.
fn reply_of(canceled: &TransactionCanceledException, tables: Option<[&str; 2]>) -> Result<WriteReply, TableError> {
    let reasons = canceled.cancellation_reasons();
    let code = |reason: &CancellationReason| reason.code().unwrap_or("None").to_owned();
    let codes: Vec<String> = reasons.iter().map(code).collect();
    let [of_source, of_derived] = codes.as_slice() else {
        return Err(TableError::UnusableReply {
            operation: "TransactWriteItems",
            flaw: "it does not have one reason per action",
        });
    };
    let image = |at: usize| reasons[at].item().filter(|item| !item.is_empty()).cloned().map(from_sdk_item).transpose();
    const CONDITION: &str = "ConditionalCheckFailed";
    match (of_source.as_str(), of_derived.as_str()) {
        (CONDITION, _) => return Ok(WriteReply::ConditionFailed { image: image(0)? }),
        ("None", CONDITION) => return Ok(WriteReply::DerivedExists { existing: image(1)? }),
        _ => {}
    }
    let has = |wanted: &[&str]| codes.iter().position(|code| wanted.contains(&code.as_str()));
    let message = |at: usize| {
        let text = reasons[at].message().map(clean).unwrap_or_default();
        if text.is_empty() { codes[at].clone() } else { format!("{}: {text}", codes[at]) }
    };
    const THROTTLES: &[&str] = &["ProvisionedThroughputExceeded", "ThrottlingError", "RequestLimitExceeded"];
    if let Some(at) = has(THROTTLES) {
        let reason = |(code, table): (&String, &str)| ThrottlingReason {
            reason: code.clone(),
            resource: format!("table/{table}"),
        };
        let throttled = codes.iter().zip(tables.iter().flatten().copied());
        let reasons = throttled.filter(|(code, _)| THROTTLES.contains(&code.as_str())).map(reason).collect();
        return Err(TableError::Throttled { reasons, message: codes[at].clone() });
    }
    if let Some(at) = has(&["TransactionConflict", "InternalServerError"]) {
        return Err(TableError::Transient { message: codes[at].clone(), ambiguous: false });
    }
    if let Some(at) = has(&["ItemCollectionSizeLimitExceeded", "ValidationError"]) {
        return Err(TableError::Rejected { message: message(at) });
    }
    if let Some(at) = has(&["AccessDenied"]) {
        return Err(TableError::Fatal { kind: FatalKind::Permission, message: message(at) });
    }
    match codes.iter().position(|code| code != "None" && code != CONDITION) {
        // An unknown reason could occur for every item, so stop the run and let the operator see the reason.
        Some(at) => Err(TableError::Fatal { kind: FatalKind::Request, message: message(at) }),
        None => Err(TableError::UnusableReply { operation: "TransactWriteItems", flaw: "it gives no reason" }),
    }
}

#[cfg(test)]
mod tests {
    use aws_sdk_dynamodb::types::AttributeValue;

    use super::*;
    use crate::item::Value;

    fn canceled(codes: &[&str]) -> Result<WriteReply, TableError> {
        let item = HashMap::from([("pk".to_owned(), AttributeValue::S("k".to_owned()))]);
        let reason = |code: &&str| {
            let built = CancellationReason::builder().code(*code).message("it says 'S3CRET'");
            if *code == "ConditionalCheckFailed" { built.set_item(Some(item.clone())).build() } else { built.build() }
        };
        let reasons = codes.iter().map(reason).collect();
        reply_of(&TransactionCanceledException::builder().set_cancellation_reasons(Some(reasons)).build(), None)
    }

    #[test]
    fn each_reason_belongs_to_its_action() {
        let item = || Some(Item::from([("pk".to_owned(), Value::S("k".to_owned()))]));
        let failed = "ConditionalCheckFailed";
        assert_eq!(canceled(&[failed, "None"]), Ok(WriteReply::ConditionFailed { image: item() }));
        assert_eq!(canceled(&["None", failed]), Ok(WriteReply::DerivedExists { existing: item() }));
        // If both conditions fail, the reply reports only the failed condition on the source, because a changed source
        // can have a different derived item.
        assert_eq!(canceled(&[failed, failed]), Ok(WriteReply::ConditionFailed { image: item() }));
        assert_eq!(canceled(&[failed, "TransactionConflict"]), Ok(WriteReply::ConditionFailed { image: item() }));
    }

    #[test]
    fn conflicts_and_throttles_are_retried() {
        let conflict = "TransactionConflict";
        for codes in [[conflict, "None"], ["None", conflict], [conflict, "ConditionalCheckFailed"]] {
            let error = canceled(&codes).unwrap_err();
            assert!(matches!(error, TableError::Transient { ambiguous: false, .. }), "{error:?}");
        }
        for code in ["ProvisionedThroughputExceeded", "ThrottlingError"] {
            assert!(matches!(canceled(&["None", code]), Err(TableError::Throttled { .. })), "{code}");
        }
    }

    /// A throttle of one of two tables names that table. The capacity of each table is counted for itself.
    #[test]
    fn two_tables_are_told_apart() {
        let throttled = |codes: [&str; 2]| {
            let reasons = codes.map(|code| CancellationReason::builder().code(code).build()).to_vec();
            let canceled = TransactionCanceledException::builder().set_cancellation_reasons(Some(reasons)).build();
            match reply_of(&canceled, Some(["shop", "lookup"])) {
                Err(TableError::Throttled { reasons, .. }) => {
                    reasons.into_iter().map(|reason| reason.resource).collect::<Vec<_>>()
                }
                other => panic!("{other:?}"),
            }
        };
        let throttle = "ThrottlingError";
        assert_eq!(throttled(["None", throttle]), ["table/lookup"]);
        assert_eq!(throttled([throttle, "TransactionConflict"]), ["table/shop"]);
        assert_eq!(throttled([throttle, throttle]), ["table/shop", "table/lookup"]);
        let units =
            |table: &str, units: f64| ConsumedCapacity::builder().table_name(table).capacity_units(units).build();
        let arn = "arn:aws:dynamodb:eu-west-1:123456789012:table/lookup";
        let found = consumed_by_tables(&[units(arn, 2.0), units("shop", 4.0)], "shop", Some("lookup")).unwrap();
        assert_eq!((found.table, found.total(), found.elsewhere.unwrap().table), (4.0, 6.0, 2.0));
        assert_eq!(consumed_by_tables(&[units("shop", 4.0)], "shop", Some("lookup")), None);
    }

    #[test]
    fn other_reasons_fail_the_item_or_stop_the_run() {
        let rejected = canceled(&["None", "ValidationError"]).unwrap_err();
        assert!(matches!(rejected, TableError::Rejected { .. }), "{rejected:?}");
        assert!(!rejected.to_string().contains("S3CRET"), "{rejected}");
        let kind = |codes: &[&str]| match canceled(codes) {
            Err(TableError::Fatal { kind, .. }) => kind,
            other => panic!("{other:?}"),
        };
        assert_eq!(kind(&["None", "AccessDenied"]), FatalKind::Permission);
        assert_eq!(kind(&["Odd", "None"]), FatalKind::Request);
        for codes in [&["None", "None"][..], &["ConditionalCheckFailed"], &[]] {
            assert!(matches!(canceled(codes), Err(TableError::UnusableReply { .. })), "{codes:?}");
        }
    }
}
