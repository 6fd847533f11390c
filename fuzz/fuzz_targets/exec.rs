//! Parses arbitrary bytes as a program's output for a batch of three items. The first byte is the number of outputs.

#![no_main]

use backfill::internals::exec::replies;
use backfill::internals::item::Value;
use libfuzzer_sys::fuzz_target;

const OUTPUTS: [&str; 3] = ["a", "b", "c d"];

fuzz_target!(|bytes: &[u8]| {
    let Some((first, printed)) = bytes.split_first() else { return };
    let outputs = &OUTPUTS[..usize::from(first % 4)];
    let found = replies(printed, (3, 5), outputs);
    for (id, answer) in &found.answers {
        assert!((3..=5).contains(id));
        match answer {
            // Every accepted answer is complete, and DynamoDB can store its values.
            Ok(values) => {
                assert!(values.keys().map(String::as_str).eq(outputs.iter().copied()));
                assert!(values.values().all(|value| Value::from_json(&value.to_json()).as_ref() == Ok(value)));
            }
            Err(why) => assert!(!why.is_empty() && why.len() < 300),
        }
    }
    let valid = found.answers.values().filter(|answer| answer.is_ok()).count() as u64;
    assert!(found.valid_lines >= valid);
    // An answer in a prefix of the text stays the same in the complete text, unless the text answers an item twice.
    let end = printed.len() / 2;
    for (id, answer) in replies(&printed[..end], (3, 5), outputs).answers {
        assert!(found.answers[&id] == answer || found.answers[&id] == Err("answered the item twice".to_owned()));
    }
});
