//! The imports that a sandbox has found in a program: names are unique, sorted, bounded, and free
//! of control characters.
#![no_main]

use belljar_engine::fuzzing;
use libfuzzer_sys::fuzz_target;

const MAX_NAMES: usize = 1000;
const MAX_NAME_BYTES: usize = 256;

fn check<'a>(names: impl Iterator<Item = &'a String> + Clone) {
    assert!(names.clone().count() <= MAX_NAMES);
    assert!(names.clone().zip(names.clone().skip(1)).all(|(one, next)| one < next));
    for name in names {
        assert!(
            !name.is_empty() && name.len() <= MAX_NAME_BYTES && !name.contains(char::is_control)
        );
    }
}

fuzz_target!(|json: &str| {
    if let Some(found) = fuzzing::found_imports(json) {
        check(found.imports.iter().map(|import| &import.name));
        check(found.additions.iter());
    }
});
