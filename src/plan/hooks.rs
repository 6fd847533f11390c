//! Reads `[hooks]`, which contains the programs that are started by events, and the program that can refuse a step.
//! These settings are not part of the plan's meaning, because they do not affect the values in items.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use toml::Spanned;
use toml::de::DeValue;

use super::argv::argv;
use super::diagnostic::{Diagnostic, Problems};
use super::fields::{Fields, join_with_or};
use super::names::environment_variable;
use super::section::section;

/// `[hooks]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HookOptions {
    /// The program for each event, with its arguments. It runs without a shell.
    pub programs: BTreeMap<HookEvent, Vec<String>>,
    /// The program that can refuse a step. `None` if the plan has no such program.
    pub before_step: Option<BeforeStep>,
    /// If throttling continues without interruption for this time, the event [`HookEvent::LongThrottling`] occurs.
    pub long_throttling: Duration,
    /// If this number of items has failed, the event [`HookEvent::Failures`] occurs.
    pub failure_threshold: u64,
    /// The maximum run time of each program, and the time limit for one message to the webhook.
    pub timeout: Duration,
    /// The environment variable that contains the webhook's address. `None` if there is no webhook. The plan does not
    /// contain the address, because it is a secret.
    pub webhook_env: Option<String>,
}

/// A program that runs before a step and can refuse it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BeforeStep {
    /// The program and its arguments. It runs without a shell.
    pub argv: Vec<String>,
    /// The steps that the program can refuse. There is at least one step.
    pub steps: Vec<VetoStep>,
}

/// An event that a hook announces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum HookEvent {
    /// A pass begins or continues.
    Start,
    /// A pass is stalled, or its stall is over.
    Stall,
    /// A pass is paused, or its pause is over.
    Pause,
    /// A pass has been throttled for a long time, or this throttling is over.
    LongThrottling,
    /// Many items have failed.
    Failures,
    /// An operator has to run the next step.
    StepDue,
    /// A pass has ended.
    PassEnd,
    /// This migration has changed the cutover flag.
    FlagChange,
}

impl HookEvent {
    /// All events.
    pub const ALL: [HookEvent; 8] = [
        HookEvent::Start,
        HookEvent::Stall,
        HookEvent::Pause,
        HookEvent::LongThrottling,
        HookEvent::Failures,
        HookEvent::StepDue,
        HookEvent::PassEnd,
        HookEvent::FlagChange,
    ];

    /// Returns the name in hook documents and in `BACKFILL_EVENT`.
    pub fn name(self) -> &'static str {
        match self {
            HookEvent::Start => "start",
            HookEvent::Stall => "stall",
            HookEvent::Pause => "pause",
            HookEvent::LongThrottling => "long_throttling",
            HookEvent::Failures => "failures",
            HookEvent::StepDue => "step_due",
            HookEvent::PassEnd => "pass_end",
            HookEvent::FlagChange => "flag_change",
        }
    }

    /// Returns the name of the field in `[hooks]`.
    pub fn field(self) -> &'static str {
        match self {
            HookEvent::Start => "on_start",
            HookEvent::Stall => "on_stall",
            HookEvent::Pause => "on_pause",
            HookEvent::LongThrottling => "on_long_throttling",
            HookEvent::Failures => "on_failures",
            HookEvent::StepDue => "on_step_due",
            HookEvent::PassEnd => "on_pass_end",
            HookEvent::FlagChange => "on_flag_change",
        }
    }
}

/// A step that `before_step` can refuse. It cannot refuse the steps of a rollback, because a rollback must be possible
/// at any time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum VetoStep {
    /// `run` and `failures retry`.
    Run,
    /// `verify --repair`.
    Repair,
    /// `cutover --to`.
    Cutover,
    /// `contract`.
    Contract,
}

impl VetoStep {
    /// All steps.
    pub const ALL: [VetoStep; 4] = [VetoStep::Run, VetoStep::Repair, VetoStep::Cutover, VetoStep::Contract];

    /// Returns the name in the plan and in hook documents.
    pub fn name(self) -> &'static str {
        match self {
            VetoStep::Run => "run",
            VetoStep::Repair => "repair",
            VetoStep::Cutover => "cutover",
            VetoStep::Contract => "contract",
        }
    }
}

const SECOND: Duration = Duration::from_secs(1);
const LONG_THROTTLING: RangeInclusive<Duration> = SECOND..=Duration::from_secs(24 * 3_600);
const TIMEOUT: RangeInclusive<Duration> = SECOND..=Duration::from_secs(10 * 60);

impl Default for HookOptions {
    fn default() -> HookOptions {
        HookOptions {
            programs: BTreeMap::new(),
            before_step: None,
            long_throttling: Duration::from_secs(10 * 60),
            failure_threshold: 100,
            timeout: Duration::from_secs(30),
            webhook_env: None,
        }
    }
}

/// Reads `[hooks]`.
pub(super) fn read(root: &Fields<'_, '_>, problems: &mut Problems) -> HookOptions {
    let mut names: Vec<&str> = HookEvent::ALL.iter().map(|event| event.field()).collect();
    names.extend(["before_step", "veto", "long_throttling", "failure_threshold", "timeout", "webhook_env"]);
    let mut hooks = HookOptions::default();
    let Some(fields) = section(root, "hooks", "[hooks]", &names, None, problems) else { return hooks };
    for event in HookEvent::ALL {
        let example = format!("[\"/usr/local/bin/announce\", {:?}]", event.name());
        hooks.programs.extend(argv(&fields, event.field(), &example, problems).map(|argv| (event, argv)));
    }
    hooks.before_step = before_step(&fields, problems);
    let throttled = fields.duration("long_throttling", "\"10m\"", LONG_THROTTLING, problems);
    hooks.long_throttling = throttled.map_or(hooks.long_throttling, Spanned::into_inner);
    let failures = fields.whole_number("failure_threshold", "100", 1..=1_000_000_000_000, problems);
    hooks.failure_threshold = failures.unwrap_or(hooks.failure_threshold);
    let timeout = fields.duration("timeout", "\"30s\"", TIMEOUT, problems);
    hooks.timeout = timeout.map_or(hooks.timeout, Spanned::into_inner);
    hooks.webhook_env = webhook_env(&fields, problems);
    hooks
}

/// Reads the name of the environment variable that contains the webhook's address. If the plan contains the address
/// instead of a name, the error does not show that line, because the address is a secret.
fn webhook_env(fields: &Fields<'_, '_>, problems: &mut Problems) -> Option<String> {
    let name = fields.text("webhook_env", "\"BACKFILL_WEBHOOK_URL\"", problems)?;
    match environment_variable(name.get_ref()) {
        Ok(()) => Some((*name.get_ref()).to_owned()),
        Err((what, help)) => {
            problems.add(Diagnostic::new(what, fields.at.clone(), "see `webhook_env` in this section").help(help));
            None
        }
    }
}

fn before_step(fields: &Fields<'_, '_>, problems: &mut Problems) -> Option<BeforeStep> {
    let program = argv(fields, "before_step", "[\"/usr/local/bin/approve\"]", problems);
    let steps = veto(fields, problems);
    if let (None, Some((at, _))) = (fields.get("before_step"), fields.get("veto"))
        && !fields.has_misspelt(&["before_step"])
    {
        problems.add_missing(
            Diagnostic::new("`veto` has no `before_step`", at, "which program refuses these steps?")
                .help("add `before_step = [\"/usr/local/bin/approve\"]`: a step is refused if this program fails"),
        );
    }
    Some(BeforeStep { argv: program?, steps: steps? })
}

/// Reads `veto`. Without the field, the program can refuse every step. Returns `None` if the field is not valid.
fn veto(fields: &Fields<'_, '_>, problems: &mut Problems) -> Option<Vec<VetoStep>> {
    let Some((_, value)) = fields.get("veto") else { return Some(VetoStep::ALL.to_vec()) };
    let names = join_with_or(VetoStep::ALL.iter().map(|step| format!("{:?}", step.name())));
    let help = format!("valid steps: {names}. Without `veto`, `before_step` runs before each of them");
    let DeValue::Array(array) = value.get_ref() else {
        problems.add(fields.wrong_type("veto", value, "an array of strings", "[\"contract\"]").help(help));
        return None;
    };
    let mut steps = Vec::new();
    for part in array.iter() {
        let text = part.get_ref().as_str();
        match VetoStep::ALL.into_iter().find(|step| Some(step.name()) == text) {
            Some(step) if !steps.contains(&step) => steps.push(step),
            Some(_) => {}
            None => {
                let diagnostic = match text {
                    Some("rollback" | "back" | "undo") => {
                        Diagnostic::new("a hook cannot refuse a rollback", part.span(), "a step of a rollback")
                            .help("`cutover --back` and `rollback` must work at any time, so nothing can refuse them")
                    }
                    Some(_) | None => Diagnostic::new("`veto` must list steps", part.span(), "not a step"),
                };
                problems.add(diagnostic.help(help));
                return None;
            }
        }
    }
    if steps.is_empty() {
        problems.add(Diagnostic::new("`veto` is empty", value.span(), "no step").help(help));
        return None;
    }
    Some(steps)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Plan, load};

    fn plan(hooks: &str) -> Plan {
        let text = format!(
            "[migration]\nname = \"rename\"\n[table]\nname = \"shop\"\n[[change]]\nmove = \"a\"\nto = \"b\"\n{hooks}"
        );
        load("p", &text).unwrap_or_else(|errors| panic!("{errors}")).plan
    }

    #[test]
    fn every_event_has_its_own_program() {
        let fields = HookEvent::ALL.map(|event| format!("{} = [\"p\", {:?}]\n", event.field(), event.name()));
        let hooks = plan(&format!("[hooks]\n{}", fields.concat())).hooks;
        for event in HookEvent::ALL {
            assert_eq!(hooks.programs[&event], ["p", event.name()]);
            assert_eq!(event.field(), format!("on_{}", event.name()));
        }
        assert_eq!((hooks.before_step, hooks.webhook_env), (None, None));
    }

    #[test]
    fn a_veto_covers_all_steps_or_the_named_ones() {
        let steps = |hooks: &str| plan(&format!("[hooks]\n{hooks}")).hooks.before_step.unwrap().steps;
        assert_eq!(steps("before_step = [\"p\"]"), VetoStep::ALL);
        assert_eq!(
            steps("before_step = [\"p\"]\nveto = [\"contract\", \"run\", \"run\"]"),
            [VetoStep::Contract, VetoStep::Run]
        );
    }

    #[test]
    fn hooks_do_not_change_the_fingerprint() {
        let hooks = "[hooks]\non_start = [\"a\"]\nbefore_step = [\"b\"]\ntimeout = \"5s\"\nwebhook_env = \"X\"\n";
        assert_eq!(plan(hooks).fingerprint(), plan("").fingerprint());
        assert_eq!(plan("").hooks, HookOptions::default());
    }
}
