//! The cutover: which attribute applications write and read, and how that changes one step at a time.
//!
//! [`Flag`] is pure, and only [`Flag::next`] changes it. [`FlagStore`] stores it in the form that [`schema`] publishes.
//! [`Lease`] keeps two hosts from working on the same migration.

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
pub use lease::{LEASE_DURATION, Lease, LeaseError, LeaseLost, LeaseRecord, LeaseWatch, Standing, lease_owner};
pub use open::{Opened, open};
pub use percent::bucket;
pub use schema::{FlagMeta, SchemaError};
pub use sight::{AHEAD, Sights, dated_ahead};
pub use store::{FlagStore, FlagStoreError, HookError, check_plan};
pub use table::{TableStore, items};
pub use truth::{Truth, Truths};
pub use validity::Validity;
