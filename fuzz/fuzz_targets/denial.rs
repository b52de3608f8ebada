//! A denial that a sandbox reports: its texts are bounded.
#![no_main]

use belljar_engine::fuzzing;
use libfuzzer_sys::fuzz_target;

/// The maximum length of each text, including the mark of a truncated one.
const MAX_TEXT_BYTES: usize = 4096 + 3;

fuzz_target!(|payload: &[u8]| {
    if let Some(denial) = fuzzing::denial(payload) {
        for text in [denial.action, denial.target, denial.grant] {
            assert!(text.len() <= MAX_TEXT_BYTES);
        }
    }
});
