//! Opens the sections of a plan file.

use toml::de::DeValue;

use super::diagnostic::{Diagnostic, Problems};
use super::fields::Fields;

/// Opens a section of the plan. If the section is required, `help` contains an example of it.
pub(super) fn section<'t, 'i>(
    root: &Fields<'t, 'i>,
    name: &str,
    title: &'static str,
    names: &[&str],
    help: Option<&'static str>,
    problems: &mut Problems,
) -> Option<Fields<'t, 'i>> {
    let Some((_, value)) = root.get(name) else {
        if let Some(help) = help
            && !root.has_misspelt(&[name])
        {
            let label = format!("{title} is missing");
            problems
                .add_missing(Diagnostic::new(format!("the plan has no {title}"), root.at.clone(), label).example(help));
        }
        return None;
    };
    let DeValue::Table(table) = value.get_ref() else {
        let label = format!("expected a table, found {}", value.get_ref().type_str());
        let problem = Diagnostic::new(format!("{title} must be a table"), value.span(), label);
        problems.add(problem.help(format!("write {title} once, on its own line, with its fields below")));
        return None;
    };
    Some(Fields::open(table, title, names, value.span(), problems))
}
