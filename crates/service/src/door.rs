//! What a sandbox may ask of storage: the host's side of `belljar.storage`. The caller's project bounds what there is, the run's policy what of it may
//! be touched; the sandbox has no say in either.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;

use belljar_engine::{Call, CallError, CallErrorName, CallRequest, Door, ObjectHead};
use belljar_protocol::{Denial, ObjectName, Policy, RunId, StoragePolicy};
use belljar_store::StoreError;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream;
use tokio::net::UnixStream;

use crate::caller::Caller;
use crate::calls::{Done, StorageCalls};
use crate::error::ServiceError;
use crate::service::Service;
use crate::storage::NewUpload;

/// Objects of one list that are given to a program.
const MOST_LISTED: u32 = 10_000;
/// Objects of a list that are in memory at a time. One may have 32 KB of metadata, and a run may hold sixteen lists and read none of them.
const LISTED_AT_A_TIME: u32 = 100;
/// Pages of a list that cost what a call does.
const PAGES_OF_A_CALL: u32 = 10;

/// The storage of a project, as far as one run may touch it.
#[derive(Debug)]
pub(crate) struct StorageDoor {
    service: Service,
    /// Whoever asked for the run, with the run as the one who acts.
    caller: Caller,
    granted: StoragePolicy,
    /// Of all attempts of the run.
    calls: Arc<StorageCalls>,
}

impl StorageDoor {
    pub(crate) fn new(service: Service, caller: Caller, run: RunId, policy: &Policy, calls: Arc<StorageCalls>) -> Self {
        Self { service, caller: Caller { actor: run.to_string(), source: None, ..caller }, granted: policy.storage.clone(), calls }
    }

    async fn answer(&self, socket: UnixStream) -> Result<Vec<Denial>, io::Error> {
        let mut call = Call::new(socket);
        // Before anything of it is read: it waits on the run's own time.
        self.service.call_turn(&self.caller).await;
        let request = call.request().await?;
        let served = if self.calls.begin() { self.serve_request(&mut call, request).await } else { Err(too_many()) };
        self.calls.count(served.as_ref().map_or(Done::Refused, |done| *done));
        match served {
            Ok(_) => Ok(Vec::new()),
            Err(Refusal::Gone(error)) => Err(error),
            Err(Refusal::Denied(error, denial)) => {
                // The refusal counts, whether the sandbox hears of it or not.
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
                    self.service.store_object(&self.caller, name, new, body, Some(&self.calls)).await?
                };
                call.succeed(&record).await?;
                Done::Uploaded
            }
            CallRequest::Download { name } => {
                let name = granted_name(&name, &self.granted.read, "storage.download", "read")?;
                let (record, _, mut download) = self.service.open_object(&self.caller, &name, |_| Ok(None)).await?;
                let head =
                    ObjectHead { size_bytes: record.size_bytes, content_type: record.content_type, sha256: record.sha256, md5: record.md5 };
                call.succeed(&head).await?;
                while let Some(chunk) = download.content.next().await {
                    // Nothing more can be said: the missing end tells the program.
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
                self.service.remove_object(&self.caller, name, Some(&self.calls)).await?;
                call.succeed(&serde_json::json!({})).await?;
                Done::Deleted
            }
        })
    }

    /// Sends those of the objects that begin with the prefix that the run may read, page by page.
    async fn list(&self, call: &mut Call, prefix: &str) -> Result<(), Refusal> {
        let overlaps = self.granted.read.iter().any(|granted| prefix.starts_with(granted.as_str()) || granted.starts_with(prefix));
        if !overlaps {
            return Err(not_granted(prefix, "storage.list", "read"));
        }
        let (mut left, mut cursor) = (MOST_LISTED as usize, None::<String>);
        for page_number in 0_u32.. {
            if page_number > 0 && page_number % PAGES_OF_A_CALL == 0 {
                self.service.call_turn(&self.caller).await;
            }
            let page = self.service.store().objects(&self.caller.project.id, prefix, cursor.as_deref(), LISTED_AT_A_TIME).await;
            let page = match page {
                // Nothing more can be said: the missing end tells the program.
                Err(_) if page_number > 0 => return Err(Refusal::Gone(io::ErrorKind::Other.into())),
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
            cursor = page.next_cursor;
            if cursor.is_none() || left == 0 {
                break;
            }
        }
        Ok(call.end().await?)
    }
}

impl Door for StorageDoor {
    fn serve(&self, _run: RunId, call: UnixStream) -> Pin<Box<dyn Future<Output = Vec<Denial>> + Send>> {
        let door = Self {
            service: self.service.clone(),
            caller: self.caller.clone(),
            granted: self.granted.clone(),
            calls: Arc::clone(&self.calls),
        };
        // A sandbox that is gone, or that breaks the protocol, is answered by the closed socket.
        Box::pin(async move { door.answer(call).await.unwrap_or_default() })
    }
}

/// A name that the run may use, if it is one.
fn granted_name(name: &str, prefixes: &[String], action: &'static str, grant: &'static str) -> Result<ObjectName, Refusal> {
    let parsed =
        ObjectName::try_from(name).map_err(|error| Refusal::Failed(CallError::new(CallErrorName::InvalidName, error.to_string())))?;
    if parsed.is_beneath(prefixes) { Ok(parsed) } else { Err(not_granted(name, action, grant)) }
}

/// Why a call was not served.
enum Refusal {
    Failed(CallError),
    Denied(CallError, Denial),
    /// There is nobody to tell.
    Gone(io::Error),
}

fn too_many() -> Refusal {
    Refusal::Failed(CallError::new(CallErrorName::QuotaExceeded, "the run has made all the storage calls that one run may make"))
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
            | ServiceError::TooLarge(_) => CallErrorName::QuotaExceeded,
            ServiceError::Invalid { .. } => CallErrorName::InvalidName,
            ServiceError::Body(_) => return Self::Gone(io::ErrorKind::UnexpectedEof.into()),
            // What is wrong inside is not told outside.
            _ => return Self::Failed(CallError::new(CallErrorName::StorageError, "storage failed; the server's log says why")),
        };
        Self::Failed(CallError::new(name, error.to_string()))
    }
}
