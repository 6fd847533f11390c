//! Computes the result that the plans in these tests imply for an item of the sample table, without the tool's own
//! code.

use backfill::internals::change::Outcome;
use backfill::internals::item::{Item, Value};

/// The final state of an item.
#[derive(Debug)]
pub(crate) struct After {
    pub(crate) item: Item,
    /// The item's outcome in a run that is never killed.
    pub(crate) outcome: Outcome,
    /// The values that the run destroys, with their paths.
    pub(crate) destroyed: Vec<(&'static str, Value)>,
}

/// Returns the result of a plan that copies `email` to `contact_email` and keeps existing values.
pub(crate) fn renamed(before: &Item) -> After {
    let mut item = before.clone();
    let outcome = match (before.get("email"), before.get("contact_email")) {
        (Some(old), None) => {
            item.insert("contact_email".into(), old.clone());
            Outcome::Applied
        }
        (None, None) => Outcome::NothingToDo,
        (Some(old), Some(new)) if old != new => Outcome::Diverged,
        (_, Some(_)) => Outcome::AlreadyApplied,
    };
    After { item, outcome, destroyed: Vec::new() }
}

/// A plan that moves values into an existing document (`address`) and a missing document (`billing`), and over existing
/// values (`contact_email`, `status`). The plan also removes attributes, both at the top level and inside a document.
pub(crate) const IN_PLACE: &str = r#"
[[change]]
move = "email"
to = "contact_email"
[[change]]
move = "address.zip"
to = 'address."post-code"'
[[change]]
move = "total"
to = "billing.total"
[[change]]
set = "status"
value = "migrated"
[[change]]
remove = "about"
[[change]]
remove = "payload.q"
[[change]]
remove = '"e-mail.addr#1"'
"#;

/// Returns the result of [`IN_PLACE`] with `on_existing = "overwrite"`. Every item gets a `status`, so every item is
/// written.
pub(crate) fn in_place(before: &Item) -> After {
    let mut item = before.clone();
    let mut destroyed = Vec::new();
    if let Some(email) = item.remove("email") {
        match item.insert("contact_email".into(), email) {
            Some(other) if Some(&other) != before.get("email") => destroyed.push(("contact_email", other)),
            _ => {}
        }
    }
    if let Some(Value::M(address)) = item.get_mut("address")
        && let Some(zip) = address.remove("zip")
    {
        address.insert("post-code".into(), zip);
    }
    if let Some(total) = item.remove("total") {
        item.insert("billing".into(), Value::M([("total".to_owned(), total)].into()));
    }
    if let Some(status) = item.insert("status".into(), Value::S("migrated".into())) {
        destroyed.push(("status", status));
    }
    if let Some(about) = item.remove("about") {
        destroyed.push(("about", about));
    }
    if let Some(Value::M(payload)) = item.get_mut("payload")
        && let Some(q) = payload.remove("q")
    {
        destroyed.push(("payload.q", q));
    }
    if let Some(address) = item.remove("e-mail.addr#1") {
        destroyed.push(("\"e-mail.addr#1\"", address));
    }
    After { item, outcome: Outcome::Applied, destroyed }
}
