//! Reads `[safety]`, which contains precautions before steps that destroy values.

use super::diagnostic::Problems;
use super::fields::Fields;
use super::section::section;

/// `[safety]`
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SafetyOptions {
    /// Whether the tool makes an on-demand backup of the table before each pass that destroys or overwrites values. It
    /// never makes a backup before a rollback or a step back.
    pub backup: bool,
}

/// Reads `[safety]`.
pub(super) fn read(root: &Fields<'_, '_>, problems: &mut Problems) -> SafetyOptions {
    let fields = section(root, "safety", "[safety]", &["backup"], None, problems);
    SafetyOptions { backup: fields.and_then(|fields| fields.flag("backup", problems)).unwrap_or(false) }
}
