//! The history of a migration, and the few facts beside it.

use rusqlite::{Connection, OptionalExtension, params};
use serde_json::Value as Json;

use super::super::{RunId, StoreError};
use super::error::Failed;
use super::state_file::StateFile;
use super::{Identity, Store, read};

/// A line of the history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventRecord {
    /// The event, as JSON.
    pub event: String,
    /// The newest run when it was appended: runs with larger numbers began after it.
    pub behind: RunId,
}

/// A fact that is kept beside the history, by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeptFact {
    /// Where the flag was when the migration began.
    FlagPlace,
    /// Who took the lease last, of all that had this file.
    LeaseOwner,
    /// The flag, as a command of this file saw it last.
    FlagSeen,
    /// The budgets of the run that works now, or worked last.
    Budgets,
    /// How fast the pass is that works now, or worked last.
    Pace,
}

impl KeptFact {
    fn name(self) -> &'static str {
        match self {
            KeptFact::FlagPlace => "flag_place",
            KeptFact::LeaseOwner => "lease_owner",
            KeptFact::FlagSeen => "flag_seen",
            KeptFact::Budgets => "budgets",
            KeptFact::Pace => "pace",
        }
    }
}

impl Store {
    /// Appends a line to the history. When this returns it is durable.
    pub async fn append_event(&self, event: String) -> Result<EventRecord, StoreError> {
        self.thread.run(move |c| append(c, event)).await
    }

    /// The history, oldest line first.
    pub async fn events(&self) -> Result<Vec<EventRecord>, StoreError> {
        self.thread.run(events).await
    }

    /// Forgets the history, and the facts beside it, of a migration that has not begun. False where it has: nothing is
    /// forgotten then.
    pub async fn forget_unbegun(&self) -> Result<bool, StoreError> {
        let forget = |c: &Connection| if has_begun(c)? { Ok(false) } else { forget(c).map(|()| true) };
        self.thread.run(forget).await
    }

    /// A fact beside it.
    pub async fn kept(&self, fact: KeptFact) -> Result<Option<String>, StoreError> {
        self.thread.run(move |c| kept(c, fact)).await
    }

    /// Keeps a fact. When this returns it is durable.
    pub async fn keep(&self, fact: KeptFact, value: String) -> Result<(), StoreError> {
        let sql = "INSERT INTO kept (name, value) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET value = ?2";
        self.thread.run(move |c| Ok(c.execute(sql, params![fact.name(), value]).map(|_| ())?)).await
    }
}

impl StateFile {
    /// The history, oldest line first.
    pub fn events(&self) -> Result<Vec<EventRecord>, StoreError> {
        self.read(events)
    }

    /// Whose file it is.
    pub fn identity(&self) -> Result<Identity, StoreError> {
        self.read(|connection| read::read_identity(connection).map(|(identity, _)| identity))
    }

    /// Whether anything was done, stated or intended here.
    pub fn has_begun(&self) -> Result<bool, StoreError> {
        self.read(has_begun)
    }

    /// A fact beside it.
    pub fn kept(&self, fact: KeptFact) -> Result<Option<String>, StoreError> {
        self.read(|connection| kept(connection, fact))
    }
}

/// Whether anything was done, stated or intended here: more than that a preflight was accepted, and that a first pass was
/// about to begin, of which there is no run.
pub(super) fn has_begun(connection: &Connection) -> Result<bool, Failed> {
    let comes_before = |line: &EventRecord| {
        let event: Json = serde_json::from_str(&line.event).unwrap_or_default();
        event["type"] == "preflight_accepted" || (event["type"] == "phase_begun" && event["phase"] == "expand")
    };
    Ok(read::has_runs(connection)? || !events(connection)?.iter().all(comes_before))
}

/// Forgets the history and the facts beside it, but for who had this file.
pub(super) fn forget(connection: &Connection) -> Result<(), Failed> {
    connection.execute("DELETE FROM events", [])?;
    connection.execute("DELETE FROM kept WHERE name <> ?1", [KeptFact::LeaseOwner.name()])?;
    Ok(())
}

fn append(connection: &Connection, event: String) -> Result<EventRecord, Failed> {
    let behind = connection.query_row("SELECT coalesce(max(id), 0) FROM runs", [], |row| row.get(0))?;
    connection.execute("INSERT INTO events (event, behind) VALUES (?1, ?2)", params![event, behind])?;
    Ok(EventRecord { event, behind: RunId(behind) })
}

fn events(connection: &Connection) -> Result<Vec<EventRecord>, Failed> {
    let mut statement = connection.prepare_cached("SELECT event, behind FROM events ORDER BY id")?;
    let rows = statement.query_map([], |row| Ok(EventRecord { event: row.get(0)?, behind: RunId(row.get(1)?) }))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn kept(connection: &Connection, fact: KeptFact) -> Result<Option<String>, Failed> {
    let sql = "SELECT value FROM kept WHERE name = ?1";
    Ok(connection.query_row(sql, [fact.name()], |row| row.get(0)).optional()?)
}
