//! Loads any bytes as a plan. The result is a plan or a list of errors that can be shown.

#![no_main]

use backfill::internals::plan::load_bytes;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    match load_bytes("plan.toml", bytes) {
        Ok(loaded) => {
            // A valid plan has the same meaning each time it is loaded.
            let again = load_bytes("plan.toml", bytes).expect("the plan was valid");
            assert!(again.plan == loaded.plan);
        }
        Err(errors) => assert!(!errors.to_string().is_empty()),
    }
});
