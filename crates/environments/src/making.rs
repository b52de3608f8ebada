//! The wait for another run that creates the same environment or resolution.

use std::time::Duration;

use crate::error::EnvironmentError;
use crate::progress::Tell;
use crate::store::{Making, Store};

/// The first and the longest pause between checks whether another run has finished the same
/// installation.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_millis(250);

/// Waits until no other run creates the same environment. A waiting run that is cancelled
/// leaves nothing behind.
pub(crate) async fn making(
    store: &Store,
    key: &str,
    tell: &Tell,
) -> Result<Making, EnvironmentError> {
    let mut pause = FIRST_PAUSE;
    loop {
        if let Some(making) = store.try_making(key)? {
            return Ok(making);
        }
        if pause == FIRST_PAUSE {
            tell("waiting for another run that installs the same packages".to_owned());
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}
