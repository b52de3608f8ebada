//! A rich result: its media type can stand in a header and in a page's source as it is.
#![no_main]

use belljar_engine::fuzzing;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|payload: &[u8]| {
    if let Some(result) = fuzzing::rich_result(payload) {
        assert!(result.media_type.len() <= 100 && result.media_type.contains('/'));
        assert!(result.media_type.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' '));
        assert!(!result.media_type.contains(['"', '\'', '<', '>', '\\']));
        // A JSON text is never shorter than what it stands for.
        assert!(result.data.len() <= payload.len());
    }
});
