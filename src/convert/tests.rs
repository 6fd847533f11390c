//! Properties of all conversions, on values of every type.

use jiff::tz::TimeZone;
use proptest::collection::{btree_map, vec};
use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest};
use serde_json::json;

use super::*;

fn plain(name: &str) -> Conversion {
    let targets = [
        PlainTarget::Number,
        PlainTarget::Text,
        PlainTarget::Map,
        PlainTarget::List,
        PlainTarget::JsonText,
        PlainTarget::StringSet,
        PlainTarget::NumberSet,
        PlainTarget::BinarySet,
        PlainTarget::Binary,
        PlainTarget::Base64Text,
    ];
    Conversion::plain(targets.into_iter().find(|target| target.name() == name).unwrap())
}

fn read(patterns: &[&str]) -> Vec<DateFormat> {
    let format = |pattern: &&str| match *pattern {
        "rfc3339" => DateFormat::Rfc3339,
        pattern => DateFormat::Pattern(Pattern::for_reading(pattern).unwrap()),
    };
    patterns.iter().map(format).collect()
}

fn write(pattern: &str) -> DateFormat {
    DateFormat::Pattern(Pattern::for_writing(pattern).unwrap())
}

/// One conversion for each target, with different options.
fn all() -> Vec<Conversion> {
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let names = ["N", "S", "M", "L", "JSON", "SS", "NS", "BS", "B", "BASE64"];
    let mut all: Vec<Conversion> = names.into_iter().map(plain).collect();
    all.push(Conversion::boolean(BooleanWords::default()));
    all.push(Conversion::boolean(BooleanWords::new(words(&["yes", "1", ""]), words(&["no", "0"]))));
    let formats =
        ["%Y-%m-%d", "rfc3339", "%d/%m/%Y", "%m/%d/%Y", "%s", "%a, %-d %b %Y %I:%M%p", "%Y-%m-%d %H:%M:%S%.f"];
    for unit in [EpochUnit::Seconds, EpochUnit::Milliseconds] {
        for drop_fraction in [false, true] {
            all.push(Conversion::epoch(EpochReader::new(unit, read(&formats), Some(TimeZone::UTC), drop_fraction)));
        }
        all.push(Conversion::epoch(EpochReader::new(unit, read(&formats), None, false)));
        let paris = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        for zone in [TimeZone::UTC, paris] {
            all.push(Conversion::date(DateWriter::new(DateFormat::Rfc3339, unit, zone.clone())));
            for pattern in ["%Y-%m-%d", "%F %T%.f%z", "%y %j %-I%P %3f", "%e %A %B %Y"] {
                all.push(Conversion::date(DateWriter::new(write(pattern), unit, zone.clone())));
            }
        }
    }
    all
}

/// A text that some conversion can read, or that almost has the right form.
fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        "-?[0-9]{1,40}(\\.[0-9]{1,5})?([eE][+-]?[0-9]{1,4})?",
        "[ +]?[0-9]{1,3}[ ,_]?[0-9]{0,3}",
        "(true|false|yes|no|1|0|TRUE|)",
        "[0-9]{4}-[01][0-9]-[0-3][0-9]",
        "[0-9]{4}-[01][0-9]-[0-3][0-9][Tt ][0-2][0-9]:[0-5][0-9]:[0-6][0-9](\\.[0-9]{1,10})?([Zz]|[+-][0-2][0-9]:[0-6][0-9])?",
        "[0-3][0-9]/[0-3][0-9]/[0-9]{4}",
        "(Mon|tue|SUN), [0-9]{1,2} (Jan|feb|DEC) [0-9]{4} [01][0-9]:[0-5][0-9](AM|pm)",
        "-?[0-9]{1,13}",
        "[A-Za-z0-9+/]{0,8}={0,2}",
        any_document(false).prop_map(|value| value.to_json().to_string()),
        any_document(false).prop_filter_map("JSON", |value| match plain("JSON").apply(&value) {
            Ok(Value::S(text)) => Some(text),
            _ => None,
        }),
        "[\\[\\]{}:,\"a0 .e\\\\-]{0,12}",
    ]
}

fn any_number() -> impl Strategy<Value = Num> {
    prop_oneof![
        any::<i64>().prop_map(|n| Num::from_wire(n.to_string())),
        (0_i64..4_000_000_000_000).prop_map(|n| Num::from_wire(n.to_string())),
        ("-?[1-9][0-9]{0,37}", -120_i32..88)
            .prop_map(|(digits, exponent)| Num::from_wire(format!("{digits}E{exponent}"))),
        "-?[0-9]{1,10}\\.[0-9]{1,12}".prop_map(Num::from_wire),
        "[0-1](\\.0)?".prop_map(Num::from_wire),
    ]
}

/// A number as DynamoDB would never send it.
fn any_invalid_number() -> impl Strategy<Value = Num> {
    prop_oneof![any::<String>().prop_map(Num::from_wire), "[0-9]{1,3}e-?[0-9]{4,12}".prop_map(Num::from_wire)]
}

fn any_scalar(everything: bool) -> impl Strategy<Value = Value> {
    let scalar = prop_oneof![
        3 => "[a-z\"\\\\é\n]{0,4}".prop_map(Value::S),
        3 => any_number().prop_map(Value::N),
        1 => any::<bool>().prop_map(Value::Bool),
        1 => Just(Value::Null),
    ];
    if !everything {
        return scalar.boxed();
    }
    prop_oneof![
        4 => scalar,
        4 => any_text().prop_map(Value::S),
        1 => any_invalid_number().prop_map(Value::N),
        1 => vec(any::<u8>(), 0..5).prop_map(Value::B),
        1 => vec("[a-z]{0,3}", 1..4).prop_map(Value::Ss),
        1 => vec(any_number(), 1..4).prop_map(Value::Ns),
        1 => vec(any_invalid_number(), 1..4).prop_map(Value::Ns),
        1 => vec(vec(any::<u8>(), 0..3), 1..4).prop_map(Value::Bs),
    ]
    .boxed()
}

/// A map or a list. Unless `everything` is set, JSON can express it.
fn any_document(everything: bool) -> impl Strategy<Value = Value> {
    let scalar = if everything { any_flat().boxed() } else { any_scalar(false).boxed() };
    let document = |member: proptest::strategy::BoxedStrategy<Value>| {
        prop_oneof![
            vec(member.clone(), 0..4).prop_map(Value::L),
            btree_map("[a-zé\"]{1,3}", member, 0..4).prop_map(Value::M),
        ]
    };
    let member = scalar.prop_recursive(3, 16, 4, move |member| document(member.boxed()));
    document(member.boxed())
}

/// Generates a value without members. Its texts contain no documents, so that the strategy is finite.
fn any_flat() -> impl Strategy<Value = Value> {
    prop_oneof![
        any_scalar(false),
        any_invalid_number().prop_map(Value::N),
        vec(any::<u8>(), 0..5).prop_map(Value::B),
        vec("[a-z]{0,3}", 1..4).prop_map(Value::Ss),
    ]
}

fn any_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        4 => any_scalar(true),
        1 => any_document(true),
        1 => vec("[a-b]{0,2}".prop_map(Value::S), 0..3).prop_map(Value::L),
        1 => vec(any_number().prop_map(Value::N), 0..3).prop_map(Value::L),
        1 => vec(vec(any::<u8>(), 0..2).prop_map(Value::B), 0..3).prop_map(Value::L),
    ]
}

/// Returns the exact form of a value. Unlike equality, it distinguishes `1.0` and `1`.
fn exact(value: &Value) -> String {
    format!("{value:?}")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn a_conversion_has_an_exact_result_or_a_reason(value in any_value()) {
        for conversion in all() {
            prop_assert!(!conversion.source_types().contains(&conversion.target_type()));
            let is_target = value.type_name() == conversion.target_type();
            match conversion.apply(&value) {
                Ok(converted) => {
                    prop_assert_eq!(converted.type_name(), conversion.target_type());
                    prop_assert!(is_target || conversion.source_types().contains(&value.type_name()), "{conversion}");
                    prop_assert!(conversion.is_converted(&converted), "{conversion}: {value:?} {converted:?}");
                    let again = conversion.apply(&converted).map(|again| exact(&again));
                    prop_assert_eq!(again, Ok(exact(&converted)), "{}", conversion);
                    prop_assert!(!is_target || exact(&converted) == exact(&value));
                }
                Err(why) => {
                    prop_assert!(!conversion.is_converted(&value), "{conversion}: {value:?} {why}");
                    prop_assert!(why.reason().len() > 15);
                }
            }
        }
    }

    #[test]
    fn a_reason_never_contains_a_value(text in "[xqzj7]{5,12}") {
        let s = |prefix: &str, suffix: &str| Value::S(format!("{prefix}{text}{suffix}"));
        let values = [
            s("", ""),
            s("1", "1"),
            s("{\"", "\":1,\"a\":x}"),
            s("[\"", "\""),
            s("[\"\\", "\"]"),
            s("2026-01-01T", ""),
            s("{\"a\":1,\"a\":\"", "\"}"),
            Value::L(vec![s("", ""), s("", "")]),
            Value::N(Num::from_wire(text.clone())),
        ];
        for value in &values {
            for conversion in all() {
                if let Err(why) = conversion.apply(value) {
                    prop_assert!(!why.reason().contains(&text), "{conversion}: {why}");
                }
            }
        }
    }

    #[test]
    fn numbers_and_their_texts_convert_into_each_other(digits in "[1-9][0-9]{0,37}", exponent in -130_i64..88, minus in any::<bool>()) {
        let written = format!("{}{digits}e{exponent}", if minus { "-" } else { "" });
        let Ok(number) = Num::parse(&written) else { return Ok(()) };
        let text = plain("S").apply(&Value::N(number.clone())).unwrap();
        let back = plain("N").apply(&text).unwrap();
        prop_assert_eq!(&back, &Value::N(number));
        prop_assert_eq!(exact(&plain("S").apply(&back).unwrap()), exact(&text));
        // The plain text has exactly the significant digits of the number.
        let Value::S(text) = text else { panic!() };
        let significant = text.replace(['-', '.'], "");
        prop_assert_eq!(significant.trim_matches('0'), digits.trim_end_matches('0'));
        prop_assert!(!text.contains(['e', 'E', '+']));
    }

    #[test]
    fn a_text_becomes_the_number_that_it_means(text in any_text()) {
        if let Ok(Value::N(number)) = plain("N").apply(&Value::S(text.clone())) {
            prop_assert_eq!(number, Num::parse(&text).unwrap());
            prop_assert!(!text.starts_with(' ') && !text.starts_with('+'));
        }
    }

    #[test]
    fn documents_survive_json(document in any_document(false)) {
        let text = plain("JSON").apply(&document).unwrap();
        let back = plain(document.type_name()).apply(&text).unwrap();
        prop_assert_eq!(&back, &document);
        prop_assert_eq!(exact(&plain("JSON").apply(&back).unwrap()), exact(&text));
        let Value::S(text) = text else { panic!() };
        prop_assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok(), "{text}");
    }

    /// `serde_json` also accepts names that occur twice, empty names, numbers with more than 38 digits, and deep
    /// nesting.
    #[test]
    fn the_json_reader_accepts_only_json(text in any_text()) {
        let value = Value::S(text.clone());
        let accepted = plain("M").apply(&value).is_ok() || plain("L").apply(&value).is_ok();
        let json = serde_json::from_str::<serde_json::Value>(&text);
        prop_assert!(!accepted || json.is_ok(), "{text}");
        let doubtful = text.contains("\"\"") || text.matches("\":").count() > 1 || text.contains(|c: char| c.is_ascii_digit());
        if json.is_ok_and(|json| json.is_object() || json.is_array()) && !doubtful {
            prop_assert!(accepted, "{text}");
        }
    }

    #[test]
    fn sets_survive_lists(strings in vec("[a-d]{0,2}", 1..6), bytes in vec(vec(0_u8..4, 0..2), 1..6), numbers in vec(any_number(), 1..6)) {
        let mut distinct: Vec<Num> = Vec::new();
        for number in numbers {
            if Num::parse(number.as_str()).is_ok() && !distinct.contains(&number) {
                distinct.push(number);
            }
        }
        let unique = |mut list: Vec<String>| { list.sort(); list.dedup(); list };
        let mut bytes = bytes;
        bytes.sort();
        bytes.dedup();
        let sets = [("SS", Value::Ss(unique(strings))), ("BS", Value::Bs(bytes)), ("NS", Value::Ns(distinct))];
        for (name, set) in sets {
            if matches!(&set, Value::Ns(numbers) if numbers.is_empty()) {
                continue;
            }
            let list = plain("L").apply(&set).unwrap();
            prop_assert_eq!(&plain(name).apply(&list).unwrap(), &set);
            prop_assert_eq!(exact(&plain("L").apply(&plain(name).apply(&list).unwrap()).unwrap()), exact(&list));
        }
    }

    #[test]
    fn binary_values_survive_base64(bytes in vec(any::<u8>(), 0..20)) {
        let text = plain("BASE64").apply(&Value::B(bytes.clone())).unwrap();
        prop_assert_eq!(plain("B").apply(&text).unwrap(), Value::B(bytes));
    }

    /// Two different texts never mean the same bytes.
    #[test]
    fn base64_is_strict(text in "[A-D+/=\n -]{0,9}") {
        if let Ok(bytes) = plain("B").apply(&Value::S(text.clone())) {
            prop_assert_eq!(plain("BASE64").apply(&bytes).unwrap(), Value::S(text));
        }
    }
}

#[test]
fn booleans_come_from_listed_words_and_from_0_and_1() {
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let default = Conversion::boolean(BooleanWords::default());
    let own = Conversion::boolean(BooleanWords::new(words(&["yes", "Y"]), words(&["no", ""])));
    let of = |conversion: &Conversion, value| match conversion.apply(&Value::from_json(&value).unwrap()) {
        Ok(Value::Bool(flag)) => Some(flag),
        Ok(other) => panic!("{other:?}"),
        Err(_) => None,
    };
    for (value, by_default, by_words) in [
        (json!({"S": "true"}), Some(true), None),
        (json!({"S": "false"}), Some(false), None),
        (json!({"S": "True"}), None, None),
        (json!({"S": " true"}), None, None),
        (json!({"S": "1"}), None, None),
        (json!({"S": "yes"}), None, Some(true)),
        (json!({"S": "Y"}), None, Some(true)),
        (json!({"S": "y"}), None, None),
        (json!({"S": "no"}), None, Some(false)),
        (json!({"S": ""}), None, Some(false)),
        (json!({"N": "0"}), Some(false), Some(false)),
        (json!({"N": "-0.0"}), Some(false), Some(false)),
        (json!({"N": "1"}), Some(true), Some(true)),
        (json!({"N": "1.00"}), Some(true), Some(true)),
        (json!({"N": "10E-1"}), Some(true), Some(true)),
        (json!({"N": "2"}), None, None),
        (json!({"N": "-1"}), None, None),
        (json!({"N": "0.1"}), None, None),
        (json!({"BOOL": true}), Some(true), Some(true)),
        (json!({"NULL": true}), None, None),
    ] {
        assert_eq!((of(&default, value.clone()), of(&own, value.clone())), (by_default, by_words), "{value}");
    }
    let contradictory = Conversion::boolean(BooleanWords::new(words(&["x"]), words(&["x"])));
    assert_eq!(of(&contradictory, json!({"S": "x"})), None);
    assert_eq!(plain("S").apply(&Value::Bool(false)), Ok(Value::S("false".into())));
}

#[test]
fn a_value_in_another_form_of_the_target_type_is_not_converted() {
    let seconds = Conversion::epoch(EpochReader::new(EpochUnit::Seconds, read(&["rfc3339"]), None, false));
    let rfc3339 = Conversion::date(DateWriter::new(DateFormat::Rfc3339, EpochUnit::Seconds, TimeZone::UTC));
    let day = Conversion::date(DateWriter::new(write("%Y-%m-%d"), EpochUnit::Seconds, TimeZone::UTC));
    for (conversion, value, expected) in [
        (&seconds, json!({"N": "1764484204"}), true),
        (&seconds, json!({"N": "-1E3"}), true),
        (&seconds, json!({"N": "1764484204.5"}), false),
        // A time in milliseconds is not a time in seconds.
        (&seconds, json!({"N": "1764484204000"}), false),
        (&rfc3339, json!({"S": "2026-11-30T06:30:04Z"}), true),
        (&rfc3339, json!({"S": "2026-11-30"}), false),
        (&day, json!({"S": "2026-11-30"}), true),
        (&day, json!({"S": "2026-11-30T06:30:04Z"}), false),
        (&plain("JSON"), json!({"S": "[]"}), true),
        (&plain("JSON"), json!({"S": "5"}), false),
        (&plain("BASE64"), json!({"S": "AAEC"}), true),
        (&plain("BASE64"), json!({"S": "AAE"}), false),
        (&plain("S"), json!({"S": "anything"}), true),
    ] {
        let value = Value::from_json(&value).unwrap();
        assert_eq!(conversion.is_converted(&value), expected, "{conversion} {value:?}");
        assert_eq!(conversion.apply(&value).ok(), expected.then(|| value.clone()), "{conversion} {value:?}");
    }
    let why = plain("JSON").apply(&Value::S("5".into())).unwrap_err();
    assert_eq!(why.reason(), "the value is already of type S, but it is not the JSON text of an object or an array");
    let why = plain("SS").apply(&Value::Null).unwrap_err();
    assert_eq!(why.reason(), "`to = \"SS\"` converts a value of type L, but this value is of type NULL");
}

#[test]
fn a_conversion_describes_itself() {
    let zone = jiff::tz::TimeZoneDatabase::bundled().get("Europe/Paris").unwrap();
    let reader = EpochReader::new(EpochUnit::Seconds, read(&["rfc3339", "%Y-%m-%d"]), Some(zone.clone()), true);
    let words = BooleanWords::new(vec!["y".into(), "Y".into()], vec!["n".into()]);
    for (conversion, text) in [
        (plain("N"), "N"),
        (plain("JSON"), "JSON"),
        (Conversion::boolean(BooleanWords::default()), "BOOL"),
        (Conversion::boolean(words), "BOOL (true_values \"Y\" \"y\", false_values \"n\")"),
        (
            Conversion::epoch(reader),
            "epoch-seconds (formats \"%Y-%m-%d\" \"rfc3339\", zone \"Europe/Paris\", fraction \"drop\")",
        ),
        (
            Conversion::date(DateWriter::new(DateFormat::Rfc3339, EpochUnit::Milliseconds, TimeZone::UTC)),
            "rfc3339 (unit \"milliseconds\", zone \"UTC\")",
        ),
        (
            Conversion::date(DateWriter::new(write("%H\n"), EpochUnit::Seconds, zone)),
            "text (format \"%H\\n\", unit \"seconds\", zone \"Europe/Paris\")",
        ),
    ] {
        assert_eq!(conversion.to_string(), text);
    }
}
