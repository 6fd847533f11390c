//! Applies the arguments of `--set`, which replace fields of the plan's TOML before the plan is read.

use std::borrow::Cow;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::diagnostic::{Diagnostic, Problems, TextSpan};
use super::text::PlanText;

/// The sections that are lists. An argument cannot change them, because it could not identify an entry.
const LISTS: [&str; 2] = ["change", "health_check"];

const EXAMPLE: &str = "write it like `--set table.name=orders-staging`";

/// One `--set` argument. It consists of the path of a field and the new value of the field.
struct Override<'i> {
    /// The names in the path, and their positions. There is at least one name.
    path: Vec<(String, TextSpan)>,
    value: Spanned<DeValue<'i>>,
}

/// Replaces the fields of `root` that the arguments name. Reports arguments that cannot be parsed. Does not check
/// whether a field exists, because a later step reports all unknown fields, whether they come from the file or from an
/// argument.
pub(super) fn apply<'i>(root: &mut DeTable<'i>, text: &'i PlanText, problems: &mut Problems) {
    for at in text.arguments() {
        let applied = parse(text, at.clone()).and_then(|given| insert(root, given, text));
        if let Err(diagnostic) = applied {
            problems.add(diagnostic);
        }
    }
}

/// Reads one argument. If its value is not TOML, it is a string, so `--set table.name=orders` needs no quotes.
fn parse(text: &PlanText, at: TextSpan) -> Result<Override<'_>, Diagnostic> {
    let argument = &text[at.clone()];
    if let Some(line_break) = argument.find(['\n', '\r']) {
        let position = at.start + line_break;
        return Err(Diagnostic::new("`--set` takes one line", position..position, "a line break")
            .help("write a line break in a value as \\n, in double quotes: --set 'cutover.key=\"a\\nb\"'"));
    }
    let Some(equals) = equals_sign(argument) else {
        return Err(Diagnostic::new("`--set` has no value", at, "no `=` and no value").help(EXAMPLE));
    };
    let path = parse_path(&argument[..equals], at.start)?;
    let written = &argument[equals + 1..];
    let start = at.start + equals + 1 + (written.len() - written.trim_start().len());
    let value = written.trim();
    Ok(Override { path, value: parse_value(value, start)? })
}

/// Returns the position of the first `=` outside quotes.
fn equals_sign(argument: &str) -> Option<usize> {
    let mut quote = None;
    let mut is_escaped = false;
    for (at, c) in argument.char_indices() {
        match (quote, c) {
            (None, '=') => return Some(at),
            (None, '"' | '\'') => quote = Some(c),
            (Some('"'), '\\') if !is_escaped => {
                is_escaped = true;
                continue;
            }
            (Some(open), _) if c == open && !is_escaped => quote = None,
            (None | Some(_), _) => {}
        }
        is_escaped = false;
    }
    None
}

/// Reads the path of a field, such as `table.name`. `start` is its position in the plan's text.
fn parse_path(path: &str, start: usize) -> Result<Vec<(String, TextSpan)>, Diagnostic> {
    let end = start + path.len();
    let document = format!("{path}=0");
    let invalid = |label: &str, span: TextSpan| {
        let span = (start + span.start).min(end)..(start + span.end).min(end);
        Diagnostic::new("`--set` does not name a field", span, label.to_owned()).help(EXAMPLE)
    };
    let parsed = DeTable::parse(&document)
        .map_err(|error| invalid(error.message(), error.span().unwrap_or(0..path.len())))?
        .into_inner();
    let mut names = Vec::new();
    let mut table = &parsed;
    while let Some((name, value)) = table.iter().next() {
        let span = name.span();
        names.push((name.get_ref().clone().into_owned(), start + span.start..start + span.end));
        match value.get_ref() {
            DeValue::Table(inner) => table = inner,
            _ => break,
        }
    }
    if names.is_empty() { Err(invalid("no name", 0..path.len())) } else { Ok(names) }
}

/// Reads a value. `start` is its position in the plan's text.
fn parse_value(text: &str, start: usize) -> Result<Spanned<DeValue<'_>>, Diagnostic> {
    match DeValue::parse(text) {
        Ok(value) if value.span() == (0..text.len()) => Ok(moved(value, start)),
        Err(error) if text.starts_with(['"', '\'', '[', '{']) => {
            let span = error.span().unwrap_or(0..text.len());
            let span = start + span.start.min(text.len())..start + span.end.min(text.len());
            Err(Diagnostic::new("the value of `--set` is not TOML", span, error.message().to_owned())
                .help("here, text needs no quotes; if you quote text or write an array, use the syntax of the plan"))
        }
        Ok(_) | Err(_) => Ok(Spanned::new(start..start + text.len(), DeValue::String(Cow::Borrowed(text)))),
    }
}

/// Shifts the positions of a value and of its parts.
fn moved(value: Spanned<DeValue<'_>>, by: usize) -> Spanned<DeValue<'_>> {
    let span = move_span(value.span(), by);
    let value = match value.into_inner() {
        DeValue::Array(array) => DeValue::Array(array.into_iter().map(|entry| moved(entry, by)).collect()),
        DeValue::Table(table) => {
            let entry = |(name, value): (Spanned<_>, _)| {
                (Spanned::new(move_span(name.span(), by), name.into_inner()), moved(value, by))
            };
            DeValue::Table(table.into_iter().map(entry).collect())
        }
        scalar => scalar,
    };
    Spanned::new(span, value)
}

fn move_span(span: TextSpan, by: usize) -> TextSpan {
    span.start + by..span.end + by
}

/// Sets the field at the path to the value. Creates missing tables on the path.
fn insert<'i>(root: &mut DeTable<'i>, given: Override<'i>, text: &PlanText) -> Result<(), Diagnostic> {
    let Override { mut path, value } = given;
    let Some((field, field_at)) = path.pop() else { return Ok(()) };
    let (first, first_at) = path.first().cloned().unwrap_or_else(|| (field.clone(), field_at.clone()));
    if LISTS.contains(&first.as_str()) {
        let title = format!("`--set` cannot change [[{first}]]");
        return Err(Diagnostic::new(title, first_at, "a list of tables")
            .help("change the plan, or write a second plan file; in other tables, `--set` replaces single fields"));
    }
    if path.is_empty() {
        return Err(
            Diagnostic::new("`--set` must name a table and one of its fields", field_at, "only one name").help(EXAMPLE)
        );
    }
    let mut table = root;
    for (name, at) in path {
        if !table.contains_key(name.as_str()) {
            let empty = Spanned::new(at.clone(), DeValue::Table(DeTable::new()));
            table.insert(Spanned::new(at.clone(), Cow::Owned(name.clone())), empty);
        }
        let Some(entry) = table.get_mut(name.as_str()) else { return Ok(()) };
        let span = entry.span();
        match entry.get_mut() {
            DeValue::Table(inner) => table = inner,
            other => {
                let label = format!("this cannot have fields, because it is {}", with_article(other.type_str()));
                let problem = Diagnostic::new(format!("`{name}` is not a table"), at, label);
                return Err(if text.is_argument(&span) { problem } else { problem.also(span, "written here") });
            }
        }
    }
    if let Some((earlier, _)) = table.get_key_value(field.as_str())
        && text.is_argument(&earlier.span())
    {
        return Err(Diagnostic::new(format!("`--set` names `{field}` twice"), field_at, "the second value")
            .also(earlier.span(), "the first value")
            .help("remove one of the two"));
    }
    // `insert` would keep an existing equal key, together with its old position. So remove the old key first.
    table.remove(field.as_str());
    table.insert(Spanned::new(field_at, Cow::Owned(field)), value);
    Ok(())
}

/// Returns the name of a TOML type with its article.
fn with_article(name: &str) -> String {
    let article = if name.starts_with(['a', 'i']) { "an" } else { "a" };
    format!("{article} {name}")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::plan::{LoadedPlan, PlanErrors, load, load_with};

    const PLAN: &str = "[migration]\nname = \"m\"\n[table]\nname = \"orders\"\nregion = \"eu-west-1\"\n\
                        [[change]]\nmove = \"a\"\nto = \"b\"\n[limits]\nmax_items = 10\n";

    fn with(arguments: &[&str]) -> Result<LoadedPlan, PlanErrors> {
        load_with("plan.toml", PLAN, &arguments.iter().map(|argument| (*argument).to_owned()).collect::<Vec<_>>())
    }

    /// Each argument has the same effect as an equivalent edit of the file.
    #[test]
    fn an_argument_replaces_a_field_or_adds_it() {
        for (argument, from, to) in [
            ("table.name=orders-staging", "name = \"orders\"", "name = \"orders-staging\""),
            ("table.name = \"orders-staging\"", "name = \"orders\"", "name = \"orders-staging\""),
            ("limits.max_items=1_000", "max_items = 10", "max_items = 1000"),
            ("table.account=123456789012", "[[change]]", "account = \"123456789012\"\n[[change]]"),
            ("table.profile=1.50", "[[change]]", "profile = \"1.50\"\n[[change]]"),
            ("migration.name=true", "name = \"m\"", "name = \"true\""),
            ("table.key=[\"pk\", \"sk\"]", "[[change]]", "key = [\"pk\", \"sk\"]\n[[change]]"),
            ("capacity.write=25%", "[limits]", "[capacity]\nwrite = \"25%\"\n[limits]"),
            ("capacity.index.\"by.a\"=5", "[limits]", "[capacity.index]\n\"by.a\" = 5\n[limits]"),
            ("scan.consistent=true", "[limits]", "[scan]\nconsistent = true\n[limits]"),
            (
                "limits.deadline=2030-12-01T06:00:00Z",
                "max_items = 10",
                "max_items = 10\ndeadline = 2030-12-01T06:00:00Z",
            ),
            ("migration.strategy=in-place", "name = \"m\"", "name = \"m\"\nstrategy = \"in-place\""),
            (
                "limits.window=22:00-06:00 Europe/Paris",
                "max_items = 10",
                "max_items = 10\nwindow = \"22:00-06:00 Europe/Paris\"",
            ),
        ] {
            let edited = PLAN.replacen(from, to, 1);
            assert_ne!(edited, PLAN, "{argument}");
            let edited = load("plan.toml", &edited).unwrap_or_else(|errors| panic!("{errors}")).plan;
            let given = with(&[argument]).unwrap_or_else(|errors| panic!("{argument}: {errors}")).plan;
            assert_eq!(given, edited, "{argument}");
            assert_eq!(given.fingerprint(), edited.fingerprint(), "{argument}");
        }
        assert_ne!(with(&["table.name=other"]).unwrap().plan.fingerprint(), with(&[]).unwrap().plan.fingerprint());
        let both = with(&["table.name=first", "limits.max_items=7"]).unwrap().plan;
        assert_eq!((both.table.name.as_str(), both.limits.max_items), ("first", Some(7)));
    }

    /// Errors of checks that need the table's description also show the argument.
    #[test]
    fn later_errors_point_at_the_argument() {
        let names = |names: &[&str]| {
            let mut names =
                names.iter().map(|name| crate::item::KeyAttribute { name: (*name).into(), kind: "S".into() });
            crate::item::KeySchema { partition: names.next().unwrap(), sort: names.next() }
        };
        let loaded = with(&["limits.max_items=5", "table.key=[\"id\"]"]).unwrap();
        let shown = loaded.check_key_schema(&names(&["pk", "sk"])).unwrap_err().to_string();
        assert!(shown.contains("command line:2:17") && shown.contains("--set table.key=[\"id\"]"), "{shown}");
        assert!(shown.contains("plan.toml with --set has 1 error"), "{shown}");
    }

    proptest! {
        /// Every argument leads either to a plan or to an error that can be displayed.
        #[test]
        fn every_argument_is_read_or_refused(argument in "\\PC{0,30}", name in "(table|limits|change|x)\\.?[a-z\"'.]{0,9}=?") {
            for argument in [argument.clone(), format!("{name}{argument}"), format!("table.name={argument}")] {
                if let Err(errors) = with(&[&argument]) {
                    let shown = errors.to_string();
                    prop_assert!(shown.contains("command line:1:"), "{}: {}", argument, shown);
                }
            }
        }

        /// If an unquoted value is not TOML, the value is the exact text.
        #[test]
        fn text_needs_no_quotes(name in "[a-zA-Z][a-zA-Z0-9_.-]{2,30}") {
            prop_assert_eq!(with(&[&format!("table.name={name}")]).unwrap().plan.table.name, name);
        }
    }
}
