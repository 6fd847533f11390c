//! The rules of the architecture: the allowed names in each room, the layers of the modules, and the exceptions.

/// One rule. A room is a file or folder of `src/`, without `.rs`. For example, `dynamodb/sdk` is `dynamodb/sdk.rs` and
/// everything in `dynamodb/sdk/`, but `state/mod` is only the file `state/mod.rs`.
pub(crate) struct Rule {
    /// The text of the rule. The report of a violation quotes this text.
    pub(crate) message: &'static str,
    /// The rooms to which the rule applies.
    pub(crate) scope: RuleScope,
    /// The forbidden paths. A path includes everything below it. `aws_*` is every crate whose name starts with `aws_`.
    pub(crate) names: &'static [&'static str],
    /// The allowed alternative to a forbidden path.
    pub(crate) remedy: &'static str,
}

pub(crate) enum RuleScope {
    /// The rule applies to these rooms.
    In(&'static [&'static str]),
    /// The rule applies everywhere except in these rooms.
    OnlyIn(&'static [&'static str]),
}

/// The pure rooms. Their functions depend only on their arguments.
pub(crate) const PURE: &[&str] = &[
    "plan",
    "health/hysteresis",
    "item",
    "outside",
    "change",
    "command_line",
    "convert",
    "cost",
    "exec/protocol",
    "explain",
    "expr",
    "figure",
    "http_server/host",
    "report/cleanup",
    "shim",
    "preflight/aws",
    "preflight/backup",
    "preflight/constants",
    "preflight/finding",
    "preflight/findings",
    "preflight/health",
    "preflight/estimate",
    "preflight/finish",
    "preflight/pace",
    "preflight/range",
    "preflight/sample",
    "preflight/stream",
    "preflight/tally",
    "preflight/time_to_live",
    "preflight/touched",
    "stats/cluster",
    "stats/distribution",
    "stats/names",
    "stats/table_stats",
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
    "dynamodb/memory/statement",
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
        message: "a pure room does not know the async runtime",
        scope: RuleScope::In(PURE),
        names: &["tokio", "tokio_util"],
        remedy: "return a description of the work; `engine` waits and spawns tasks",
    },
    Rule {
        message: "a pure room does not know the AWS SDK",
        scope: RuleScope::In(PURE),
        names: &["aws_*", "crate::dynamodb::lean", "crate::dynamodb::sdk"],
        remedy: "use the types of `item` and `change`; `dynamodb/sdk` translates them",
    },
    Rule {
        message: "a pure room does not know SQLite",
        scope: RuleScope::In(PURE),
        names: &["rusqlite"],
        remedy: "use the port traits of `state`, which `state/sqlite` implements",
    },
    Rule {
        message: "a pure room reads no clock",
        scope: RuleScope::In(PURE),
        names: &[
            "crate::clock",
            "std::time::Instant",
            "std::time::SystemTime",
            "jiff::Timestamp::now",
            "jiff::Zoned::now",
        ],
        remedy: "take the time as an argument",
    },
    Rule {
        message: "a pure room does not look at the environment",
        scope: RuleScope::In(PURE),
        names: &["std::env", "jiff::tz::db", "jiff::tz::TimeZone::get", "jiff::tz::TimeZone::system"],
        remedy: "take the value as an argument; `commands` reads the environment, and jiff's bundled database has the time zones",
    },
    Rule {
        message: "a pure room does not depend on an impure one",
        scope: RuleScope::In(PURE),
        names: &["crate::engine", "crate::local", "crate::telemetry", "crate::cli", "crate::commands"],
        remedy: "reverse the dependency: the other room calls this one",
    },
    Rule {
        message: "the capacity model and the traffic's schedule use the time that they receive",
        scope: RuleScope::In(VIRTUAL),
        names: &["tokio::net", "tokio::spawn", "hyper", "crate::clock", "std::time::Instant", "std::time::SystemTime"],
        remedy: "take the time as an argument; `local/proxy` and `local/traffic/http` supply the real time",
    },
    Rule {
        message: "only the adapters of DynamoDB and the health checks of CloudWatch name the AWS SDK",
        scope: RuleScope::OnlyIn(&["dynamodb/lean", "dynamodb/sdk", "health/cloudwatch"]),
        names: &["aws_*"],
        remedy: "go through the port traits of `dynamodb`",
    },
    Rule {
        message: "nothing outside `state` names a concrete store",
        scope: RuleScope::OnlyIn(&["state/mod", "state/memory", "state/sqlite"]),
        names: &[
            "crate::state::memory::MemoryState",
            "crate::state::sqlite::SqliteReader",
            "crate::state::sqlite::StateFile",
            "crate::state::sqlite::SqliteStore",
        ],
        remedy: "take a `State`, a `StateReader` or the necessary port trait; `state::open` and `state::read` open the state",
    },
    Rule {
        message: "only the store, and the index of the embedded engine's own file, name SQLite",
        scope: RuleScope::OnlyIn(&["state/sqlite", "local/sqlite"]),
        names: &["rusqlite"],
        remedy: "go through the port traits of `state`, or add a method to one of these traits",
    },
    Rule {
        message: "only `ratelimit` names governor",
        scope: RuleScope::OnlyIn(&["ratelimit"]),
        names: &["governor"],
        remedy: "ask `ratelimit` for a permit",
    },
    Rule {
        message: "only `machine` names the source of randomness",
        scope: RuleScope::OnlyIn(&["machine"]),
        names: &["fastrand"],
        remedy: "draw from the `Random` of the `Machine`, or create a `machine::Rng` from a seed, so that a run can be replayed",
    },
    Rule {
        message: "only `local` names the embedded engine",
        scope: RuleScope::OnlyIn(&["local"]),
        names: &["dynoxide"],
        remedy: "start it through `local`, and use its endpoint",
    },
    Rule {
        message: "only `status --watch` draws on the terminal",
        scope: RuleScope::OnlyIn(&["commands/status/watch"]),
        names: &["ratatui"],
        remedy: "return text; the view of `status --watch` draws it",
    },
    Rule {
        message: "only `main`, `cli` and `commands` parse arguments",
        scope: RuleScope::OnlyIn(COMMAND_LINE),
        names: &["clap"],
        remedy: "define a type in the module; `commands` fills it from `cli`",
    },
    Rule {
        message: "only `main`, `cli` and `commands` use untyped errors",
        scope: RuleScope::OnlyIn(COMMAND_LINE),
        names: &["anyhow"],
        remedy: "return a typed error (`thiserror`)",
    },
    Rule {
        message: "only `main`, `cli` and `commands` write to stdout",
        scope: RuleScope::OnlyIn(COMMAND_LINE),
        names: &["println!", "print!", "std::println!", "std::print!", "std::io::stdout", "std::io::Stdout"],
        remedy: "write to an `impl Write` that the caller passes",
    },
];

pub(crate) const COMMAND_LINE: &[&str] = &["main", "cli", "commands"];

/// Rooms whose files must be short, and the maximum number of lines in such a file. Lines under `#[cfg(test)]` do not
/// count.
pub(crate) const LONGEST: &[(&str, usize, &str)] = &[("main", 40, "main.rs has no logic: put it into `commands`")];

/// The top-level modules of `src/`, in layers from top to bottom. A module uses only names from its own layer and from
/// lower layers. Cycles within a layer or within a module are forbidden.
pub(crate) const LAYERS: &[&[&str]] = &[
    &["cli", "commands"],
    &["report"],
    &["migration"],
    &["hooks"],
    &["telemetry"],
    &["explain", "stats"],
    &["preflight"],
    &["passes"],
    &["engine"],
    &["local"],
    &["playbook"],
    &["health", "shim", "steering"],
    &["cutover", "state"],
    &["cost"],
    &["ratelimit"],
    &["dynamodb"],
    &["plan"],
    &["exec"],
    &["change"],
    &["expr"],
    &["convert", "figure", "keys_file"],
    &["item"],
    &["http_server", "program", "web"],
    &["backoff", "clock", "command_line", "host", "locked", "machine", "outside"],
];

/// Known dependencies that point upwards or close a cycle, each with its start, its end and a reason. Do not add an
/// exception. If an exception is no longer needed, the test fails, so that somebody removes it.
pub(crate) const EXCEPTIONS: &[(&str, &str, &str)] = &[];
