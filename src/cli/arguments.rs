//! Words that the command line accepts in either order.

use std::ffi::OsString;

const ACTIONS: [&str; 2] = ["list", "retry"];

/// Rewrites `failures PLAN list` to `failures list PLAN`, so that both are accepted.
pub(crate) fn in_order(arguments: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut words = Vec::from_iter(arguments);
    let is_action = |word: &OsString| ACTIONS.iter().any(|action| word == action);
    if let Some(at) = words.iter().position(|word| word == "failures").map(|at| at + 1)
        && !words.get(at).is_some_and(is_action)
        && let Some(action) = words.iter().skip(at).position(is_action)
    {
        words[at..=at + action].rotate_right(1);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ordered(line: &str) -> String {
        let words = in_order(line.split(' ').map(OsString::from));
        words.into_iter().map(|word| word.into_string().unwrap()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn failures_takes_the_plan_before_or_after_the_action() {
        for line in ["failures plan.toml list --limit 3", "failures list plan.toml --limit 3"] {
            assert_eq!(ordered(line), "failures list plan.toml --limit 3");
        }
        assert_eq!(ordered("failures p --state s retry"), "failures retry p --state s");
        assert_eq!(ordered("failures list list"), "failures list list");
        assert_eq!(ordered("run list"), "run list");
    }
}
