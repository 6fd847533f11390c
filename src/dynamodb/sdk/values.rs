//! Converts attribute values between the SDK's types and the tool's types.

use std::collections::HashMap;

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;

use super::classify::unusable_reply;
use crate::dynamodb::TableError;
use crate::item::{Item, Num, Value};

pub(super) fn to_sdk_item(item: &Item) -> HashMap<String, AttributeValue> {
    item.iter().map(|(name, value)| (name.clone(), to_sdk(value))).collect()
}

pub(super) fn from_sdk_item(item: HashMap<String, AttributeValue>) -> Result<Item, TableError> {
    item.into_iter().map(|(name, value)| Ok((name, from_sdk(value)?))).collect()
}

pub(super) fn to_sdk(value: &Value) -> AttributeValue {
    match value {
        Value::S(s) => AttributeValue::S(s.clone()),
        Value::N(n) => AttributeValue::N(n.as_str().to_owned()),
        Value::B(b) => AttributeValue::B(Blob::new(b.clone())),
        Value::Bool(b) => AttributeValue::Bool(*b),
        Value::Null => AttributeValue::Null(true),
        Value::Ss(set) => AttributeValue::Ss(set.clone()),
        Value::Ns(set) => AttributeValue::Ns(set.iter().map(|n| n.as_str().to_owned()).collect()),
        Value::Bs(set) => AttributeValue::Bs(set.iter().map(|b| Blob::new(b.clone())).collect()),
        Value::L(list) => AttributeValue::L(list.iter().map(to_sdk).collect()),
        Value::M(map) => AttributeValue::M(to_sdk_item(map)),
    }
}

fn from_sdk(value: AttributeValue) -> Result<Value, TableError> {
    Ok(match value {
        AttributeValue::S(s) => Value::S(s),
        AttributeValue::N(n) => Value::N(Num::from_wire(n)),
        AttributeValue::B(b) => Value::B(b.into_inner()),
        AttributeValue::Bool(b) => Value::Bool(b),
        AttributeValue::Null(_) => Value::Null,
        AttributeValue::Ss(set) => Value::Ss(set),
        AttributeValue::Ns(set) => Value::Ns(set.into_iter().map(Num::from_wire).collect()),
        AttributeValue::Bs(set) => Value::Bs(set.into_iter().map(Blob::into_inner).collect()),
        AttributeValue::L(list) => Value::L(list.into_iter().map(from_sdk).collect::<Result<_, _>>()?),
        AttributeValue::M(map) => Value::M(from_sdk_item(map)?),
        _ => return Err(unusable_reply("an attribute has a type that this version does not know")),
    })
}
