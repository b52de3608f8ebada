//! The host's side of `belljar.storage`: the storage calls of a sandbox. The caller's project
//! determines which objects exist, and the run's policy which of them it may use. The sandbox
//! influences neither.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;

use belljar_engine::{Call, CallError, CallErrorName, CallHandler, CallRequest, ObjectHead};
use belljar_protocol::{Denial, ObjectName, PageRequest, Policy, RunId, StoragePolicy};
use belljar_store::StoreError;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream;
use tokio::net::UnixStream;

use super::run_calls::{Done, StorageCalls};
use super::{NewUpload, Storage};
use crate::caller::Caller;
use crate::error::ServiceError;

/// The maximum number of objects that a list returns to a program.
const MAX_LISTED: u32 = 10_000;
/// The number of a list's objects in memory at once. An object may have 32 KB of metadata, and a
/// run may open sixteen lists and read none of them.
const LISTED_AT_A_TIME: u32 = 100;
/// The number of pages of a list that cost as much as a call.
const PAGES_OF_A_CALL: u32 = 10;

/// The storage of a project, limited to what one run may use.
#[derive(Debug)]
pub(crate) struct StorageDoor {
    storage: Arc<Storage>,
    /// The caller who started the run, with the run as the actor.
    caller: Caller,
    granted: StoragePolicy,
    /// The calls of all attempts of the run.
    calls: Arc<StorageCalls>,
}

impl StorageDoor {
    pub(crate) fn new(
        storage: Arc<Storage>,
        caller: Caller,
        run: RunId,
        policy: &Policy,
        calls: Arc<StorageCalls>,
    ) -> Self {
        Self {
            storage,
            caller: Caller { actor: run.to_string(), name: None, source: None, ..caller },
            granted: policy.storage.clone(),
            calls,
        }
    }

    async fn answer(&self, socket: UnixStream) -> Result<Vec<Denial>, io::Error> {
        let mut call = Call::new(socket);
        // The wait comes before the call is read, so that it counts as the run's own time.
        self.storage.call_rates.turn(&self.caller).await;
        let request = call.request().await?;
        let served = if self.calls.begin() {
            self.serve_request(&mut call, request).await
        } else {
            Err(too_many())
        };
        self.calls.count(served.as_ref().map_or(Done::Refused, |done| *done));
        match served {
            Ok(_) => Ok(Vec::new()),
            Err(Refusal::Gone(error)) => Err(error),
            Err(Refusal::Denied(error, denial)) => {
                // The refusal counts even if the sandbox does not receive it.
                let _ = call.fail(error).await;
                Ok(vec![denial])
            }
            Err(Refusal::Failed(error)) => call.fail(error).await.map(|()| Vec::new()),
        }
    }

    async fn serve_request(&self, call: &mut Call, request: CallRequest) -> Result<Done, Refusal> {
        Ok(match request {
            CallRequest::Upload { name, content_type } => {
                let name = granted_name(&name, &self.granted.write, "storage.upload", "write")?;
                let new = NewUpload { content_type, ..NewUpload::default() };
                let record = {
                    let body = stream::unfold(&mut *call, |call| async move {
                        let part = match call.part().await {
                            Ok(None) => return None,
                            Ok(Some(part)) => Ok(Bytes::copy_from_slice(part)),
                            Err(error) => Err(error),
                        };
                        Some((part, call))
                    });
                    self.storage
                        .store_object(&self.caller, name, new, body, Some(&self.calls))
                        .await?
                };
                call.succeed(&record).await?;
                Done::Uploaded
            }
            CallRequest::Download { name } => {
                let name = granted_name(&name, &self.granted.read, "storage.download", "read")?;
                let (record, _, mut content) =
                    self.storage.open_object(&self.caller, &name, |_| Ok(None)).await?;
                let head = ObjectHead {
                    size_bytes: record.size_bytes,
                    content_type: record.content_type,
                    sha256: record.sha256,
                    md5: record.md5,
                };
                call.succeed(&head).await?;
                while let Some(chunk) = content.next().await {
                    // No error can be reported any more. The missing end tells the program.
                    let Ok(chunk) = chunk else { return Ok(Done::Downloaded) };
                    call.send(&chunk).await?;
                }
                call.end().await?;
                Done::Downloaded
            }
            CallRequest::List { prefix } => {
                self.list(call, &prefix).await?;
                Done::Listed
            }
            CallRequest::Delete { name } => {
                let name = granted_name(&name, &self.granted.write, "storage.delete", "write")?;
                self.storage.remove_object(&self.caller, name, Some(&self.calls)).await?;
                call.succeed(&serde_json::json!({})).await?;
                Done::Deleted
            }
        })
    }

    /// Sends the objects that begin with the prefix and that the run may read, page by page.
    async fn list(&self, call: &mut Call, prefix: &str) -> Result<(), Refusal> {
        let overlaps = self
            .granted
            .read
            .iter()
            .any(|granted| prefix.starts_with(granted.as_str()) || granted.starts_with(prefix));
        if !overlaps {
            return Err(not_granted(prefix, "storage.list", "read"));
        }
        let (mut left, mut next) = (MAX_LISTED as usize, PageRequest::first(LISTED_AT_A_TIME));
        for page_number in 0_u32.. {
            if page_number > 0 && page_number % PAGES_OF_A_CALL == 0 {
                self.storage.call_rates.turn(&self.caller).await;
            }
            let page = self.storage.store.objects(&self.caller.project.id, prefix, &next).await;
            let page = match page {
                // No error can be reported any more. The missing end tells the program.
                Err(_) if page_number > 0 => {
                    return Err(Refusal::Gone(io::ErrorKind::Other.into()));
                }
                page => page.map_err(ServiceError::from)?,
            };
            if page_number == 0 {
                call.succeed(&serde_json::json!({})).await?;
            }
            let mut records = page.objects;
            records.retain(|record| record.name.is_beneath(&self.granted.read));
            records.truncate(left);
            left -= records.len();
            call.send_records(&records).await?;
            next.cursor = page.next_cursor;
            if next.cursor.is_none() || left == 0 {
                break;
            }
        }
        Ok(call.end().await?)
    }
}

impl CallHandler for StorageDoor {
    fn serve(
        &self,
        _run: RunId,
        call: UnixStream,
    ) -> Pin<Box<dyn Future<Output = Vec<Denial>> + Send>> {
        let handler = Self {
            storage: Arc::clone(&self.storage),
            caller: self.caller.clone(),
            granted: self.granted.clone(),
            calls: Arc::clone(&self.calls),
        };
        // If the sandbox is gone or violates the protocol, closing the socket is the answer.
        Box::pin(async move { handler.answer(call).await.unwrap_or_default() })
    }
}

/// Returns a name if the run may use it.
fn granted_name(
    name: &str,
    prefixes: &[String],
    action: &'static str,
    grant: &'static str,
) -> Result<ObjectName, Refusal> {
    let parsed = ObjectName::try_from(name).map_err(|error| {
        Refusal::Failed(CallError::new(CallErrorName::InvalidName, error.to_string()))
    })?;
    if parsed.is_beneath(prefixes) { Ok(parsed) } else { Err(not_granted(name, action, grant)) }
}

/// The error of a call that was not served.
enum Refusal {
    Failed(CallError),
    Denied(CallError, Denial),
    /// The sandbox is gone, so no one can receive an answer.
    Gone(io::Error),
}

fn too_many() -> Refusal {
    Refusal::Failed(CallError::new(
        CallErrorName::QuotaExceeded,
        "the run has reached its limit of storage calls",
    ))
}

fn not_granted(name: &str, action: &'static str, grant: &'static str) -> Refusal {
    let grant = format!("storage: {{\"{grant}\": [{}]}}", serde_json::Value::from(name));
    let message = format!("{action} of {name} is not granted; grant it with {grant}");
    Refusal::Denied(
        CallError::new(CallErrorName::NotGranted, message),
        Denial { action: action.to_owned(), target: name.to_owned(), grant },
    )
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        Self::Gone(error)
    }
}

impl From<ServiceError> for Refusal {
    fn from(error: ServiceError) -> Self {
        let name = match &error {
            ServiceError::NotFound { .. } => CallErrorName::NotFound,
            ServiceError::Store(StoreError::Quota { .. } | StoreError::ObjectQuota { .. })
            | ServiceError::Quota { .. }
            | ServiceError::TooLarge { .. } => CallErrorName::QuotaExceeded,
            ServiceError::Invalid { .. } => CallErrorName::InvalidName,
            ServiceError::Body(_) => return Self::Gone(io::ErrorKind::UnexpectedEof.into()),
            // Do not expose internal errors to the program.
            _ => {
                return Self::Failed(CallError::new(
                    CallErrorName::StorageError,
                    "storage failed for a reason that is in the server's log",
                ));
            }
        };
        Self::Failed(CallError::new(name, error.to_string()))
    }
}
