//! The contents of the artifacts of a run that has ended. They are only read if an answer has room
//! for them.

use std::io::Read;
use std::time::Duration;

use belljar_client::{Client, ClientError};
use belljar_engine::ArtifactFile;
use belljar_protocol::{Artifact, RunId};
use futures::TryStreamExt;

/// The time for the download of one artifact, which has at most a few megabytes.
const DOWNLOAD_TIME: Duration = Duration::from_mins(1);

/// The contents of the artifacts of a run.
#[derive(Debug)]
pub(crate) enum ArtifactContents {
    /// Open files on this machine.
    Files(Vec<ArtifactFile>),
    /// Contents on a server.
    OnServer(Client),
}

impl ArtifactContents {
    /// Returns the content of an artifact, or the reason why it cannot be read.
    pub(crate) async fn read(
        &mut self,
        run: &RunId,
        artifact: &Artifact,
    ) -> Result<Vec<u8>, String> {
        match self {
            Self::Files(files) => read_file(files, artifact),
            Self::OnServer(client) => {
                match tokio::time::timeout(DOWNLOAD_TIME, download(client, run, artifact)).await {
                    Ok(downloaded) => downloaded.map_err(|error| error.to_string()),
                    Err(_) => Err(format!("no answer within {} s", DOWNLOAD_TIME.as_secs())),
                }
            }
        }
    }
}

fn read_file(files: &mut [ArtifactFile], artifact: &Artifact) -> Result<Vec<u8>, String> {
    let found = files.iter_mut().find(|file| file.artifact.name == artifact.name);
    let found = found.ok_or("the file is missing")?;
    let mut bytes = Vec::new();
    match (&mut found.file).take(artifact.size_bytes).read_to_end(&mut bytes) {
        Ok(_) => Ok(bytes),
        Err(error) => Err(error.to_string()),
    }
}

async fn download(
    client: &Client,
    run: &RunId,
    artifact: &Artifact,
) -> Result<Vec<u8>, ClientError> {
    let mut content = client.get_artifact(run, &artifact.name).await?;
    let mut bytes = Vec::new();
    // The room of the answer was computed from this size.
    let most = usize::try_from(artifact.size_bytes).unwrap_or(usize::MAX);
    while let Some(piece) = content.try_next().await? {
        bytes.extend_from_slice(&piece[..piece.len().min(most - bytes.len())]);
    }
    Ok(bytes)
}
