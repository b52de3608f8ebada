//! The facts of a boot: what is understood can be written, and is then read as the same.
#![no_main]

use belljar_channel::BootFacts;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Some(facts) = BootFacts::decode(text) {
        assert_eq!(BootFacts::decode(&facts.encode()), Some(facts));
    }
});
