//! Checks that no `match` over an enum of this project has a catch-all arm. So after a variant is added, the code does
//! not compile until every `match` handles it.
//!
//! The check reports every `match` in `src/` that has both of the following arms. One arm is `_` or a binding (or a
//! tuple of these) without a guard. Another arm names a variant of an enum in `src/`, at any depth. The variant is
//! written as `Enum::Variant`, as `Self::Variant` inside an `impl Enum`, or as a bare `Variant` that the file imports
//! from its enum.
//!
//! The check ignores code that is compiled only for tests, because an unexpected variant makes such a test fail. It
//! ignores `matches!`, `if let` and `let … else`, because they test for one variant. It also ignores aliases of enums,
//! and each `match` in the arguments of another macro. Finally, it ignores a catch-all inside a larger pattern, such as
//! `(_, true)` or `Err(other)`.

use std::collections::{BTreeMap, BTreeSet};

use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{ExprMatch, ImplItem, Item, ItemEnum, ItemImpl, ItemUse, Pat, Type, UseTree};

use super::names::{SourceFile, attributes_of, is_cfg_test, module_of};
use super::source_files;

/// The enums in `src/`. Each name is mapped to the variants of all enums with this name.
type Enums = BTreeMap<String, BTreeSet<String>>;

/// The `match` expressions whose catch-all arm is allowed. Each entry contains the file, the enum and the reason.
const EXCEPTIONS: &[(&str, &str, &str)] = &[];

#[test]
fn no_match_over_our_enums_has_a_catch_all() {
    let files: BTreeMap<String, syn::File> = source_files()
        .into_iter()
        .filter(|(file, _)| !is_test_file(file))
        .map(|(file, text)| (file, syn::parse_file(&text).unwrap()))
        .collect();
    let mut enums = Enums::new();
    files.values().for_each(|file| collect(file, &mut enums));
    let mut unused: BTreeSet<_> = EXCEPTIONS.iter().map(|(file, name, _)| (*file, *name)).collect();
    let mut wrong = Vec::new();
    for (file, parsed) in &files {
        for (line, name) in catch_alls(parsed, &enums) {
            if !EXCEPTIONS.iter().any(|(at, of, _)| at == file && *of == name) {
                wrong.push(format!("src/{file}:{line}: this match over `{name}` has a catch-all arm"));
            }
            unused.retain(|(at, of)| at != file || *of != name);
        }
    }
    assert!(wrong.is_empty(), "name every variant, or ask about one with `if let`:\n{}", wrong.join("\n"));
    assert!(unused.is_empty(), "these exceptions are no longer needed: {unused:?}");
}

#[test]
fn catch_alls_are_found_in_every_notation() {
    let with = |body: &str| {
        let text = format!("enum Own {{ A, B(u8), C {{ x: u8 }} }}\nuse Own::{{A, C}};\n{body}");
        let file = syn::parse_file(&text).unwrap();
        let mut enums = Enums::new();
        collect(&file, &mut enums);
        catch_alls(&file, &enums).len()
    };
    for arms in [
        "Own::A => 1, _ => 2",
        "Own::B(1) | Own::C { .. } => 1, other => 2",
        "Some(Own::A) => 1, _ => 2",
        "Ok(crate::x::Own::B(_)) => 1, other => 2",
        "(Own::A, true) => 1, (_, _) => 2",
        "C { x } => 1, _ => 2",
        "Some(A) => 1, _ => 2",
        "&Own::A => 1, _ => 2",
        "one @ Own::A => 1, _ => 2",
        "[Own::A, ..] => 1, _ => 2",
    ] {
        assert_eq!(with(&format!("fn f() {{ match x {{ {arms} }} }}")), 1, "{arms}");
    }
    assert_eq!(with("impl Own { fn f(self) { match self { Self::A => 1, _ => 2 } } }"), 1);
    assert_eq!(with("fn f() { g(|x| match x { Own::A => 1, _ => match y { Own::A => 1, _ => 2 } }) }"), 2);
    for arms in [
        "Own::A => 1, Own::B(_) => 2, Own::C { .. } => 3",
        "Own::A => 1, _ if x => 2, Own::B(_) | Own::C { .. } => 3",
        "1 => Own::A, _ => Own::B(2)",
        "Foreign::A => 1, _ => 2",
        "Some(B) => 1, _ => 2",
        "Ok(x) if x == Own::A => 1, _ => 2",
    ] {
        assert_eq!(with(&format!("fn f() {{ match x {{ {arms} }} }}")), 0, "{arms}");
    }
    assert_eq!(with("#[cfg(test)] mod tests { fn f() { match x { Own::A => 1, _ => 2 } } }"), 0);
}

/// Returns whether the file belongs to a module that is compiled only for tests.
fn is_test_file(file: &str) -> bool {
    static TESTS: std::sync::OnceLock<Vec<String>> = std::sync::OnceLock::new();
    let tests = TESTS.get_or_init(|| {
        let parsed = source_files().into_iter().map(|(file, text)| SourceFile::parse(&file, &text).unwrap());
        parsed.flat_map(|source| source.test_modules).collect()
    });
    let module = module_of(file).join("::");
    let below =
        |test: &String| module.strip_prefix(test.as_str()).map(|rest| rest.is_empty() || rest.starts_with("::"));
    tests.iter().any(|test| below(test) == Some(true))
}

/// Adds a file's enums.
fn collect(file: &syn::File, enums: &mut Enums) {
    struct Collector<'a>(&'a mut Enums);
    impl<'ast> Visit<'ast> for Collector<'_> {
        fn visit_item_enum(&mut self, item: &'ast ItemEnum) {
            let variants = item.variants.iter().map(|variant| variant.ident.to_string());
            self.0.entry(item.ident.to_string()).or_default().extend(variants);
        }
    }
    Collector(enums).visit_file(file);
}

/// Finds the `match` expressions in a file that have a catch-all arm and an arm for a variant of these enums. Returns
/// the line and the enum of each one.
fn catch_alls(file: &syn::File, enums: &Enums) -> Vec<(usize, String)> {
    let mut reader =
        Reader { enums, own: None, imported: BTreeMap::new(), foreign: BTreeSet::new(), found: Vec::new() };
    for item in &file.items {
        if let Item::Use(item) = item {
            reader.import(&item.tree, &mut Vec::new());
        }
    }
    reader.visit_file(file);
    reader.found
}

struct Reader<'a> {
    enums: &'a Enums,
    /// The type of the current `impl`.
    own: Option<String>,
    /// Variants that the file imports, with their enums.
    imported: BTreeMap<String, String>,
    /// Names that the file imports from another crate.
    foreign: BTreeSet<String>,
    found: Vec<(usize, String)>,
}

impl Reader<'_> {
    fn import(&mut self, tree: &UseTree, before: &mut Vec<String>) {
        match tree {
            UseTree::Path(path) => {
                before.push(path.ident.to_string());
                self.import(&path.tree, before);
                before.pop();
            }
            UseTree::Group(group) => group.items.iter().for_each(|tree| self.import(tree, before)),
            UseTree::Name(name) => self.imported(&name.ident.to_string(), before),
            UseTree::Rename(rename) => self.imported(&rename.rename.to_string(), before),
            UseTree::Glob(_) => self.imported("*", before),
        }
    }

    fn imported(&mut self, last: &str, before: &[String]) {
        let Some(parent) = before.last() else { return };
        if let Some(variants) = self.enums.get(parent) {
            let variants = variants.iter().filter(|variant| last == "*" || *variant == last);
            self.imported.extend(variants.map(|variant| (variant.clone(), parent.clone())));
        } else if !["crate", "super", "self", "backfill"].contains(&before[0].as_str()) {
            self.foreign.insert(last.to_owned());
        }
    }

    /// If a path names a variant of an enum of `src/`, returns this enum.
    fn enum_of(&self, path: &syn::Path) -> Option<String> {
        let segments: Vec<String> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        let (variant, before) = segments.split_last()?;
        let name = match before.last() {
            Some(name) if name == "Self" => self.own.clone()?,
            Some(name) if self.foreign.contains(name) => return None,
            Some(name) => name.clone(),
            None => self.imported.get(variant)?.clone(),
        };
        self.enums.get(&name)?.contains(variant).then_some(name)
    }

    fn check(&mut self, found: &ExprMatch) {
        if !found.arms.iter().any(|arm| arm.guard.is_none() && is_catch_all(&arm.pat)) {
            return;
        }
        let mut named = Named { reader: self, names: BTreeSet::new() };
        found.arms.iter().for_each(|arm| named.visit_pat(&arm.pat));
        let names = named.names;
        let line = found.span().start().line;
        self.found.extend(names.into_iter().map(|name| (line, name)));
    }
}

/// Returns whether a pattern matches every value.
fn is_catch_all(pattern: &Pat) -> bool {
    match pattern {
        Pat::Wild(_) => true,
        Pat::Ident(bound) => bound.subpat.is_none() && !bound.ident.to_string().starts_with(char::is_uppercase),
        Pat::Tuple(tuple) => tuple.elems.iter().all(|element| matches!(element, Pat::Rest(_)) || is_catch_all(element)),
        Pat::Paren(inner) => is_catch_all(&inner.pat),
        Pat::Reference(inner) => is_catch_all(&inner.pat),
        _ => false,
    }
}

/// Collects the enums that a pattern names.
struct Named<'a> {
    reader: &'a Reader<'a>,
    names: BTreeSet<String>,
}

impl<'ast> Visit<'ast> for Named<'_> {
    fn visit_path(&mut self, path: &'ast syn::Path) {
        self.names.extend(self.reader.enum_of(path));
    }

    fn visit_pat_ident(&mut self, bound: &'ast syn::PatIdent) {
        self.names.extend(self.reader.enum_of(&bound.ident.clone().into()));
        visit::visit_pat_ident(self, bound);
    }
}

impl<'ast> Visit<'ast> for Reader<'_> {
    fn visit_item(&mut self, item: &'ast Item) {
        if !attributes_of(item).iter().any(is_cfg_test) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_impl(&mut self, item: &'ast ItemImpl) {
        let own = match &*item.self_ty {
            Type::Path(path) => path.path.segments.last().map(|segment| segment.ident.to_string()),
            _ => None,
        };
        let outer = std::mem::replace(&mut self.own, own);
        visit::visit_item_impl(self, item);
        self.own = outer;
    }

    fn visit_impl_item(&mut self, item: &'ast ImplItem) {
        let is_test = matches!(item, ImplItem::Fn(function) if function.attrs.iter().any(is_cfg_test));
        if !is_test {
            visit::visit_impl_item(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        self.import(&item.tree, &mut Vec::new());
    }

    fn visit_expr_match(&mut self, found: &'ast ExprMatch) {
        self.check(found);
        visit::visit_expr_match(self, found);
    }
}
