//! Processes the items of a page until each item has an outcome, and commits whole pages.

pub(crate) mod outcome;
pub(crate) mod page;
pub(crate) mod probation;
pub(crate) mod write_pages;
pub(crate) mod writer;

pub use outcome::PageOutcome;
pub use page::{CommitPage, PageItems, Pages, ProcessPage};
pub use write_pages::WritePages;
pub use writer::{ItemOutcomes, PartialOutcome, RemainingWork, Writer};
