//! Defines the findings of the preflight. A finding has a severity, a reason why it matters, and an action to take.

use serde_json::{Value as Json, json};

/// A fact that an operator should know before a run.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(not(feature = "internals"), non_exhaustive)]
pub struct Finding {
    /// The id of the finding, for scripts.
    pub id: &'static str,
    /// The severity of the finding.
    pub severity: Severity,
    /// The fact.
    pub what: String,
    /// Why the fact matters.
    pub why: String,
    /// The action to take.
    pub action: String,
    /// The acceptance for this finding. `None` if the finding cannot be accepted. An accepted finding does not prevent
    /// a run.
    pub accept: Option<Acceptance>,
    /// JSON that the operator can copy, such as filter patterns for a stream consumer.
    pub attached: Option<Json>,
}

/// The severity of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(not(feature = "internals"), non_exhaustive)]
pub enum Severity {
    /// The run is refused unless the operator accepts the finding.
    Refusal,
    /// The operator should decide what to do.
    Warning,
    /// The finding is only for information.
    Note,
}

/// The facts that an operator can accept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(not(feature = "internals"), non_exhaustive)]
pub enum Acceptance {
    /// Point-in-time recovery is off, or its status is unknown.
    NoPitr,
    /// The table is replicated to other regions.
    MultiRegion,
    /// A verification compared no item because the table is empty. Only the cutover gate checks this fact. The
    /// preflight does not check it.
    EmptyTable,
    /// Items are signed or encrypted on the client. If the operator accepts this fact, the run changes these items.
    ClientEncryption,
    /// Every reader accepts both the old and the new type of a value whose conversion keeps the attribute's name.
    ReadersAcceptBoth,
    /// Every writer writes the new type of a value whose conversion keeps the attribute's name.
    WritersWriteNew,
    /// The plan deletes items.
    DeletesItems,
    /// No rollback is possible, because the journal keeps no copy of deleted items, or because the operator purges the
    /// journal.
    NoWayBack,
}

impl Acceptance {
    /// All facts that an operator can accept.
    pub const ALL: [Acceptance; 8] = [
        Acceptance::NoPitr,
        Acceptance::MultiRegion,
        Acceptance::EmptyTable,
        Acceptance::ClientEncryption,
        Acceptance::ReadersAcceptBoth,
        Acceptance::WritersWriteNew,
        Acceptance::DeletesItems,
        Acceptance::NoWayBack,
    ];

    /// Returns the name on the command line, in state files and in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Acceptance::NoPitr => "no-pitr",
            Acceptance::MultiRegion => "multi-region",
            Acceptance::EmptyTable => "empty-table",
            Acceptance::ClientEncryption => "client-encryption",
            Acceptance::ReadersAcceptBoth => "readers-accept-both",
            Acceptance::WritersWriteNew => "writers-write-new",
            Acceptance::DeletesItems => "deletes-items",
            Acceptance::NoWayBack => "no-way-back",
        }
    }

    /// Parses the result of [`Acceptance::name`].
    pub fn from_name(name: &str) -> Option<Acceptance> {
        Acceptance::ALL.into_iter().find(|accept| accept.name() == name)
    }
}

impl Severity {
    /// Returns the name in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Severity::Refusal => "refuses",
            Severity::Warning => "warning",
            Severity::Note => "note",
        }
    }
}

impl Finding {
    pub(super) fn new(severity: Severity, id: &'static str, what: impl Into<String>) -> Finding {
        let why = String::new();
        let action = String::new();
        Finding { id, severity, what: what.into(), why, action, accept: None, attached: None }
    }

    pub(super) fn with_reason(self, why: impl Into<String>) -> Finding {
        Finding { why: why.into(), ..self }
    }

    /// Returns the same finding about this table, of a plan with two tables. `role` says which table it is.
    pub(super) fn about_table(self, name: &str, role: &str) -> Finding {
        Finding { what: format!("Table `{name}`, {role}: {}", self.what), ..self }
    }

    pub(super) fn with_action(self, action: impl Into<String>) -> Finding {
        Finding { action: action.into(), ..self }
    }

    /// Returns whether a run is refused because of this finding. `accepted` contains the facts that the operator has
    /// accepted.
    pub fn refuses(&self, accepted: &[Acceptance]) -> bool {
        self.severity == Severity::Refusal && !self.accept.is_some_and(|accept| accepted.contains(&accept))
    }

    /// Returns the finding as JSON.
    pub fn to_json(&self, accepted: &[Acceptance]) -> Json {
        json!({
            "id": self.id, "severity": self.severity.name(), "what": self.what, "why": self.why, "do": self.action,
            "accept": self.accept.map(Acceptance::name), "refuses": self.refuses(accepted), "attached": self.attached,
        })
    }

    /// Returns the finding as one paragraph of text.
    pub fn text(&self) -> String {
        let parts = [&self.what, &self.why, &self.action].map(|part| part.trim_end_matches('.'));
        parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(". ")
    }
}

/// Returns the acceptances that must be recorded. They are the acceptances without which the run would be refused, and
/// `ClientEncryption`, which the run may need later.
pub fn acceptances_to_record(findings: &[Finding], accepted: &[Acceptance]) -> Vec<Acceptance> {
    let is_required =
        |accept: &Acceptance| findings.iter().any(|f| f.severity == Severity::Refusal && f.accept == Some(*accept));
    let acceptances_to_record =
        accepted.iter().copied().filter(|accept| is_required(accept) || *accept == Acceptance::ClientEncryption);
    let mut acceptances_to_record: Vec<Acceptance> = acceptances_to_record.collect();
    acceptances_to_record.sort();
    acceptances_to_record.dedup();
    acceptances_to_record
}

/// Returns the reason why a run is refused, as one paragraph. Returns `None` if the run is not refused.
pub fn refusal(findings: &[Finding], accepted: &[Acceptance]) -> Option<String> {
    let refusing: Vec<&Finding> = findings.iter().filter(|finding| finding.refuses(accepted)).collect();
    if refusing.is_empty() {
        return None;
    }
    let texts: Vec<String> = refusing.iter().map(|finding| format!("{} ({})", finding.text(), finding.id)).collect();
    Some(format!("the preflight refuses this run, and nothing was written: {}", texts.join("; ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(severity: Severity, accept: Option<Acceptance>) -> Finding {
        Finding { accept, ..Finding::new(severity, "x", "It is so").with_reason("it matters").with_action("Do this") }
    }

    #[test]
    fn only_unaccepted_refusals_refuse() {
        let found = [
            finding(Severity::Refusal, Some(Acceptance::NoPitr)),
            finding(Severity::Refusal, Some(Acceptance::MultiRegion)),
            finding(Severity::Warning, None),
        ];
        let text = refusal(&found, &[]).unwrap();
        assert_eq!(text.matches("It is so. it matters. Do this (x)").count(), 2, "{text}");
        assert!(refusal(&found, &[Acceptance::NoPitr]).is_some());
        assert_eq!(refusal(&found, &Acceptance::ALL), None);
        assert_eq!(refusal(&found[2..], &[]), None);
        assert_eq!(
            acceptances_to_record(&found[1..], &[Acceptance::NoPitr, Acceptance::MultiRegion]),
            [Acceptance::MultiRegion],
            "the other one was not needed"
        );
        assert_eq!(
            acceptances_to_record(&[], &Acceptance::ALL),
            [Acceptance::ClientEncryption],
            "a run may still find encrypted items"
        );
    }

    #[test]
    fn names_are_read_back() {
        assert!(Acceptance::ALL.into_iter().all(|accept| Acceptance::from_name(accept.name()) == Some(accept)));
        assert_eq!(Acceptance::from_name("everything"), None);
    }
}
