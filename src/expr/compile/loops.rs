//! Macros: loops over the members of a collection.

use super::logic::truth;
use super::operations::{fits, stored};
use super::{Part, boxed};
use crate::expr::function::Stop;
use crate::expr::functions::lists::members;
use crate::expr::node::MacroKind;
use crate::expr::run::{Code, Fail, Res, Run};
use crate::expr::types::{Kinds, kind_of};
use crate::expr::value::{Const, Val, weight};
use crate::item::{Value, value_bytes};

/// A macro whose body has `cost` parts.
pub(super) fn a_loop(kind: MacroKind, slot: usize, range: Part, filter: Option<Part>, body: Part, cost: u64) -> Code {
    boxed(move |run| {
        let collection = (range.code)(run)?;
        let members = visited(run, collection, &range.text, kind)?;
        let each = Each { kind, slot, filter: filter.as_ref(), body: &body, cost };
        match members {
            Members::Borrowed(list) => each.run(run, list.iter().map(Val::Ref)),
            Members::Owned(list) => each.run(run, list.into_iter().map(Val::Own)),
        }
    })
}

/// The members of a collection, copied only if they are computed or sorted.
enum Members<'a> {
    Borrowed(&'a [Value]),
    Owned(Vec<Value>),
}

fn visited<'a>(run: &mut Run<'a>, collection: Val<'a>, text: &str, kind: MacroKind) -> Res<Members<'a>> {
    match collection {
        Val::Ref(Value::L(list)) | Val::Const(Const::Value(Value::L(list))) => Ok(Members::Borrowed(list)),
        Val::Own(Value::L(list)) => Ok(Members::Owned(list)),
        other @ (Val::Ref(_)
        | Val::Const(_)
        | Val::Own(_)
        | Val::Number(_)
        | Val::Bool(_)
        | Val::Timestamp(_)
        | Val::Duration(_)) => members(run, other.view()).map(Members::Owned).map_err(|stop| match stop {
            Stop::Limit(fail) => fail,
            Stop::Types | Stop::Reason(_) => {
                let is = Kinds::one(kind_of(&other.view()));
                let needs = Kinds::COLLECTIONS;
                Fail::new(format!("`{text}` is of {is}, and `{}` needs {needs} here", kind.name()))
            }
        }),
    }
}

struct Each<'p> {
    kind: MacroKind,
    slot: usize,
    filter: Option<&'p Part>,
    body: &'p Part,
    cost: u64,
}

impl Each<'_> {
    fn run<'a>(&self, run: &mut Run<'a>, members: impl Iterator<Item = Val<'a>>) -> Res<Val<'a>> {
        match self.kind {
            MacroKind::All => self.decided_by(run, members, false),
            MacroKind::Exists => self.decided_by(run, members, true),
            MacroKind::ExistsOne => {
                let mut count = 0_usize;
                for member in members {
                    count += usize::from(self.condition(run, member)?);
                }
                Ok(Val::Bool(count == 1))
            }
            MacroKind::Filter => {
                let mut kept = Vec::new();
                for member in members {
                    if self.condition(run, member)? {
                        let member = std::mem::replace(&mut run.variables[self.slot], Val::Bool(false));
                        kept.push(self.keep(run, member)?);
                    }
                }
                Ok(Val::Own(Value::L(kept)))
            }
            MacroKind::Map => {
                let mut made = Vec::new();
                let mut bytes = 0;
                for member in members {
                    self.begin(run, member)?;
                    if let Some(filter) = self.filter
                        && !truth((filter.code)(run), &filter.text, "map")?
                    {
                        continue;
                    }
                    let value = (self.body.code)(run)?;
                    let value = self.keep(run, value)?;
                    bytes += value_bytes(&value);
                    fits(bytes)?;
                    made.push(value);
                }
                Ok(Val::Own(Value::L(made)))
            }
        }
    }

    /// A member whose condition has the value `decisive` is the result, even if other members have no result.
    fn decided_by<'a>(
        &self,
        run: &mut Run<'a>,
        members: impl Iterator<Item = Val<'a>>,
        decisive: bool,
    ) -> Res<Val<'a>> {
        let mut failed = None;
        for member in members {
            match self.condition(run, member) {
                Ok(value) if value == decisive => return Ok(Val::Bool(decisive)),
                Ok(_) => {}
                Err(fail) if fail.limit => return Err(fail),
                Err(fail) => failed = failed.or(Some(fail)),
            }
        }
        match failed {
            Some(fail) => Err(fail),
            None => Ok(Val::Bool(!decisive)),
        }
    }

    fn begin<'a>(&self, run: &mut Run<'a>, member: Val<'a>) -> Res<()> {
        run.variables[self.slot] = member;
        run.spend(self.cost)
    }

    fn condition<'a>(&self, run: &mut Run<'a>, member: Val<'a>) -> Res<bool> {
        self.begin(run, member)?;
        truth((self.body.code)(run), &self.body.text, self.kind.name())
    }

    fn keep(&self, run: &mut Run<'_>, value: Val<'_>) -> Res<Value> {
        let value = stored(value, &self.body.text)?;
        run.spend(weight(&value))?;
        Ok(value)
    }
}
