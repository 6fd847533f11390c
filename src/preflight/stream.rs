//! Builds the event filter that makes a Lambda function ignore a run's records. This module is pure.
//!
//! Sources: Lambda developer guide, "Using event filtering with a DynamoDB event source" (patterns apply to the
//! `dynamodb` key of a record) and "Control which events Lambda sends to your function" (if there are several filters,
//! one must match; `exists` works on leaf nodes only; five filters per mapping, ten on request). These filters have not
//! been tested on AWS yet.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value as Json, json};

use super::touched::TouchedPaths;
use crate::dynamodb::StreamView;
use crate::item::{KeySchema, Path, PathStep};

/// A filter for `FilterCriteria` of an event source mapping.
#[derive(Debug, Clone, PartialEq)]
pub struct StreamFilter {
    /// The filter as JSON: `{"Filters": [{"Pattern": …}, …]}`.
    pub criteria: Json,
    /// Text that explains the limits of the filter.
    pub caveat: String,
}

/// Attribute types with nested values. The test `exists` does not work on these types.
const NOT_LEAVES: [&str; 2] = ["L", "M"];

/// Makes a filter that delivers every record, except the records that it recognises as the run's. If no filter is
/// possible, returns the reason. For each target path of the plan, `types` contains the types of the values that the
/// plan would write to the items that were read.
///
/// A filter sees one record at a time, and it cannot compare the two images in the record. It recognises a run's record
/// by an attribute that exists only in the new image. If the plan only removes attributes, it recognises the record by
/// an attribute that exists only in the old image.
pub fn stream_filter(
    touched: &TouchedPaths,
    key: &KeySchema,
    view: StreamView,
    types: &BTreeMap<Path, BTreeSet<&'static str>>,
) -> Result<StreamFilter, String> {
    if touched.whole_items {
        return Err("a filter cannot distinguish the run's deletes and puts from those of the application".to_owned());
    }
    if view != StreamView::NewAndOld {
        return Err(
            "the stream does not show items before and after a write (NEW_AND_OLD_IMAGES), so a filter cannot \
                    recognise the run's records"
                .to_owned(),
        );
    }
    let is_reachable = |path: &&Path| path.steps().iter().all(|step| matches!(step, PathStep::Name(_)));
    // The tuple contains the path to test, the image with the path, and the image without the path.
    let written = touched.written.iter().find(is_reachable).map(|path| (path, "NewImage", "OldImage"));
    let removed = || touched.removed.iter().find(is_reachable).map(|path| (path, "OldImage", "NewImage"));
    let Some((path, has, lacks)) = written.or_else(removed) else {
        return Err(
            "every path that the plan touches is inside a list, and a filter cannot read list elements".to_owned()
        );
    };
    let known = types.get(path).filter(|types| !types.is_empty());
    if let Some(kind) = known.and_then(|types| NOT_LEAVES.into_iter().find(|kind| types.contains(kind))) {
        return Err(format!("`{path}` is of type {kind}, and a filter's `exists` works on scalars and sets only"));
    }
    let kinds: Vec<&str> = known.map_or_else(|| vec!["S"], |types| types.iter().copied().collect());
    // The record of an insertion and the record of a deletion have only one image.
    let one_image = nested(&Path::attribute(&key.partition.name), &[(key.partition.kind.as_str(), false)]);
    let mut patterns = vec![json!({ "dynamodb": { lacks: one_image } })];
    patterns.extend(kinds.iter().map(|kind| json!({ "dynamodb": { lacks: nested(path, &[(kind, true)]) } })));
    let missing: Vec<(&str, bool)> = kinds.iter().map(|kind| (*kind, false)).collect();
    patterns.push(json!({ "dynamodb": { has: nested(path, &missing) } }));
    let filters: Vec<Json> = patterns.iter().map(|pattern| json!({ "Pattern": pattern.to_string() })).collect();
    let caveat = caveat(path, has == "NewImage", known.is_some(), touched);
    Ok(StreamFilter { criteria: json!({ "Filters": filters }), caveat })
}

fn caveat(path: &Path, adds: bool, known: bool, touched: &TouchedPaths) -> String {
    let (does, like) = if adds { ("adds", "a first dual write") } else { ("removes", "a clean-up") };
    let mut caveat = format!(
        "It also hides every other record that {does} `{path}` (such as {like} by the application), because a \
         filter cannot compare two images. Use it only for a consumer that does not need those records"
    );
    if !known {
        caveat += &format!("; it assumes type S, so replace S by the type of `{path}` (`check --sample` finds it)");
    }
    if adds && touched.written.len() > 1 {
        caveat += &format!("; it delivers records of items that already had `{path}`");
    }
    caveat
}

/// Returns the pattern for a path in an image. Each entry of `kinds` is a type and a boolean. If the boolean is true,
/// the pattern requires a value of this type at the path. If it is false, the pattern requires the absence of such a
/// value.
fn nested(path: &Path, kinds: &[(&str, bool)]) -> Json {
    let leaf: Map<String, Json> =
        kinds.iter().map(|(kind, exists)| ((*kind).to_owned(), json!([{ "exists": exists }]))).collect();
    let names = path.steps().iter().rev().filter_map(|step| match step {
        PathStep::Name(name) => Some(name),
        PathStep::Index(_) => None,
    });
    let mut pattern = Json::Object(leaf);
    for (depth, name) in names.enumerate() {
        let inner = if depth == 0 { pattern } else { json!({ "M": pattern }) };
        pattern = json!({ name: inner });
    }
    pattern
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dynamodb::TableDescription;

    fn path(text: &str) -> Path {
        text.parse().unwrap()
    }

    fn touched(written: &[&str], removed: &[&str]) -> TouchedPaths {
        let paths = |texts: &[&str]| texts.iter().map(|text| path(text)).collect();
        TouchedPaths { written: paths(written), removed: paths(removed), removed_later: Vec::new(), whole_items: false }
    }

    fn types(at: &str, kinds: &[&'static str]) -> BTreeMap<Path, BTreeSet<&'static str>> {
        BTreeMap::from([(path(at), kinds.iter().copied().collect())])
    }

    fn filter_of(
        touched: &TouchedPaths,
        types: &BTreeMap<Path, BTreeSet<&'static str>>,
    ) -> Result<StreamFilter, String> {
        stream_filter(touched, &TableDescription::for_tests().key, StreamView::NewAndOld, types)
    }

    fn patterns(stream_filter: &StreamFilter) -> Vec<Json> {
        let filters = stream_filter.criteria["Filters"].as_array().unwrap();
        filters.iter().map(|f| serde_json::from_str(f["Pattern"].as_str().unwrap()).unwrap()).collect()
    }

    /// Applies a filter's pattern to one record. It supports only the syntax of these patterns, which is a path of
    /// names that ends in a list of `exists` rules.
    fn matches(pattern: &Json, record: &Json) -> bool {
        match pattern {
            Json::Object(members) => members.iter().all(|(name, inner)| matches(inner, &record[name])),
            Json::Array(rules) => rules.iter().any(|rule| rule["exists"] == json!(!record.is_null())),
            _ => false,
        }
    }

    fn delivers(stream_filter: &StreamFilter, old: Option<Json>, new: Option<Json>) -> bool {
        let record = json!({ "dynamodb": { "OldImage": old, "NewImage": new } });
        patterns(stream_filter).iter().any(|pattern| matches(pattern, &record))
    }

    #[test]
    fn a_run_that_adds_is_hidden_and_everything_else_is_delivered() {
        let stream_filter = filter_of(&touched(&["doc.new"], &[]), &types("doc.new", &["S", "N"])).unwrap();
        assert_eq!(patterns(&stream_filter).len(), 4, "Lambda allows five");
        let item = |doc: Json| Some(json!({ "pk": {"S": "a"}, "doc": { "M": doc } }));
        for kind in ["S", "N"] {
            let with = || item(json!({ "new": { kind: "1" } }));
            let without = || item(json!({}));
            assert!(!delivers(&stream_filter, without(), with()), "the run's own record");
            assert!(delivers(&stream_filter, with(), with()), "a later change by the application");
            assert!(delivers(&stream_filter, without(), without()), "a change by an old writer");
            assert!(delivers(&stream_filter, None, with()), "an insert");
            assert!(delivers(&stream_filter, with(), None), "a delete");
            assert!(delivers(&stream_filter, with(), without()), "an old writer that replaces the item");
        }
    }

    #[test]
    fn a_run_that_only_removes_is_hidden_too() {
        let stream_filter = filter_of(&touched(&[], &["old"]), &types("old", &["S"])).unwrap();
        let with = json!({ "pk": {"S": "a"}, "old": {"S": "v"} });
        let without = json!({ "pk": {"S": "a"} });
        assert!(!delivers(&stream_filter, Some(with.clone()), Some(without.clone())));
        assert!(delivers(&stream_filter, Some(with.clone()), Some(with.clone())));
        assert!(delivers(&stream_filter, Some(with), None));
        assert!(delivers(&stream_filter, None, Some(without)));
    }

    #[test]
    fn without_a_filter_the_reason_is_given() {
        let plain = touched(&["new"], &[]);
        let key = TableDescription::for_tests().key;
        for view in [StreamView::Keys, StreamView::New, StreamView::Old] {
            assert!(stream_filter(&plain, &key, view, &BTreeMap::new()).unwrap_err().contains("NEW_AND_OLD_IMAGES"));
        }
        assert!(filter_of(&plain, &types("new", &["M"])).unwrap_err().contains("type M"));
        assert!(filter_of(&touched(&["l[0].x"], &[]), &BTreeMap::new()).unwrap_err().contains("list"));
        let guess = filter_of(&plain, &BTreeMap::new()).unwrap();
        assert!(guess.caveat.contains("type S") && guess.caveat.contains("--sample"), "{}", guess.caveat);
    }
}
