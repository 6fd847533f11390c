//! Reads the text of a plan and turns it into a [`Plan`].

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::capacity::{self, BudgetError};
use super::changes::{self, WrittenChange};
use super::diagnostic::{Diagnostic, PlanErrors, Problems, TextSpan};
use super::fields::{Fields, check, format_duration};
use super::index::{SelectedIndex, WrittenIndex};
use super::migration_section::{self, MigrationSection};
use super::names::{account, endpoint_url, pause_file, profile, region, table_name};
use super::overrides;
use super::section::section;
use super::select::{self, SelectSection};
use super::spans::PlanSpans;
use super::syntax::{add_syntax_errors, blank_broken_lines};
use super::text::PlanText;
use super::{
    Alerts, Plan, Retry, ScanOptions, SteeringOptions, TableRef, client, cutover, health, hooks, limits, role, rules,
    safety, write,
};
use crate::change::{OnExisting, OnNotComputable, Strategy};
use crate::expr::{Facts, KnownTypes};
use crate::item::{IndexSchema, KeySchema};

/// Maximum size of a plan in bytes. A plan is usually one or two pages long, so a larger file is not a plan.
const MAX_BYTES: usize = 256 * 1024;

/// A plan, together with the positions of its parts in the text.
#[derive(Debug, Clone, PartialEq)]
pub struct LoadedPlan {
    /// The valid plan.
    pub plan: Plan,
    /// The plan's text, and the positions of its parts.
    pub file: PlanFile,
}

/// The text of a plan, and the positions of its parts. Checks that need the table's description use these positions in
/// their errors.
#[derive(Debug, Clone, PartialEq)]
pub struct PlanFile {
    pub(super) label: String,
    pub(super) text: PlanText,
    pub(super) spans: PlanSpans,
}

impl PlanFile {
    pub(super) fn label(&self) -> &str {
        &self.label
    }

    pub(super) fn text(&self) -> &PlanText {
        &self.text
    }

    pub(super) fn changes(&self) -> &[WrittenChange] {
        &self.spans.changes
    }

    pub(super) fn selected_index(&self) -> Option<&WrittenIndex> {
        self.spans.index.as_ref()
    }

    /// Returns the position of `keys` in `[select]`.
    pub(super) fn keys_span(&self) -> Option<TextSpan> {
        self.spans.keys.clone()
    }
}

/// Reads a plan. Errors refer to the plan as `label`, which is usually its path.
///
/// Reports all errors together. Checks the readable lines even if the text is not valid TOML.
pub fn load(label: &str, text: &str) -> Result<LoadedPlan, PlanErrors> {
    load_with(label, text, &[])
}

/// Reads a plan like [`load`], but replaces some of its fields. Each entry of `overrides` is a `--set` argument, such
/// as `table.name=orders-staging`. An error about a replaced field shows the argument.
pub fn load_with(label: &str, text: &str, overrides: &[String]) -> Result<LoadedPlan, PlanErrors> {
    // Some editors start a file with a byte order mark. Remove the mark, because it would shift the columns in errors.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if text.len() > MAX_BYTES {
        return Err(not_a_plan(label, &format!("{} bytes, but a plan can have at most {MAX_BYTES}", text.len())));
    }
    let text = PlanText::new(text, overrides);
    let (root, syntax) = DeTable::parse_recoverable(text.file());
    let mut problems = Problems::new(text.clone());
    problems.has_syntax_errors = !syntax.is_empty();
    let rest = blank_broken_lines(text.file(), &syntax);
    let rest = rest.as_deref().and_then(|rest| DeTable::parse(rest).ok());
    let mut root = rest.unwrap_or(root).into_inner();
    overrides::apply(&mut root, &text, &mut problems);
    let read = read_root(&root, text.file(), &mut problems);
    add_syntax_errors(&syntax, &mut problems, text.file().len());
    match read {
        Some((plan, spans)) if problems.is_empty() => {
            Ok(LoadedPlan { plan, file: PlanFile { label: label.to_owned(), text, spans } })
        }
        _ => Err(problems.into_errors(label)),
    }
}

/// Reads a plan from the bytes of a file, like [`load`]. Bytes that are not UTF-8 are an error.
pub fn load_bytes(label: &str, bytes: &[u8]) -> Result<LoadedPlan, PlanErrors> {
    load_bytes_with(label, bytes, &[])
}

/// Reads a plan from the bytes of a file, like [`load_with`].
pub fn load_bytes_with(label: &str, bytes: &[u8], overrides: &[String]) -> Result<LoadedPlan, PlanErrors> {
    match std::str::from_utf8(bytes) {
        Ok(text) => load_with(label, text, overrides),
        Err(error) => Err(not_a_plan(label, &format!("byte {} is not UTF-8 text", error.valid_up_to() + 1))),
    }
}

impl Plan {
    /// Reads a plan from TOML. Errors refer to the plan as `label`, which is usually its path.
    ///
    /// # Errors
    ///
    /// Returns every problem in the text at once, each with its line and a remedy.
    ///
    /// # Example
    ///
    /// ```
    /// let errors = backfill::Plan::parse("plan.toml", "[migration]\nnam = 1").unwrap_err();
    /// assert!(errors.to_string().contains("plan.toml"));
    /// ```
    pub fn parse(label: &str, text: &str) -> Result<Plan, PlanErrors> {
        load(label, text).map(|loaded| loaded.plan)
    }
}

impl LoadedPlan {
    /// Runs the checks that need the table's description. The plan's key must equal the table's key, and the changes
    /// must not write, move or remove a key attribute.
    pub fn check_key_schema(&self, schema: &KeySchema) -> Result<(), PlanErrors> {
        let mut problems = Problems::new(self.file.text.clone());
        let actual: Vec<&str> = schema.names().collect();
        if let (Some(stated), Some(at)) = (&self.plan.table.key, &self.file.spans.key)
            && *stated != actual
        {
            let title = format!("table `{}` has a different key", self.plan.table.name);
            problems.add(
                Diagnostic::new(title, at.clone(), "must be the table's key attributes, partition key first")
                    .help(format!("if this is the right table, write `key = {actual:?}`"))
                    .help("otherwise, check `name`, `region`, `account` and `endpoint_url`"),
            );
        }
        let spans = &self.file.spans;
        rules::check_keys(&spans.changes, &actual, &mut problems);
        rules::check_delete_names(&spans.changes, spans.select.as_ref(), &actual, &mut problems);
        rules::check_put_key(&spans.changes, None, &actual, &mut problems);
        let known = key_types(schema);
        spans.check_expressions(&actual, &known, &mut problems);
        let guards: Vec<_> = spans.selection_guard(&known).into_iter().collect();
        rules::check_put_types(
            &spans.changes,
            &guards,
            (None, schema),
            &known,
            spans.allows_not_computable,
            &mut problems,
        );
        if problems.is_empty() { Ok(()) } else { Err(problems.into_errors(&self.file.label)) }
    }

    /// Checks the derived items against the table that gets them, if that is not the table of their sources. `sources`
    /// is the key of the sources' table. The derived items must have the key of their own table.
    pub fn check_other_table(&self, sources: &KeySchema, table: &str, schema: &KeySchema) -> Result<(), PlanErrors> {
        let mut problems = Problems::new(self.file.text.clone());
        let spans = &self.file.spans;
        let names: Vec<&str> = schema.names().collect();
        rules::check_put_key(&spans.changes, Some(table), &names, &mut problems);
        let known = key_types(sources);
        let guards: Vec<_> = spans.selection_guard(&known).into_iter().collect();
        let of_table = (Some(table), schema);
        rules::check_put_types(&spans.changes, &guards, of_table, &known, spans.allows_not_computable, &mut problems);
        if problems.is_empty() { Ok(()) } else { Err(problems.into_errors(&self.file.label)) }
    }

    /// Checks that DynamoDB accepts each value that a change writes to an index key attribute.
    /// [`LoadedPlan::check_key_schema`] checks the attributes of the table's key.
    pub fn check_index_keys(&self, schema: &KeySchema, indexes: &[IndexSchema]) -> Result<(), PlanErrors> {
        let mut problems = Problems::new(self.file.text.clone());
        let own: Vec<&str> = schema.names().collect();
        rules::check_index_keys(&self.file.spans.changes, &own, indexes, &mut problems);
        if problems.is_empty() { Ok(()) } else { Err(problems.into_errors(&self.file.label)) }
    }

    /// Checks that each `where` still has a result after the plan's own removals. Call this function only if the
    /// migration has not begun. Once it has begun, the plan can no longer change. The tool then reports the affected
    /// items instead.
    pub fn check_removals(&self, schema: &KeySchema) -> Result<(), PlanErrors> {
        let mut problems = Problems::new(self.file.text.clone());
        self.file.spans.check_removals(&key_types(schema), &mut problems);
        if problems.is_empty() { Ok(()) } else { Err(problems.into_errors(&self.file.label)) }
    }

    /// Converts budget errors to plan errors. Each plan error shows the field of the budget in `[capacity]`.
    pub fn budget_errors(&self, errors: Vec<BudgetError>) -> PlanErrors {
        let mut problems = Problems::new(self.file.text.clone());
        for error in errors {
            let location = self.file.spans.budgets.iter().find(|(field, _)| *field == error.field);
            let at = location.map_or(0..0, |(_, span)| span.clone());
            let diagnostic = Diagnostic::new(error.title, at, error.label);
            problems.add(error.help.into_iter().fold(diagnostic, Diagnostic::help));
        }
        problems.into_errors(&self.file.label)
    }
}

/// Returns the types of the key's attributes.
fn key_types(schema: &KeySchema) -> KnownTypes {
    let attributes = std::iter::once(&schema.partition).chain(&schema.sort);
    attributes.fold(KnownTypes::default(), |known, key| known.with(&key.name, Some(&key.kind)))
}

fn read_root(table: &DeTable<'_>, text: &str, problems: &mut Problems) -> Option<(Plan, PlanSpans)> {
    const TABLES: [&str; 17] = [
        "migration",
        "table",
        "select",
        "change",
        "scan",
        "capacity",
        "limits",
        "prices",
        "retry",
        "cutover",
        "alerts",
        "steering",
        "health_check",
        "hooks",
        "safety",
        "client",
        "write",
    ];
    // An error about a missing section shows the end of the plan, where the operator can add the section.
    let end = text.trim_end().len();
    let root = Fields::open(table, "the plan", &TABLES, end..end, problems);
    let migration = migration_section::read(&root, problems);
    let named = migration.as_ref().map(|m| m.name.as_str());
    let target = read_table(&root, named, problems);
    let on_existing = migration.as_ref().map_or(OnExisting::Keep, |migration| migration.on_existing);
    let changes = changes::read(&root, on_existing, problems);
    let changes_select = changes::any_has_where(&root);
    let SelectSection { selection, stable, keys, index, is_unreadable } = select::read(&root, changes_select, problems);
    rules::check_stable_names(&stable, &changes, problems);
    let stable: Vec<String> = stable.into_iter().map(|written| written.name).collect();
    let options = changes::by_target(&changes, &stable);
    let scan = read_scan(&root, problems);
    let (capacity, budgets) = capacity::read(&root, problems);
    let limits = limits::read(&root, problems);
    let prices = limits::read_prices(&root, problems);
    let retry = read_retry(&root, problems);
    let migrated = target.as_ref().map(|t| t.0.name.as_str());
    let cutover = cutover::read(&root, named, migrated, problems);
    let alerts = read_alerts(&root, problems);
    let steering = read_steering(&root, problems);
    let health_checks = health::read(&root, problems);
    let hooks = hooks::read(&root, problems);
    let safety = safety::read(&root, problems);
    let client = client::read(&root, problems);
    let write = write::read(&root, &changes, problems);
    let split = migration.as_ref().and_then(|migration| migration.split.clone());
    rules::check(&changes, (selection.as_ref(), is_unreadable), index.is_some(), &options, split.as_ref(), problems);
    let expand_contract = migration.as_ref().and_then(MigrationSection::stated_expand_contract);
    rules::check_delete(&root, &changes, expand_contract, problems);
    let in_place = migration.as_ref().and_then(MigrationSection::stated_in_place);
    rules::check_put(&root, &changes, migrated, in_place, selection.is_some(), problems);
    let strategy = migration.as_ref().map_or(Strategy::ExpandContract, |migration| migration.strategy);
    rules::check_strategy(&changes, strategy, problems);
    let key_names = target.as_ref().and_then(|(table, _)| table.key.clone());
    let (table, key) = target.unzip();
    let spans = PlanSpans {
        select: selection,
        stable,
        keys: keys.as_ref().map(|written| written.at.clone()),
        index,
        key: key.flatten(),
        budgets,
        has_cutover: migration.as_ref().is_some_and(|migration| migration.has_cutover(&changes)),
        skips_not_computable: migration.as_ref().is_some_and(|migration| {
            migration.on_not_computable.as_ref().is_some_and(|what| *what.get_ref() == OnNotComputable::Skip)
        }),
        allows_not_computable: migration.as_ref().is_none_or(|migration| migration.has_not_computable_rule),
        changes,
    };
    rules::check_each(&spans.changes, spans.has_cutover, problems);
    if let Some(written) = &spans.index {
        rules::check_index(written, &spans.changes, spans.has_cutover, problems);
    }
    if let Some(at) = migration.as_ref().and_then(|migration| migration.on_not_computable.as_ref())
        && *at.get_ref() == OnNotComputable::Skip
        && spans.has_cutover
    {
        problems
            .add(Diagnostic::new("this plan has a cutover, so it must not skip items", at.span(), "skips items").help(
            "write on_not_computable = \"fail\"; each of these items is then a failure, with its key and the reason",
        ));
    }
    if let Some(key) = &key_names {
        let key: Vec<&str> = key.iter().map(String::as_str).collect();
        rules::check_keys(&spans.changes, &key, problems);
        rules::check_delete_names(&spans.changes, spans.select.as_ref(), &key, problems);
        rules::check_put_key(&spans.changes, None, &key, problems);
        let known = key.iter().fold(KnownTypes::default(), |known, name| known.with(name, None));
        spans.check_expressions(&key, &known, problems);
    }
    let strategy = migration.as_ref().map(|migration| migration.strategy_for(&spans.changes));
    let MigrationSection { name, on_existing, on_not_computable, .. } = migration?;
    let on_not_computable = on_not_computable.map(Spanned::into_inner).unwrap_or_default();
    let plan = Plan {
        name,
        strategy: strategy?,
        on_existing,
        on_not_computable,
        split: split.is_some(),
        table: table?,
        select: spans.select.as_ref().map(|written| written.selection.clone()),
        keys: keys.map(|written| written.keys),
        index: spans.index.as_ref().map(|index| SelectedIndex { name: index.name.clone(), schema: None }),
        changes: spans.changes.iter().map(|written| written.change.clone()).collect(),
        options,
        facts: Facts::default(),
        scan,
        capacity,
        limits,
        prices,
        retry,
        cutover,
        alerts,
        steering,
        health_checks,
        hooks,
        safety,
        client,
        write,
    };
    Some((plan, spans))
}

fn read_table(
    root: &Fields<'_, '_>,
    migration: Option<&str>,
    problems: &mut Problems,
) -> Option<(TableRef, Option<TextSpan>)> {
    const NAMES: [&str; 8] =
        ["name", "key", "region", "endpoint_url", "profile", "account", "role_arn", "role_external_id"];
    let help = "write\n[table]\nname = \"my-table\"";
    let fields = section(root, "table", "[table]", &NAMES, Some(help), problems)?;
    let name = fields.required_text("name", "\"my-table\"", problems);
    let name = name.and_then(|name| check(&name, problems, table_name));
    let (key, key_at) = read_key(&fields, problems).unzip();
    let region = fields.checked_text("region", "\"eu-west-1\"", problems, region);
    let endpoint_url = fields.checked_text("endpoint_url", "\"http://127.0.0.1:8000\"", problems, endpoint_url);
    let profile = fields.checked_text("profile", "\"prod\"", problems, profile);
    let account = fields.checked_text("account", "\"123456789012\"", problems, account);
    let role = role::read(&fields, account.as_deref(), migration, problems);
    Some((TableRef { name: name?, key, region, endpoint_url, profile, account, role }, key_at))
}

fn read_key(fields: &Fields<'_, '_>, problems: &mut Problems) -> Option<(Vec<String>, TextSpan)> {
    let (_, value) = fields.get("key")?;
    let mut report = |at: TextSpan, label: &str| {
        problems.add(
            Diagnostic::new("`key` in [table] must list the key attributes", at, label)
                .help("write `key = [\"pk\", \"sk\"]`, or `key = [\"pk\"]` for a table without a sort key"),
        );
        None
    };
    let DeValue::Array(array) = value.get_ref() else { return report(value.span(), "expected an array of strings") };
    if !(1..=2).contains(&array.len()) {
        return report(value.span(), "a key must have one or two attributes");
    }
    let mut names = Vec::new();
    for name in array.iter() {
        match name.get_ref().as_str() {
            Some(text) if (1..=255).contains(&text.len()) && !names.iter().any(|n| n == text) => {
                names.push(text.to_owned())
            }
            Some(_) => return report(name.span(), "a name must be unique and have 1 to 255 bytes"),
            None => return report(name.span(), "expected a string"),
        }
    }
    Some((names, value.span()))
}

fn read_scan(root: &Fields<'_, '_>, problems: &mut Problems) -> ScanOptions {
    let names = ["segments", "active", "page_limit", "consistent"];
    let default = ScanOptions { segments: None, active: None, page_limit: None, consistent: false };
    let Some(fields) = section(root, "scan", "[scan]", &names, None, problems) else { return default };
    ScanOptions {
        segments: fields.whole_number_or_auto("segments", 1_000_000, problems),
        active: fields.whole_number("active", "8", 1..=1024, problems).and_then(|n| u32::try_from(n).ok()),
        page_limit: fields.whole_number_or_auto("page_limit", 10_000, problems),
        consistent: fields.flag("consistent", problems).unwrap_or(false),
    }
}

fn read_alerts(root: &Fields<'_, '_>, problems: &mut Problems) -> Alerts {
    const SECOND: Duration = Duration::from_secs(1);
    let mut alerts = Alerts { stall_after: Duration::from_secs(5 * 60) };
    let Some(fields) = section(root, "alerts", "[alerts]", &["stall_after"], None, problems) else { return alerts };
    let stall_after = fields.duration("stall_after", "\"5m\"", 10 * SECOND..=86_400 * SECOND, problems);
    alerts.stall_after = stall_after.map_or(alerts.stall_after, Spanned::into_inner);
    alerts
}

fn read_steering(root: &Fields<'_, '_>, problems: &mut Problems) -> SteeringOptions {
    let fields = section(root, "steering", "[steering]", &["pause_file"], None, problems);
    let pause_file =
        fields.and_then(|fields| fields.checked_text("pause_file", "\"/etc/backfill/pause\"", problems, pause_file));
    SteeringOptions { pause_file: pause_file.map(PathBuf::from) }
}

fn read_retry(root: &Fields<'_, '_>, problems: &mut Problems) -> Retry {
    const MS: Duration = Duration::from_millis(1);
    const MINUTE: Duration = Duration::from_secs(60);
    let mut retry = Retry {
        base: Duration::from_millis(50),
        cap: Duration::from_secs(20),
        give_up_after: Duration::from_secs(15 * 60),
    };
    let names = ["base", "cap", "give_up_after"];
    let Some(fields) = section(root, "retry", "[retry]", &names, None, problems) else { return retry };
    let limits: [RangeInclusive<Duration>; 3] = [MS..=MINUTE, MS..=10 * MINUTE, MS..=24 * 60 * MINUTE];
    let mut at: Vec<TextSpan> = Vec::new();
    for ((name, slot), range) in
        names.into_iter().zip([&mut retry.base, &mut retry.cap, &mut retry.give_up_after]).zip(limits)
    {
        let example = format!("{:?}", format_duration(*slot));
        let written = fields.duration(name, &example, range, problems);
        at.push(written.as_ref().map_or_else(|| fields.at.clone(), Spanned::span));
        *slot = written.map_or(*slot, Spanned::into_inner);
    }
    let lengths = [retry.base, retry.cap, retry.give_up_after];
    for i in 1..lengths.len() {
        if lengths[i] < lengths[i - 1] {
            let short = names[i];
            let long = names[i - 1];
            problems.add(
                Diagnostic::new(
                    format!("`{short}` is shorter than `{long}`"),
                    at[i].clone(),
                    format!("{short} = {}", format_duration(lengths[i])),
                )
                .also(at[i - 1].clone(), format!("{long} = {}", format_duration(lengths[i - 1])))
                .help(
                    "keep base ≤ cap ≤ give_up_after; the \
                     defaults are base = \"50ms\", cap = \"20s\", give_up_after = \"15m\"",
                ),
            );
        }
    }
    retry
}

/// Returns the error for a file that is not a plan. The error does not show the text of the file, because the text
/// would not help.
fn not_a_plan(label: &str, why: &str) -> PlanErrors {
    let mut problems = Problems::new(PlanText::new("", &[]));
    problems.add(
        Diagnostic::new("this file is not a plan", 0..0, why)
            .help("a plan is a short TOML file; `backfill init` writes a template"),
    );
    problems.into_errors(label)
}
