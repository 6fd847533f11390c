//! The capabilities of each implementation of DynamoDB's API. A probe (`tests/table/contract/capabilities.rs`) compares
//! each cell of this table with the running engine, and `docs/engines.md` shows the table. Tests use the table to run
//! on every engine with the required capabilities.

/// A feature of an engine that plans or tests need.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Capability {
    AtomicConditions,
    ImageOnFailure,
    DocumentComparison,
    ParallelScan,
    IndexScan,
    OnDemand,
    TableCapacity,
    IndexCapacity,
    ItemSize,
    IndexKeys,
    TimeToLive,
    PointInTimeRecovery,
    Backups,
    PartiQl,
    Transactions,
}

/// An engine with its capabilities.
#[derive(Debug, Clone, Copy)]
pub struct Engine {
    /// The name in `BACKFILL_TEST_ENGINE`. It is `local` for the embedded engine.
    pub name: &'static str,
    /// The name in the documentation.
    pub title: &'static str,
    /// The missing capabilities. The engine has all others.
    pub lacks: &'static [Capability],
}

use Capability::{
    AtomicConditions, Backups, DocumentComparison, ImageOnFailure, IndexCapacity, IndexKeys, IndexScan, ItemSize,
    OnDemand, ParallelScan, PartiQl, PointInTimeRecovery, TableCapacity, TimeToLive, Transactions,
};

impl Capability {
    /// All capabilities, in the order of the documentation.
    pub const ALL: [Capability; 15] = [
        AtomicConditions,
        ImageOnFailure,
        DocumentComparison,
        ParallelScan,
        IndexScan,
        OnDemand,
        TableCapacity,
        IndexCapacity,
        ItemSize,
        IndexKeys,
        TimeToLive,
        PointInTimeRecovery,
        Backups,
        PartiQl,
        Transactions,
    ];

    /// Returns a description of the capability, and the feature or test that needs it.
    pub fn description(self) -> (&'static str, &'static str) {
        match self {
            AtomicConditions => ("checks a condition and writes in one step", "every test with two writers"),
            ImageOnFailure => ("returns the item if a condition fails (`ALL_OLD`)", "fewer reads after a race"),
            DocumentComparison => ("compares lists and maps by value", "changes that compare lists or maps"),
            ParallelScan => ("divides a scan into segments", "`[scan] segments`"),
            IndexScan => ("scans a global index", "`[select] index`"),
            OnDemand => ("describes on-demand tables", "default budgets"),
            TableCapacity => ("reports the capacity that a write consumed", "exact spending"),
            IndexCapacity => ("reports the capacity of each global index", "budgets of indexes"),
            ItemSize => ("rejects items above 400 KB", "the failure of a single item"),
            IndexKeys => ("rejects invalid values in index keys", "the failure of a single item"),
            TimeToLive => ("has a time to live", "the check of the TTL attribute"),
            PointInTimeRecovery => ("describes point-in-time recovery", "the check `no-pitr`"),
            Backups => ("makes on-demand backups", "`[safety] backup`"),
            PartiQl => ("has PartiQL, with conditions", "`[write] transport = \"batch\"`"),
            Transactions => ("has transactions", "plans with `put`"),
        }
    }
}

/// All engines. AWS has all capabilities according to its documentation. No test runs there.
pub const ENGINES: [Engine; 5] = [
    Engine { name: "aws", title: "DynamoDB", lacks: &[] },
    Engine { name: "local", title: "dynoxide (embedded)", lacks: &[PointInTimeRecovery, Backups] },
    Engine { name: "ministack", title: "ministack", lacks: &[] },
    Engine {
        name: "dynalite",
        title: "dynalite",
        lacks: &[
            ImageOnFailure,
            DocumentComparison,
            IndexCapacity,
            TimeToLive,
            PointInTimeRecovery,
            Backups,
            PartiQl,
            Transactions,
        ],
    },
    Engine { name: "moto", title: "moto", lacks: &[AtomicConditions, IndexCapacity, IndexKeys, PartiQl] },
];

impl Engine {
    /// Returns the engine on which the tests run. An engine that is missing from the table is assumed to have all
    /// capabilities.
    pub fn current() -> Engine {
        let name = match std::env::var_os(super::ENDPOINT) {
            Some(_) => std::env::var("BACKFILL_TEST_ENGINE").unwrap_or_else(|_| "another engine".to_owned()),
            None => "local".to_owned(),
        };
        let complete = Engine { name: "another", title: "another engine", lacks: &[] };
        ENGINES.into_iter().find(|engine| engine.name == name).unwrap_or(complete)
    }

    pub fn has(&self, capability: Capability) -> bool {
        !self.lacks.contains(&capability)
    }

    /// Returns whether the engine has all capabilities that a test needs.
    pub fn has_all(&self, needs: &[Capability]) -> bool {
        needs.iter().all(|need| self.has(*need))
    }
}

/// Returns the Markdown table for `docs/engines.md`.
pub fn markdown() -> String {
    let titles: Vec<&str> = ENGINES.iter().map(|engine| engine.title).collect();
    let mut lines = vec![
        format!("| The engine | Needed for | {} |", titles.join(" | ")),
        format!("| --- | --- |{}", " --- |".repeat(ENGINES.len())),
    ];
    for capability in Capability::ALL {
        let (what, why) = capability.description();
        let cells: Vec<&str> =
            ENGINES.iter().map(|engine| if engine.has(capability) { "yes" } else { "**no**" }).collect();
        lines.push(format!("| {what} | {why} | {} |", cells.join(" | ")));
    }
    lines.join("\n")
}
