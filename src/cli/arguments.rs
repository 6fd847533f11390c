//! Reorders command-line words that the operator can type in either order.

use std::ffi::OsString;

/// The two-word commands: the first word of each, and its possible second words.
const ACTIONS: [(&str, &[&str]); 2] =
    [("failures", &["list", "retry"]), ("ctl", &["pause", "resume", "rate", "drain", "status"])];

/// The options whose value is the next word. A test compares them with the definition of the command line.
const OPTIONS_WITH_VALUE: &[&str] = &[
    "--state",
    "--output",
    "--color",
    "--log-format",
    "--endpoint-url",
    "--region",
    "--profile",
    "--set",
    "--limit",
    "--accept",
    "--reason",
    "--write",
    "--read",
    "--metrics",
    "--emf",
    "--emf-interval",
    #[cfg(feature = "otlp")]
    "--otlp",
];

/// Rewrites `failures PLAN list` to `failures list PLAN`, and `ctl PLAN pause` to `ctl pause PLAN`. So the operator can
/// type either order.
pub(crate) fn normalize_order(arguments: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut words = Vec::from_iter(arguments);
    let places = positionals(&words);
    let [command, plan, ..] = places[..] else { return words };
    let Some((_, actions)) = ACTIONS.iter().find(|(group, _)| words[command] == *group) else { return words };
    let is_action = |at: &usize| actions.iter().any(|action| words[*at] == *action);
    if !is_action(&plan)
        && let Some(action) = places.iter().copied().find(is_action)
    {
        words[plan..=action].rotate_right(1);
    }
    words
}

/// Returns the positions of the words that are neither options nor values of options, without the program's name.
fn positionals(words: &[OsString]) -> Vec<usize> {
    let mut places = Vec::new();
    let mut is_value = false;
    for (at, word) in words.iter().enumerate().skip(1) {
        let is_option = word.to_string_lossy().starts_with('-');
        if !is_value && !is_option {
            places.push(at);
        }
        is_value = !is_value && OPTIONS_WITH_VALUE.iter().any(|option| *word == **option);
    }
    places
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use clap::CommandFactory as _;

    use super::*;
    use crate::cli::Cli;

    fn ordered(line: &str) -> String {
        let words = normalize_order(line.split(' ').map(OsString::from));
        words.into_iter().map(|word| word.into_string().unwrap()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_group_takes_the_plan_before_or_after_the_action() {
        for line in ["backfill failures plan.toml list --limit 3", "backfill failures list plan.toml --limit 3"] {
            assert_eq!(ordered(line), "backfill failures list plan.toml --limit 3");
        }
        assert_eq!(ordered("backfill failures p --state list retry"), "backfill failures retry p --state list");
        assert_eq!(ordered("backfill --state failures failures p list"), "backfill --state failures failures list p");
        assert_eq!(ordered("backfill ctl plan.toml rate --write 5"), "backfill ctl rate plan.toml --write 5");
        assert_eq!(ordered("backfill ctl p --reason resume pause"), "backfill ctl pause p --reason resume");
        assert_eq!(ordered("backfill failures list list"), "backfill failures list list");
        assert_eq!(ordered("backfill run list"), "backfill run list");
    }

    #[test]
    fn every_option_with_a_value_is_known() {
        let cli = Cli::command();
        let groups = ACTIONS.map(|(group, _)| cli.find_subcommand(group).unwrap());
        let commands = groups.into_iter().flat_map(clap::Command::get_subcommands);
        let all = commands.flat_map(clap::Command::get_arguments).chain(cli.get_arguments());
        let valued = all.filter(|argument| argument.get_action().takes_values());
        let names = valued.filter_map(|argument| Some(format!("--{}", argument.get_long()?)));
        assert_eq!(names.collect::<BTreeSet<_>>(), OPTIONS_WITH_VALUE.iter().map(|name| (*name).to_owned()).collect());
    }
}
