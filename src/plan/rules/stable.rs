//! Rules for the attributes in a plan's `stable` list.

use crate::plan::attribute_list::WrittenName;
use crate::plan::changes::WrittenChange;
use crate::plan::diagnostic::{Diagnostic, Problems};

/// Refuses a stable attribute that the plan itself changes. The tool assumes that stable attributes never change, so it
/// would reject each item that the plan has changed.
pub(in crate::plan) fn check_stable_names(stable: &[WrittenName], changes: &[WrittenChange], problems: &mut Problems) {
    for WrittenName { name, at } in stable {
        let change = changes.iter().find_map(|change| {
            let paths = change.change.paths();
            let is_it = |path: &&crate::item::Path| path.root() == name;
            if paths.writes.into_iter().any(|path| is_it(&path)) {
                return Some((change, "writes it"));
            }
            paths.removes.into_iter().any(|path| is_it(&path)).then_some((change, "removes it"))
        });
        let Some((change, what)) = change else { continue };
        problems.add(
            Diagnostic::new(
                format!("`{name}` is in `stable`, but the plan changes it"),
                at.clone(),
                "an attribute that no writer ever changes",
            )
            .also(change.first.clone(), what)
            .help("select by key attributes, or by attributes that neither the plan nor the application changes")
            .help(format!("or remove \"{name}\" from `stable`, if the plan has no cutover")),
        );
    }
}
