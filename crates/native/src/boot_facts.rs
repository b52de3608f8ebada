//! The facts about this process that the supervisor passes in a file.

use std::fs;

use belljar_channel::BootFacts;
use belljar_jail::{SetupError, Step};

/// Reads the facts about this process.
pub fn read() -> Result<BootFacts, SetupError> {
    fs::read_to_string(BootFacts::PATH)
        .ok()
        .and_then(|text| BootFacts::decode(&text))
        .ok_or(SetupError { step: Step::Report, errno: libc::ENOENT })
}
