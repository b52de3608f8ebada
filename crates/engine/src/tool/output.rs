//! The output of a tool, line by line.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc;

use crate::error::{EngineError, system};

/// The maximum length of a reported line of a tool's output.
const MAX_LINE_BYTES: usize = 4096;

/// The lines of a tool's output as they arrive.
pub(super) struct Lines {
    output: AsyncFd<OwnedFd>,
    pending: Vec<u8>,
    /// Complete lines that have not been sent yet. Nothing more is read before they are.
    ready: VecDeque<String>,
    taken_by: mpsc::Sender<String>,
    is_open: bool,
}

impl Lines {
    /// Takes the reading end of the tool's output, and the receiver of the lines.
    pub(super) fn new(
        output: OwnedFd,
        taken_by: mpsc::Sender<String>,
    ) -> Result<Self, EngineError> {
        Ok(Self {
            output: AsyncFd::new(output).map_err(system("watching a tool"))?,
            pending: Vec::new(),
            ready: VecDeque::new(),
            taken_by,
            is_open: true,
        })
    }

    /// Waits until more output arrives or a complete line has been sent. Never returns once the
    /// pipe is closed and all lines are sent.
    pub(super) async fn next(&mut self) {
        if !self.ready.is_empty() {
            let Ok(permit) = self.taken_by.reserve().await else { return self.ready.clear() };
            if let Some(line) = self.ready.pop_front() {
                permit.send(line);
            }
            return;
        }
        if !self.is_open {
            return std::future::pending().await;
        }
        let mut buffer = [0; 8192];
        let read = self
            .output
            .async_io(Interest::READABLE, |pipe| Ok(rustix::io::read(pipe, &mut buffer)?))
            .await;
        self.take_in(&buffer[..read.unwrap_or(0)]);
    }

    /// Sends the remaining output after the tool has ended.
    pub(super) async fn take(&mut self) {
        let mut buffer = [0; 8192];
        loop {
            while let Some(line) = self.ready.pop_front() {
                if self.taken_by.send(line).await.is_err() {
                    return;
                }
            }
            match rustix::io::read(self.output.get_ref(), &mut buffer) {
                Ok(read @ 1..) => self.take_in(&buffer[..read]),
                _ if self.pending.is_empty() => return,
                _ => self.take_in(&[]),
            }
        }
    }

    fn take_in(&mut self, bytes: &[u8]) {
        self.is_open = !bytes.is_empty();
        for piece in bytes.split_inclusive(|byte| matches!(byte, b'\n' | b'\r')) {
            let room = MAX_LINE_BYTES.saturating_sub(self.pending.len());
            self.pending.extend_from_slice(&piece[..piece.len().min(room)]);
            if piece.ends_with(b"\n") || piece.ends_with(b"\r") {
                self.end_line();
            }
        }
        if !self.is_open {
            self.end_line();
        }
    }

    fn end_line(&mut self) {
        let line = String::from_utf8_lossy(&self.pending).trim_end().to_owned();
        self.pending.clear();
        if !line.is_empty() {
            self.ready.push_back(line);
        }
    }
}
