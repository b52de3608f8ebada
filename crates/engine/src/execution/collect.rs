//! Collecting the files that a program left.

use belljar_protocol::RunRequest;
use tokio::sync::{Semaphore, watch};

use super::artifacts::{self, ArtifactFile, ArtifactRoom, Halt};
use super::left_behind::{self, Known, LeftBehind, LeftFiles};
use super::run_handle::until_cancelled;
use crate::home::Home;

/// The files that a program left.
#[derive(Default)]
pub(super) struct Collected {
    pub(super) files: Vec<ArtifactFile>,
    /// A human-readable reason why files are missing.
    pub(super) missing: Option<String>,
    pub(super) left_behind: LeftBehind,
}

/// A search for files that starts once the program has ended.
pub(super) struct Collection<'a> {
    pub(super) request: &'a RunRequest,
    pub(super) left_files: LeftFiles,
    /// Limit on the bytes of artifacts, if the host has one.
    pub(super) room: Option<&'a dyn ArtifactRoom>,
    /// Limits the threads that read artifacts.
    pub(super) readers: &'a Semaphore,
}

impl Collection<'_> {
    /// Returns whether the program may have left files.
    pub(super) fn is_needed(&self, home: &Home) -> bool {
        artifacts::any(home, &self.request.outputs) || left_behind::may_be(home, self.request)
    }

    /// Collects the files. They are searched and read off the async threads, and not at all if the
    /// host has no room for them. Returns none if the run is cancelled in the meantime.
    pub(super) async fn collect(
        &self,
        home: &Home,
        cancelled: &mut watch::Receiver<bool>,
    ) -> Option<Collected> {
        let halt = Halt::default();
        let home = home.try_clone().map_err(|error| error.to_string());
        tokio::select! {
            biased;
            () = until_cancelled(cancelled) => {
                halt.halt();
                None
            }
            collected = self.collect_until(home, halt.clone()) => Some(collected),
        }
    }

    /// Collects the files, and records the reason if any are missing.
    async fn collect_until(&self, home: Result<Home, String>, halt: Halt) -> Collected {
        let mut left_behind = LeftBehind::default();
        let (files, missing) = match self.find(home, &mut left_behind, halt).await {
            Ok(found) => found,
            Err(why) => {
                left_behind.keep_none();
                (Vec::new(), Some(format!("the artifacts could not be kept: {why}")))
            }
        };
        Collected { files, missing, left_behind }
    }

    /// Returns the files to return and the reason why others are missing, or the reason why there
    /// are none.
    async fn find(
        &self,
        home: Result<Home, String>,
        left_behind: &mut LeftBehind,
        halt: Halt,
    ) -> Result<(Vec<ArtifactFile>, Option<String>), String> {
        const PANICKED: &str = "reading failed";
        let home = home?;
        let _reader = self.readers.acquire().await.map_err(|_| PANICKED)?;
        let (named, max_bytes, halted) =
            (self.request.outputs.clone(), self.request.limits.disk_bytes.0, halt.clone());
        let (known, wanted) = (Known::of(self.request), self.left_files);
        let look = tokio::task::spawn_blocking(move || {
            let left = artifacts::look(&home, &named, max_bytes, &halted);
            let left_behind = left_behind::find(&home, &known, wanted, &left.names(), &halted);
            (left, left_behind)
        });
        let mut left;
        (left, *left_behind) = look.await.map_err(|_| PANICKED)?;
        if let Some(room) = self.room {
            // The files in `outputs/` have precedence.
            if left_behind.bytes() > 0
                && room.refusal(left.bytes() + left_behind.bytes()).await.is_some()
            {
                left_behind.keep_none();
            }
            if left.bytes() > 0
                && left_behind.files.is_empty()
                && let Some(why) = room.refusal(left.bytes()).await
            {
                return Err(why);
            }
        }
        left.add(std::mem::take(&mut left_behind.files));
        tokio::task::spawn_blocking(move || left.read(&halt)).await.map_err(|_| PANICKED.into())
    }
}
