//! The last report of a program: the value is within its limit, of bounded depth, on one line and
//! equal to the original, and texts are bounded.
#![no_main]

use belljar_engine::fuzzing;
use belljar_protocol::RunError;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

const RESULT_BYTES: u64 = 4096;
/// The maximum length of each text, including the mark of a truncated one.
const MAX_TEXT_BYTES: usize = (64 << 10) + 3;

fuzz_target!(|payload: &[u8]| {
    let (value, error, _exit_code) = fuzzing::ending(payload, RESULT_BYTES);
    if let Some(value) = value {
        let text = value.get();
        assert!(text.len() as u64 <= RESULT_BYTES);
        assert!(!text.contains(['\n', '\r']));
        // The value nests no deeper than common parsers allow, and only white space was removed.
        // Not every parser accepts a number beyond the range of a double; the original is then
        // rejected as well.
        let compacted = serde_json::from_str::<Value>(text).ok();
        let original = serde_json::from_slice::<Value>(payload)
            .ok()
            .and_then(|mut report| report.get_mut("value").map(Value::take));
        if let Some(original) = original {
            assert_eq!(compacted, Some(original));
        }
    }
    if let Some(error) = error {
        check(&error, 5);
    }
});

/// Checks an error, its causes, and the errors that it aggregates.
fn check(error: &RunError, causes: usize) {
    let RunError { name, message, hint: _, stack, cause, errors } = error;
    assert!(
        name.len() <= 1024 + 3
            && message.len() <= MAX_TEXT_BYTES
            && stack.len() <= MAX_TEXT_BYTES
    );
    assert!(errors.len() <= 10);
    for beneath in cause.as_deref().into_iter().chain(errors) {
        check(beneath, causes.checked_sub(1).expect("no deeper than the limit on causes"));
    }
}
