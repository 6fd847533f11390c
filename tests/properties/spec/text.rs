//! Writes a plan as TOML.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::{ChangeSpec, Gap, INDEX, Kind, LISTED, MARKER, Spec};
use crate::derived::DERIVED;
use crate::elements::ELEMENT_FORMULAS;
use crate::facts::{ADDITIONS, CONDITIONS, CONSTANTS, CONVERSIONS, FORMULAS, REPLACEMENTS};

impl Spec {
    /// Writes the plan as TOML.
    pub(crate) fn toml(&self, table: &str, endpoint: Option<&str>) -> String {
        let mut text = "[migration]\nname = \"properties\"\n".to_owned();
        let deletes = self.changes.iter().any(|change| matches!(change.kind, Kind::Delete { .. }));
        if !deletes && self.put().is_none() {
            let strategy = if self.in_place { "in-place" } else { "expand-contract" };
            let _ = writeln!(text, "strategy = \"{strategy}\"\non_existing = \"{}\"", self.on_existing.name());
        }
        if self.split {
            text += "split = true\n";
        }
        let otherwise = if self.skips_not_computable { "skip" } else { "fail" };
        let _ = writeln!(text, "on_not_computable = \"{otherwise}\"");
        let _ = writeln!(text, "[table]\nname = \"{table}\"\nkey = [\"pk\", \"sk\"]");
        if let Some(endpoint) = endpoint {
            let _ = writeln!(text, "endpoint_url = \"{endpoint}\"");
        }
        let _ = writeln!(text, "[scan]\nsegments = {}\npage_limit = {}", self.segments, self.page);
        text += "[capacity]\nwrite = 100000\nread = 100000\n";
        if self.has_index {
            let _ = writeln!(text, "[capacity.index]\n\"{INDEX}\" = 100000");
        }
        text += "[limits]\nmax_failures = 100000\n";
        self.write_selection(&mut text);
        if self.contracts {
            text += "[cutover]\ntable = \"flags\"\nmax_cache_seconds = 1\nsoak = \"0s\"\n";
        }
        self.changes.iter().for_each(|change| change.write(&mut text));
        text
    }

    fn write_selection(&self, text: &mut String) {
        let conditions = self.changes.iter().filter_map(|change| change.condition);
        let stable: Vec<&str> =
            conditions.chain(self.select).flat_map(|condition| CONDITIONS[condition].reads.iter().copied()).collect();
        let needs_stable = self.needs_cutover() && !stable.is_empty();
        if self.select.is_none() && !needs_stable {
            return;
        }
        text.push_str("[select]\n");
        if let Some(select) = self.select {
            let _ = writeln!(text, "where = '{}'", CONDITIONS[select].source);
        }
        if needs_stable {
            let names: BTreeSet<&str> = stable.into_iter().collect();
            let _ = writeln!(text, "stable = {:?}", Vec::from_iter(names));
        }
    }
}

impl ChangeSpec {
    /// Writes the change as one or more `[[change]]`.
    fn write(&self, text: &mut String) {
        if let Kind::Each { container, edits } = &self.kind {
            for edit in edits {
                let _ = writeln!(text, "[[change]]\neach = \"{container}[*]\"");
                ChangeSpec { condition: self.condition, ..edit.clone() }.write_fields(text);
            }
            return;
        }
        text.push_str("[[change]]\n");
        self.write_fields(text);
    }

    fn write_fields(&self, text: &mut String) {
        let written = match &self.kind {
            Kind::Move { from, to } => format!("move = \"{from}\"\nto = \"{to}\"\n"),
            Kind::Copy { from, to } => format!("copy = \"{from}\"\nto = \"{to}\"\n"),
            Kind::Set { to, constant } => format!("set = \"{to}\"\nvalue = {}\n", CONSTANTS[*constant].0),
            Kind::Remove { path } => format!("remove = \"{path}\"\n"),
            Kind::Compute { to, formula } => format!("compute = \"{to}\"\nas = '{}'\n", FORMULAS[*formula].source),
            Kind::Prefix { to } => format!(
                "compute = \"{to}\"\nas = '\"+\" + item.{to}'\non_existing = \"overwrite\"\n\
                 where = 'type(item.{to}) == \"S\" && !item.{to}.startsWith(\"+\")'\n"
            ),
            Kind::Replace { to, replacement } => {
                let replacement = &REPLACEMENTS[*replacement];
                let inverse = replacement.inverse.replace("NEW", &format!("item.{to}"));
                format!(
                    "compute = \"{to}\"\nas = '{}'\nreplaces = \"{}\"\ninverse = '{inverse}'\n",
                    replacement.source, replacement.old
                )
            }
            Kind::Convert { path, conversion } => {
                format!("convert = \"{path}\"\n{}\n", CONVERSIONS[*conversion].source)
            }
            Kind::ConvertInto { path, to, conversion } => {
                format!("convert = \"{path}\"\ninto = \"{to}\"\n{}\n", CONVERSIONS[*conversion].source)
            }
            Kind::Append { to, addition } => format!("append = \"{to}\"\n{}\n", ADDITIONS[*addition].0),
            Kind::Bump => "bump = \"v\"\n".to_owned(),
            Kind::Delete { gap, keeps_image } => {
                let gap = match gap {
                    Gap::Version => "version = \"v\"".to_owned(),
                    Gap::Attributes => format!("attributes = {LISTED:?}").replace("\\u{1f600}", "\u{1f600}"),
                    Gap::Stopped => "writers = \"stopped\"".to_owned(),
                };
                let journal = if *keeps_image { "" } else { "journal = \"none\"\n" };
                format!("delete = true\n{gap}\n{journal}")
            }
            Kind::Exec { inputs, outputs } => {
                format!("exec = [\"program\"]\ninputs = {inputs:?}\noutputs = {outputs:?}\nmarker = \"{MARKER}\"\n")
            }
            Kind::Custom { inputs, outputs } => {
                let name = if outputs.len() == 1 { "one" } else { "two" };
                format!("custom = \"{name}\"\ninputs = {inputs:?}\noutputs = {outputs:?}\n")
            }
            Kind::Each { .. } => String::new(),
            Kind::ElementCompute { to, formula } => {
                format!("compute = \"{to}\"\nas = '{}'\n", ELEMENT_FORMULAS[*formula].source)
            }
            Kind::Put { derived } => format!("put = {}\n", DERIVED[*derived].source),
        };
        text.push_str(&written);
        if let Some(on_existing) = self.on_existing {
            let _ = writeln!(text, "on_existing = \"{}\"", on_existing.name());
        }
        if let Some(condition) = self.condition {
            let _ = writeln!(text, "where = '{}'", CONDITIONS[condition].source);
        }
        if self.null_is_missing {
            text.push_str("null_is_missing = true\n");
        }
    }
}
