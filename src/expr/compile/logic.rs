//! Conditions. As in CEL, `&&` and `||` do not need the result of a side if the other side decides.

use super::{Part, boxed};
use crate::expr::run::{Code, Fail, Res};
use crate::expr::types::{Kinds, kind_of};
use crate::expr::value::{Val, View, equal as equal_views, view_weight};

/// Returns the boolean that a part evaluates to.
pub(super) fn truth(value: Res<Val<'_>>, text: &str, name: &str) -> Res<bool> {
    let value = value?;
    if let View::Bool(value) = value.view() {
        return Ok(value);
    }
    let kind = Kinds::one(kind_of(&value.view()));
    Err(Fail::new(format!("`{text}` is of {kind}, and `{name}` needs type BOOL here")))
}

pub(super) fn not(a: Part) -> Code {
    boxed(move |run| truth((a.code)(run), &a.text, "!").map(|a| Val::Bool(!a)))
}

pub(super) fn and(a: Part, b: Part) -> Code {
    decided_by(false, "&&", a, b)
}

pub(super) fn or(a: Part, b: Part) -> Code {
    decided_by(true, "||", a, b)
}

/// A side with the value `decisive` is the result, even if the other side has no result.
fn decided_by(decisive: bool, name: &'static str, a: Part, b: Part) -> Code {
    // A limit is never absorbed, because it says nothing about the value of the side.
    let decides = move |side: &Res<bool>| *side == Ok(decisive) || side.as_ref().is_err_and(|fail| fail.limit);
    boxed(move |run| {
        let first = truth((a.code)(run), &a.text, name);
        if decides(&first) {
            return first.map(Val::Bool);
        }
        let second = truth((b.code)(run), &b.text, name);
        if decides(&second) {
            return second.map(Val::Bool);
        }
        first.and(second).map(Val::Bool)
    })
}

pub(super) fn conditional(condition: Part, yes: Code, no: Code) -> Code {
    boxed(move |run| {
        let condition = truth((condition.code)(run), &condition.text, "?:")?;
        if condition { yes(run) } else { no(run) }
    })
}

pub(super) fn equal(a: Part, b: Part, negated: bool) -> Code {
    let name = if negated { "!=" } else { "==" };
    boxed(move |run| {
        let (left, right) = ((a.code)(run)?, (b.code)(run)?);
        run.spend(view_weight(left.view()).min(view_weight(right.view())))?;
        match equal_views(left.view(), right.view()) {
            Some(equal) => Ok(Val::Bool(equal != negated)),
            None => Err(different(&a.text, &left, &b.text, &right, name)),
        }
    })
}

fn different(a: &str, left: &Val<'_>, b: &str, right: &Val<'_>, name: &str) -> Box<Fail> {
    let kind = |value: &Val<'_>| Kinds::one(kind_of(&value.view()));
    Fail::new(format!(
        "`{a}` is of {} and `{b}` of {}, and `{name}` compares values of one type",
        kind(left),
        kind(right)
    ))
}

pub(super) fn is_in(a: Part, b: Part) -> Code {
    boxed(move |run| {
        let (value, collection) = ((a.code)(run)?, (b.code)(run)?);
        run.spend(view_weight(collection.view()))?;
        let view = value.view();
        let wrong = || different(&a.text, &value, &b.text, &collection, "in");
        let found = match collection.view() {
            View::L(list) => {
                let mut differs = false;
                for element in list {
                    match equal_views(view, View::of(element)) {
                        Some(true) => return Ok(Val::Bool(true)),
                        Some(false) => {}
                        None => differs = true,
                    }
                }
                if differs {
                    let kind = Kinds::one(kind_of(&view));
                    let text = format!("`{}` is of {kind}, and an element of `{}` is of another type", a.text, b.text);
                    return Err(Fail::new(text));
                }
                Some(false)
            }
            View::Ss(set) => view.text().map(|text| set.iter().any(|member| member == text)),
            View::Bs(set) => view.bytes().map(|bytes| set.iter().any(|member| member == bytes)),
            View::M(map) => view.text().map(|text| map.contains_key(text)),
            View::Ns(set) => view.number().map(|number| {
                let same = |member: &crate::item::Num| {
                    crate::expr::decimal::parse(member).is_some_and(|member| member == *number)
                };
                set.iter().any(same)
            }),
            View::S(_)
            | View::N(_)
            | View::B(_)
            | View::Bool(_)
            | View::Null
            | View::Timestamp(_)
            | View::Duration(_) => None,
        };
        found.map(Val::Bool).ok_or_else(wrong)
    })
}
