//! A program's last report: whatever it says, the value is within its limit, of bounded depth, on one line and means what it did; texts are bounded.
#![no_main]

use belljar_engine::fuzzing;
use belljar_protocol::RunError;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

const RESULT_BYTES: u64 = 4096;
/// What each text may have, with the sign that it was cut.
const MOST_TEXT_BYTES: usize = (64 << 10) + 3;

fuzz_target!(|payload: &[u8]| {
    let (value, error, _exit_code) = fuzzing::ending(payload, RESULT_BYTES);
    if let Some(value) = value {
        let text = value.get();
        assert!(text.len() as u64 <= RESULT_BYTES);
        assert!(!text.contains(['\n', '\r']));
        // It nests no deeper than common parsers go, and white space was all that was taken out. A number beyond a double's range is one that not
        // every parser takes; neither did the original then.
        let compacted = serde_json::from_str::<Value>(text).ok();
        let original = serde_json::from_slice::<Value>(payload).ok().and_then(|mut report| report.get_mut("value").map(Value::take));
        if let Some(original) = original {
            assert_eq!(compacted, Some(original));
        }
    }
    if let Some(error) = error {
        check(&error, 5);
    }
});

/// An error, what it came from, and those that it stands for.
fn check(error: &RunError, causes: usize) {
    let RunError { name, message, stack, cause, errors } = error;
    assert!(name.len() <= 1024 + 3 && message.len() <= MOST_TEXT_BYTES && stack.len() <= MOST_TEXT_BYTES);
    assert!(errors.len() <= 10);
    for beneath in cause.as_deref().into_iter().chain(errors) {
        check(beneath, causes.checked_sub(1).expect("no deeper than so many causes"));
    }
}
