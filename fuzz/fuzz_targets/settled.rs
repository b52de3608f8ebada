//! The result of a run that still has pending work, and a note: the value is within its limit and
//! on one line, the list of pending work is bounded, and a note is one line without control
//! characters.
#![no_main]

use belljar_engine::fuzzing;
use libfuzzer_sys::fuzz_target;

const RESULT_BYTES: u64 = 4096;
/// The maximum length of a place in the program, including the mark of a truncated one.
const MAX_PLACE_BYTES: usize = 200 + 3;

fuzz_target!(|payload: &[u8]| {
    if let Some((value, pending)) = fuzzing::settled(payload, RESULT_BYTES) {
        assert!(pending.len() <= 16);
        assert!(pending.iter().flat_map(|one| &one.at).all(|at| at.len() <= MAX_PLACE_BYTES));
        if let Some(value) = value {
            assert!(
                value.get().len() as u64 <= RESULT_BYTES && !value.get().contains(['\n', '\r'])
            );
        }
    }
    if let Some(note) = fuzzing::note(payload) {
        assert!(!note.is_empty() && !note.contains(char::is_control));
    }
});
