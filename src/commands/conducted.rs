//! A migration that this process has to itself: the state file is locked, and the lease beside the flag taken.

use std::path::Path;

use super::pursuit::Pursuit;
use super::target::Target;
use super::{output, signals};
use crate::cli::{Decide, Global};
use backfill::internals::clock::wall;
use backfill::internals::cutover::{LEASE_DURATION, Lease, Opened, lease_owner};
use backfill::internals::engine::StopReason;
use backfill::internals::migration::{Conductor, Said, Stage};
use backfill::internals::playbook::Fact;
use backfill::internals::preflight::{Accept, check_plan};
use backfill::internals::state::KeptFact;

/// A migration that this process has to itself.
pub(super) struct Conducted {
    pub(super) target: Target,
    pub(super) conductor: Conductor,
    lease: Option<Lease>,
}

/// What a command says to the playbook.
pub(super) fn said(decide: &Decide) -> Said {
    let mut facts = Vec::from_iter(decide.dual.dual_writes_since.map(|since| Fact::DualWritesSince { since }));
    let stated = [
        (decide.forward.readers_moved, Fact::ReadersMoved),
        (decide.forward.old_writes_stopped, Fact::OldWritesStopped),
        (decide.backward.readers_back, Fact::ReadersBack),
        (decide.backward.new_writes_stopped, Fact::NewWritesStopped),
    ];
    facts.extend(stated.into_iter().filter(|(said, _)| *said).map(|(_, fact)| fact));
    let (accepted, accept_empty) = (decide.accepted_for_later(), decide.accept.contains(&Accept::EmptyTable));
    Said { actor: actor(), facts, force: decide.force.clone(), accepted, accept_empty, ..Said::default() }
}

/// Who gives this command, for the record.
pub(super) fn actor() -> String {
    let user = std::env::var("USER").or_else(|_| std::env::var("LOGNAME")).unwrap_or_else(|_| "(unknown)".into());
    format!("{user}@{}", backfill::internals::host::name())
}

impl Conducted {
    /// Takes the state file, and the lease beside the flag, where there is one. Signals stop it from here on.
    pub(super) async fn open(global: &Global, plan: &Path, said: Said) -> anyhow::Result<Conducted> {
        let target = Box::pin(Target::open(global, plan, check_plan)).await?;
        let opened = target.open_flag().await?;
        Box::pin(Conducted::of(target, said, opened)).await
    }

    /// The same for a command that is refused, or that nobody confirms, before anything is made or changed.
    pub(super) async fn prepared(target: Target, said: Said, pursuit: &mut Pursuit<'_>) -> anyhow::Result<Conducted> {
        let opened = target.open_flag().await?;
        Box::pin(pursuit.prepare(&target, opened.as_ref().map(|opened| opened.flag.as_ref()), &said)).await?;
        Box::pin(Conducted::of(target, said, opened)).await
    }

    async fn of(target: Target, said: Said, opened: Option<Opened>) -> anyhow::Result<Conducted> {
        let store = target.open_store()?;
        let (flag, item) = opened.map_or((None, None), |opened| (Some(opened.flag), opened.lease));
        let mut lease = None;
        if let Some(item) = item {
            let owner = lease_owner(&backfill::internals::host::name(), std::process::id());
            // Whoever had this state file before us is dead: its lock was free. That is, on this host, and at this path: a
            // copy of the file proves nothing.
            let with =
                format!(" with {}", target.state.canonicalize().unwrap_or_else(|_| target.state.clone()).display());
            let gone = store.kept(KeptFact::LeaseOwner).await?;
            let gone = gone.as_deref().and_then(|gone| gone.strip_suffix(&with));
            let gone = gone
                .filter(|owner| owner.starts_with(&format!("{} pid ", backfill::internals::host::name())))
                .map(str::to_owned);
            store.keep(KeptFact::LeaseOwner, format!("{owner}{with}")).await?;
            lease = Some(Lease::acquire(item, &owner, gone.as_deref(), LEASE_DURATION, output::lease_held).await?);
        }
        let stage = Stage {
            plan: target.plan.clone(),
            tables: target.tables.clone(),
            description: target.description.clone(),
            budgets: target.resolved.budgets.clone(),
            described: target.described,
        };
        let mut conductor = Conductor::open(stage, store, flag, wall(), said).await?;
        signals::listen(conductor.stop.clone())?;
        if let Some(lease) = &lease {
            conductor.lease = Some(lease.validity());
            let (lost, stop) = (lease.lost(), conductor.stop.clone());
            tokio::spawn(async move { stop.stop(StopReason::LeaseLost(lost.await)) });
        }
        Ok(Conducted { target, conductor, lease })
    }

    /// Gives the lease back and closes the state file.
    pub(super) async fn close(self) -> anyhow::Result<()> {
        if let Some(lease) = self.lease {
            lease.release().await;
        }
        Ok(self.conductor.store.close().await?)
    }
}
