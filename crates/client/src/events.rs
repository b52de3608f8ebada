//! The events of a run as they happen. If the connection breaks, the stream reconnects and
//! continues where it was.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use belljar_protocol::{Event, EventKind, Outcome, RunId};
use futures::stream::{BoxStream, Stream, StreamExt};
use reqwest::Method;
use reqwest::header::ACCEPT;

use crate::client::{Client, Pieces, SILENCE, pieces};
use crate::error::ClientError;
use crate::lines::Lines;

/// Failed attempts in a row, without a new event, after which the stream ends. With the pauses
/// below, a server may take 20 s to restart.
const MAX_FAILURES: u32 = 9;
const PAUSE: Duration = Duration::from_millis(100);
const MAX_PAUSE: Duration = Duration::from_secs(5);

/// The events of one run up to the last, `finished`. The stream ends after an error.
pub struct RunEvents(BoxStream<'static, Result<Event, ClientError>>);

impl fmt::Debug for RunEvents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunEvents").finish_non_exhaustive()
    }
}

impl Stream for RunEvents {
    type Item = Result<Event, ClientError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_next_unpin(context)
    }
}

impl RunEvents {
    pub(crate) fn new(client: Client, id: RunId, after: Option<u64>) -> Self {
        let watch =
            Watch { client, id, after, connection: None, ready: VecDeque::new(), failures: 0 };
        Self(Box::pin(futures::stream::unfold(Some(watch), |watch| async move {
            let mut watch = watch?;
            match watch.next().await {
                Ok(event) => {
                    let is_last = matches!(event.kind, EventKind::Finished { .. });
                    Some((Ok(event), (!is_last).then_some(watch)))
                }
                Err(error) => Some((Err(error), None)),
            }
        })))
    }

    /// Waits for the end of the run and returns its outcome.
    pub async fn outcome(mut self) -> Result<Outcome, ClientError> {
        while let Some(event) = self.next().await {
            if let EventKind::Finished { outcome } = event?.kind {
                return Ok(*outcome);
            }
        }
        unreachable!("the last item is `finished` or an error")
    }
}

struct Watch {
    client: Client,
    id: RunId,
    /// The number of the last event that was returned.
    after: Option<u64>,
    connection: Option<(Pieces, Lines)>,
    ready: VecDeque<Event>,
    failures: u32,
}

impl Watch {
    async fn next(&mut self) -> Result<Event, ClientError> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                self.failures = 0;
                self.after = Some(event.seq);
                return Ok(event);
            }
            if let Err(error) = self.receive().await {
                self.connection = None;
                self.failures += 1;
                let pause = (PAUSE * 2_u32.saturating_pow(self.failures - 1)).min(MAX_PAUSE);
                let Some(pause) = error.retry_delay(pause).filter(|_| self.failures < MAX_FAILURES)
                else {
                    return Err(error);
                };
                tokio::time::sleep(pause).await;
            }
        }
    }

    /// Receives the next piece, which may contain any number of events.
    async fn receive(&mut self) -> Result<(), ClientError> {
        let (pieces, lines) = match &mut self.connection {
            Some(connection) => connection,
            None => self
                .connection
                .insert((self.client.watch(&self.id, self.after).await?, Lines::default())),
        };
        let Some(piece) = self.client.piece(pieces).await? else {
            return Err(ClientError::Broken {
                server: self.client.server().to_owned(),
                why: "the events ended before the run did".to_owned(),
            });
        };
        lines.add(&piece);
        while let Some(line) = lines.next() {
            let event: Event = self.client.parse(&line)?;
            let last = self.ready.back().map(|event| event.seq).or(self.after);
            // The end is always returned: a server that died may restart at a lower number than it
            // had sent.
            if last.is_none_or(|last| event.seq > last)
                || matches!(event.kind, EventKind::Finished { .. })
            {
                self.ready.push_back(event);
            }
        }
        Ok(())
    }
}

impl Client {
    /// Returns the events of a run: the past ones at once, then each as it happens.
    pub fn run_events(&self, id: &RunId) -> RunEvents {
        RunEvents::new(self.clone(), id.clone(), None)
    }

    /// Returns the events of a run that come after the event with this number.
    pub fn run_events_after(&self, id: &RunId, seq: u64) -> RunEvents {
        RunEvents::new(self.clone(), id.clone(), Some(seq))
    }

    async fn watch(&self, id: &RunId, after: Option<u64>) -> Result<Pieces, ClientError> {
        let mut request = self
            .request(Method::GET, &format!("/v1/runs/{id}/events"))
            .header(ACCEPT, "application/x-ndjson");
        if let Some(after) = after {
            request = request.header("last-event-id", after);
        }
        match tokio::time::timeout(SILENCE, self.send(request)).await {
            Ok(response) => Ok(pieces(response?)),
            Err(_) => {
                Err(ClientError::Silent { server: self.server().to_owned(), silence: SILENCE })
            }
        }
    }
}
