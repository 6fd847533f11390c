//! The findings of the preflight, each with its severity, the reason why it matters, and the action to take.

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
    pub act: String,
    /// How the operator can accept the finding, or `None` if that is not possible. A run is not refused because of a
    /// finding that the operator accepts.
    pub accept: Option<Accept>,
    /// JSON that the operator can copy, such as the filter patterns for a consumer of the stream.
    pub attached: Option<Json>,
}

/// The severity of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(not(feature = "internals"), non_exhaustive)]
pub enum Severity {
    /// The run is refused, unless the operator accepts the finding.
    Refuses,
    /// The operator should decide what to do.
    Warning,
    /// The finding is only for information.
    Note,
}

/// The facts that an operator may accept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(not(feature = "internals"), non_exhaustive)]
pub enum Accept {
    /// Point-in-time recovery is off, or its status is unknown.
    NoPitr,
    /// The table is replicated to other regions.
    MultiRegion,
    /// A verification compared no item, because the table is empty. Only the cutover gate checks this; the preflight
    /// does not.
    EmptyTable,
    /// Items are signed or encrypted on the client. If the operator accepts this, the run changes them.
    ClientEncryption,
}

impl Accept {
    /// All facts that can be accepted.
    pub const ALL: [Accept; 4] = [Accept::NoPitr, Accept::MultiRegion, Accept::EmptyTable, Accept::ClientEncryption];

    /// The name on the command line, in state files and in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Accept::NoPitr => "no-pitr",
            Accept::MultiRegion => "multi-region",
            Accept::EmptyTable => "empty-table",
            Accept::ClientEncryption => "client-encryption",
        }
    }

    /// Reads [`Accept::name`] back.
    pub fn from_name(name: &str) -> Option<Accept> {
        Accept::ALL.into_iter().find(|accept| accept.name() == name)
    }
}

impl Severity {
    /// The name in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Severity::Refuses => "refuses",
            Severity::Warning => "warning",
            Severity::Note => "note",
        }
    }
}

impl Finding {
    pub(super) fn new(severity: Severity, id: &'static str, what: impl Into<String>) -> Finding {
        let why = String::new();
        let act = String::new();
        Finding { id, severity, what: what.into(), why, act, accept: None, attached: None }
    }

    pub(super) fn because(self, why: impl Into<String>) -> Finding {
        Finding { why: why.into(), ..self }
    }

    pub(super) fn so(self, act: impl Into<String>) -> Finding {
        Finding { act: act.into(), ..self }
    }

    /// Whether a run is refused because of this finding. `accepted` lists the facts that the operator has accepted.
    pub fn refuses(&self, accepted: &[Accept]) -> bool {
        self.severity == Severity::Refuses && !self.accept.is_some_and(|accept| accepted.contains(&accept))
    }

    /// The finding as JSON.
    pub fn to_json(&self, accepted: &[Accept]) -> Json {
        json!({
            "id": self.id, "severity": self.severity.name(), "what": self.what, "why": self.why, "do": self.act,
            "accept": self.accept.map(Accept::name), "refuses": self.refuses(accepted), "attached": self.attached,
        })
    }

    /// The finding in one paragraph.
    pub fn text(&self) -> String {
        let parts = [&self.what, &self.why, &self.act].map(|part| part.trim_end_matches('.'));
        parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(". ")
    }
}

/// Returns the acceptances that must be recorded: each acceptance without which the run would be refused, and
/// `ClientEncryption`, which the run may need later.
pub fn needed(findings: &[Finding], accepted: &[Accept]) -> Vec<Accept> {
    let met = |accept: &Accept| findings.iter().any(|f| f.severity == Severity::Refuses && f.accept == Some(*accept));
    let needed = accepted.iter().copied().filter(|accept| met(accept) || *accept == Accept::ClientEncryption);
    let mut needed: Vec<Accept> = needed.collect();
    needed.sort();
    needed.dedup();
    needed
}

/// Why a run is refused, in one paragraph, or `None` if it is not refused.
pub fn refusal(findings: &[Finding], accepted: &[Accept]) -> Option<String> {
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

    fn finding(severity: Severity, accept: Option<Accept>) -> Finding {
        Finding { accept, ..Finding::new(severity, "x", "It is so").because("it matters").so("Do this") }
    }

    #[test]
    fn only_unaccepted_refusals_refuse() {
        let found = [
            finding(Severity::Refuses, Some(Accept::NoPitr)),
            finding(Severity::Refuses, Some(Accept::MultiRegion)),
            finding(Severity::Warning, None),
        ];
        let text = refusal(&found, &[]).unwrap();
        assert_eq!(text.matches("It is so. it matters. Do this (x)").count(), 2, "{text}");
        assert!(refusal(&found, &[Accept::NoPitr]).is_some());
        assert_eq!(refusal(&found, &Accept::ALL), None);
        assert_eq!(refusal(&found[2..], &[]), None);
        assert_eq!(
            needed(&found[1..], &[Accept::NoPitr, Accept::MultiRegion]),
            [Accept::MultiRegion],
            "the other one was not needed"
        );
        assert_eq!(needed(&[], &Accept::ALL), [Accept::ClientEncryption], "a run may still find encrypted items");
    }

    #[test]
    fn names_are_read_back() {
        assert!(Accept::ALL.into_iter().all(|accept| Accept::from_name(accept.name()) == Some(accept)));
        assert_eq!(Accept::from_name("everything"), None);
    }
}
