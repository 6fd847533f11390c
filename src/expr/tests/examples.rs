//! Tests the examples of the reference, and the rules for the table of functions.

use std::collections::BTreeSet;

use super::constant;
use crate::expr::functions::all;
use crate::expr::{examples, reference};

#[test]
fn every_example_has_the_stated_result() {
    for example in examples() {
        let (is, due) = (constant(example.source), constant(example.result));
        assert!(is.is_ok(), "{}: {is:?}", example.source);
        assert_eq!(is, due, "{}", example.source);
    }
}

#[test]
fn every_function_has_an_example_that_calls_it() {
    let mut names = BTreeSet::new();
    for function in all() {
        assert!(names.insert(function.name), "{} occurs twice", function.name);
        let calls = |source: &str| source.contains(&format!("{}(", function.name));
        assert!(function.examples.iter().any(|(source, _)| calls(source)), "{}", function.name);
        assert!(function.about.ends_with('.') && function.about.len() < 200, "{}: {}", function.name, function.about);
    }
    assert!(names.len() > 50, "{} functions", names.len());
}

#[test]
fn the_reference_lists_every_function() {
    let page = reference();
    for function in all() {
        assert!(page.contains(&function.signatures()[0]), "{}", function.name);
    }
    assert!(!page.contains("STORED") && page.ends_with('\n'));
}
