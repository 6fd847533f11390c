//! The stored records as plain structs.

mod commit;
mod event;
mod history;
mod identity;
mod run;
mod spend;
mod verification;
mod work;

pub use commit::{Commit, DivergedItem, Failure};
pub use event::{EventRecord, KeptFact};
pub use history::{BaselinePage, Filled, Listed, PreImageRecord, PreImageRow};
pub use identity::Identity;
pub use run::{Begin, Holder, NewRun, RunProgress, RunRecord, SegmentTotals, Session, StateSummary};
pub use spend::SpendRecord;
pub use verification::{
    Asked, Drawn, MAX_MISMATCHES, Mismatch, NewVerification, StoredReport, VerificationRecord, VerifiedPages,
};
pub use work::{DivergedRecord, FailureRecord, ListQuery, OpenWork, RowStatus, Unreadable};
