//! Loads arbitrary bytes as a plan. The result must be a plan, or a list of errors that can be displayed.

#![no_main]

use backfill::internals::plan::load_bytes;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    match load_bytes("plan.toml", bytes) {
        Ok(loaded) => {
            // If a valid plan is loaded twice, it has the same meaning both times.
            let again = load_bytes("plan.toml", bytes).expect("the plan was valid");
            assert!(again.plan == loaded.plan);
        }
        Err(errors) => assert!(!errors.to_string().is_empty()),
    }
});
