//! The rules of the architecture: the names that each room may use, the layers of the modules, and the exceptions.

/// One rule. A room is a file or folder of `src/`, without `.rs`: `dynamodb/sdk` is `dynamodb/sdk.rs` and everything in
/// `dynamodb/sdk/`; `state/mod` is that one file.
pub(crate) struct Rule {
    /// The text of the rule, which a violation quotes.
    pub(crate) says: &'static str,
    /// The rooms to which the rule applies.
    pub(crate) at: At,
    /// The forbidden paths. A path includes everything below it. `aws_*` is every crate whose name starts with `aws_`.
    pub(crate) names: &'static [&'static str],
    /// The allowed alternative to a forbidden path.
    pub(crate) way_out: &'static str,
}

pub(crate) enum At {
    /// The rule applies to these rooms.
    In(&'static [&'static str]),
    /// The paths are allowed only in these rooms. The rule applies to all other rooms.
    OnlyIn(&'static [&'static str]),
}

/// The pure rooms: their functions depend only on their arguments.
pub(crate) const PURE: &[&str] = &[
    "plan",
    "item",
    "outside",
    "change",
    "command_line",
    "cost",
    "figure",
    "preflight/aws",
    "preflight/constants",
    "preflight/finding",
    "preflight/findings",
    "preflight/estimate",
    "preflight/finish",
    "preflight/pace",
    "preflight/range",
    "preflight/sample",
    "preflight/stream",
    "preflight/tally",
    "preflight/time_to_live",
    "preflight/touched",
    "state/mod",
    "state/checkpoints",
    "state/error",
    "state/events",
    "state/history",
    "state/ids",
    "state/packed",
    "state/progress",
    "state/reader",
    "state/records",
    "state/rules",
    "state/runs",
    "state/spend",
    "state/spend_ledger",
    "state/store",
    "state/verifications",
    "cutover/flag",
    "cutover/percent",
    "cutover/schema",
    "cutover/sight",
    "playbook",
    "dynamodb/memory/rules",
    "backoff",
    "ratelimit/budget",
    "ratelimit/window",
    "passes/verify/bound",
    "passes/verify/compare",
    "passes/verify/repair",
    "passes/verify/sample",
    "state/verdict",
    "cutover/truth",
];

/// The rooms that a simulation runs in virtual time.
pub(crate) const VIRTUAL: &[&str] = &["local/capacity", "local/traffic/generate"];

pub(crate) const RULES: &[Rule] = &[
    Rule {
        says: "a pure room does not know the async runtime",
        at: At::In(PURE),
        names: &["tokio", "tokio_util"],
        way_out: "return a description of the work; `engine` waits and spawns tasks",
    },
    Rule {
        says: "a pure room does not know the AWS SDK",
        at: At::In(PURE),
        names: &["aws_*", "crate::dynamodb::sdk"],
        way_out: "use the types of `item` and `change`; `dynamodb/sdk` translates them",
    },
    Rule {
        says: "a pure room does not know SQLite",
        at: At::In(PURE),
        names: &["rusqlite"],
        way_out: "use the port traits of `state`, which `state/sqlite` implements",
    },
    Rule {
        says: "a pure room reads no clock",
        at: At::In(PURE),
        names: &[
            "crate::clock",
            "std::time::Instant",
            "std::time::SystemTime",
            "jiff::Timestamp::now",
            "jiff::Zoned::now",
        ],
        way_out: "take the time as an argument",
    },
    Rule {
        says: "a pure room does not look at the environment",
        at: At::In(PURE),
        names: &["std::env", "jiff::tz::db", "jiff::tz::TimeZone::get", "jiff::tz::TimeZone::system"],
        way_out: "take the value as an argument; `commands` reads the environment, and jiff's bundled database has the time zones",
    },
    Rule {
        says: "a pure room does not depend on an impure one",
        at: At::In(PURE),
        names: &["crate::engine", "crate::local", "crate::telemetry", "crate::cli", "crate::commands"],
        way_out: "reverse the dependency: the other room calls this one",
    },
    Rule {
        says: "the capacity model and the traffic's schedule use the time that they receive",
        at: At::In(VIRTUAL),
        names: &["tokio::net", "tokio::spawn", "hyper", "crate::clock", "std::time::Instant", "std::time::SystemTime"],
        way_out: "take the time as an argument; `local/front` and `local/traffic/http` supply the real time",
    },
    Rule {
        says: "only the SDK adapter names the AWS SDK",
        at: At::OnlyIn(&["dynamodb/sdk"]),
        names: &["aws_*"],
        way_out: "go through the port traits of `dynamodb`",
    },
    Rule {
        says: "nothing outside `state` names a concrete store",
        at: At::OnlyIn(&["state/mod", "state/memory", "state/sqlite"]),
        names: &[
            "crate::state::memory::MemoryState",
            "crate::state::sqlite::Reader",
            "crate::state::sqlite::StateFile",
            "crate::state::sqlite::Store",
        ],
        way_out: "take a `State`, a `StateReader` or the necessary port trait; `state::open` and `state::read` open the state",
    },
    Rule {
        says: "only the store, and the index of the embedded engine's own file, name SQLite",
        at: At::OnlyIn(&["state/sqlite", "local/beneath"]),
        names: &["rusqlite"],
        way_out: "go through the port traits of `state`, or add a method to one of these traits",
    },
    Rule {
        says: "only `ratelimit` names governor",
        at: At::OnlyIn(&["ratelimit"]),
        names: &["governor"],
        way_out: "ask `ratelimit` for a permit",
    },
    Rule {
        says: "only `machine` names the source of randomness",
        at: At::OnlyIn(&["machine"]),
        names: &["fastrand"],
        way_out: "draw from the `Random` of the `Machine`, or create a `machine::Rng` from a seed, so that a run can be replayed",
    },
    Rule {
        says: "only `local` names the embedded engine",
        at: At::OnlyIn(&["local"]),
        names: &["dynoxide"],
        way_out: "start it through `local`, and use its endpoint",
    },
    Rule {
        says: "only `main`, `cli` and `commands` parse arguments",
        at: At::OnlyIn(COMMAND_LINE),
        names: &["clap"],
        way_out: "define a type in the module; `commands` fills it from `cli`",
    },
    Rule {
        says: "only `main`, `cli` and `commands` use untyped errors",
        at: At::OnlyIn(COMMAND_LINE),
        names: &["anyhow"],
        way_out: "return a typed error (`thiserror`)",
    },
    Rule {
        says: "only `main`, `cli` and `commands` write to stdout",
        at: At::OnlyIn(COMMAND_LINE),
        names: &["println!", "print!", "std::println!", "std::print!", "std::io::stdout", "std::io::Stdout"],
        way_out: "write to an `impl Write` that the caller passes",
    },
];

pub(crate) const COMMAND_LINE: &[&str] = &["main", "cli", "commands"];

/// Rooms with short files, and the maximum number of lines of a file. Lines under `#[cfg(test)]` do not count.
pub(crate) const LONGEST: &[(&str, usize, &str)] = &[("main", 40, "main.rs has no logic: put it into `commands`")];

/// The modules of the first level of `src/`, in layers from top to bottom. A module names only modules of its own layer
/// and of layers below it. There are no cycles within a layer or within a module.
pub(crate) const LAYERS: &[&[&str]] = &[
    &["cli", "commands"],
    &["migration"],
    &["telemetry"],
    &["preflight"],
    &["passes"],
    &["engine"],
    &["local"],
    &["playbook"],
    &["cutover", "state"],
    &["cost"],
    &["ratelimit"],
    &["dynamodb"],
    &["plan"],
    &["change"],
    &["figure"],
    &["item"],
    &["backoff", "clock", "command_line", "host", "locked", "machine", "outside"],
];

/// Known dependencies that break the layers or close a cycle, until they are removed: from, to, reason. Do not add an
/// exception. Remove an exception as soon as it is no longer needed; the test names exceptions that are no longer
/// needed.
pub(crate) const EXCEPTIONS: &[(&str, &str, &str)] = &[];
