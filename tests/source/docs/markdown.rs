//! Parses the parts of Markdown that the tests need: blocks, code spans, links and headings.

use std::collections::{BTreeSet, HashMap};

/// A fenced block of a document.
#[derive(Debug)]
pub(super) struct Block {
    pub(super) language: String,
    /// The line number of the block's first line in the document, starting at 1.
    pub(super) line: usize,
    pub(super) text: String,
}

/// Returns a document's fenced blocks, and the document's text with empty lines instead of these blocks.
pub(super) fn blocks(document: &str) -> (Vec<Block>, String) {
    let mut found = Vec::new();
    let mut rest = String::new();
    let mut open: Option<(usize, Block)> = None;
    for (number, line) in document.lines().enumerate() {
        let indent = line.len() - line.trim_start().len();
        let fence = line.trim_start().strip_prefix("```");
        match (open.take(), fence) {
            (None, None) => rest.push_str(line),
            (None, Some(language)) => {
                let language = language.trim().to_owned();
                open = Some((indent, Block { language, line: number + 2, text: String::new() }));
            }
            (Some((_, block)), Some(_)) => found.push(block),
            (Some((outer, mut block)), None) => {
                block.text.push_str(&line[outer.min(indent)..]);
                block.text.push('\n');
                open = Some((outer, block));
            }
        }
        rest.push('\n');
    }
    assert!(open.is_none(), "a block never ends: {open:?}");
    (found, rest)
}

/// Splits text into its code spans and the text between them. A span does not cross an empty line.
pub(super) fn code_spans(text: &str) -> (Vec<String>, String) {
    let mut spans = Vec::new();
    let mut rest = String::new();
    for paragraph in text.split("\n\n") {
        let mut left = paragraph;
        while let Some(at) = left.find('`') {
            let (before, after) = left.split_at(at);
            rest.push_str(before);
            let ticks = after.len() - after.trim_start_matches('`').len();
            let inside = &after[ticks..];
            match end_of_span(inside, ticks) {
                Some(end) => {
                    spans.push(inside[..end].split_whitespace().collect::<Vec<_>>().join(" "));
                    left = &inside[end + ticks..];
                }
                None => left = inside,
            }
        }
        rest.push_str(left);
        rest.push_str("\n\n");
    }
    (spans, rest)
}

/// Returns the position of the next sequence with exactly this number of backticks.
fn end_of_span(text: &str, ticks: usize) -> Option<usize> {
    let mut at = 0;
    while let Some(found) = text[at..].find('`') {
        let begin = at + found;
        let run = text[begin..].len() - text[begin..].trim_start_matches('`').len();
        if run == ticks {
            return Some(begin);
        }
        at = begin + run;
    }
    None
}

/// Returns the targets of all links in a document. Links have the forms `[text](target)` and `[name]: target`.
pub(super) fn links(document: &str) -> Vec<String> {
    let (_, rest) = blocks(document);
    let (_, rest) = code_spans(&rest);
    let inline = rest.split("](").skip(1).filter_map(|after| after.split_once(')')).map(|(target, _)| target);
    let named = rest.lines().filter_map(|line| line.strip_prefix('[')?.split_once("]: ").map(|(_, target)| target));
    inline.chain(named).map(|target| target.trim().to_owned()).collect()
}

/// Returns the anchors that GitHub and mdBook generate for a document's headings.
pub(super) fn anchors(document: &str) -> BTreeSet<String> {
    let (_, rest) = blocks(document);
    let mut made: HashMap<String, usize> = HashMap::new();
    let headings = rest.lines().filter_map(|line| {
        let text = line.trim_start_matches('#');
        (text.len() < line.len()).then(|| text.strip_prefix(' ')).flatten()
    });
    headings
        .map(|heading| {
            let kept = heading.trim().chars().filter(|c| c.is_alphanumeric() || matches!(*c, ' ' | '-' | '_'));
            let anchor: String = kept.flat_map(char::to_lowercase).map(|c| if c == ' ' { '-' } else { c }).collect();
            let count = made.entry(anchor.clone()).or_default();
            *count += 1;
            if *count == 1 { anchor } else { format!("{anchor}-{}", *count - 1) }
        })
        .collect()
}
