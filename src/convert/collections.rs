//! Lists and sets.

use std::collections::BTreeSet;
use std::str::FromStr;

use bigdecimal::BigDecimal;

use crate::item::{NotComputable, Num, Value};

/// Converts a set to a sorted list: strings and binary values by their bytes, numbers by value. Returns `None` if the
/// value is not a set.
pub(super) fn list_of_set(value: &Value) -> Option<Result<Value, NotComputable>> {
    if let Value::Ss(set) = value {
        let mut set = set.clone();
        set.sort();
        return Some(Ok(Value::L(set.into_iter().map(Value::S).collect())));
    }
    if let Value::Bs(set) = value {
        let mut set = set.clone();
        set.sort();
        return Some(Ok(Value::L(set.into_iter().map(Value::B).collect())));
    }
    let Value::Ns(set) = value else { return None };
    Some(sorted_numbers(set).map(|set| Value::L(set.into_iter().map(Value::N).collect())))
}

/// Converts a list of strings to a string set. Returns `None` if the value is not a list.
pub(super) fn string_set(value: &Value) -> Option<Result<Value, NotComputable>> {
    let member = |member: &Value| if let Value::S(text) = member { Some(text.clone()) } else { None };
    set(value, "S", member, String::clone).map(|set| set.map(Value::Ss))
}

/// Converts a list of numbers to a number set. Returns `None` if the value is not a list.
pub(super) fn number_set(value: &Value) -> Option<Result<Value, NotComputable>> {
    let member = |member: &Value| if let Value::N(number) = member { Some(number.clone()) } else { None };
    set(value, "N", member, Num::canonical).map(|set| set.map(Value::Ns))
}

/// Converts a list of binary values to a binary set. Returns `None` if the value is not a list.
pub(super) fn binary_set(value: &Value) -> Option<Result<Value, NotComputable>> {
    let member = |member: &Value| if let Value::B(bytes) = member { Some(bytes.clone()) } else { None };
    set(value, "B", member, Vec::clone).map(|set| set.map(Value::Bs))
}

fn set<T, K: Ord>(
    value: &Value,
    type_name: &str,
    member: impl Fn(&Value) -> Option<T>,
    identity: impl Fn(&T) -> K,
) -> Option<Result<Vec<T>, NotComputable>> {
    let Value::L(list) = value else { return None };
    if list.is_empty() {
        return Some(Err(NotComputable::new("the list is empty, and DynamoDB has no empty sets")));
    }
    let Some(members) = list.iter().map(member).collect::<Option<Vec<T>>>() else {
        let why = format!("the list has a member that is not of type {type_name}");
        return Some(Err(NotComputable::new(why)));
    };
    let distinct: BTreeSet<K> = members.iter().map(identity).collect();
    if distinct.len() != members.len() {
        return Some(Err(NotComputable::new("the list contains a member twice, but a set cannot")));
    }
    Some(Ok(members))
}

fn sorted_numbers(set: &[Num]) -> Result<Vec<Num>, NotComputable> {
    let sort_key = |number: &Num| {
        // Check the limits first: numbers with huge exponents take long to compare.
        let valid = Num::parse(number.as_str()).ok()?;
        Some((BigDecimal::from_str(valid.as_str()).ok()?, valid))
    };
    let mut numbers: Vec<(BigDecimal, Num)> = set
        .iter()
        .map(sort_key)
        .collect::<Option<_>>()
        .ok_or_else(|| NotComputable::new("the set has a number that is outside DynamoDB's limits"))?;
    numbers.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(numbers.into_iter().map(|(_, number)| number).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value as Json, json};

    use super::*;

    fn value(json: Json) -> Value {
        Value::from_json(&json).unwrap()
    }

    #[test]
    fn a_set_becomes_a_sorted_list() {
        for (set, list) in [
            (
                json!({"SS": ["b", "", "a", "é", "B"]}),
                json!({"L": [{"S": ""}, {"S": "B"}, {"S": "a"}, {"S": "b"}, {"S": "é"}]}),
            ),
            (
                json!({"NS": ["10", "9", "-1.5", "1e-3"]}),
                json!({"L": [{"N": "-1.5"}, {"N": "1e-3"}, {"N": "9"}, {"N": "10"}]}),
            ),
            (json!({"BS": ["/w==", "AA==", "AAA="]}), json!({"L": [{"B": "AA=="}, {"B": "AAA="}, {"B": "/w=="}]})),
        ] {
            assert_eq!(list_of_set(&value(set)).unwrap().unwrap().to_json(), list);
        }
        for other in [json!({"L": []}), json!({"S": "a"}), json!({"M": {}})] {
            assert!(list_of_set(&value(other)).is_none());
        }
        let huge = Value::Ns(vec![Num::from_wire("1e999999999".into()), Num::from_wire("1".into())]);
        assert!(list_of_set(&huge).unwrap().is_err());
    }

    #[test]
    fn a_list_becomes_a_set_only_if_every_member_fits_and_is_distinct() {
        type Convert = fn(&Value) -> Option<Result<Value, NotComputable>>;
        let converts: [(&str, Convert); 3] = [("SS", string_set), ("NS", number_set), ("BS", binary_set)];
        for (list, set) in [
            (json!([{"S": "b"}, {"S": "a"}, {"S": ""}]), Some(("SS", json!({"SS": ["", "a", "b"]})))),
            (json!([{"N": "2"}, {"N": "1.0"}]), Some(("NS", json!({"NS": ["1.0", "2"]})))),
            (json!([{"B": "AA=="}]), Some(("BS", json!({"BS": ["AA=="]})))),
            (json!([]), None),
            (json!([{"S": "a"}, {"S": "a"}]), None),
            (json!([{"N": "1"}, {"N": "1.0"}]), None),
            (json!([{"S": "a"}, {"N": "1"}]), None),
            (json!([{"NULL": true}]), None),
            (json!([{"L": []}]), None),
        ] {
            let list = value(json!({ "L": list }));
            for (name, convert) in converts {
                let converted = convert(&list).unwrap().ok().map(|set| set.to_json());
                let expected = set.as_ref().filter(|set| set.0 == name).map(|set| set.1.clone());
                assert_eq!(converted, expected, "{name} {list:?}");
            }
        }
        assert!(string_set(&value(json!({"SS": ["a"]}))).is_none());
    }
}
