//! A denial: its texts are bounded.
#![no_main]

use belljar_engine::fuzzing;
use libfuzzer_sys::fuzz_target;

/// What each text may have, with the sign that it was cut.
const MOST_TEXT_BYTES: usize = 4096 + 3;

fuzz_target!(|payload: &[u8]| {
    if let Some(denial) = fuzzing::denial(payload) {
        for text in [denial.action, denial.target, denial.grant] {
            assert!(text.len() <= MOST_TEXT_BYTES);
        }
    }
});
