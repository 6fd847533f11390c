//! Finds the dependencies between the modules of `src/`, dependency cycles, and dependencies that point upwards.
//!
//! A module is a file or a folder. Module A depends on module B if A's code uses the name of an item of B. Tests do not
//! count. A re-exported name counts as an item of its original module, so a façade hides no dependency.

use std::collections::{BTreeMap, BTreeSet};

use super::names::{SourceFile, module_of};

/// A path in the module tree, without the leading `crate`.
pub(crate) type Module = Vec<String>;

/// A name in the code that creates a dependency.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Use {
    from: Module,
    to: Module,
    /// The location of the name, as `src/file.rs:line`.
    place: String,
}

/// The modules in `src/`, and the names by which they use each other.
#[derive(Debug, Default)]
pub(crate) struct Graph {
    modules: BTreeSet<Module>,
    uses: Vec<Use>,
}

impl Graph {
    /// Builds the graph of these files. Their paths are relative to `src/`. Ignores test files, which `is_test`
    /// identifies, and names in tests.
    pub(crate) fn new(parsed: &BTreeMap<&str, SourceFile>, is_test: impl Fn(&str) -> bool) -> Graph {
        let modules: BTreeSet<Module> = parsed.keys().map(|file| module_of(file)[1..].to_vec()).collect();
        let mut bindings: BTreeMap<Module, BTreeMap<String, BTreeSet<Module>>> = BTreeMap::new();
        for (file, source) in parsed.iter().filter(|(file, _)| **file != "main.rs") {
            bindings.entry(module_of(file)[1..].to_vec()).or_default().extend(source.bindings.clone());
        }
        let mut graph = Graph { modules, uses: Vec::new() };
        for (file, source) in parsed.iter().filter(|(file, _)| !is_test(file) && !["lib.rs", "main.rs"].contains(file))
        {
            let from = module_of(file)[1..].to_vec();
            for name in source.names.iter().filter(|name| !name.test) {
                let path: Vec<String> = name.path.split("::").map(str::to_owned).collect();
                let place = format!("src/{file}:{}", name.line);
                let to = graph.targets(&path, &bindings);
                graph.uses.extend(to.into_iter().map(|to| Use { from: from.clone(), to, place: place.clone() }));
            }
        }
        graph
    }

    /// Follows re-exports from a path. Returns the modules to which the path leads, or nothing if it leads into another
    /// crate.
    fn targets(
        &self,
        path: &[String],
        bindings: &BTreeMap<Module, BTreeMap<String, BTreeSet<Module>>>,
    ) -> BTreeSet<Module> {
        let mut found = BTreeSet::new();
        let mut seen = BTreeSet::new();
        let mut open = vec![path.to_vec()];
        while let Some(path) = open.pop() {
            let Some(("crate", path)) = path.split_first().map(|(first, rest)| (first.as_str(), rest)) else {
                continue;
            };
            // The binary uses the library through `internals`.
            let path = path.strip_prefix(&["internals".to_owned()]).unwrap_or(path);
            let length = (0..=path.len()).rev().find(|n| self.modules.contains(&path[..*n])).unwrap_or(0);
            let (module, rest) = path.split_at(length);
            let bound = rest.first().and_then(|name| bindings.get(module)?.get(name));
            match bound {
                Some(bound) if seen.insert(path.to_vec()) => {
                    open.extend(bound.iter().map(|base| [base.as_slice(), &rest[1..]].concat()));
                }
                _ => drop(found.insert(module.to_vec())),
            }
        }
        found
    }

    /// Returns whether this file or folder exists. `dynamodb/sdk` means a folder or a file; `state/mod` means only the
    /// file `state/mod.rs`.
    pub(crate) fn has(&self, room: &str) -> bool {
        let module = &module_of(room)[1..];
        ["main", "lib"].contains(&room) || (!module.is_empty() && self.modules.contains(module))
    }

    /// Returns the top-level modules.
    pub(crate) fn top(&self) -> BTreeSet<&str> {
        self.modules.iter().filter_map(|module| module.first()).map(String::as_str).collect()
    }

    /// Returns the dependencies between a module's children. Each pair of children is mapped to the locations where the
    /// first child's code uses a name of the second child.
    pub(crate) fn between_children(&self, parent: &[String]) -> BTreeMap<(&str, &str), Vec<&str>> {
        let child = |module: &'_ Module| -> Option<usize> {
            (module.len() > parent.len() && module.starts_with(parent)).then_some(parent.len())
        };
        let mut between: BTreeMap<(&str, &str), Vec<&str>> = BTreeMap::new();
        for used in &self.uses {
            let (Some(from), Some(to)) = (child(&used.from), child(&used.to)) else { continue };
            let from = used.from[from].as_str();
            let to = used.to[to].as_str();
            if from != to {
                between.entry((from, to)).or_default().push(&used.place);
            }
        }
        between
    }

    /// Returns every cycle between sibling modules, with one line for each dependency in the cycle. Cycles between a
    /// parent and its child are allowed. If `excepted` returns true for a dependency `(parent/child, sibling)`, the
    /// dependency is ignored.
    pub(crate) fn cycles(&self, excepted: &mut dyn FnMut(&str, &str) -> bool) -> Vec<String> {
        let parents: BTreeSet<&[String]> =
            self.modules.iter().flat_map(|module| (0..module.len()).map(|length| &module[..length])).collect();
        let mut wrong = Vec::new();
        for parent in parents {
            let path = |child: &str| [parent, &[child.to_owned()]].concat().join("/");
            let mut between = self.between_children(parent);
            between.retain(|(from, to), _| !excepted(&path(from), &path(to)));
            let edges: BTreeSet<(&str, &str)> = between.keys().copied().collect();
            for ((from, to), places) in between.iter().filter(|((from, to), _)| reaches(&edges, to, from)) {
                wrong.push(format!(
                    "`{}` and `{}` depend on each other; here: {}. Remedy: move the shared code to a module below both.",
                    path(from),
                    path(to),
                    shown(places)
                ));
            }
        }
        wrong
    }

    /// Returns every dependency that points upwards. `layers` lists the layers from top to bottom. All modules of one
    /// layer are on the same level.
    pub(crate) fn upward(&self, layers: &[&[&str]], excepted: &mut dyn FnMut(&str, &str) -> bool) -> Vec<String> {
        let layer = |module: &str| layers.iter().position(|layer| layer.contains(&module));
        let mut wrong: Vec<String> = self
            .top()
            .into_iter()
            .filter(|module| layer(module).is_none())
            .map(|module| format!("`{module}` is in no layer"))
            .collect();
        for ((from, to), places) in &self.between_children(&[]) {
            if layer(to) < layer(from) && !excepted(from, to) {
                wrong.push(format!(
                    "`{from}` depends on `{to}`, which is in a layer above: {}. Remedy: move the required code to a lower layer.",
                    shown(places)
                ));
            }
        }
        wrong
    }
}

/// Returns whether one module depends on another, directly or through other modules.
fn reaches(edges: &BTreeSet<(&str, &str)>, from: &str, to: &str) -> bool {
    let mut seen = BTreeSet::new();
    let mut open = vec![from];
    while let Some(at) = open.pop() {
        if at == to {
            return true;
        }
        if seen.insert(at.to_owned()) {
            open.extend(edges.iter().filter(|(start, _)| *start == at).map(|(_, end)| *end));
        }
    }
    false
}

fn shown(places: &[&str]) -> String {
    let more = places.len().saturating_sub(4);
    let first = places.iter().take(4).copied().collect::<Vec<_>>().join(", ");
    if more > 0 { format!("{first} and {more} more") } else { first }
}
