//! The stored records as plain structs.

mod commit;
mod event;
mod history;
mod identity;
mod migration;
mod run;
mod spend;
mod verification;
mod work;

pub use commit::{Commit, DivergedItem, Failure};
pub use event::{EventRecord, StoredFact};
pub use history::{
    AffectedItems, BaselinePage, DeleteCounts, DeletedItem, DeletedItemsQuery, FilledTargets, JournaledWrite,
    PreImageRecord, PreImageRow,
};
pub use identity::Identity;
pub use migration::{DivergedGroup, FailureGroup, MigrationRecord, RecordLimits, RunDetails, SegmentCell, WorkGroups};
pub use run::{BeginMode, LockHolder, NewRun, RunProgress, RunRecord, RunSession, SegmentTotals, StateSummary};
pub use spend::SpendRecord;
pub use verification::{
    MAX_MISMATCHES, Mismatch, NewVerification, SampleDraw, StoredReport, VerificationParameters, VerificationRecord,
    VerifiedPages,
};
pub use work::{DivergedRecord, FailureRecord, ListQuery, OpenWork, RowStatus, UnreadableRow};
