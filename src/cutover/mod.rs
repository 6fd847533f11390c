//! The cutover: the flag that says which attributes applications write and read, and the steps that change the flag.
//!
//! [`Flag`] is pure, and only [`Flag::next`] changes it. [`FlagStore`] stores the flag in the form that [`schema`]
//! publishes. [`Lease`] prevents two hosts from working on the same migration at the same time.

mod flag;
mod hooks;
mod lease;
mod open;
mod percent;
pub mod schema;
mod sight;
mod store;
mod table;
mod truth;
mod validity;

pub use flag::{Flag, FlagChange, FlagError, ReadFrom, WriteTo};
pub use hooks::HookStore;
pub use lease::{LEASE_DURATION, Lease, LeaseError, LeaseLost, LeaseRecord, LeaseState, LeaseWatch, lease_owner};
pub use open::{FlagAccess, open};
pub use percent::bucket;
pub use schema::{FlagMeta, SchemaError};
pub use sight::{CHANGE_TIME_MARGIN, CacheExpiry, time_ahead};
pub use store::{FlagStore, FlagStoreError, HookError, check_flag_plan};
pub use table::{TableStore, flag_and_lease_items};
pub use truth::{Truth, TruthByKey};
pub use validity::Validity;
