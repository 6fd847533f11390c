//! What each engine cannot meet, and why that is the engine's fault.

/// A test that fails on an engine.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deviation {
    pub(crate) engine: &'static str,
    /// The test's binary and path.
    pub(crate) test: &'static str,
    /// Part of its message, so that it does not fail for another reason unnoticed.
    pub(crate) says: &'static str,
    /// What the engine does, and DynamoDB does not.
    pub(crate) because: &'static str,
}

const BY_REFERENCE: &str = "it compares lists and maps by reference, so two equal ones differ";

const INDEXES_ARE_FREE: &str = "it charges nothing for the entries of an index that a write adds, moves or removes";

const fn dynalite(test: &'static str, says: &'static str, because: &'static str) -> Deviation {
    Deviation { engine: "dynalite", test, says, because }
}

pub(crate) const DEVIATIONS: [Deviation; 8] = [
    Deviation {
        engine: "moto",
        test: "table::contract::probe::one_of_many_conditional_writers_wins",
        says: "updates were accepted on the same condition",
        because: "it checks a condition and writes in two steps, without a lock",
    },
    dynalite(
        "table::contract::capacity::writes_cost_what_the_server_says",
        "assertion `left == right` failed: [Copy",
        INDEXES_ARE_FREE,
    ),
    dynalite(
        "table::contract::capacity::local_indexes_and_halves_of_keys",
        "assertion `left == right` failed: [Copy",
        INDEXES_ARE_FREE,
    ),
    dynalite("table::contract::runs::live_writers_lose_nothing", "ExitStatus(unix_wait_status(1024))", BY_REFERENCE),
    dynalite("table::contract::runs::the_example_with_documents_ends_as_it_says", "set-constant.toml", BY_REFERENCE),
    dynalite(
        "table::contract::writes::every_race_for_a_document_fails_as_a_condition_or_applies",
        "ConditionFailed",
        BY_REFERENCE,
    ),
    dynalite(
        "table::contract::writes::every_write_of_lists_and_maps_makes_exactly_what_the_plan_implies",
        "ConditionFailed",
        BY_REFERENCE,
    ),
    dynalite(
        "table::contract::writes::the_server_compares_lists_and_maps_as_the_tool_does",
        "ConditionFailed",
        BY_REFERENCE,
    ),
];
