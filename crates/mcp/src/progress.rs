//! Progress notifications of a running call: the logs of the program, and long steps before it
//! starts.

use std::fmt::Write as _;
use std::time::Duration;

use belljar_protocol::{EventKind, LogLevel, plain};
use rmcp::model::{ProgressNotificationParam, ProgressToken};
use rmcp::service::{Peer, RoleServer};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

/// The minimum interval between notifications. Lines within it share one.
const PAUSE: Duration = Duration::from_millis(50);
/// The maximum size of a notification.
const MAX_BYTES: usize = 64 << 10;

/// A sender of notifications. It runs in a task of its own, so that a client that does not read
/// blocks only its notifications.
pub(crate) struct Progress {
    lines: mpsc::UnboundedSender<String>,
    sending: JoinHandle<()>,
}

impl Progress {
    pub(crate) fn new(client: Peer<RoleServer>, token: ProgressToken) -> Self {
        // The output limit of the run bounds the queue.
        let (lines, received) = mpsc::unbounded_channel();
        Self { lines, sending: tokio::spawn(send(client, token, received)) }
    }

    /// Queues a notification of an event, if clients are notified of its kind.
    pub(crate) fn send(&self, event: EventKind) {
        let line = match event {
            EventKind::Progress { message } => plain::line(&message).into_owned(),
            EventKind::Log { level, message } => {
                let level = match level {
                    LogLevel::Info => "",
                    LogLevel::Debug => "debug: ",
                    LogLevel::Warn => "warn: ",
                    LogLevel::Error => "error: ",
                };
                format!("{level}{}", plain::text(&message))
            }
            _ => return,
        };
        // Sending fails only if the client is gone, which ends the task.
        let _ = self.lines.send(line);
    }

    /// Waits until all notifications are sent. They must precede the answer, with which the client
    /// forgets the progress token.
    pub(crate) async fn finish(self) {
        drop(self.lines);
        let _ = self.sending.await;
    }
}

async fn send(
    client: Peer<RoleServer>,
    token: ProgressToken,
    mut lines: mpsc::UnboundedReceiver<String>,
) {
    let mut count = 0.0;
    let mut not_before = Instant::now();
    let mut next = lines.recv().await;
    while let Some(mut message) = next.take() {
        // The first line is sent immediately, and the following ones together. When the run has
        // ended, the receive fails at once and nothing is delayed.
        while let Ok(Some(line)) = timeout_at(not_before, lines.recv()).await {
            if message.len() + line.len() > MAX_BYTES {
                next = Some(line);
                break;
            }
            let _ = write!(message, "\n{line}");
        }
        count += 1.0;
        if client
            .notify_progress(
                ProgressNotificationParam::new(token.clone(), count).with_message(message),
            )
            .await
            .is_err()
        {
            return;
        }
        not_before = Instant::now() + PAUSE;
        if next.is_none() {
            next = lines.recv().await;
        }
    }
}
