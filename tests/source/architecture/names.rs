//! Finds the names that a source file uses. Each name is a full path with its line number.
//!
//! The file is parsed, so comments and strings are ignored, and `use a::{b, c::d}` counts as `a::b` and `a::c::d`.
//! Imported names are expanded where they are used (`use std::time;` … `time::Instant`). `self`, `super` and child
//! modules become paths from `crate`. Macro arguments are token streams. In token streams, paths are recognised by
//! their `::`.

use std::collections::{BTreeMap, BTreeSet};

use proc_macro2::{Span, TokenStream, TokenTree};
use syn::punctuated::Punctuated;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{Attribute, Item, ItemExternCrate, ItemMod, ItemUse, Macro, Meta, Token, UseTree};

/// One name in a source file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Name {
    /// Line number, starting at 1.
    pub(crate) line: usize,
    /// The full path, for example `aws_sdk_dynamodb::Client`, `crate::clock::now`, `println!`, or `a::*` for a glob.
    pub(crate) path: String,
    /// Whether the code that uses the name is compiled only for tests.
    pub(crate) test: bool,
}

/// The parts of a source file that the rules use.
#[derive(Debug, Default)]
pub(crate) struct SourceFile {
    /// Every name in the file.
    pub(crate) names: BTreeSet<Name>,
    /// Number of lines outside `#[cfg(test)]`.
    pub(crate) lines: usize,
    /// Modules that are declared as `#[cfg(test)] mod x;`, as paths from `crate`. The files of these modules exist only
    /// for tests.
    pub(crate) test_modules: Vec<String>,
    /// The names that `use` binds outside tests, with their full paths. A path starts at the root of the module tree or
    /// at a crate.
    pub(crate) bindings: BTreeMap<String, BTreeSet<Vec<String>>>,
}

impl SourceFile {
    /// Parses a file. `path` is relative to `src/` and determines the module.
    pub(crate) fn parse(path: &str, text: &str) -> syn::Result<SourceFile> {
        let file = syn::parse_file(text)?;
        let mut reader = Reader { module: module_of(path), ..Reader::default() };
        reader.tests = usize::from(file.attrs.iter().any(is_cfg_test));
        // The file is read twice, because paths can be expanded only when all imports are known.
        reader.visit_file(&file);
        reader.bindings_known = true;
        reader.found = SourceFile::default();
        reader.test_lines.clear();
        reader.visit_file(&file);
        reader.found.lines = (1..=text.lines().count()).filter(|line| !reader.test_lines.contains(line)).count();
        reader.found.bindings = reader.exports;
        Ok(reader.found)
    }
}

/// `dynamodb/sdk.rs` and `dynamodb/sdk/mod.rs` are both `crate::dynamodb::sdk`.
pub(crate) fn module_of(path: &str) -> Vec<String> {
    let path = path.strip_suffix(".rs").unwrap_or(path);
    let mut module = vec!["crate".to_owned()];
    module.extend(path.split('/').filter(|part| !["mod", "lib", "main"].contains(part)).map(str::to_owned));
    module
}

#[derive(Default)]
struct Reader {
    module: Vec<String>,
    /// The names that `use` binds anywhere in this file. Each name is mapped to all paths to which it can refer.
    bindings: BTreeMap<String, BTreeSet<Vec<String>>>,
    bindings_known: bool,
    /// The bindings outside tests.
    exports: BTreeMap<String, BTreeSet<Vec<String>>>,
    /// The number of `#[cfg(test)]` attributes that enclose the current code.
    tests: usize,
    test_lines: BTreeSet<usize>,
    found: SourceFile,
}

impl Reader {
    fn add(&mut self, span: Span, path: String) {
        self.found.names.insert(Name { line: span.start().line, path, test: self.tests > 0 });
    }

    /// Adds a path. The segments are as written in the source.
    fn name(&mut self, span: Span, segments: &[String], suffix: &str) {
        for path in self.resolve(segments) {
            self.add(span, path.join("::") + suffix);
        }
    }

    /// Expands a path, so that it starts at the root of the module tree or at a crate. Returns several paths if a `use`
    /// is ambiguous.
    fn resolve(&self, segments: &[String]) -> Vec<Vec<String>> {
        let Some((first, rest)) = segments.split_first() else { return Vec::new() };
        let from = |base: &[String], rest: &[String]| [base, rest].concat();
        match first.as_str() {
            "crate" => vec![segments.to_vec()],
            // The binary refers to the library by the package's name.
            "backfill" => vec![from(&["crate".to_owned()], rest)],
            "self" => vec![from(&self.module, rest)],
            "super" => {
                let up = segments.iter().take_while(|s| *s == "super").count();
                let keep = self.module.len().saturating_sub(up).max(1);
                vec![from(&self.module[..keep], &segments[up..])]
            }
            _ => match self.bindings.get(first) {
                Some(paths) if self.bindings_known => paths.iter().map(|path| from(path, rest)).collect(),
                _ => vec![segments.to_vec()],
            },
        }
    }

    fn bind(&mut self, name: &str, path: Vec<String>) {
        // `use tokio;` binds the name `tokio` to itself.
        if !self.bindings_known && path != [name] {
            self.bindings.entry(name.to_owned()).or_default().insert(path);
        }
    }

    fn use_tree(&mut self, tree: &UseTree, before: &[String]) {
        let with = |segment: String| [before, &[segment]].concat();
        match tree {
            UseTree::Path(path) => self.use_tree(&path.tree, &with(path.ident.to_string())),
            UseTree::Group(group) => group.items.iter().for_each(|tree| self.use_tree(tree, before)),
            UseTree::Glob(glob) => self.imported(glob.span(), &with("*".to_owned()), None),
            UseTree::Name(name) if name.ident == "self" => {
                self.imported(name.span(), before, before.last().cloned());
            }
            UseTree::Name(name) => {
                self.imported(name.span(), &with(name.ident.to_string()), Some(name.ident.to_string()));
            }
            UseTree::Rename(rename) if rename.ident == "self" => {
                self.imported(rename.span(), before, Some(rename.rename.to_string()));
            }
            UseTree::Rename(rename) => {
                self.imported(rename.span(), &with(rename.ident.to_string()), Some(rename.rename.to_string()));
            }
        }
    }

    fn imported(&mut self, span: Span, segments: &[String], bound: Option<String>) {
        self.name(span, segments, "");
        if let Some(bound) = bound {
            for path in self.resolve(segments) {
                if self.bindings_known && self.tests == 0 {
                    self.exports.entry(bound.clone()).or_default().insert(path.clone());
                }
                self.bind(&bound, path);
            }
        }
    }

    /// Adds the paths and macro calls in tokens that syn does not parse.
    fn tokens(&mut self, tokens: TokenStream) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let is = |i: usize, c: char| matches!(tokens.get(i), Some(TokenTree::Punct(p)) if p.as_char() == c);
        let mut i = 0;
        while let Some(token) = tokens.get(i) {
            i += 1;
            match token {
                TokenTree::Group(group) => self.tokens(group.stream()),
                TokenTree::Ident(ident) => {
                    let start = i - 1;
                    let mut segments = vec![ident.to_string()];
                    while is(i, ':') && is(i + 1, ':') {
                        let Some(TokenTree::Ident(next)) = tokens.get(i + 2) else { break };
                        segments.push(next.to_string());
                        i += 3;
                    }
                    let call = is(i, '!') && matches!(tokens.get(i + 1), Some(TokenTree::Group(_)));
                    // `.len` is a member. `::x` after a type belongs to the path of that type.
                    let continues =
                        start > 0 && (is(start - 1, '.') || (is(start - 1, ':') && start > 2 && is(start - 3, '>')));
                    if !continues && (call || segments.len() > 1) {
                        self.name(ident.span(), &segments, if call { "!" } else { "" });
                    }
                }
                TokenTree::Punct(_) | TokenTree::Literal(_) => {}
            }
        }
    }

    fn in_tests(&mut self, attributes: &[Attribute], span: Span, visit: impl FnOnce(&mut Reader)) {
        let test = attributes.iter().any(is_cfg_test);
        if test {
            self.test_lines.extend(span.start().line..=span.end().line);
        }
        self.tests += usize::from(test);
        visit(self);
        self.tests -= usize::from(test);
    }
}

impl<'ast> Visit<'ast> for Reader {
    fn visit_item(&mut self, item: &'ast Item) {
        self.in_tests(attributes_of(item), item.span(), |reader| visit::visit_item(reader, item));
    }

    fn visit_item_mod(&mut self, module: &'ast ItemMod) {
        let name = module.ident.to_string();
        let path = [self.module.as_slice(), std::slice::from_ref(&name)].concat();
        // A child module hides a crate with the same name.
        self.bind(&name, path.clone());
        if module.content.is_none() && self.tests > 0 {
            self.found.test_modules.push(path.join("::"));
        }
        let parent = std::mem::replace(&mut self.module, path);
        visit::visit_item_mod(self, module);
        self.module = parent;
    }

    fn visit_impl_item(&mut self, item: &'ast syn::ImplItem) {
        let attributes: &[Attribute] = match item {
            syn::ImplItem::Fn(item) => &item.attrs,
            syn::ImplItem::Const(item) => &item.attrs,
            _ => &[],
        };
        self.in_tests(attributes, item.span(), |reader| visit::visit_impl_item(reader, item));
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        self.use_tree(&item.tree, &[]);
    }

    fn visit_item_extern_crate(&mut self, item: &'ast ItemExternCrate) {
        let path = vec![item.ident.to_string()];
        self.name(item.span(), &path, "");
        if let Some((_, rename)) = &item.rename {
            self.bind(&rename.to_string(), path);
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments: Vec<String> = path.segments.iter().map(|s| s.ident.to_string()).collect();
        // A path with a single segment is a local name or an imported name. The `use` of an imported name has already
        // been added.
        if segments.len() > 1 {
            self.name(path.span(), &segments, "");
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, call: &'ast Macro) {
        let segments: Vec<String> = call.path.segments.iter().map(|s| s.ident.to_string()).collect();
        self.name(call.path.span(), &segments, "!");
        self.tokens(call.tokens.clone());
    }

    fn visit_attribute(&mut self, attribute: &'ast Attribute) {
        if let Meta::List(list) = &attribute.meta {
            self.tokens(list.tokens.clone());
        }
        visit::visit_attribute(self, attribute);
    }
}

/// Returns whether this is `#[cfg(test)]` or `#[cfg(all(test, …))]`.
pub(crate) fn is_cfg_test(attribute: &Attribute) -> bool {
    fn asks_for_test(meta: &Meta) -> bool {
        match meta {
            Meta::Path(path) => path.is_ident("test"),
            Meta::List(list) if list.path.is_ident("all") => list
                .parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated)
                .is_ok_and(|all| all.iter().any(asks_for_test)),
            _ => false,
        }
    }
    attribute.path().is_ident("cfg") && attribute.parse_args::<Meta>().is_ok_and(|meta| asks_for_test(&meta))
}

pub(crate) fn attributes_of(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::ExternCrate(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}
