//! Random plans. A plan is generated as data, written as TOML, and read by the tool's own parser.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use backfill::internals::change::OnExisting;
use backfill::internals::item::Value;
use fastrand::Rng;

use super::facts::{ADDITIONS, CONDITIONS, CONSTANTS, CONVERSIONS, FORMULAS, REPLACEMENTS};

/// The index of the generated tables that have one. Its key is the attribute `ik`, a string.
pub(crate) const INDEX: &str = "by-ik";

/// The paths that the changes read or remove.
const SOURCES: [&str; 11] = ["a", "b", "c", "m.x", "m.y", "l[0]", "s1", "n1", "m", "l", "tags"];

/// The paths that the changes write.
const TARGETS: [&str; 10] = ["t1", "t2", "t3", "u.p", "u.q", "u.r.s", "m.z", "ik", "tags", "l"];

/// The attributes of a delete's `attributes`. Items may have others.
pub(crate) const LISTED: [&str; 22] = [
    "a",
    "b",
    "c",
    "m",
    "l",
    "s1",
    "n1",
    "tags",
    "kind",
    "v",
    "t1",
    "t2",
    "t3",
    "u",
    "ik",
    "eo",
    "ep",
    "em",
    "zz",
    "e-mail",
    "a.b",
    "\u{1f600}",
];

/// A plan as data.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Spec {
    pub(crate) in_place: bool,
    pub(crate) on_existing: OnExisting,
    pub(crate) skips_not_computable: bool,
    /// The position of `[select] where` in [`CONDITIONS`].
    pub(crate) select: Option<usize>,
    /// Whether the plan has a flag, and goes through the cutover and `contract` instead of a rollback.
    pub(crate) contracts: bool,
    /// Whether the table has the index.
    pub(crate) has_index: bool,
    pub(crate) segments: u32,
    pub(crate) page: u32,
    pub(crate) changes: Vec<ChangeSpec>,
}

/// One `[[change]]`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ChangeSpec {
    pub(crate) kind: Kind,
    pub(crate) on_existing: Option<OnExisting>,
    /// The position of the change's own `where` in [`CONDITIONS`].
    pub(crate) condition: Option<usize>,
    pub(crate) null_is_missing: bool,
}

/// The operation of a change. The numbers are positions in the tables of `facts.rs`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Kind {
    Move {
        from: &'static str,
        to: &'static str,
    },
    Copy {
        from: &'static str,
        to: &'static str,
    },
    Set {
        to: &'static str,
        constant: usize,
    },
    Remove {
        path: &'static str,
    },
    Compute {
        to: &'static str,
        formula: usize,
    },
    /// Puts `+` in front of a text that has none, so the target is computed from itself.
    Prefix {
        to: &'static str,
    },
    Replace {
        to: &'static str,
        replacement: usize,
    },
    Convert {
        path: &'static str,
        conversion: usize,
    },
    ConvertInto {
        path: &'static str,
        to: &'static str,
        conversion: usize,
    },
    Append {
        to: &'static str,
        addition: usize,
    },
    Bump,
    Delete {
        gap: Gap,
        keeps_image: bool,
    },
    Exec {
        inputs: &'static [&'static str],
        outputs: &'static [&'static str],
    },
}

/// The gap rule of a delete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gap {
    Version,
    Attributes,
    Stopped,
}

/// The marker of every `exec`.
pub(crate) const MARKER: &str = "em";

impl Spec {
    /// Generates a plan. Most of the plans are valid.
    pub(crate) fn random(rng: &mut Rng) -> Spec {
        let in_place = rng.bool();
        let deletes = rng.u8(..12) == 0;
        let mut targets = TARGETS.to_vec();
        let mut sources = SOURCES.to_vec();
        rng.shuffle(&mut targets);
        rng.shuffle(&mut sources);
        let condition = |rng: &mut Rng| rng.usize(..CONDITIONS.len());
        let mut changes = Vec::new();
        if deletes {
            let gap = [Gap::Version, Gap::Attributes, Gap::Stopped][rng.usize(..3)];
            changes.push(ChangeSpec::plain(Kind::Delete { gap, keeps_image: rng.u8(..4) > 0 }));
        } else {
            for _ in 0..rng.usize(1..=4) {
                // Now and then, a path is used twice, and the plan may be refused.
                let mut take = |paths: &mut Vec<&'static str>| match rng.u8(..20) {
                    0 => paths.first().copied(),
                    _ => paths.pop(),
                };
                let (Some(from), Some(to)) = (take(&mut sources), take(&mut targets)) else { break };
                changes.push(ChangeSpec::random(from, to, in_place, rng));
            }
            if rng.u8(..5) == 0 {
                changes.push(ChangeSpec::plain(Kind::Bump));
            }
        }
        let mut spec = Spec {
            in_place,
            on_existing: OnExisting::ALL[rng.usize(..3)],
            skips_not_computable: rng.u8(..if in_place { 3 } else { 12 }) == 0,
            select: (deletes || rng.u8(..3) == 0).then(|| condition(rng)),
            contracts: false,
            has_index: rng.u8(..3) == 0,
            segments: [1, 2, 3][rng.usize(..3)],
            page: [1, 3, 50][rng.usize(..3)],
            changes,
        };
        // A rollback cannot restore an element of a list, so a cutover of such a plan needs an override.
        let copies_element = |change: &ChangeSpec| matches!(change.kind, Kind::Copy { from: "l[0]", .. });
        let can_contract = spec.needs_cutover() && !spec.changes.iter().any(copies_element);
        spec.contracts = can_contract && rng.bool();
        spec
    }

    /// Writes the plan as TOML.
    pub(crate) fn toml(&self, table: &str, endpoint: Option<&str>) -> String {
        let deletes = self.changes.iter().any(|change| matches!(change.kind, Kind::Delete { .. }));
        let mut text = "[migration]\nname = \"properties\"\n".to_owned();
        if !deletes {
            let strategy = if self.in_place { "in-place" } else { "expand-contract" };
            let _ = writeln!(text, "strategy = \"{strategy}\"\non_existing = \"{}\"", self.on_existing.name());
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

    /// Returns whether readers and writers have to move to new attributes.
    pub(crate) fn needs_cutover(&self) -> bool {
        let moves = |change: &ChangeSpec| {
            matches!(change.kind, Kind::Move { .. } | Kind::Copy { .. } | Kind::Remove { .. } | Kind::Replace { .. })
        };
        !self.in_place && self.changes.iter().any(moves)
    }

    /// Returns what happens to an existing value at the target of this change.
    pub(crate) fn on_existing(&self, change: &ChangeSpec) -> OnExisting {
        change.on_existing.unwrap_or(self.on_existing)
    }

    /// Returns simpler plans: each without one change, option or setting. A failing case is shrunk with them.
    pub(crate) fn simpler(&self) -> Vec<Spec> {
        let mut simpler = Vec::new();
        let mut push = |change: &dyn Fn(&mut Spec)| {
            let mut spec = self.clone();
            change(&mut spec);
            spec.contracts &= spec.needs_cutover();
            if spec != *self {
                simpler.push(spec);
            }
        };
        for at in 0..self.changes.len() {
            if self.changes.len() > 1 {
                push(&|spec| {
                    spec.changes.remove(at);
                });
            }
            push(&|spec| spec.changes[at].condition = None);
            push(&|spec| spec.changes[at].null_is_missing = false);
            push(&|spec| spec.changes[at].on_existing = None);
        }
        push(&|spec| spec.select = None);
        push(&|spec| spec.has_index = false);
        push(&|spec| spec.contracts = false);
        push(&|spec| spec.skips_not_computable = false);
        push(&|spec| spec.on_existing = OnExisting::Keep);
        push(&|spec| (spec.segments, spec.page) = (1, 50));
        simpler
    }
}

impl ChangeSpec {
    fn plain(kind: Kind) -> ChangeSpec {
        ChangeSpec { kind, on_existing: None, condition: None, null_is_missing: false }
    }

    fn random(from: &'static str, to: &'static str, in_place: bool, rng: &mut Rng) -> ChangeSpec {
        let kind = match rng.u8(..24) {
            0..=3 => Kind::Move { from, to },
            4..=5 => Kind::Copy { from, to },
            6..=8 => Kind::Set { to, constant: rng.usize(..CONSTANTS.len()) },
            9..=10 => Kind::Remove { path: from },
            11..=13 => Kind::Compute { to, formula: rng.usize(..FORMULAS.len()) },
            14 => Kind::Prefix { to },
            15..=16 if !in_place => Kind::Replace { to, replacement: rng.usize(..REPLACEMENTS.len()) },
            15..=18 => Kind::Convert { path: from, conversion: rng.usize(..CONVERSIONS.len()) },
            19..=20 => Kind::ConvertInto { path: from, to, conversion: rng.usize(..CONVERSIONS.len()) },
            21..=22 => Kind::Append { to, addition: rng.usize(..ADDITIONS.len()) },
            _ => Kind::Exec {
                inputs: [&["a"][..], &["s1", "c"]][rng.usize(..2)],
                outputs: [&["eo"][..], &["eo", "ep"]][rng.usize(..2)],
            },
        };
        let takes_existing = !matches!(
            kind,
            Kind::Remove { .. } | Kind::Convert { .. } | Kind::Append { .. } | Kind::Prefix { .. } | Kind::Bump
        );
        let takes_null = !matches!(kind, Kind::Remove { .. } | Kind::Convert { .. } | Kind::Exec { .. });
        let has_own = matches!(kind, Kind::Prefix { .. });
        ChangeSpec {
            kind,
            on_existing: (takes_existing && rng.u8(..3) == 0).then(|| OnExisting::ALL[rng.usize(..3)]),
            condition: (!has_own && rng.u8(..4) == 0).then(|| rng.usize(..CONDITIONS.len())),
            null_is_missing: takes_null && rng.u8(..3) == 0,
        }
    }

    fn write(&self, text: &mut String) {
        text.push_str("[[change]]\n");
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

    /// Returns the top-level attributes that the change may write or remove.
    pub(crate) fn touched(&self) -> Vec<&'static str> {
        let paths = match &self.kind {
            Kind::Move { from, to } => vec![*from, *to],
            Kind::Copy { to, .. }
            | Kind::Set { to, .. }
            | Kind::Compute { to, .. }
            | Kind::Prefix { to }
            | Kind::ConvertInto { to, .. }
            | Kind::Append { to, .. } => vec![*to],
            Kind::Replace { to, replacement } => vec![*to, REPLACEMENTS[*replacement].old],
            Kind::Remove { path } | Kind::Convert { path, .. } => vec![*path],
            Kind::Bump => vec!["v"],
            Kind::Delete { .. } => Vec::new(),
            Kind::Exec { outputs, .. } => outputs.iter().copied().chain([MARKER]).collect(),
        };
        paths.into_iter().map(|path| path.split(['.', '[']).next().unwrap_or(path)).collect()
    }

    /// Returns the word with which a plan names the operation.
    pub(crate) fn word(&self) -> &'static str {
        match &self.kind {
            Kind::Move { .. } => "move",
            Kind::Copy { .. } => "copy",
            Kind::Set { .. } => "set",
            Kind::Remove { .. } => "remove",
            Kind::Compute { .. } => "compute",
            Kind::Prefix { .. } => "compute from itself",
            Kind::Replace { .. } => "replaces",
            Kind::Convert { .. } => "convert",
            Kind::ConvertInto { .. } => "convert into",
            Kind::Append { .. } => "append",
            Kind::Bump => "bump",
            Kind::Delete { .. } => "delete",
            Kind::Exec { .. } => "exec",
        }
    }
}

/// Returns the constant of a `set`.
pub(crate) fn constant(at: usize) -> Value {
    CONSTANTS[at].1()
}
