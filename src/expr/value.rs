//! Values during an evaluation. A value of the item or of the expression is borrowed, so that reading copies nothing.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::BTreeSet;

use bigdecimal::BigDecimal;
use jiff::Timestamp;

use super::decimal;
use crate::item::{Item, Num, Value};

/// A constant of the expression.
#[derive(Debug, Clone)]
pub(super) enum Const {
    Value(Value),
    /// A number is parsed once.
    Number(Num, BigDecimal),
    Timestamp(Timestamp),
    /// Nanoseconds.
    Duration(i128),
}

impl Const {
    pub(super) fn of(value: Value) -> Const {
        match value {
            Value::N(num) => match decimal::parse(&num) {
                Some(number) => Const::Number(num, number),
                None => Const::Value(Value::N(num)),
            },
            other @ (Value::S(_)
            | Value::B(_)
            | Value::Bool(_)
            | Value::Null
            | Value::Ss(_)
            | Value::Ns(_)
            | Value::Bs(_)
            | Value::L(_)
            | Value::M(_)) => Const::Value(other),
        }
    }

    pub(super) fn view(&self) -> View<'_> {
        match self {
            Const::Value(value) => View::of(value),
            Const::Number(_, number) => View::N(Number::Parsed(number)),
            Const::Timestamp(time) => View::Timestamp(*time),
            Const::Duration(span) => View::Duration(*span),
        }
    }

    /// Returns the text, if it is one.
    pub(super) fn text(&self) -> Option<&str> {
        if let Const::Value(Value::S(text)) = self { Some(text) } else { None }
    }
}

/// A value during an evaluation.
#[derive(Debug, Clone)]
pub(super) enum Val<'a> {
    /// A value in the item, at any depth.
    Ref(&'a Value),
    Const(&'a Const),
    Own(Value),
    Number(BigDecimal),
    Bool(bool),
    Timestamp(Timestamp),
    Duration(i128),
}

/// A uniform view of a value.
#[derive(Debug, Clone, Copy)]
pub(super) enum View<'v> {
    S(&'v str),
    N(Number<'v>),
    B(&'v [u8]),
    Bool(bool),
    Null,
    Ss(&'v [String]),
    Ns(&'v [Num]),
    Bs(&'v [Vec<u8>]),
    L(&'v [Value]),
    M(&'v Item),
    Timestamp(Timestamp),
    Duration(i128),
}

/// A number, parsed or not.
#[derive(Debug, Clone, Copy)]
pub(super) enum Number<'v> {
    Text(&'v Num),
    Parsed(&'v BigDecimal),
}

impl<'v> Number<'v> {
    /// Returns the number; `None` if the stored text is not a number that DynamoDB can store.
    pub(super) fn get(self) -> Option<Cow<'v, BigDecimal>> {
        match self {
            Number::Text(num) => decimal::parse(num).map(Cow::Owned),
            Number::Parsed(number) => Some(Cow::Borrowed(number)),
        }
    }
}

impl<'v> View<'v> {
    pub(super) fn of(value: &'v Value) -> View<'v> {
        match value {
            Value::S(s) => View::S(s),
            Value::N(n) => View::N(Number::Text(n)),
            Value::B(b) => View::B(b),
            Value::Bool(b) => View::Bool(*b),
            Value::Null => View::Null,
            Value::Ss(set) => View::Ss(set),
            Value::Ns(set) => View::Ns(set),
            Value::Bs(set) => View::Bs(set),
            Value::L(list) => View::L(list),
            Value::M(map) => View::M(map),
        }
    }

    /// Returns the text, if it is one.
    pub(super) fn text(self) -> Option<&'v str> {
        if let View::S(text) = self { Some(text) } else { None }
    }

    /// Returns the number, if it is one.
    pub(super) fn number(self) -> Option<Cow<'v, BigDecimal>> {
        if let View::N(number) = self { number.get() } else { None }
    }

    /// Returns the bytes, if it is a binary value.
    pub(super) fn bytes(self) -> Option<&'v [u8]> {
        if let View::B(bytes) = self { Some(bytes) } else { None }
    }

    /// Returns the elements, if it is a list.
    pub(super) fn list(self) -> Option<&'v [Value]> {
        if let View::L(list) = self { Some(list) } else { None }
    }
}

impl<'a> Val<'a> {
    pub(super) fn text(text: impl Into<String>) -> Val<'a> {
        Val::Own(Value::S(text.into()))
    }

    pub(super) fn integer(number: impl Into<BigDecimal>) -> Val<'a> {
        Val::Number(number.into())
    }

    pub(super) fn view(&self) -> View<'_> {
        match self {
            Val::Ref(value) => View::of(value),
            Val::Const(value) => value.view(),
            Val::Own(value) => View::of(value),
            Val::Number(number) => View::N(Number::Parsed(number)),
            Val::Bool(value) => View::Bool(*value),
            Val::Timestamp(time) => View::Timestamp(*time),
            Val::Duration(span) => View::Duration(*span),
        }
    }

    /// Converts to a value that DynamoDB can store; `None` for a time.
    pub(super) fn into_value(self) -> Option<Value> {
        match self {
            Val::Ref(value) => Some(value.clone()),
            Val::Const(Const::Value(value)) => Some(value.clone()),
            Val::Const(Const::Number(num, _)) => Some(Value::N(num.clone())),
            Val::Own(value) => Some(value),
            Val::Number(number) => Some(Value::N(decimal::to_num(&number))),
            Val::Bool(value) => Some(Value::Bool(value)),
            Val::Const(Const::Timestamp(_) | Const::Duration(_)) | Val::Timestamp(_) | Val::Duration(_) => None,
        }
    }

    /// Converts to a constant.
    pub(super) fn into_const(self) -> Option<Const> {
        match self {
            Val::Timestamp(time) => Some(Const::Timestamp(time)),
            Val::Duration(span) => Some(Const::Duration(span)),
            Val::Const(value) => Some(value.clone()),
            Val::Ref(_) | Val::Own(_) | Val::Number(_) | Val::Bool(_) => self.into_value().map(Const::of),
        }
    }
}

/// Returns the cost of copying or comparing the value: its number of elementary values, plus one for every 64 bytes.
pub(super) fn weight(value: &Value) -> u64 {
    view_weight(View::of(value))
}

/// Compares two values of the same ordered type.
pub(super) fn compare(a: View<'_>, b: View<'_>) -> Option<Ordering> {
    if let (View::S(a), View::S(b)) = (a, b) {
        return Some(a.as_bytes().cmp(b.as_bytes()));
    }
    if let (View::N(a), View::N(b)) = (a, b) {
        return Some(a.get()?.cmp(&b.get()?));
    }
    if let (View::B(a), View::B(b)) = (a, b) {
        return Some(a.cmp(b));
    }
    if let (View::Timestamp(a), View::Timestamp(b)) = (a, b) {
        return Some(a.cmp(&b));
    }
    if let (View::Duration(a), View::Duration(b)) = (a, b) {
        return Some(a.cmp(&b));
    }
    None
}

/// Returns whether two values are equal; `None` if their types differ. NULL is unequal to every other type. Documents
/// and sets are equal if DynamoDB considers them equal.
pub(super) fn equal(a: View<'_>, b: View<'_>) -> Option<bool> {
    if let Some(order) = compare(a, b) {
        return Some(order == Ordering::Equal);
    }
    if let (View::Bool(a), View::Bool(b)) = (a, b) {
        return Some(a == b);
    }
    if matches!(a, View::Null) || matches!(b, View::Null) {
        return Some(matches!(a, View::Null) && matches!(b, View::Null));
    }
    if let (View::L(a), View::L(b)) = (a, b) {
        return Some(a == b);
    }
    if let (View::M(a), View::M(b)) = (a, b) {
        return Some(a == b);
    }
    if let (View::Ss(a), View::Ss(b)) = (a, b) {
        return Some(same_members(a, b, String::clone));
    }
    if let (View::Ns(a), View::Ns(b)) = (a, b) {
        return Some(same_members(a, b, Num::canonical));
    }
    if let (View::Bs(a), View::Bs(b)) = (a, b) {
        return Some(same_members(a, b, Vec::clone));
    }
    None
}

fn same_members<T, K: Ord>(a: &[T], b: &[T], key: impl Fn(&T) -> K) -> bool {
    a.len() == b.len() && a.iter().map(&key).collect::<BTreeSet<_>>() == b.iter().map(&key).collect::<BTreeSet<_>>()
}

/// Like [`weight`], but for a view of a value.
pub(super) fn view_weight(view: View<'_>) -> u64 {
    let bytes = |bytes: usize| 1 + bytes as u64 / 64;
    match view {
        View::S(s) => bytes(s.len()),
        View::B(b) => bytes(b.len()),
        // A comparison has to parse the number.
        View::N(_) => 4,
        View::Bool(_) | View::Null | View::Timestamp(_) | View::Duration(_) => 1,
        View::Ss(set) => set.iter().map(|s| bytes(s.len())).sum(),
        View::Ns(set) => 4 * set.len() as u64,
        View::Bs(set) => set.iter().map(|b| bytes(b.len())).sum(),
        View::L(list) => 1 + list.iter().map(weight).sum::<u64>(),
        View::M(map) => 1 + map.values().map(|value| 1 + weight(value)).sum::<u64>(),
    }
}
