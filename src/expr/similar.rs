//! Names that are similar to the one that an operator wrote.

use super::functions::all;

/// Names that other languages and DynamoDB's own expressions use for a function, in lower case and without underscores.
/// The second name is the function's own.
const OTHER_NAMES: [(&str, &str); 43] = [
    ("abs", "math.abs"),
    ("beginswith", "startsWith"),
    ("ceiling", "math.ceil"),
    ("count", "size"),
    ("date", "timestamp"),
    ("datetime", "timestamp"),
    ("decimal", "number"),
    ("float", "number"),
    ("fromjson", "json"),
    ("hash", "sha256"),
    ("hasprefix", "startsWith"),
    ("hassuffix", "endsWith"),
    ("includes", "contains"),
    ("instr", "indexOf"),
    ("len", "size"),
    ("length", "size"),
    ("lower", "lowerAscii"),
    ("lowercase", "lowerAscii"),
    ("max", "math.greatest"),
    ("min", "math.least"),
    ("n", "number"),
    ("parsefloat", "number"),
    ("parseint", "number"),
    ("parsejson", "json"),
    ("prefix", "startsWith"),
    ("sha", "sha256"),
    ("str", "string"),
    ("strip", "trim"),
    ("strlen", "size"),
    ("substr", "substring"),
    ("suffix", "endsWith"),
    ("todate", "timestamp"),
    ("tolower", "lowerAscii"),
    ("tolowercase", "lowerAscii"),
    ("tonumber", "number"),
    ("tostring", "string"),
    ("toupper", "upperAscii"),
    ("touppercase", "upperAscii"),
    ("unique", "distinct"),
    ("upper", "upperAscii"),
    ("uppercase", "upperAscii"),
    ("uuid", "uuid5"),
    ("uuidv5", "uuid5"),
];

/// Returns the name of the function that the operator probably meant, or `None` if no function is similar enough.
pub(super) fn similar_function(written: &str) -> Option<&'static str> {
    let plain = |name: &str| name.rsplit('.').next().unwrap_or(name).to_lowercase().replace('_', "");
    let wanted = plain(written);
    if let Some((_, own)) = OTHER_NAMES.iter().find(|(other, _)| *other == wanted) {
        return Some(own);
    }
    if wanted.len() > 40 {
        return None;
    }
    let distances = all().map(|function| (edit_distance(&wanted, &plain(function.name)), function.name));
    distances.min().filter(|(distance, name)| *distance <= plain(name).len() / 4).map(|(_, name)| name)
}

/// Returns the number of edits (insert, delete, replace) that turn one word into the other.
pub(crate) fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replace = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replace.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::expr::functions::named;

    #[test]
    fn every_other_name_leads_to_a_function() {
        for (at, (other, own)) in OTHER_NAMES.iter().enumerate() {
            assert!(named(own).is_some(), "{own}");
            assert_eq!(other.to_lowercase().replace('_', ""), *other);
            assert!(at == 0 || OTHER_NAMES[at - 1].0 < *other, "{other} is not in order");
        }
    }

    #[test]
    fn a_similar_name_is_found() {
        for (written, own) in [
            ("begins_with", Some("startsWith")),
            ("length", Some("size")),
            ("N", Some("number")),
            ("startWith", Some("startsWith")),
            ("math.absolute", None),
            ("math.flor", Some("math.floor")),
            ("frobnicate", None),
        ] {
            assert_eq!(similar_function(written), own, "{written}");
        }
        assert_eq!(edit_distance("kitten", "sitting"), 3);
    }
}
