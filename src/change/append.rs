//! `append`: adds members to a set, or one element to a list, unless the container already has them.
//!
//! The write stores the whole container as a value, on condition that the container has not changed since it was read.
//! A repeated write therefore adds nothing twice. The journal records the container as it was before the write. Undo
//! removes only the members or elements that, according to the journal, the migration added. Undo keeps everything
//! else.

use super::draft::Draft;
use super::{Condition, PreImage, PriorValue};
use crate::item::{NotComputable, Path, Value};

/// What an `append` adds.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(not(feature = "internals"), non_exhaustive)]
pub enum Addition {
    /// The members of this set.
    Members(Value),
    /// One element of a list.
    Element(Value),
}

impl Addition {
    /// Returns the added value: a set of members, or the element.
    pub fn value(&self) -> &Value {
        match self {
            Addition::Members(value) | Addition::Element(value) => value,
        }
    }

    /// Returns the name of the container's type.
    pub fn container_type(&self) -> &'static str {
        match self {
            Addition::Members(set) => set.type_name(),
            Addition::Element(_) => "L",
        }
    }

    /// Returns the container with the addition. Returns `None` if the container already has everything. If the
    /// container is missing, returns a new one.
    ///
    /// # Errors
    ///
    /// Fails if the existing value is not a container of the right type.
    pub fn added_to(&self, container: Option<&Value>) -> Result<Option<Value>, NotComputable> {
        let Some(container) = container else { return Ok(Some(self.container())) };
        let Some(mut parts) = self.parts(container) else {
            let found = container.type_name();
            return Err(NotComputable::new(format!("it is of type {found}, not {}", self.container_type())));
        };
        let missing: Vec<Value> = self.additions().into_iter().filter(|part| !parts.contains(part)).collect();
        if missing.is_empty() {
            return Ok(None);
        }
        parts.extend(missing);
        Ok(self.rebuilt(parts))
    }

    /// Returns the container's parts without those parts of the addition for which `is_ours` is true. If a list has
    /// several equal elements, removes only the first one. Returns `None` if the container has a different type.
    fn taken_from(&self, container: &Value, is_ours: impl Fn(&Value) -> bool) -> Option<Vec<Value>> {
        let mut parts = self.parts(container)?;
        for part in self.additions().into_iter().filter(is_ours) {
            if let Some(at) = parts.iter().position(|there| *there == part) {
                parts.remove(at);
            }
        }
        Some(parts)
    }

    /// Returns a new container that contains only the addition.
    fn container(&self) -> Value {
        match self {
            Addition::Members(set) => set.clone(),
            Addition::Element(element) => Value::L(vec![element.clone()]),
        }
    }

    fn additions(&self) -> Vec<Value> {
        match self {
            Addition::Members(set) => members(set).unwrap_or_default(),
            Addition::Element(element) => vec![element.clone()],
        }
    }

    /// Returns the members or elements of a container, or `None` if it has a different type.
    fn parts(&self, container: &Value) -> Option<Vec<Value>> {
        match (self, container) {
            (Addition::Members(set), _) if set.type_name() == container.type_name() => members(container),
            (Addition::Element(_), Value::L(elements)) => Some(elements.clone()),
            (Addition::Members(_) | Addition::Element(_), _) => None,
        }
    }

    /// Returns a container of these members or elements. Returns `None` if the result would be an empty set, because
    /// DynamoDB has no empty sets.
    fn rebuilt(&self, parts: Vec<Value>) -> Option<Value> {
        match self {
            Addition::Members(like) => set_of(like, parts),
            Addition::Element(_) => Some(Value::L(parts)),
        }
    }
}

impl Draft<'_> {
    /// Plans an `append`.
    pub(super) fn append(&mut self, to: &Path, addition: &Addition) {
        match addition.added_to(self.target_value(to, None)) {
            Ok(Some(after)) => match to.get(self.item) {
                Some(existing) => {
                    self.record_pre_image(PreImage::with_value(to, existing).with_computed_value(&after));
                    self.overwrite(to, existing, &after);
                }
                None => self.create(to, &after, PreImage::without_value(to).with_computed_value(&after)),
            },
            Ok(None) => {
                self.already_applied = true;
                self.require_unchanged(to);
            }
            Err(why) => self.mark_not_computable(NotComputable::new(format!(
                "nothing can be appended to `{to}`: {}",
                why.reason()
            ))),
        }
    }

    /// Undoes an `append`: removes the parts that, according to the journal, the migration added. If the migration
    /// created the container and no part is left, removes the container too.
    pub(super) fn revert_append(&mut self, to: &Path, addition: &Addition) {
        let history = self.history;
        let Some(prior) = history.prior(to) else { return };
        let Some(now) = to.get(self.item) else {
            self.already_applied = true;
            return self.require(Condition::Missing(to.clone()));
        };
        // The migration added a part if the container lacked the part before one of the recorded writes.
        let lacked = |prior: &PriorValue, part: &Value| match prior {
            PriorValue::Value(before) => addition.parts(before).is_none_or(|parts| !parts.contains(part)),
            PriorValue::Nothing => true,
            PriorValue::SameAsSource | PriorValue::Leftover(_) | PriorValue::Item(_) | PriorValue::Mark(_) => false,
        };
        let is_ours = |part: &Value| history.priors(to).any(|prior| lacked(prior, part));
        let Some(rest) = addition.taken_from(now, is_ours) else { return self.diverged.push(to.clone()) };
        if addition.parts(now).is_some_and(|parts| parts.len() == rest.len()) {
            return self.mark_undone(to, now);
        }
        self.require(Condition::Equals(to.clone(), now.clone()));
        let was_null = *prior == PriorValue::Value(Value::Null);
        let restored = match rest.is_empty() {
            true if was_null => Some(Value::Null),
            true if *prior == PriorValue::Nothing => None,
            // A set without members cannot exist.
            true | false => addition.rebuilt(rest),
        };
        match restored {
            Some(restored) => self.overwrite(to, now, &restored),
            None => self.remove(to, now),
        }
    }
}

/// Returns the members of a set, or `None` if the value is not a set.
fn members(set: &Value) -> Option<Vec<Value>> {
    match set {
        Value::Ss(members) => Some(members.iter().cloned().map(Value::S).collect()),
        Value::Ns(members) => Some(members.iter().cloned().map(Value::N).collect()),
        Value::Bs(members) => Some(members.iter().cloned().map(Value::B).collect()),
        Value::S(_) | Value::N(_) | Value::B(_) | Value::Bool(_) | Value::Null | Value::L(_) | Value::M(_) => None,
    }
}

/// Returns a set of these members. It has the type of `like`.
fn set_of(like: &Value, members: Vec<Value>) -> Option<Value> {
    if members.is_empty() {
        return None;
    }
    let (mut texts, mut numbers, mut bytes) = (Vec::new(), Vec::new(), Vec::new());
    for member in members {
        match member {
            Value::S(text) => texts.push(text),
            Value::N(number) => numbers.push(number),
            Value::B(value) => bytes.push(value),
            Value::Bool(_) | Value::Null | Value::Ss(_) | Value::Ns(_) | Value::Bs(_) | Value::L(_) | Value::M(_) => {
                return None;
            }
        }
    }
    match like {
        Value::Ss(_) => Some(Value::Ss(texts)),
        Value::Ns(_) => Some(Value::Ns(numbers)),
        Value::Bs(_) => Some(Value::Bs(bytes)),
        Value::S(_) | Value::N(_) | Value::B(_) | Value::Bool(_) | Value::Null | Value::L(_) | Value::M(_) => None,
    }
}
