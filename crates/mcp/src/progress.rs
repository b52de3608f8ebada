//! What a client hears while a run is under way: its logs, and what takes long before it starts.

use std::fmt::Write as _;
use std::time::Duration;

use belljar_protocol::{EventKind, LogLevel, plain};
use rmcp::model::{ProgressNotificationParam, ProgressToken};
use rmcp::service::{Peer, RoleServer};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

/// Lines that come closer together go in one notification.
const PAUSE: Duration = Duration::from_millis(50);
/// A notification is sent before it grows larger.
const MOST_BYTES: usize = 64 << 10;

/// Sends notifications from a task of its own, so that a client that does not read holds up nothing but itself.
pub(crate) struct Progress {
    lines: mpsc::UnboundedSender<String>,
    sending: JoinHandle<()>,
}

impl Progress {
    pub(crate) fn new(client: Peer<RoleServer>, token: ProgressToken) -> Self {
        // What waits here is bounded by the run's output limit.
        let (lines, received) = mpsc::unbounded_channel();
        Self { lines, sending: tokio::spawn(send(client, token, received)) }
    }

    /// Tells of an event, if it is one to tell of.
    pub(crate) fn tell(&self, event: EventKind) {
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
        // Its task ends when the client is gone.
        let _ = self.lines.send(line);
    }

    /// Waits until all has been sent: a client forgets the token with the answer.
    pub(crate) async fn finish(self) {
        drop(self.lines);
        let _ = self.sending.await;
    }
}

async fn send(client: Peer<RoleServer>, token: ProgressToken, mut lines: mpsc::UnboundedReceiver<String>) {
    let mut count = 0.0;
    let mut not_before = Instant::now();
    let mut next = lines.recv().await;
    while let Some(mut message) = next.take() {
        // The first of many goes at once, the others together; once the run is over nothing is waited for.
        while let Ok(Some(line)) = timeout_at(not_before, lines.recv()).await {
            if message.len() + line.len() > MOST_BYTES {
                next = Some(line);
                break;
            }
            let _ = write!(message, "\n{line}");
        }
        count += 1.0;
        if client.notify_progress(ProgressNotificationParam::new(token.clone(), count).with_message(message)).await.is_err() {
            return;
        }
        not_before = Instant::now() + PAUSE;
        if next.is_none() {
            next = lines.recv().await;
        }
    }
}
