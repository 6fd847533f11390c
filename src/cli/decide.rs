//! What an operator says to a step of the playbook: each command takes what applies to it.

use clap::Args;

use super::{ContractArgs, CutoverArgs, RollbackArgs, accept_parser};
use backfill::internals::migration;
use backfill::internals::preflight::Accept;

/// What goes before a step of the playbook.
#[derive(Debug, Clone, Args)]
pub(crate) struct Go {
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
    /// Accept a finding of the preflight
    #[arg(long, value_name = "FINDING", value_parser = accept_parser())]
    pub accept: Vec<Accept>,
}

/// What a flag would say of writers of both attributes.
#[derive(Debug, Clone, Copy, Default, Args)]
#[command(next_help_heading = "Facts to state, where the plan names no flag")]
pub(crate) struct DualFact {
    /// Every writer has written both attributes since then
    #[arg(long, value_name = "TIME")]
    pub dual_writes_since: Option<jiff::Timestamp>,
}

/// What a flag would prove on the way forward.
#[derive(Debug, Clone, Copy, Default, Args)]
#[command(next_help_heading = "Facts to state, where the plan names no flag")]
pub(crate) struct ForwardFacts {
    /// Every reader reads the new attribute, or none reads the one that goes
    #[arg(long)]
    pub readers_moved: bool,
    /// Nobody writes the old attribute any more
    #[arg(long)]
    pub old_writes_stopped: bool,
}

/// What a flag would prove on the way back.
#[derive(Debug, Clone, Copy, Default, Args)]
#[command(next_help_heading = "Facts to state, where the plan names no flag")]
pub(crate) struct BackFacts {
    /// On the way back: every reader reads the old attribute again
    #[arg(long)]
    pub readers_back: bool,
    /// On the way back: nobody writes the new attribute any more
    #[arg(long)]
    pub new_writes_stopped: bool,
}

/// What an operator says to a step of the playbook, whichever command it is.
#[derive(Debug, Clone, Default)]
pub(crate) struct Decide {
    /// Not asked.
    pub yes: bool,
    /// The reason to go past what stands in the way.
    pub force: Option<String>,
    /// Accepted findings.
    pub accept: Vec<Accept>,
    /// Stated of writers.
    pub dual: DualFact,
    /// Stated on the way forward.
    pub forward: ForwardFacts,
    /// Stated on the way back.
    pub backward: BackFacts,
}

/// The reason of a `--force`: something that a person reads later. Refuses one that shows nothing.
pub(super) fn reason(text: &str) -> Result<String, String> {
    migration::reason(text)
        .ok_or_else(|| "the reason is blank: say why, for those who read the record later".to_owned())
}

impl CutoverArgs {
    /// What it says.
    pub(crate) fn decide(&self) -> Decide {
        let (dual, forward, backward) = (self.dual, self.forward, self.backward);
        Decide { dual, forward, backward, ..Decide::of(&self.go, self.force.as_ref()) }
    }
}

impl ContractArgs {
    /// What it says.
    pub(crate) fn decide(&self) -> Decide {
        Decide { forward: self.forward, ..Decide::of(&self.go, self.force.as_ref()) }
    }
}

impl RollbackArgs {
    /// What it says.
    pub(crate) fn decide(&self) -> Decide {
        Decide { dual: self.dual, backward: self.backward, ..Decide::of(&self.go, self.force.as_ref()) }
    }
}

impl Decide {
    fn of(go: &Go, force: Option<&String>) -> Decide {
        Decide { yes: go.yes, accept: go.accept.clone(), force: force.cloned(), ..Decide::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::reason;

    #[test]
    fn a_blank_reason_is_none() {
        for blank in
            ["", " ", "\t\n", "\u{a0}\u{3000}", "\u{200b}\u{200d}\u{feff}", " \u{2060}\u{ad} ", "\u{1b}", "\u{2800}"]
        {
            assert!(reason(blank).is_err(), "{blank:?}");
        }
        assert_eq!(reason(" we look\u{200b} at it ").as_deref(), Ok("we look\u{200b} at it"));
        assert_eq!(reason("?").as_deref(), Ok("?"));
    }
}
