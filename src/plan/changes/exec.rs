//! Reads an `exec`, which contains a program, its inputs and its outputs.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use toml::Spanned;
use toml::de::DeValue;

use super::{WrittenChange, read_path};
use crate::change::{Change, Exec, OnExisting};
use crate::item::Path;
use crate::plan::argv::argv;
use crate::plan::diagnostic::{Diagnostic, Problems, TextSpan};
use crate::plan::fields::Fields;
use crate::plan::names::environment_variable;

const TIMEOUT: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(3_600);

/// The default of both time limits.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);

/// The names of the environment variables that the program inherits by default.
const DEFAULT_ENV: [&str; 2] = ["PATH", "LANG"];

/// Reads an `exec`. `key` is the position of the word `exec`.
pub(super) fn read_exec(
    fields: &Fields<'_, '_>,
    key: &TextSpan,
    on_existing: OnExisting,
    problems: &mut Problems,
) -> Option<WrittenChange> {
    let argv = argv(fields, "exec", "[\"python3\", \"transform.py\"]", problems);
    let inputs = ("inputs", "[\"title\", \"body\"]", "which attributes does the program read?");
    let inputs = attributes(fields, "exec", inputs, key, problems);
    let outputs = ("outputs", "[\"embedding\"]", "which attributes does the program compute?");
    let outputs = attributes(fields, "exec", outputs, key, problems);
    let marker = marker(fields, key, problems);
    let workers = count(fields, "workers", 2, 64, problems);
    let batch = count(fields, "batch", 100, 1_000, problems);
    let mut limit = |name| {
        let limit = fields.duration(name, "\"30s\"", TIMEOUT, problems);
        limit.map_or(DEFAULT_TIMEOUT, Spanned::into_inner)
    };
    let (timeout, start_timeout) = (limit("timeout"), limit("start_timeout"));
    let env = texts(fields, "env", "[\"PATH\", \"LANG\"]", problems).map(|names| variables(names, problems));
    let env = env.unwrap_or_else(|| DEFAULT_ENV.map(str::to_owned).to_vec());
    let files = texts(fields, "files", "[\"model.json\"]", problems).unwrap_or_default();
    let files = files.into_iter().map(Spanned::into_inner).collect();
    let (argv, (inputs, first), (outputs, to), marker) = (argv?, inputs?, outputs?, marker?);
    if !are_distinct(&inputs, &outputs, marker.as_ref(), problems) {
        return None;
    }
    let plain = |paths: Vec<Spanned<Path>>| paths.into_iter().map(Spanned::into_inner).collect();
    let exec = Exec {
        argv,
        inputs: plain(inputs),
        outputs: plain(outputs),
        marker: marker.map(Spanned::into_inner),
        files,
        env,
        workers,
        batch,
        timeout,
        start_timeout,
        program: None,
    };
    let change = Change::Exec { exec: Arc::new(exec), on_existing };
    Some(WrittenChange { to, ..WrittenChange::new(change, first) })
}

/// Reads a required list of attribute names. If the list is missing, `question` is the label of the error.
pub(super) fn attributes(
    fields: &Fields<'_, '_>,
    kind: &str,
    (name, example, question): (&str, &str, &str),
    key: &TextSpan,
    problems: &mut Problems,
) -> Option<(Vec<Spanned<Path>>, TextSpan)> {
    let Some((_, value)) = fields.get(name) else {
        if !fields.has_misspelt(&[name]) {
            problems.add_missing(
                Diagnostic::new(format!("`{kind}` has no `{name}`"), key.clone(), question)
                    .help(format!("add `{name} = {example}` to this change")),
            );
        }
        return None;
    };
    let DeValue::Array(array) = value.get_ref() else {
        problems.add(fields.wrong_type(name, value, "an array of attribute names", example));
        return None;
    };
    if array.is_empty() {
        problems.add(
            Diagnostic::new(format!("`{name}` is empty"), value.span(), question)
                .help(format!("write `{name} = {example}`")),
        );
        return None;
    }
    let mut names: Vec<Spanned<Path>> = Vec::new();
    let mut is_valid = true;
    for part in array.iter() {
        match attribute(kind, name, part, problems) {
            Some(path) if names.iter().any(|other| *other.get_ref() == path) => {
                let twice = Diagnostic::new(format!("`{path}` is listed twice in `{name}`"), part.span(), "repeated");
                problems.add(twice.help("remove one of the two"));
                is_valid = false;
            }
            Some(path) => names.push(Spanned::new(part.span(), path)),
            None => is_valid = false,
        }
    }
    is_valid.then(|| (names, value.span()))
}

/// Reads the name of a top-level attribute.
fn attribute(kind: &str, field: &str, value: &Spanned<DeValue<'_>>, problems: &mut Problems) -> Option<Path> {
    let path = read_path(field, value, problems)?;
    if path.is_top_level() {
        return Some(path);
    }
    let root = Path::attribute(path.root());
    problems.add(
        Diagnostic::new(
            format!("`{field}` of {} must name whole attributes", article(kind)),
            value.span(),
            format!("a path inside `{root}`"),
        )
        .help(format!("write the name of the attribute: {:?}", root.to_string()))
        .help("the input or output is then the whole document"),
    );
    None
}

/// Reads the marker. Returns `Some(None)` if the program is deterministic, so that the change has no marker.
fn marker(fields: &Fields<'_, '_>, key: &TextSpan, problems: &mut Problems) -> Option<Option<Spanned<Path>>> {
    let written = fields.get("deterministic").map(|(at, _)| at);
    let deterministic = fields.flag("deterministic", problems);
    match (fields.get("marker"), written) {
        (Some((at, _)), Some(word)) if deterministic == Some(true) => {
            problems.add(
                Diagnostic::new("an `exec` with `deterministic = true` must not have a marker", at, "not used")
                    .also(word, "runs recognise done items by computing the outputs again")
                    .help("remove `marker`; or remove `deterministic`, so that runs skip items that are already done"),
            );
            None
        }
        (Some((_, value)), _) => {
            attribute("exec", "marker", value, problems).map(|path| Some(Spanned::new(value.span(), path)))
        }
        (None, Some(_)) if deterministic != Some(false) => deterministic.map(|_| None),
        (None, _) => {
            if !fields.has_misspelt(&["marker", "deterministic"]) {
                problems.add_missing(
                    Diagnostic::new(
                        "`exec` has no `marker`",
                        key.clone(),
                        "which attribute stores the hash of the inputs?",
                    )
                    .help(
                        "add `marker = \"embedding_of\"`; each write sets this attribute to the SHA-256 of the inputs",
                    )
                    .help("without a marker, backfill cannot recognise items that are already done")
                    .help(
                        "if the program computes the same outputs from the same inputs, you can write \
                         `deterministic = true` instead: each run and each `verify` then starts the program again",
                    ),
                );
            }
            None
        }
    }
}

/// Refuses targets that are also inputs, and a marker that is also an output.
fn are_distinct(
    inputs: &[Spanned<Path>],
    outputs: &[Spanned<Path>],
    marker: Option<&Spanned<Path>>,
    problems: &mut Problems,
) -> bool {
    let mut is_valid = refuse_inputs("exec", inputs, outputs.iter().chain(marker), problems);
    let same = |marker: &Spanned<Path>| outputs.iter().find(|output| output.get_ref() == marker.get_ref());
    if let Some((marker, output)) = marker.and_then(|marker| Some((marker, same(marker)?))) {
        is_valid = false;
        problems.add(
            Diagnostic::new("the marker cannot be an output", marker.span(), "also in `outputs`")
                .also(output.span(), "computed by the program")
                .help("use an attribute that no other writer writes, such as marker = \"embedding_of\""),
        );
    }
    is_valid
}

/// Refuses targets that are also inputs. Returns true if there is no such target.
pub(super) fn refuse_inputs<'a>(
    kind: &str,
    inputs: &[Spanned<Path>],
    targets: impl Iterator<Item = &'a Spanned<Path>>,
    problems: &mut Problems,
) -> bool {
    let mut is_valid = true;
    for target in targets {
        let Some(input) = inputs.iter().find(|input| input.get_ref() == target.get_ref()) else { continue };
        is_valid = false;
        problems.add(
            Diagnostic::new(
                format!("`{}` is both an input and a target of this `{kind}`", target.get_ref()),
                target.span(),
                "written by this change",
            )
            .also(input.span(), "read by this change")
            .help("each write would change the inputs, so every run would compute the values again")
            .help("write to another attribute"),
        );
    }
    is_valid
}

/// Returns the name of a kind of change with its article.
fn article(kind: &str) -> String {
    format!("{} `{kind}`", if kind.starts_with(['a', 'e']) { "an" } else { "a" })
}

fn count(fields: &Fields<'_, '_>, name: &str, default: usize, max: u64, problems: &mut Problems) -> usize {
    let number = fields.whole_number(name, &default.to_string(), 1..=max, problems);
    number.and_then(|number| usize::try_from(number).ok()).unwrap_or(default)
}

/// Reads an optional list of texts.
fn texts(fields: &Fields<'_, '_>, name: &str, example: &str, problems: &mut Problems) -> Option<Vec<Spanned<String>>> {
    let (_, value) = fields.get(name)?;
    let DeValue::Array(array) = value.get_ref() else {
        problems.add(fields.wrong_type(name, value, "an array of strings", example));
        return None;
    };
    let mut texts = Vec::new();
    for part in array.iter() {
        match part.get_ref().as_str() {
            Some(text) if !text.is_empty() && !text.contains('\0') => {
                texts.push(Spanned::new(part.span(), text.to_owned()));
            }
            _ => problems.add(
                Diagnostic::new(format!("`{name}` must list strings"), part.span(), "expected a non-empty string")
                    .help(format!("write `{name} = {example}`")),
            ),
        }
    }
    Some(texts)
}

/// Checks the names of environment variables.
fn variables(names: Vec<Spanned<String>>, problems: &mut Problems) -> Vec<String> {
    for name in &names {
        if environment_variable(name.get_ref()).is_err() {
            problems.add(
                Diagnostic::new("this is not the name of an environment variable", name.span(), "not a name")
                    .help("write only names, such as \"PATH\": the program inherits their values from backfill"),
            );
        }
    }
    names.into_iter().map(Spanned::into_inner).collect()
}
