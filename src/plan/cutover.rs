//! Reads `[cutover]`, which contains the location of the flag and the conditions of the cutover gates. These settings
//! are not part of the plan's meaning, because they do not affect the values in items.

use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use toml::Spanned;
use toml::de::DeValue;

use super::argv::argv;
use super::diagnostic::{Diagnostic, Problems, TextSpan};
use super::fields::{Fields, check};
use super::names::table_name;
use super::section::section;

/// `[cutover]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cutover {
    /// The location of the flag, or `None` if the plan has no flag. Without a flag, the tool cannot determine whether
    /// applications have switched, so the operator must confirm each switch.
    pub flag: Option<FlagLocation>,
    /// The maximum time for which applications cache the flag. This number is stored in the flag when the flag is
    /// created, and never changes.
    pub max_cache_seconds: u32,
    /// The minimum time for which applications must have written only new values before contract can remove the old
    /// attribute.
    pub soak: Duration,
    /// Maximum age of a verification that opens the gate. The age is counted from the start of the verification.
    pub max_age: Duration,
    /// Maximum number of mismatches in a verification that opens the gate.
    pub max_mismatch: u64,
    /// Whether a verification of a sample can open the gate.
    pub accept_sample: bool,
}

/// The location of the flag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FlagLocation {
    /// An item of another DynamoDB table in the same account and region, at the same endpoint as `[table]`.
    Table {
        /// Table name.
        name: String,
        /// The key of the flag's item.
        key: FlagKey,
    },
    /// Two external commands, through which the tool reads and sets the flag.
    Exec(FlagHooks),
}

/// The programs in `[cutover.exec]`, with their arguments. They run without a shell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlagHooks {
    /// The command that prints the flag.
    pub get: Vec<String>,
    /// The command that sets the flag to a new value.
    pub set: Vec<String>,
    /// Maximum run time of each command.
    pub timeout: Duration,
}

/// The key of the flag's item. All its values are strings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FlagKey {
    /// Only the value of the partition key. The key attribute can have any name, but the table must not have a sort
    /// key.
    Partition(String),
    /// One or two key attributes with their values.
    Attributes(Vec<(String, String)>),
}

/// Describes the location for people. The state file records this text, so that a later run detects if the plan names a
/// different flag.
impl fmt::Display for FlagLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FlagLocation::Table { name, key: FlagKey::Partition(value) } => {
                write!(f, "item {value:?} of table {name}")
            }
            FlagLocation::Table { name, key: FlagKey::Attributes(attributes) } => {
                let parts: Vec<String> =
                    attributes.iter().map(|(name, value)| format!("{name:?} = {value:?}")).collect();
                write!(f, "item {{ {} }} of table {name}", parts.join(", "))
            }
            FlagLocation::Exec(hooks) => write!(f, "hooks {:?}", hooks.get),
        }
    }
}

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(86_400);

/// The maximum of `max_cache_seconds` is one hour. Every cutover step waits for `max_cache_seconds` until application
/// caches expire, so a larger value would make each step very slow.
const MAX_CACHE_SECONDS: u64 = 3600;

/// Maximum length of each key value in bytes. This is DynamoDB's limit (developer guide, "Service quotas": partition
/// key 2048, sort key 1024) minus the length of [`LEASE_SUFFIX`], because the key of the lease item is the key of the
/// flag plus this suffix.
const MAX_KEY_BYTES: [usize; 2] = [2048 - LEASE_SUFFIX.len(), 1024 - LEASE_SUFFIX.len()];

/// The suffix that is appended to the key of the flag to get the key of the lease item.
pub const LEASE_SUFFIX: &str = "#lease";

/// Reads `[cutover]`. If the plan has no `key`, the flag's key is the migration's name `migration`. `table` is the
/// migrated table.
pub(super) fn read(
    root: &Fields<'_, '_>,
    migration: Option<&str>,
    table: Option<&str>,
    problems: &mut Problems,
) -> Cutover {
    const NAMES: [&str; 8] =
        ["table", "key", "max_cache_seconds", "soak", "max_age", "max_mismatch", "accept_sample", "exec"];
    let mut cutover = Cutover {
        flag: None,
        max_cache_seconds: 60,
        // The default is one week, because by then even jobs that run once a week have read the new values.
        soak: 7 * DAY,
        max_age: DAY,
        max_mismatch: 0,
        accept_sample: false,
    };
    let Some(fields) = section(root, "cutover", "[cutover]", &NAMES, None, problems) else { return cutover };
    let seconds = fields.whole_number("max_cache_seconds", "60", 1..=MAX_CACHE_SECONDS, problems);
    cutover.max_cache_seconds = seconds.and_then(|n| u32::try_from(n).ok()).unwrap_or(cutover.max_cache_seconds);
    let mut length = |name, example, range: RangeInclusive<Duration>| {
        fields.long_duration(name, example, range, problems).map(Spanned::into_inner)
    };
    cutover.soak = length("soak", "\"7d\"", Duration::ZERO..=365 * DAY).unwrap_or(cutover.soak);
    cutover.max_age = length("max_age", "\"24h\"", SECOND..=30 * DAY).unwrap_or(cutover.max_age);
    cutover.max_mismatch = fields.whole_number("max_mismatch", "0", 0..=1_000_000_000, problems).unwrap_or(0);
    cutover.accept_sample = fields.flag("accept_sample", problems).unwrap_or(false);
    cutover.flag = place(&fields, migration, table, problems);
    cutover
}

fn place(
    fields: &Fields<'_, '_>,
    migration: Option<&str>,
    migrated: Option<&str>,
    problems: &mut Problems,
) -> Option<FlagLocation> {
    let exec = hooks(fields, problems);
    let key = key(fields, problems);
    let text = fields.text("table", "\"my-flags\"", problems);
    let Some(text) = text else {
        if let Some((at, _)) = fields.get("key")
            && fields.get("table").is_none()
            && !fields.has_misspelt(&["table"])
        {
            problems.add_missing(
                Diagnostic::new("`key` has no `table`", at, "which table?").help("add `table = \"my-flags\"`"),
            );
        }
        return exec.map(FlagLocation::Exec);
    };
    if let Some((at, _)) = fields.get("exec") {
        problems.add(
            Diagnostic::new("the flag must be either in a table or in [cutover.exec]", at, "hooks")
                .also(text.span(), "a table")
                .help("two flags could contradict each other; remove one of them"),
        );
        return None;
    }
    let name = check(&text, problems, table_name)?;
    if Some(name.as_str()) == migrated {
        problems.add(
            Diagnostic::new("the flag cannot be in the migrated table", text.span(), "the table of [table]")
                .help("scans would find the flag and treat it as an item; use another table"),
        );
        return None;
    }
    let key = match key {
        Some(key) => key?,
        None => FlagKey::Partition(migration?.to_owned()),
    };
    Some(FlagLocation::Table { name, key })
}

/// Reads `key`. Returns `None` if the plan has no `key`, and `Some(None)` if the key is invalid.
fn key(fields: &Fields<'_, '_>, problems: &mut Problems) -> Option<Option<FlagKey>> {
    let (_, value) = fields.get("key")?;
    let mut report = |at: TextSpan, label: String| {
        problems.add(Diagnostic::new("`key` in [cutover] must be the key of the flag's item", at, label).help(
            "write `key = \"rename-email\"` (the value of the partition key), or the key attributes with their values, \
                 `key = { pk = \"FLAG\", sk = \"rename-email\" }`; the default is the migration's name",
        ));
        Some(None)
    };
    let fits = |text: &str, place: usize| (1..=MAX_KEY_BYTES[place]).contains(&text.len());
    let too_long = |place: usize| format!("a string of 1 to {} bytes", MAX_KEY_BYTES[place]);
    match value.get_ref() {
        DeValue::String(text) if fits(text, 0) => Some(Some(FlagKey::Partition(text.to_string()))),
        DeValue::String(_) => report(value.span(), too_long(0)),
        DeValue::Table(table) if (1..=2).contains(&table.len()) => {
            let mut written: Vec<_> = table.iter().collect();
            // Sort the attributes by their order in the plan's text, because the first attribute is the partition key.
            written.sort_by_key(|(name, _)| name.span().start);
            let mut attributes = Vec::new();
            for (place, (name, value)) in written.into_iter().enumerate() {
                match value.get_ref().as_str() {
                    Some(text) if fits(text, place) && (1..=255).contains(&name.get_ref().len()) => {
                        attributes.push((name.get_ref().to_string(), text.to_owned()));
                    }
                    _ => return report(value.span(), too_long(place)),
                }
            }
            Some(Some(FlagKey::Attributes(attributes)))
        }
        DeValue::Table(_) => report(value.span(), "a key must have one or two attributes".to_owned()),
        other => report(value.span(), format!("expected a string or a table, found {}", other.type_str())),
    }
}

fn hooks(cutover: &Fields<'_, '_>, problems: &mut Problems) -> Option<FlagHooks> {
    let fields = section(cutover, "exec", "[cutover.exec]", &["get", "set", "timeout"], None, problems)?;
    let get = required_argv(&fields, "get", problems);
    let set = required_argv(&fields, "set", problems);
    let timeout = fields.long_duration("timeout", "\"10s\"", SECOND..=600 * SECOND, problems);
    Some(FlagHooks { get: get?, set: set?, timeout: timeout.map_or(10 * SECOND, Spanned::into_inner) })
}

/// Reads a required command, which consists of a program and its arguments.
fn required_argv(fields: &Fields<'_, '_>, name: &str, problems: &mut Problems) -> Option<Vec<String>> {
    let example = format!("[\"/usr/local/bin/flag\", {name:?}]");
    if fields.get(name).is_none() && !fields.has_misspelt(&[name]) {
        problems.add_missing(
            Diagnostic::new(
                format!("[cutover.exec] has no `{name}`"),
                fields.at.clone(),
                format!("`{name}` is missing"),
            )
            .help(format!("write the program and its arguments: `{name} = {example}`")),
        );
    }
    argv(fields, name, &example, problems)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Plan, load};

    fn plan(cutover: &str) -> Plan {
        let text = format!(
            "[migration]\nname = \"rename\"\n[table]\nname = \"shop\"\n[[change]]\nmove = \"a\"\nto = \"b\"\n{cutover}"
        );
        load("p", &text).unwrap_or_else(|errors| panic!("{errors}")).plan
    }

    #[test]
    fn the_defaults_are_careful_and_have_no_flag() {
        let Cutover { flag, max_cache_seconds, soak, max_age, max_mismatch, accept_sample } = plan("").cutover;
        assert_eq!((flag, max_cache_seconds, soak, max_age), (None, 60, 7 * DAY, DAY));
        assert_eq!((max_mismatch, accept_sample), (0, false));
        assert_eq!(plan("[cutover]\nsoak = \"1w\"\nmax_age = \"1 day 6h\"\n").cutover.max_age, DAY + DAY / 4);
    }

    #[test]
    fn the_flag_key_is_the_migration_name_a_value_or_a_whole_key() {
        for (key, expected, shown) in [
            ("", FlagKey::Partition("rename".into()), "item \"rename\" of table flags"),
            ("key = \"x\"", FlagKey::Partition("x".into()), "item \"x\" of table flags"),
            (
                "key = { z = \"F\", a = \"x\" }",
                FlagKey::Attributes(vec![("z".into(), "F".into()), ("a".into(), "x".into())]),
                "item { \"z\" = \"F\", \"a\" = \"x\" } of table flags",
            ),
        ] {
            let place = plan(&format!("[cutover]\ntable = \"flags\"\n{key}\n")).cutover.flag.unwrap();
            assert_eq!(place, FlagLocation::Table { name: "flags".into(), key: expected });
            assert_eq!(place.to_string(), shown);
        }
    }

    #[test]
    fn hooks_are_programs_with_arguments() {
        let place = plan("[cutover.exec]\nget = [\"f\", \"a b\"]\nset = [\"f\"]\n").cutover.flag;
        let hooks = FlagHooks { get: vec!["f".into(), "a b".into()], set: vec!["f".into()], timeout: 10 * SECOND };
        assert_eq!(place, Some(FlagLocation::Exec(hooks)));
    }

    #[test]
    fn the_flag_location_does_not_change_the_fingerprint() {
        let settings = "[cutover]\ntable = \"flags\"\nsoak = \"0s\"\nmax_mismatch = 3\naccept_sample = true\n";
        assert_eq!(plan(settings).fingerprint(), plan("").fingerprint());
    }
}
