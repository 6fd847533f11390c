//! Reading attributes, members and elements.

use super::{Part, boxed};
use crate::expr::decimal;
use crate::expr::node::{Place, Root};
use crate::expr::run::{Code, Fail, Res, Run};
use crate::expr::types::{Kind, Kinds, kind_of};
use crate::expr::value::{Const, Val, View, weight};
use crate::item::{Item, PathStep, Value};

/// Reads a path.
pub(super) fn place(place: Place, text: String) -> Code {
    let missing = move |text: &str| Fail::new(format!("`{text}` is missing"));
    let mut steps = place.steps;
    match place.root {
        Root::Item if steps.len() == 1 => {
            let PathStep::Name(name) = steps.remove(0) else { return boxed(move |_| Err(missing(&text))) };
            boxed(move |run| run.item.get(&name).map(Val::Ref).ok_or_else(|| missing(&text)))
        }
        Root::Item => boxed(move |run| in_item(run.item, &steps).map(Val::Ref).ok_or_else(|| missing(&text))),
        Root::Variable(slot) => boxed(move |run| variable(run, slot, &steps)?.ok_or_else(|| missing(&text))),
    }
}

/// Tests whether a path has a value.
pub(super) fn has(place: Place) -> Code {
    let steps = place.steps;
    match place.root {
        Root::Item => boxed(move |run| Ok(Val::Bool(in_item(run.item, &steps).is_some()))),
        Root::Variable(slot) => boxed(move |run| {
            let found = match &run.variables[slot] {
                Val::Ref(value) => inside(value, &steps).is_some(),
                Val::Own(value) => inside(value, &steps).is_some(),
                Val::Const(_) | Val::Number(_) | Val::Bool(_) | Val::Timestamp(_) | Val::Duration(_) => {
                    steps.is_empty()
                }
            };
            Ok(Val::Bool(found))
        }),
    }
}

/// Reads a member of a computed value.
pub(super) fn member(of: Code, step: PathStep, text: String) -> Code {
    boxed(move |run| {
        let value = of(run)?;
        take(value, &step).ok_or_else(|| Fail::new(format!("`{text}` is missing")))
    })
}

/// Tests whether a computed value has a member.
pub(super) fn has_member(of: Code, step: PathStep) -> Code {
    boxed(move |run| {
        let value = of(run)?;
        Ok(Val::Bool(take(value, &step).is_some()))
    })
}

/// Reads an element or member at a computed position.
pub(super) fn index(of: Part, at: Part, text: String) -> Code {
    boxed(move |run| {
        let (value, position) = ((of.code)(run)?, (at.code)(run)?);
        let kind = Kinds::one(kind_of(&value.view()));
        let needed = match value.view() {
            View::L(_) => Kinds::N,
            View::M(_) => Kinds::S,
            View::S(_)
            | View::N(_)
            | View::B(_)
            | View::Bool(_)
            | View::Null
            | View::Ss(_)
            | View::Ns(_)
            | View::Bs(_)
            | View::Timestamp(_)
            | View::Duration(_) => {
                return Err(Fail::new(format!("`{}` is of {kind}, and an index needs type L or M here", of.text)));
            }
        };
        let step = match position.view() {
            View::S(key) if needed == Kinds::S => Some(PathStep::Name(key.to_owned())),
            View::N(_) if needed == Kinds::N => {
                let number = position.view().number();
                let position = number.and_then(|number| usize::try_from(decimal::integer(&number)?).ok());
                let wrong = || Fail::new(format!("`{}` is not a position in a list", at.text));
                Some(PathStep::Index(position.ok_or_else(wrong)?))
            }
            View::S(_)
            | View::N(_)
            | View::B(_)
            | View::Bool(_)
            | View::Null
            | View::Ss(_)
            | View::Ns(_)
            | View::Bs(_)
            | View::L(_)
            | View::M(_)
            | View::Timestamp(_)
            | View::Duration(_) => None,
        };
        let Some(step) = step else {
            let kind = Kinds::one(kind_of(&position.view()));
            return Err(Fail::new(format!("`{}` is of {kind}, and an index needs {needed} here", at.text)));
        };
        take(value, &step).ok_or_else(|| Fail::new(format!("`{text}` is missing")))
    })
}

/// Returns the name of a value's type. A path without a value has the type MISSING.
pub(super) fn kind(of: Code, is_path: bool) -> Code {
    boxed(move |run| match of(run) {
        Ok(value) => Ok(Val::text(kind_of(&value.view()).name())),
        Err(_) if is_path => Ok(Val::text(Kind::Missing.name())),
        Err(fail) => Err(fail),
    })
}

fn in_item<'a>(item: &'a Item, steps: &[PathStep]) -> Option<&'a Value> {
    let (first, rest) = steps.split_first()?;
    let PathStep::Name(name) = first else { return None };
    inside(item.get(name)?, rest)
}

fn inside<'a>(value: &'a Value, steps: &[PathStep]) -> Option<&'a Value> {
    let mut value = value;
    for step in steps {
        value = one(value, step)?;
    }
    Some(value)
}

fn one<'a>(value: &'a Value, step: &PathStep) -> Option<&'a Value> {
    match step {
        PathStep::Name(name) => {
            let Value::M(map) = value else { return None };
            map.get(name)
        }
        PathStep::Index(at) => {
            let Value::L(list) = value else { return None };
            list.get(*at)
        }
    }
}

/// Reads a variable, or a value inside it.
fn variable<'a>(run: &mut Run<'a>, slot: usize, steps: &[PathStep]) -> Res<Option<Val<'a>>> {
    let cost = match &run.variables[slot] {
        Val::Ref(value) => return Ok(inside(value, steps).map(Val::Ref)),
        // A computed element is copied.
        Val::Own(value) => inside(value, steps).map_or(0, weight),
        Val::Const(_) | Val::Number(_) | Val::Bool(_) | Val::Timestamp(_) | Val::Duration(_) => 0,
    };
    run.spend(cost)?;
    Ok(match &run.variables[slot] {
        Val::Own(value) => inside(value, steps).cloned().map(Val::Own),
        other
        @ (Val::Ref(_) | Val::Const(_) | Val::Number(_) | Val::Bool(_) | Val::Timestamp(_) | Val::Duration(_)) => {
            steps.is_empty().then(|| other.clone())
        }
    })
}

/// Returns the member of a value. A value of the item is not copied.
fn take<'a>(value: Val<'a>, step: &PathStep) -> Option<Val<'a>> {
    match value {
        Val::Ref(value) | Val::Const(Const::Value(value)) => one(value, step).map(Val::Ref),
        Val::Own(value) => one(&value, step).cloned().map(Val::Own),
        Val::Const(Const::Number(..) | Const::Timestamp(_) | Const::Duration(_))
        | Val::Number(_)
        | Val::Bool(_)
        | Val::Timestamp(_)
        | Val::Duration(_) => None,
    }
}
