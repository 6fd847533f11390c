//! Builds the command lines that messages suggest to the operator of a migration.

use std::path::{Path, PathBuf};

use shlex::try_quote;

/// The plan file and the options that every command of a migration needs, quoted for a shell.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CommandLine {
    plan: String,
    /// The options as text, each with a leading space.
    options: String,
}

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
        let state = selection.state.map(|path| path.display().to_string());
        let given = [
            ("--state", state.as_deref()),
            ("--endpoint-url", selection.endpoint_url),
            ("--region", selection.region),
            ("--profile", selection.profile),
        ];
        let given = given.into_iter().filter_map(|(option, value)| Some((option, value?)));
        let overrides = selection.overrides.iter().map(|argument| ("--set", argument.as_str()));
        let typed = given.chain(overrides).map(|(option, value)| format!(" {option} {}", quoted(value)));
        CommandLine { plan: quoted(&plan.display().to_string()), options: typed.collect() }
    }

    /// Returns the full command line. `words` is the command without the plan, such as `run --dry-run` or
    /// `failures retry`. The method inserts the plan file after the command and before the command's options, as
    /// `--help` shows it. The commands of `failures` and `ctl`, and `journal purge`, consist of two words.
    pub fn render(&self, words: &str) -> String {
        let CommandLine { plan, options } = self;
        let is_group = |group: &&str| words.strip_prefix(group).is_some_and(|rest| !rest.starts_with('-'));
        let group = TWO_WORDS.into_iter().find(is_group).unwrap_or("");
        let words = &words[group.len()..];
        match words.split_once(' ') {
            Some((command, rest)) => format!("backfill {group}{command} {plan} {rest}{options}"),
            None => format!("backfill {group}{words} {plan}{options}"),
        }
    }
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
