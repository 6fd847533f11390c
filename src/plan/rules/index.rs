//! Rules for a plan that selects items through an index.

use crate::change::Change;
use crate::plan::changes::WrittenChange;
use crate::plan::diagnostic::{Diagnostic, Problems};
use crate::plan::index::WrittenIndex;

/// Refuses changes that cannot be combined with an index. `has_cutover` is true if the plan has a cutover.
pub(in crate::plan) fn check_index(
    index: &WrittenIndex,
    changes: &[WrittenChange],
    has_cutover: bool,
    problems: &mut Problems,
) {
    if has_cutover {
        problems.add(
            Diagnostic::new(
                "this plan has a cutover, so it cannot select through an index",
                index.at.clone(),
                "items can enter and leave an index",
            )
            .help("select the items with `keys`, or with a `where` that reads only keys and `stable` attributes")
            .help("otherwise, use strategy = \"in-place\", or a plan that only sets, computes or converts values"),
        );
        return;
    }
    if let Some(copy) = changes.iter().find(|written| matches!(written.change, Change::Copy { .. })) {
        problems.add(
            Diagnostic::new("a plan with `copy` cannot select through an index", copy.first.clone(), "a copy")
                .also(index.at.clone(), "the index")
                .help(
                    "a rollback of a copy must know the state of every item before the migration, and an index may lack \
                     items",
                )
                .help("use `compute` instead: compute = \"new\" with as = 'item.old'"),
        );
    }
}
