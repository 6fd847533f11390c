//! Lists the tests that are known to fail on an engine. Each entry states the difference from DynamoDB that causes the
//! failure.

/// A test that is known to fail on an engine.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deviation {
    pub(crate) engine: &'static str,
    /// The binary and path of the test.
    pub(crate) test: &'static str,
    /// A part of the failure message. A failure with any other message counts as unexpected.
    pub(crate) message: &'static str,
    /// How the engine differs from DynamoDB.
    pub(crate) reason: &'static str,
}

const BY_REFERENCE: &str = "it compares lists and maps by reference, so two equal values differ";

const INDEXES_ARE_FREE: &str = "it charges nothing for the entries of an index that a write adds, moves or removes";

const fn dynalite(test: &'static str, message: &'static str, reason: &'static str) -> Deviation {
    Deviation { engine: "dynalite", test, message, reason }
}

pub(crate) const DEVIATIONS: [Deviation; 9] = [
    Deviation {
        engine: "moto",
        test: "table::contract::probe::one_of_many_conditional_writers_wins",
        message: "not exactly one write was accepted on the same condition",
        reason: "it checks a condition and writes in two steps, without a lock",
    },
    Deviation {
        engine: "ministack",
        test: "table::contract::filter::the_server_and_the_evaluator_agree_on_prefixes",
        message: "operator or function: begins_with, operand type: S",
        reason: "it rejects begins_with on an attribute of another type, where DynamoDB answers false",
    },
    dynalite(
        "table::contract::capacity::writes_cost_what_the_server_reports",
        "assertion `left == right` failed: [Copy",
        INDEXES_ARE_FREE,
    ),
    dynalite(
        "table::contract::capacity::writes_cost_what_the_server_reports_with_local_indexes_and_halves_of_keys",
        "assertion `left == right` failed: [Copy",
        INDEXES_ARE_FREE,
    ),
    dynalite(
        "table::contract::filter::the_server_and_the_evaluator_agree_on_empty_strings_and_on_false",
        "differs on",
        "it takes an empty string and false for missing attributes in attribute_type",
    ),
    dynalite("table::contract::runs::live_writers_lose_nothing", "ExitStatus(unix_wait_status(1024))", BY_REFERENCE),
    dynalite(
        "table::contract::writes::every_race_for_a_document_fails_its_condition_or_applies",
        "ConditionFailed",
        BY_REFERENCE,
    ),
    dynalite(
        "table::contract::writes::every_write_of_lists_and_maps_has_exactly_the_planned_effect",
        "ConditionFailed",
        BY_REFERENCE,
    ),
    dynalite(
        "table::contract::writes::the_server_compares_lists_and_maps_as_the_tool_does",
        "ConditionFailed",
        BY_REFERENCE,
    ),
];
