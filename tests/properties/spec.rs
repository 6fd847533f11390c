//! Generates random plans. A plan is generated as data, converted to TOML, and read by the tool's own parser.

mod text;

use backfill::internals::change::OnExisting;
use backfill::internals::item::{Item, Value};
use fastrand::Rng;

use super::facts::{ADDITIONS, CONDITIONS, CONSTANTS, CONVERSIONS, FORMULAS, REPLACEMENTS};
use super::{derived, elements, wide};

/// The name of the index. Some of the generated tables have it. Its key is the string attribute `ik`.
pub(crate) const INDEX: &str = "by-ik";

/// The paths from which the changes read, or which they remove.
const SOURCES: [&str; 11] = ["a", "b", "c", "m.x", "m.y", "l[0]", "s1", "n1", "m", "l", "tags"];

/// The paths to which the changes write.
const TARGETS: [&str; 10] = ["t1", "t2", "t3", "u.p", "u.q", "u.r.s", "m.z", "ik", "tags", "l"];

/// The list `attributes` of a delete. Items can have other attributes.
pub(crate) const LISTED: [&str; 26] = [
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
    "co",
    "cp",
    "lines",
    "book",
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
    /// Whether the plan has a flag. If so, the test makes the cutover and `contract` instead of a rollback.
    pub(crate) contracts: bool,
    /// Whether the table has the index.
    pub(crate) has_index: bool,
    pub(crate) segments: u32,
    pub(crate) page: u32,
    /// Whether the plan allows several writes to an item.
    pub(crate) split: bool,
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

/// The operation of a change. Numbers are positions in the tables of this test, such as those in `facts.rs`.
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
    /// Adds the prefix `+` to a text without this prefix. So the target is computed from itself.
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
    /// A Rust function. Its name is the number of its outputs.
    Custom {
        inputs: &'static [&'static str],
        outputs: &'static [&'static str],
    },
    /// Changes in every element of a list or map. The paths in `edits` are relative to the element.
    Each {
        container: &'static str,
        edits: Vec<ChangeSpec>,
    },
    /// A `compute` in an element.
    ElementCompute {
        to: &'static str,
        formula: usize,
    },
    Put {
        derived: usize,
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
        let puts = !deletes && rng.u8(..10) == 0;
        let is_wide = !deletes && !puts && rng.u8(..32) == 0;
        let mut targets = TARGETS.to_vec();
        let mut sources = SOURCES.to_vec();
        rng.shuffle(&mut targets);
        rng.shuffle(&mut sources);
        let condition = |rng: &mut Rng| rng.usize(..CONDITIONS.len());
        let mut changes = Vec::new();
        if deletes {
            let gap = [Gap::Version, Gap::Attributes, Gap::Stopped][rng.usize(..3)];
            changes.push(ChangeSpec::plain(Kind::Delete { gap, keeps_image: rng.u8(..4) > 0 }));
        } else if puts {
            changes.push(derived::random(rng));
        } else {
            if is_wide {
                changes = wide::changes(in_place, rng);
            }
            let has_elements = rng.u8(..4) == 0;
            for _ in 0..rng.usize(if is_wide || has_elements { 0..=2 } else { 1..=4 }) {
                // Sometimes use a path twice. The tool can refuse such a plan.
                let mut take = |paths: &mut Vec<&'static str>| match rng.u8(..20) {
                    0 => paths.first().copied(),
                    _ => paths.pop(),
                };
                let (Some(from), Some(to)) = (take(&mut sources), take(&mut targets)) else { break };
                changes.push(ChangeSpec::random(from, to, in_place, rng));
            }
            if has_elements {
                // A plan with a cutover cannot have `each`.
                changes.retain(|change| in_place || !change.needs_cutover());
                changes.push(elements::group(rng));
            }
            if rng.u8(..5) == 0 {
                changes.push(ChangeSpec::plain(Kind::Bump));
            }
        }
        let mut spec = Spec {
            in_place: in_place && !puts,
            on_existing: OnExisting::ALL[rng.usize(..3)],
            skips_not_computable: rng.u8(..if in_place { 3 } else { 12 }) == 0,
            select: (deletes || puts || rng.u8(..3) == 0).then(|| condition(rng)),
            contracts: false,
            has_index: rng.u8(..3) == 0,
            segments: [1, 2, 3][rng.usize(..3)],
            page: [1, 3, 50][rng.usize(..3)],
            split: !deletes && !puts && (is_wide || rng.u8(..6) == 0),
            changes,
        };
        // A rollback cannot restore an element of a list. So if a plan copies such an element, its cutover needs an
        // override.
        let copies_element = |change: &ChangeSpec| matches!(change.kind, Kind::Copy { from: "l[0]", .. });
        // If the plan copies both a map and its member, applications that write only new values can make the two copies
        // differ.
        let overlap = spec.changes.iter().any(|change| matches!(change.kind, Kind::Copy { from: "m", .. }))
            && spec.changes.iter().any(|change| matches!(change.kind, Kind::Copy { from: "m.x" | "m.y", .. }));
        let can_contract = spec.needs_cutover() && !overlap && !spec.changes.iter().any(copies_element);
        spec.contracts = can_contract && rng.bool();
        spec
    }

    /// Returns whether readers and writers have to move to new attributes.
    pub(crate) fn needs_cutover(&self) -> bool {
        !self.in_place && self.changes.iter().any(ChangeSpec::needs_cutover)
    }

    /// Returns whether the plan has changes of `wide.rs`, so that some items can need several writes.
    pub(crate) fn is_wide(&self) -> bool {
        self.split && self.changes.iter().any(|change| change.touched().into_iter().any(wide::is_target))
    }

    /// Returns the position of the plan's `put` in [`derived::DERIVED`].
    pub(crate) fn put(&self) -> Option<usize> {
        if let [ChangeSpec { kind: Kind::Put { derived }, .. }] = self.changes.as_slice() {
            Some(*derived)
        } else {
            None
        }
    }

    /// Returns whether the plan raises a version.
    pub(crate) fn bumps(&self) -> bool {
        self.changes.iter().any(|change| change.kind == Kind::Bump)
    }

    /// Returns whether an in-place removal of an attribute makes a `where` lose its result for at least one of these
    /// items. Considers only the items whose result before the removal is in `from`.
    pub(crate) fn loses_a_result(&self, from: &[bool], items: &[Item]) -> bool {
        let breaks = |condition: usize, changes: &[ChangeSpec]| {
            let is_true = CONDITIONS[condition].is_true;
            let removed = changes.iter().filter_map(|change| match change.kind {
                Kind::Move { from: path, .. } | Kind::Remove { path } => Some(path),
                _ => None,
            });
            removed.into_iter().any(|path| {
                items.iter().any(|item| {
                    let mut after = item.clone();
                    after.remove(path);
                    is_true(item).is_some_and(|result| from.contains(&result)) && is_true(&after).is_none()
                })
            })
        };
        let own = |change: &ChangeSpec| change.condition.is_some_and(|own| breaks(own, std::slice::from_ref(change)));
        self.in_place
            && !self.skips_not_computable
            && (self.select.is_some_and(|select| breaks(select, &self.changes)) || self.changes.iter().any(own))
    }

    /// Returns the rule for an existing value at the target of this change.
    pub(crate) fn on_existing(&self, change: &ChangeSpec) -> OnExisting {
        change.on_existing.unwrap_or(self.on_existing)
    }

    /// Returns simpler plans. Each one lacks some changes, an option or a setting. They are used to shrink a failing
    /// case.
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
        if self.changes.len() > 8 {
            let half = self.changes.len() / 2;
            push(&|spec| drop(spec.changes.drain(..half)));
            push(&|spec| drop(spec.changes.drain(half..)));
        }
        for at in 0..self.changes.len() {
            if let Kind::Each { edits, .. } = &self.changes[at].kind {
                for edit in (0..edits.len()).filter(|_| edits.len() > 1) {
                    push(&|spec| {
                        if let Kind::Each { edits, .. } = &mut spec.changes[at].kind {
                            edits.remove(edit);
                        }
                    });
                }
            }
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
        push(&|spec| spec.split = false);
        push(&|spec| spec.contracts = false);
        push(&|spec| spec.skips_not_computable = false);
        push(&|spec| spec.on_existing = OnExisting::Keep);
        push(&|spec| (spec.segments, spec.page) = (1, 50));
        simpler
    }
}

impl ChangeSpec {
    pub(crate) fn plain(kind: Kind) -> ChangeSpec {
        ChangeSpec { kind, on_existing: None, condition: None, null_is_missing: false }
    }

    fn random(from: &'static str, to: &'static str, in_place: bool, rng: &mut Rng) -> ChangeSpec {
        let kind = match rng.u8(..26) {
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
            23 => Kind::Exec {
                inputs: [&["a"][..], &["s1", "c"]][rng.usize(..2)],
                outputs: [&["eo"][..], &["eo", "ep"]][rng.usize(..2)],
            },
            _ => Kind::Custom {
                inputs: [&["a"][..], &["s1", "c"]][rng.usize(..2)],
                outputs: [&["co"][..], &["co", "cp"]][rng.usize(..2)],
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

    /// Returns whether readers and writers have to move because of the change in an expand-contract plan.
    fn needs_cutover(&self) -> bool {
        matches!(self.kind, Kind::Move { .. } | Kind::Copy { .. } | Kind::Remove { .. } | Kind::Replace { .. })
    }

    /// Returns the top-level attributes that the change can write or remove.
    pub(crate) fn touched(&self) -> Vec<&'static str> {
        let paths = match &self.kind {
            Kind::Move { from, to } => vec![*from, *to],
            Kind::Copy { to, .. }
            | Kind::Set { to, .. }
            | Kind::Compute { to, .. }
            | Kind::Prefix { to }
            | Kind::ConvertInto { to, .. }
            | Kind::ElementCompute { to, .. }
            | Kind::Append { to, .. } => vec![*to],
            Kind::Replace { to, replacement } => vec![*to, REPLACEMENTS[*replacement].old],
            Kind::Remove { path } | Kind::Convert { path, .. } => vec![*path],
            Kind::Bump => vec!["v"],
            Kind::Delete { .. } | Kind::Put { .. } => Vec::new(),
            Kind::Each { container, .. } => vec![*container],
            Kind::Custom { outputs, .. } => outputs.to_vec(),
            Kind::Exec { outputs, .. } => outputs.iter().copied().chain([MARKER]).collect(),
        };
        paths.into_iter().map(|path| path.split(['.', '[']).next().unwrap_or(path)).collect()
    }

    /// Returns the operation's keyword in a plan.
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
            Kind::Custom { .. } => "custom",
            Kind::Each { .. } => "each",
            Kind::ElementCompute { .. } => "compute in an element",
            Kind::Put { .. } => "put",
        }
    }
}

/// Returns the constant of a `set`.
pub(crate) fn constant(at: usize) -> Value {
    CONSTANTS[at].1()
}
