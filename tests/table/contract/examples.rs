//! The example plans, each with items before and after its run.

use backfill::internals::change::input_digest;
use backfill::internals::item::item_from_json;
use serde_json::{Value as Json, json};

/// The example that reads an index.
pub(super) const INDEXED: &str = "items-in-an-index.toml";

/// The example with a file of keys. Its test lists the items that change.
pub(super) const LISTED: &str = "listed-keys.toml";

/// The examples that compare documents or lists. Their test is separate, because some engines cannot compare these.
pub(super) const DOCUMENTS: [&str; 3] = ["set-constant.toml", "append.toml", "null-as-missing.toml"];

/// An example plan with the exit code of its run, and with items before and after the run. The test fails if the folder
/// contains a plan that is not listed.
pub(super) struct Example {
    pub(super) file: &'static str,
    pub(super) exit: i32,
    pub(super) items: Vec<(Json, Json)>,
}

pub(super) fn examples() -> Vec<Example> {
    let constants = json!({
        "schema_version": {"N": "2"}, "migrated": {"BOOL": true}, "default_rate": {"N": "0.0725"},
        "labels": {"SS": ["backfilled", "v2"]},
        "preferences": {"M": {"newsletter": {"BOOL": false}, "channels": {"L": [{"S": "mail"}]}}}
    });
    let same = |item: Json| (item.clone(), item);
    let with = |mut item: Json, more: Json| {
        item.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        item
    };
    let adds = |item: Json, more: Json| (item.clone(), with(item, more));
    let counted = |inputs: Json, words: u32| {
        let digest = input_digest(&item_from_json(&inputs).unwrap());
        adds(inputs, json!({"words": {"N": words.to_string()}, "words_of": {"S": digest}}))
    };
    vec![
        Example {
            file: "rename-attribute.toml",
            exit: 5,
            items: vec![
                adds(json!({"email": {"S": "a@x"}}), json!({"contact_email": {"S": "a@x"}})),
                adds(json!({"email": {"NULL": true}, "n": {"N": "1"}}), json!({"contact_email": {"NULL": true}})),
                same(json!({"email": {"S": "a"}, "contact_email": {"S": "other"}})),
                same(json!({"contact_email": {"S": "a"}})),
                same(json!({"n": {"N": "1"}})),
            ],
        },
        Example {
            file: "copy-nested.toml",
            exit: 0,
            items: vec![
                adds(json!({"address": {"M": {"zip": {"S": "8000"}}}}), json!({"zip": {"S": "8000"}})),
                adds(
                    json!({"orders": {"L": [{"M": {"placed_at": {"S": "2026"}}}, {"M": {}}]}}),
                    json!({"first_order_at": {"S": "2026"}}),
                ),
                same(json!({"address": {"S": "a street"}, "orders": {"L": []}})),
            ],
        },
        Example {
            file: "move-into-document.toml",
            exit: 4,
            items: vec![
                adds(
                    json!({"street": {"S": "s"}, "zip": {"S": "z"}, "city": {"S": "c"}}),
                    json!({"address": {"M": {"street": {"S": "s"}, "zip": {"S": "z"}, "city": {"S": "c"}}}}),
                ),
                adds(
                    json!({"zip": {"N": "1"}, "address": {"M": {"geo": {"L": []}}}}),
                    json!({"address": {"M": {"geo": {"L": []}, "zip": {"N": "1"}}}}),
                ),
                same(json!({"zip": {"S": "z"}, "address": {"S": "no document"}})),
            ],
        },
        Example {
            file: "quoted-names.toml",
            exit: 0,
            items: vec![
                adds(json!({"e-mail": {"S": "a"}}), json!({"email_address": {"S": "a"}})),
                adds(
                    json!({"billing.address": {"M": {"zip": {"S": "z"}}}}),
                    json!({"billing": {"M": {"zip": {"S": "z"}}}}),
                ),
                adds(json!({"order #": {"M": {"status": {"S": "open"}}}}), json!({"last status": {"S": "open"}})),
            ],
        },
        Example {
            file: "remove-attribute.toml",
            exit: 0,
            items: vec![
                (json!({"legacy": {"BS": ["AA=="]}, "x": {"S": ""}}), json!({"x": {"S": ""}})),
                (
                    json!({"profile": {"M": {"fax": {"S": "1"}, "tel": {"S": "2"}}}}),
                    json!({"profile": {"M": {"tel": {"S": "2"}}}}),
                ),
                same(json!({"profile": {"S": "fax"}})),
            ],
        },
        Example {
            file: "set-constant.toml",
            exit: 0,
            items: vec![
                adds(json!({"x": {"S": "y"}}), constants.clone()),
                (
                    json!({"schema_version": {"N": "1"}, "preferences": {"M": {"x": {"S": "y"}}}, "labels": {"S": "no set"}}),
                    constants.clone(),
                ),
                same(constants),
            ],
        },
        Example {
            file: "set-where-missing.toml",
            exit: 5,
            items: vec![
                adds(
                    json!({"x": {"S": "y"}}),
                    json!({"expires_at": {"N": "1798761600"}, "schema_version": {"N": "2"}}),
                ),
                adds(json!({"expires_at": {"S": "never"}}), json!({"schema_version": {"N": "2"}})),
                same(json!({"expires_at": {"N": "1"}, "schema_version": {"N": "2"}})),
                same(json!({"schema_version": {"N": "1"}})),
            ],
        },
        Example {
            file: "computed-by-a-program.toml",
            exit: 4,
            items: vec![
                counted(json!({"title": {"S": "two words"}, "body": {"S": "and three more"}}), 5),
                counted(json!({"body": {"S": ""}}), 0),
                same(json!({"title": {"N": "1"}})),
                same(json!({"n": {"N": "1"}})),
            ],
        },
        Example {
            file: "composite-index-key.toml",
            exit: 4,
            items: vec![
                adds(
                    json!({"sk": {"S": "ORDER#1"}, "status": {"S": "open"}, "created_at": {"S": "2026-01-02"}}),
                    json!({"gsi1sk": {"S": "open#2026-01-02"}}),
                ),
                same(json!({"sk": {"S": "ORDER#2"}, "status": {"S": "open"}})),
                same(json!({"sk": {"S": "ORDER#3"}, "gsi1sk": {"S": "there"}})),
                same(json!({"sk": {"S": "USER#1"}, "status": {"S": "open"}, "created_at": {"S": "2026-01-02"}})),
            ],
        },
        Example {
            file: "null-as-missing.toml",
            exit: 5,
            items: vec![
                (
                    json!({"street": {"S": "a"}, "zip": {"S": "1"}, "address": {"NULL": true}}),
                    json!({
                        "street": {"S": "a"}, "zip": {"S": "1"},
                        "address": {"M": {"street": {"S": "a"}, "zip": {"S": "1"}}}
                    }),
                ),
                (
                    json!({"street": {"S": "a"}, "address": {"M": {"street": {"NULL": true}, "city": {"S": "c"}}}}),
                    json!({"street": {"S": "a"}, "address": {"M": {"street": {"S": "a"}, "city": {"S": "c"}}}}),
                ),
                same(json!({"street": {"S": "a"}, "address": {"M": {"street": {"S": "other"}}}})),
                same(json!({"address": {"NULL": true}})),
            ],
        },
        Example {
            file: "change-for-some-items.toml",
            exit: 0,
            items: vec![
                adds(json!({"sk": {"S": "ORDER#1"}}), json!({"status": {"S": "unpaid"}})),
                same(json!({"sk": {"S": "ORDER#2"}, "status": {"S": "paid"}})),
                (
                    json!({"sk": {"S": "ORDER#3"}, "phone": {"S": "32"}}),
                    json!({"sk": {"S": "ORDER#3"}, "phone": {"S": "+32"}, "status": {"S": "unpaid"}}),
                ),
                (json!({"phone": {"S": "32"}}), json!({"phone": {"S": "+32"}})),
                same(json!({"phone": {"S": "+32"}})),
                same(json!({"phone": {"N": "32"}})),
            ],
        },
        Example {
            file: "append.toml",
            exit: 4,
            items: vec![
                adds(
                    json!({"sk": {"S": "PROFILE"}}),
                    json!({"tags": {"SS": ["customer"]}, "history": {"L": [{"S": "tagged"}]}}),
                ),
                (
                    json!({"sk": {"S": "PROFILE"}, "tags": {"SS": ["a"]}, "history": {"L": [{"S": "tagged"}]}}),
                    json!({
                        "sk": {"S": "PROFILE"}, "tags": {"SS": ["a", "customer"]}, "history": {"L": [{"S": "tagged"}]}
                    }),
                ),
                same(json!({"sk": {"S": "PROFILE"}, "tags": {"S": "customer"}})),
                same(json!({"tags": {"SS": ["a"]}})),
            ],
        },
        Example {
            file: "text-to-number.toml",
            exit: 4,
            items: vec![
                (
                    json!({"price": {"S": "12.5"}, "version": {"N": "1"}}),
                    json!({"price": {"N": "12.5"}, "version": {"N": "2"}}),
                ),
                same(json!({"price": {"N": "7"}, "version": {"N": "1"}})),
                same(json!({"price": {"S": "twelve"}, "version": {"N": "1"}})),
                same(json!({"price": {"S": "3"}})),
                same(json!({"n": {"N": "1"}})),
            ],
        },
        Example {
            file: "ttl-from-date.toml",
            exit: 4,
            items: vec![
                // Paris is one hour ahead of UTC in winter.
                adds(json!({"expires": {"S": "2026-12-31"}}), json!({"expires_at": {"N": "1798671600"}})),
                adds(json!({"expires": {"S": "2027-01-01T00:00:00Z"}}), json!({"expires_at": {"N": "1798761600"}})),
                same(json!({"expires": {"S": "31/12/2026"}})),
                same(json!({"n": {"N": "1"}})),
            ],
        },
        Example {
            file: "replace-date.toml",
            exit: 4,
            items: vec![
                adds(json!({"expires": {"S": "2026-01-31"}}), json!({"expires_at": {"N": "1769817600"}})),
                adds(json!({"expires": {"S": "1970-01-01"}, "n": {"N": "1"}}), json!({"expires_at": {"N": "0"}})),
                same(json!({"expires": {"S": "2026-01-31"}, "expires_at": {"N": "1769817600"}})),
                same(json!({"expires": {"S": "31/01/2026"}})),
                same(json!({"expires_at": {"N": "1"}})),
                same(json!({"n": {"N": "1"}})),
            ],
        },
        Example {
            file: "replace-computed.toml",
            exit: 5,
            items: vec![
                adds(json!({"phone": {"S": "030123"}}), json!({"phone_international": {"S": "+4930123"}})),
                adds(json!({"phone": {"S": "+3314"}}), json!({"phone_international": {"S": "+3314"}})),
                same(json!({"phone": {"S": "030123"}, "phone_international": {"S": "+1"}})),
                same(json!({"phone_international": {"S": "+1"}})),
                same(json!({"n": {"N": "1"}})),
            ],
        },
        Example {
            file: INDEXED,
            exit: 0,
            items: vec![
                adds(json!({"mail_key": {"S": "a@x"}, "rank": {"N": "1"}}), json!({"needs_review": {"BOOL": true}})),
                same(json!({"mail_key": {"S": "a@x"}})),
            ],
        },
        Example {
            file: LISTED,
            exit: 0,
            items: vec![
                adds(json!({"x": {"S": "y"}}), json!({"needs_review": {"BOOL": true}})),
                same(json!({"x": {"S": "not listed"}})),
            ],
        },
        Example {
            file: "within-limits.toml",
            exit: 0,
            items: vec![
                adds(json!({"phone": {"S": "1"}}), json!({"contact_phone": {"S": "1"}})),
                same(json!({"n": {"N": "1"}})),
            ],
        },
    ]
}
