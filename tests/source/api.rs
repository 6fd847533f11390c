//! Tests the supported API. `docs/api.txt` lists every item that other crates can use without the feature `internals`.
//!
//! The test computes the list from the source: it follows each `pub use` in `src/lib.rs` to the exported items. If the
//! list differs from the file, the test fails. `UPDATE_API=1 cargo test --test source api` rewrites the file.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use syn::visit::{self, Visit};
use syn::{Attribute, Item, UseTree, Visibility};

/// The maximum number of items, so that the API stays small enough to support.
const MOST: usize = 150;

#[test]
fn the_list_of_the_api_is_up_to_date() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let lib = parse(&root.join("src/lib.rs"));
    let mut items = BTreeSet::new();
    collect(&lib.items, "backfill", &mut items);
    let text: String = items.iter().map(|(path, kind)| format!("{path} {kind}\n")).collect();
    let file = root.join("docs/api.txt");
    if std::env::var_os("UPDATE_API").is_some() {
        std::fs::write(&file, &text).unwrap();
    }
    let listed = std::fs::read_to_string(&file).unwrap_or_default();
    assert_eq!(
        listed, text,
        "the API has changed; if that is intended, run `UPDATE_API=1 cargo test --test source api`"
    );
    assert!(items.len() <= MOST, "{} items, but the API may have at most {MOST}", items.len());
}

/// Names from the language, `std` and serde. The API does not have to export them.
const FOREIGN: &[&str] =
    &["Arc", "BTreeMap", "BTreeSet", "Box", "HashMap", "Option", "Result", "Self", "Send", "String", "Sync", "Vec"];

/// Code outside the crate can implement every port trait. So the API must contain all types in the traits' signatures,
/// and all types of those types' fields.
#[test]
fn the_ports_name_only_exported_types() {
    let lib = parse(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs"));
    let mut exported = Vec::new();
    exports(&lib.items, "backfill", &mut exported);
    let names: BTreeSet<&str> = exported.iter().map(|(_, path)| path.last().unwrap().as_str()).collect();
    let mut ports = 0;
    let mut wrong = BTreeSet::new();
    for (at, path) in exported.iter().filter(|(at, _)| at.starts_with("backfill::ports")) {
        let item = find(&["crate".to_owned()], path).unwrap_or_else(|| panic!("{} leads nowhere", path.join("::")));
        ports += usize::from(matches!(item, Item::Trait(_)));
        let mut named = Named::default();
        named.visit_item(&item);
        let unknown = named.0.into_iter().filter(|name| !names.contains(name.as_str()));
        wrong.extend(unknown.filter(|name| !FOREIGN.contains(&name.as_str())).map(|name| format!("{at}: {name}")));
    }
    assert!(ports >= 3, "{ports} ports");
    assert!(wrong.is_empty(), "export these types in `ports`, or remove them from the signatures: {wrong:?}");
}

/// Collects the types in an item's public parts, which are its signatures, variants and public fields.
#[derive(Default)]
struct Named(BTreeSet<String>);

impl<'a> Visit<'a> for Named {
    fn visit_field(&mut self, field: &'a syn::Field) {
        // The fields of a variant have no `pub`, but are public.
        if !matches!(field.vis, Visibility::Restricted(_)) {
            self.visit_type(&field.ty);
        }
    }

    fn visit_item_struct(&mut self, item: &'a syn::ItemStruct) {
        item.fields.iter().filter(|field| is_public(&field.vis)).for_each(|field| self.visit_field(field));
    }

    fn visit_block(&mut self, _: &'a syn::Block) {}

    fn visit_attribute(&mut self, _: &'a Attribute) {}

    fn visit_type_path(&mut self, path: &'a syn::TypePath) {
        if let Some(last) = path.path.segments.last() {
            let name = last.ident.to_string();
            if name.starts_with(char::is_uppercase) {
                self.0.insert(name);
            }
        }
        visit::visit_type_path(self, path);
    }
}

/// Returns every path that `lib.rs` exports without a feature, with the module that exports the path.
fn exports(items: &[Item], at: &str, found: &mut Vec<(String, Vec<String>)>) {
    for item in items {
        match item {
            Item::Use(item) if is_public(&item.vis) && !is_behind_feature(&item.attrs) => {
                found.extend(leaves(&item.tree, Vec::new()).into_iter().map(|(path, _)| (at.to_owned(), path)));
            }
            Item::Mod(item) if is_public(&item.vis) && !is_behind_feature(&item.attrs) => {
                let inside = item.content.as_ref().map_or(&[][..], |(_, items)| items);
                exports(inside, &format!("{at}::{}", item.ident), found);
            }
            _ => {}
        }
    }
}

/// Checks that `internals` is the only module that is public and hidden.
#[test]
fn only_internals_is_hidden() {
    let mut hidden = Vec::new();
    for file in source_files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src")) {
        let text = std::fs::read_to_string(&file).unwrap();
        let lines = text.lines().filter(|line| line.trim() == "#[doc(hidden)]").count();
        hidden.extend(std::iter::repeat_n(file, lines));
    }
    assert_eq!(hidden.len(), 1, "one #[doc(hidden)], of `internals` in src/lib.rs: {hidden:?}");
    assert!(hidden[0].ends_with("src/lib.rs"));
}

/// Adds the public items of a module in `lib.rs`, with their path and kind.
fn collect(items: &[Item], at: &str, found: &mut BTreeSet<(String, &'static str)>) {
    for item in items {
        match item {
            Item::Use(item) if is_public(&item.vis) && !is_behind_feature(&item.attrs) => {
                for (path, name) in leaves(&item.tree, Vec::new()) {
                    let kind = kind_of(&["crate".to_owned()], &path)
                        .unwrap_or_else(|| panic!("{} of src/lib.rs leads nowhere", path.join("::")));
                    found.insert((format!("{at}::{name}"), kind));
                }
            }
            Item::Mod(item) if is_public(&item.vis) && !is_behind_feature(&item.attrs) => {
                let at = format!("{at}::{}", item.ident);
                let (_, items) =
                    item.content.as_ref().unwrap_or_else(|| panic!("`{at}` is public, but not defined in src/lib.rs"));
                found.insert((at.clone(), "module"));
                collect(items, &at, found);
            }
            _ => {
                if let Some((name, kind)) = defined(item) {
                    found.insert((format!("{at}::{name}"), kind));
                }
            }
        }
    }
}

/// Resolves a path in a module, and returns the kind of its item.
fn kind_of(module: &[String], path: &[String]) -> Option<&'static str> {
    match find(module, path)? {
        Item::Macro(_) => Some("struct"),
        item => defined(&item).map(|(_, kind)| kind),
    }
}

/// Resolves a path in a module, and returns its item. If a macro creates the item, returns the macro call.
fn find(module: &[String], path: &[String]) -> Option<Item> {
    let mut module = module.to_vec();
    let (name, way) = path.split_last()?;
    for (n, step) in way.iter().enumerate() {
        match step.as_str() {
            "crate" => module = vec!["crate".to_owned()],
            "self" => {}
            "super" => {
                module.pop();
            }
            child if file_of(&[module.clone(), vec![child.to_owned()]].concat()).is_some() => {
                module.push(child.to_owned())
            }
            // All other names belong to other crates or are re-exported modules.
            other => {
                let target = used(&module, other)?;
                return find(&module, &[target, path[n + 1..].to_vec()].concat());
            }
        }
    }
    let is_it =
        |item: &Item| defined(item).is_some_and(|(defined, _)| defined == *name) || is_macro_generated(item, name);
    match parse(&file_of(&module)?).items.into_iter().find(is_it) {
        Some(item) => Some(item),
        None => find(&module, &used(&module, name)?),
    }
}

/// Returns whether this item is a macro call that defines a struct with this name.
fn is_macro_generated(item: &Item, name: &str) -> bool {
    let Item::Macro(item) = item else { return false };
    let names = item.mac.tokens.clone().into_iter();
    item.ident.is_none() && names.into_iter().any(|token| token.to_string() == name)
}

/// Returns the path that a public `use` in this module binds to this name.
fn used(module: &[String], name: &str) -> Option<Vec<String>> {
    let file = parse(&file_of(module)?);
    let uses = file.items.iter().filter_map(|item| match item {
        Item::Use(item) if is_public(&item.vis) => Some(leaves(&item.tree, Vec::new())),
        _ => None,
    });
    uses.flatten().find(|(_, bound)| bound == name).map(|(path, _)| path)
}

/// Returns an item's name and kind, if the item is public.
fn defined(item: &Item) -> Option<(String, &'static str)> {
    let (name, vis, kind) = match item {
        Item::Const(item) => (&item.ident, &item.vis, "const"),
        Item::Enum(item) => (&item.ident, &item.vis, "enum"),
        Item::Fn(item) => (&item.sig.ident, &item.vis, "fn"),
        Item::Struct(item) => (&item.ident, &item.vis, "struct"),
        Item::Trait(item) => (&item.ident, &item.vis, "trait"),
        Item::Type(item) => (&item.ident, &item.vis, "type"),
        Item::Mod(item) if item.content.is_none() => (&item.ident, &item.vis, "module"),
        _ => return None,
    };
    is_public(vis).then(|| (name.to_string(), kind))
}

/// Returns every path in a `use`, with the name to which the `use` binds it.
fn leaves(tree: &UseTree, mut path: Vec<String>) -> Vec<(Vec<String>, String)> {
    match tree {
        UseTree::Path(tree) => {
            path.push(tree.ident.to_string());
            leaves(&tree.tree, path)
        }
        UseTree::Name(tree) => {
            path.push(tree.ident.to_string());
            vec![(path, tree.ident.to_string())]
        }
        UseTree::Rename(tree) => {
            path.push(tree.ident.to_string());
            vec![(path, tree.rename.to_string())]
        }
        UseTree::Group(tree) => tree.items.iter().flat_map(|tree| leaves(tree, path.clone())).collect(),
        UseTree::Glob(_) => panic!("`{}::*` in the API: name each item instead", path.join("::")),
    }
}

fn is_public(vis: &Visibility) -> bool {
    matches!(vis, Visibility::Public(_))
}

/// Returns whether the item depends on a feature. The API contains only items that exist without any feature.
fn is_behind_feature(attrs: &[Attribute]) -> bool {
    attrs.iter().any(|attr| attr.path().is_ident("cfg"))
}

/// Returns a module's file below `src/`.
fn file_of(module: &[String]) -> Option<PathBuf> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let below: PathBuf = module.iter().skip(1).collect();
    if module.len() == 1 {
        return Some(src.join("lib.rs"));
    }
    let candidates = [src.join(&below).with_extension("rs"), src.join(&below).join("mod.rs")];
    candidates.into_iter().find(|file| file.is_file())
}

fn parse(file: &Path) -> syn::File {
    let text = std::fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    syn::parse_file(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

fn source_files(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { source_files(&path) } else { vec![path] }).collect()
}
