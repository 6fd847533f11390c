//! Builds the command lines that messages suggest to the operator of a migration.

use std::path::{Path, PathBuf};

use shlex::try_quote;

/// The plan file and the options that every command of a migration needs, quoted for a shell.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CommandLine {
    plan: String,
    /// The `--state` option as text, with a leading space. Empty if it was not given.
    state: String,
    /// The other options as text, each with a leading space.
    options: String,
    /// The path of the state file, even if the option was not given. `None` if it is unknown.
    state_file: Option<PathBuf>,
}

/// The option of a suggested command that needs a new state file. [`CommandLine::render`] replaces the placeholder by an
/// unused path.
pub const ANOTHER_STATE: &str = "--state PATH";

/// The maximum number of paths that the search for an unused path tries.
const MAX_STATES: u32 = 1_000;

/// The first words of two-word commands, such as `failures retry`.
const TWO_WORDS: [&str; 3] = ["failures ", "ctl ", "journal "];

/// The options that select the state file, the table and the fields of the plan. A printed command that omits one of
/// these options could change a different table.
#[derive(Debug, Clone, Copy, Default)]
pub struct CommandOptions<'a> {
    /// `--state`
    pub state: Option<&'a PathBuf>,
    /// `--endpoint-url`
    pub endpoint_url: Option<&'a str>,
    /// `--region`
    pub region: Option<&'a str>,
    /// `--profile`
    pub profile: Option<&'a str>,
    /// `--set`, once for each argument
    pub overrides: &'a [String],
}

impl CommandLine {
    /// Builds the command lines for a plan file, with the options that the operator gave.
    pub fn new(plan: &Path, selection: CommandOptions<'_>) -> CommandLine {
        let given = [
            ("--endpoint-url", selection.endpoint_url),
            ("--region", selection.region),
            ("--profile", selection.profile),
        ];
        let given = given.into_iter().filter_map(|(option, value)| Some((option, value?)));
        let overrides = selection.overrides.iter().map(|argument| ("--set", argument.as_str()));
        let typed = given.chain(overrides).map(|(option, value)| format!(" {option} {}", quoted(value)));
        CommandLine {
            plan: quoted(&plan.display().to_string()),
            state: selection.state.map_or_else(String::new, |path| state_option(path)),
            options: typed.collect(),
            state_file: selection.state.cloned(),
        }
    }

    /// Sets the path of the state file, so that a suggested command can name another one.
    #[must_use]
    pub fn with_state_file(self, state: &Path) -> CommandLine {
        CommandLine { state_file: Some(state.to_owned()), ..self }
    }

    /// Returns the full command line. `words` is the command without the plan, such as `run --dry-run` or
    /// `failures retry`. The method inserts the plan file after the command and before the command's options, as
    /// `--help` shows it. The commands of `failures` and `ctl`, and `journal purge`, consist of two words.
    ///
    /// If the command needs a new state file, the method fills in an unused path next to the current state file.
    pub fn render(&self, words: &str) -> String {
        let CommandLine { plan, state, options, state_file } = self;
        let another = state_file.as_deref().filter(|_| words.contains(ANOTHER_STATE)).and_then(unused_path);
        if let Some(path) = another {
            let words = words.replace(&format!(" {ANOTHER_STATE}"), "");
            return CommandLine { state: state_option(&path), ..self.clone() }.render(&words);
        }
        let is_group = |group: &&str| words.strip_prefix(group).is_some_and(|rest| !rest.starts_with('-'));
        let group = TWO_WORDS.into_iter().find(is_group).unwrap_or("");
        let words = &words[group.len()..];
        match words.split_once(' ') {
            Some((command, rest)) => format!("backfill {group}{command} {plan} {rest}{state}{options}"),
            None => format!("backfill {group}{words} {plan}{state}{options}"),
        }
    }
}

fn state_option(path: &Path) -> String {
    format!(" --state {}", quoted(&path.display().to_string()))
}

/// Returns the first path of the form `NAME-2.db`, `NAME-3.db` and so on that does not exist.
fn unused_path(used: &Path) -> Option<PathBuf> {
    let stem = used.file_stem()?.to_string_lossy();
    let extension = used.extension().map_or_else(String::new, |end| format!(".{}", end.to_string_lossy()));
    let mut paths = (2..=MAX_STATES).map(|number| used.with_file_name(format!("{stem}-{number}{extension}")));
    paths.find(|path| !path.exists())
}

/// Quotes a text as one word of a POSIX shell. A text with a NUL byte cannot be quoted, but no path or option contains
/// a NUL byte.
fn quoted(text: &str) -> String {
    try_quote(text).map_or_else(|_| text.to_owned(), |quoted| quoted.into_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_command_repeats_the_options_that_were_given() {
        let state = PathBuf::from("my state.db");
        let selection = CommandOptions { state: Some(&state), region: Some("eu-west-1"), ..CommandOptions::default() };
        let typed = CommandLine::new(Path::new("plan.toml"), selection);
        assert_eq!(typed.render("run"), "backfill run plan.toml --state 'my state.db' --region eu-west-1");
        assert_eq!(
            typed.render("failures retry"),
            "backfill failures retry plan.toml --state 'my state.db' --region eu-west-1"
        );
        let overrides = ["table.name=orders-staging", "limits.max_items = 5"].map(str::to_owned);
        let selection = CommandOptions { overrides: &overrides, ..CommandOptions::default() };
        assert_eq!(
            CommandLine::new(Path::new("plan.toml"), selection).render("run --dry-run"),
            "backfill run plan.toml --dry-run --set 'table.name=orders-staging' --set 'limits.max_items = 5'"
        );
        let plain = CommandLine::new(Path::new("plan.toml"), CommandOptions::default());
        assert_eq!(plain.render("failures list"), "backfill failures list plan.toml");
        assert_eq!(plain.render("journal --run 3"), "backfill journal plan.toml --run 3");
        assert_eq!(plain.render("journal purge --yes"), "backfill journal purge plan.toml --yes");
        assert_eq!(
            plain.render("failures retry --accept client-encryption"),
            "backfill failures retry plan.toml --accept client-encryption"
        );
    }

    #[test]
    fn a_command_with_a_new_state_file_names_an_unused_path() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("m.db");
        let given = CommandOptions { state: Some(&state), region: Some("eu-west-1"), ..CommandOptions::default() };
        let next = |commands: &CommandLine| commands.render(&format!("cutover --to dual-write {ANOTHER_STATE}"));
        let expected = |name: &str| dir.path().join(name).display().to_string();
        let given = CommandLine::new(Path::new("plan.toml"), given);
        let second = expected("m-2.db");
        assert_eq!(
            next(&given),
            format!("backfill cutover plan.toml --to dual-write --state {second} --region eu-west-1"),
            "the command has only one --state"
        );
        std::fs::write(&second, "").unwrap();
        let default = CommandLine::new(Path::new("plan.toml"), CommandOptions::default());
        assert_eq!(next(&default), "backfill cutover plan.toml --to dual-write --state PATH", "the path is unknown");
        let third = expected("m-3.db");
        assert_eq!(
            next(&default.with_state_file(&state)),
            format!("backfill cutover plan.toml --to dual-write --state {third}")
        );
    }

    proptest! {
        /// A shell splits the command line into exactly the original words, even if they contain special characters.
        #[test]
        fn a_shell_reads_the_same_words(plan in "[^\0]{1,40}", endpoint in "[^\0]{1,40}") {
            let selection = CommandOptions { endpoint_url: Some(&endpoint), ..CommandOptions::default() };
            let typed = CommandLine::new(Path::new(&plan), selection).render("status");
            let words = shlex::split(&typed).unwrap();
            prop_assert_eq!(words, vec!["backfill", "status", plan.as_str(), "--endpoint-url", endpoint.as_str()]);
        }
    }
}
