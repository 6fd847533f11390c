//! Writes the template's comments about the attributes of sampled items.

use std::fmt::Write as _;

use super::{TemplateTable, quoted};
use crate::figure::{count, number};
use crate::item::{Path, PathStep};

/// Maximum number of attributes to list.
const MAX_LISTED: usize = 30;

/// Maximum number of characters of a listed name. A name can have up to 65,535 bytes, but a plan has at most 256 KB.
const MAX_NAME: usize = 100;

/// The attributes in a sample of the table. Contains no values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemplateSample {
    /// Number of items that were read.
    pub items: u64,
    /// The way in which the items were selected, such as `drawn at random`.
    pub basis: &'static str,
    /// The attributes, in the order in which to list them.
    pub attributes: Vec<TemplateAttribute>,
}

/// An attribute of sampled items, or a member of such an attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemplateAttribute {
    /// The attribute.
    pub path: Path,
    /// Number of items that have the attribute.
    pub items: u64,
    /// The types of its values, most frequent first.
    pub types: Vec<&'static str>,
    /// What DynamoDB uses the attribute for, such as `partition key`.
    pub roles: Vec<String>,
}

/// Returns comments that list the sampled attributes, and examples of changes to these attributes. Every line is a
/// comment, regardless of the characters in the names.
pub(super) fn section(table: &TemplateTable) -> String {
    let Some(sample) = &table.sample else { return String::new() };
    let TemplateSample { items, basis, attributes } = sample;
    let read = count(*items, "item was", "items were");
    if attributes.is_empty() {
        return format!("\n# {read} read ({basis}), so the attributes of the table are unknown.\n");
    }
    let mut out = format!(
        "\n# {read} read ({basis}). This list has the names of the attributes, the number of items\n\
         # that have them, and their types. `backfill stats` estimates the shares of all items.\n"
    );
    let listed: Vec<(String, &TemplateAttribute)> =
        attributes.iter().take(MAX_LISTED).map(|attribute| (shortened(&attribute.path), attribute)).collect();
    let width = listed.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    let digits = number(*items).len();
    for (name, TemplateAttribute { items, types, roles, .. }) in &listed {
        let notes = roles.iter().map(|role| plain(role)).collect::<Vec<_>>().join(", ");
        let line = format!("#   {name:<width$}  {:>digits$}  {:<6}  {notes}", number(*items), types.join(", "));
        let _ = writeln!(out, "{}", line.trim_end());
    }
    if let more @ 1.. = attributes.len().saturating_sub(MAX_LISTED) {
        let _ = writeln!(out, "#   and {}", count(more as u64, "more name", "more names"));
    }
    out.push_str(&examples(table, attributes));
    out
}

/// Returns examples of changes, as comments. They change only attributes that are not key attributes and that no other
/// DynamoDB feature uses.
fn examples(table: &TemplateTable, attributes: &[TemplateAttribute]) -> String {
    let is_short = |path: &Path| path.to_string().chars().count() <= MAX_NAME;
    let mut usable = attributes.iter().filter(|attribute| attribute.roles.is_empty() && is_short(&attribute.path));
    let Some(first) = usable.clone().find(|attribute| attribute.path.is_top_level()) else { return String::new() };
    let name = first.path.root();
    let mut out = String::from("#\n# Examples with attributes of this table:\n");
    let new = table.free(&format!("new_{name}"));
    out.push_str(&example("move", &first.path, &new));
    // The paths of two changes must not overlap.
    let member = usable.find(|attribute| !attribute.path.is_top_level() && attribute.path.root() != name);
    if let Some(member) = member {
        // Two changes must not write the same attribute.
        let own = table.free(&joined(&member.path));
        let to = if own == new { table.free(&format!("{}_copy", joined(&member.path))) } else { own };
        out.push_str(&example("copy", &member.path, &to));
    }
    out
}

/// Returns the names in a path, joined with underscores: `customer_name` for `customer.name`.
fn joined(path: &Path) -> String {
    let name = |step: &PathStep| match step {
        PathStep::Name(name) => name.clone(),
        PathStep::Index(index) => index.to_string(),
    };
    path.steps().iter().map(name).collect::<Vec<_>>().join("_")
}

fn example(verb: &str, from: &Path, to: &Path) -> String {
    format!("# [[change]]\n# {verb} = {}\n# to = {}\n", quoted(&from.to_string()), quoted(&to.to_string()))
}

/// Quotes a path as a TOML string on one line. Shortens a long path.
fn shortened(path: &Path) -> String {
    let text = path.to_string();
    match text.char_indices().nth(MAX_NAME) {
        Some((at, _)) => format!("{}… (shortened)", quoted(&text[..at])),
        None => quoted(&text),
    }
}

/// Escapes text within a comment.
fn plain(text: &str) -> String {
    quoted(text).trim_matches('"').to_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::plan::{load, template};

    fn attribute(name: &str, member: Option<&str>, items: u64, roles: &[&str]) -> TemplateAttribute {
        let path = Path::attribute(name);
        let path = member.map_or(path.clone(), |member| path.member(member));
        let roles = roles.iter().map(|role| (*role).to_owned()).collect();
        TemplateAttribute { path, items, types: vec!["S"], roles }
    }

    fn table(attributes: Vec<TemplateAttribute>) -> TemplateTable {
        TemplateTable {
            name: "orders".into(),
            key: vec!["pk".into()],
            region: None,
            account: None,
            endpoint_url: None,
            profile: None,
            item_count: None,
            size_bytes: None,
            indexes: Vec::new(),
            sample: Some(TemplateSample { items: 1_000, basis: "drawn at random", attributes }),
        }
    }

    #[test]
    fn attributes_are_listed_and_the_examples_use_them() {
        let text = template(Some(&table(vec![
            attribute("pk", None, 1_000, &["partition key"]),
            attribute("e-mail", None, 998, &[]),
            attribute("address", None, 500, &[]),
            attribute("address", Some("zip"), 498, &[]),
            attribute("new_e-mail", None, 3, &[]),
        ])));
        for part in [
            "# 1,000 items were read (drawn at random).",
            "#   \"pk\"            1,000  S       partition key\n",
            "#   '\"e-mail\"'        998  S\n",
            "#   \"address.zip\"     498  S\n",
            "# move = '\"e-mail\"'\n# to = '\"new_e-mail_\"'\n",
            "# copy = \"address.zip\"\n# to = \"address_zip\"\n",
            "\n[[change]]\nmove = \"old_name\"\nto = \"new_name\"\n",
        ] {
            assert!(text.contains(part), "{part}\n{text}");
        }
        let empty = template(Some(&table(Vec::new())));
        assert!(empty.contains("so the attributes of the table are unknown"), "{empty}");
    }

    /// Attribute names come from the table, so they can contain any character.
    fn any_name() -> impl Strategy<Value = String> {
        "[a-z]{1,4}|(old|new)_name_?|\\PC{1,8}|[\"'\\\\\u{1b}\u{202e}\u{0}\n\r#=\\[\\]]{1,6}|x{300}|é{101}"
    }

    proptest! {
        /// Whatever the names of the attributes are, the plan is valid, its only change does not touch a sampled
        /// attribute, and the examples are valid changes.
        #[test]
        fn the_template_loads_for_any_names(
            names in proptest::collection::btree_map(any_name(), (proptest::option::of(any_name()), any::<bool>()), 0..40),
        ) {
            let attributes: Vec<TemplateAttribute> = names
                .iter()
                .flat_map(|(name, (member, has_role))| {
                    let roles: &[&str] = if *has_role { &["key of index a\nb"] } else { &[] };
                    let member = member.as_ref().map(|member| attribute(name, Some(member), 1, &[]));
                    [Some(attribute(name, None, 2, roles)), member].into_iter().flatten()
                })
                .collect();
            let table = table(attributes);
            let text = template(Some(&table));
            let plan = load("t.toml", &text).map_err(|e| TestCaseError::fail(format!("{e}\n{text}")))?.plan;
            prop_assert_eq!(plan.changes.len(), 1);
            let paths = plan.changes[0].paths();
            for path in paths.reads.iter().chain(&paths.writes).chain(&paths.removes) {
                prop_assert!(!names.contains_key(path.root()), "{}", path);
            }
            let section = section(&table);
            prop_assert!(section.lines().all(|line| line.is_empty() || line.starts_with('#')), "{}", section);
            let Some((_, examples)) = section.split_once("# Examples with attributes of this table:\n") else { return Ok(()) };
            let examples = examples.replace("# [[", "[[").replace("\n# ", "\n");
            let head = "[migration]\nname = \"x\"\nstrategy = \"expand-contract\"\n[table]\nname = \"orders\"\n";
            let loaded = load("t.toml", &format!("{head}{examples}"));
            prop_assert!(loaded.is_ok(), "{}\n{}", loaded.unwrap_err(), examples);
        }
    }
}
