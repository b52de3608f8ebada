//! The progress of the preparation of a run.

use std::sync::Arc;
use std::time::Duration;

use belljar_protocol::EventKind;
use belljar_provision::Step;
use tokio::sync::mpsc;

use crate::execution::Emitter;

/// Interval after which the current step is reported again, with its duration.
const STILL_AFTER: Duration = Duration::from_secs(2);

/// Waits for a future and emits its steps as progress: each step when it begins, and again with its
/// seconds while it lasts. The first step is `what`, which is reported only if it takes long.
pub(crate) async fn with_progress<F: Future>(
    emitter: &mut Emitter,
    what: Option<String>,
    begin: impl FnOnce(Arc<dyn Fn(String) + Send + Sync>) -> F,
) -> F::Output {
    let (progress, mut messages) = mpsc::unbounded_channel::<String>();
    let mut waiting = std::pin::pin!(begin(Arc::new(move |message| drop(progress.send(message)))));
    let (mut last, mut since) = (what, tokio::time::Instant::now());
    let mut still = tokio::time::interval_at(since + STILL_AFTER, STILL_AFTER);
    loop {
        tokio::select! {
            biased;
            Some(message) = messages.recv() => {
                since = tokio::time::Instant::now();
                still.reset();
                last = Some(message.clone());
                emitter.emit(EventKind::Progress { message });
            }
            done = &mut waiting => return done,
            _ = still.tick() => {
                if let Some(last) = &last {
                    emitter.emit(EventKind::Progress { message: format!("{last} ({} s)", since.elapsed().as_secs()) });
                }
            }
        }
    }
}

/// Returns a human-readable description of a step of provisioning.
pub fn describe_step(step: Step<'_>) -> String {
    match step {
        Step::Probing { path } => format!("checking {}", path.display()),
        Step::Waiting => "waiting for another process that is installing the same".into(),
        Step::Discarding { path, why } => format!("discarding {}: {why}", path.display()),
        Step::FallingBack { why } => format!("trying the next source: {why}"),
        Step::Downloading { what, version, bytes, total } => match total {
            Some(total) => {
                format!("downloading {what} {version}: {} of {} MB", bytes >> 20, total >> 20)
            }
            None => format!("downloading {what} {version}: {} MB", bytes >> 20),
        },
        Step::Verifying => "verifying".into(),
        Step::Unpacking => "unpacking".into(),
        _ => "working".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::execution::RunEvent;

    async fn progress_of(
        what: Option<&str>,
        messages: &'static [&'static str],
        takes: Duration,
    ) -> Vec<String> {
        let (sender, mut events) = mpsc::unbounded_channel();
        let begin = |report: Arc<dyn Fn(String) + Send + Sync>| async move {
            for message in messages {
                report((*message).to_owned());
            }
            tokio::time::sleep(takes).await;
        };
        with_progress(&mut Emitter::new(sender), what.map(str::to_owned), begin).await;
        let mut reported = Vec::new();
        while let Ok(RunEvent::Event(event)) = events.try_recv() {
            if let EventKind::Progress { message } = event.kind {
                reported.push(message);
            }
        }
        reported
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_step_is_reported_again_with_its_seconds() {
        let long = STILL_AFTER + STILL_AFTER / 2;
        assert_eq!(
            progress_of(None, &["resolving", "installing"], long).await,
            ["resolving", "installing", "installing (2 s)"]
        );
        assert_eq!(progress_of(Some("importing x"), &[], long).await, ["importing x (2 s)"]);
        assert!(progress_of(None, &[], long).await.is_empty());
        assert!(progress_of(Some("importing x"), &[], Duration::ZERO).await.is_empty());
    }
}
