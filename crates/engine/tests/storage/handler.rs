//! A call handler for objects in memory.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use belljar_engine::{Call, CallError, CallErrorName, CallHandler, CallRequest, ObjectHead};
use belljar_protocol::{Denial, RunId};
use serde_json::{Value, json};
use tokio::net::UnixStream;

/// Objects whose names begin so are as large as the rest of the name says, and are nowhere: uploads
/// are counted only.
const ENDLESS: &str = "big/";
/// The byte that such objects consist of.
pub const FILLING: u8 = b'x';

#[derive(Clone, Debug, PartialEq)]
pub struct Object {
    pub content: Vec<u8>,
    pub content_type: String,
}

/// The state of the handler that a test can see.
#[derive(Debug, Default)]
pub struct State {
    pub objects: Mutex<BTreeMap<String, Object>>,
    /// Number of bytes, all of them [`FILLING`], of the uploads that are not kept.
    pub counted: Mutex<BTreeMap<String, usize>>,
    /// Calls that have begun, and those that have ended or were dropped.
    pub begun: AtomicUsize,
    pub ended: AtomicUsize,
    pub max_open: AtomicUsize,
    /// Bytes of bodies that have arrived.
    pub received: AtomicUsize,
}

impl State {
    pub fn put(&self, name: &str, content: &[u8]) {
        let object = Object { content: content.to_vec(), content_type: "text/plain".into() };
        self.objects.lock().unwrap().insert(name.into(), object);
    }

    pub fn get(&self, name: &str) -> Option<Object> {
        self.objects.lock().unwrap().get(name).cloned()
    }
}

/// Grants what begins with these prefixes.
#[derive(Debug)]
pub struct MemoryHandler {
    pub state: Arc<State>,
    pub read: &'static str,
    pub write: &'static str,
}

/// Counts a call for as long as it lives.
struct Open(Arc<State>);

impl Open {
    fn new(state: &Arc<State>) -> Self {
        let begun = state.begun.fetch_add(1, Ordering::Relaxed) + 1;
        state.max_open.fetch_max(begun - state.ended.load(Ordering::Relaxed), Ordering::Relaxed);
        Self(Arc::clone(state))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.ended.fetch_add(1, Ordering::Relaxed);
    }
}

impl CallHandler for MemoryHandler {
    fn serve(
        &self,
        _run: RunId,
        socket: UnixStream,
    ) -> Pin<Box<dyn Future<Output = Vec<Denial>> + Send>> {
        let (state, read, write) = (Arc::clone(&self.state), self.read, self.write);
        let open = Open::new(&state);
        Box::pin(async move {
            let mut denied = Vec::new();
            let mut call = Call::new(socket);
            // A sandbox that is gone or violates the protocol gets no answer.
            let Ok(request) = call.request().await else { return denied };
            let (name, granted, action) = match &request {
                CallRequest::Upload { name, .. } | CallRequest::Delete { name } => {
                    (name, write, "write")
                }
                CallRequest::Download { name } | CallRequest::List { prefix: name } => {
                    (name, read, "read")
                }
            };
            if name.starts_with(granted) {
                let _ = serve(&state, call, request).await;
            } else {
                let grant = format!("storage.{action}: [{name:?}]");
                let message = format!("{action} of {name} is not granted; grant it with {grant}");
                denied.push(Denial {
                    action: format!("storage.{action}"),
                    target: name.clone(),
                    grant,
                });
                let _ = call.fail(CallError::new(CallErrorName::NotGranted, message)).await;
            }
            drop(open);
            denied
        })
    }
}

async fn serve(state: &State, mut call: Call, request: CallRequest) -> io::Result<()> {
    match request {
        CallRequest::Upload { name, content_type } => {
            let record = if name.starts_with(ENDLESS) {
                count(state, &mut call, &name).await?
            } else {
                store(state, &mut call, name, content_type).await?
            };
            call.succeed(&record).await
        }
        CallRequest::Download { name } => {
            match name.strip_prefix(ENDLESS).and_then(|size| size.parse::<usize>().ok()) {
                Some(size) => generate(call, size).await,
                None => match state.get(&name) {
                    Some(object) => {
                        call.succeed(&head(object.content.len(), &object.content_type)).await?;
                        call.send(&object.content).await?;
                        call.end().await
                    }
                    None => {
                        call.fail(CallError::new(
                            CallErrorName::NotFound,
                            format!("there is no object {name}"),
                        ))
                        .await
                    }
                },
            }
        }
        CallRequest::List { prefix } => {
            call.succeed(&json!({})).await?;
            let objects = state.objects.lock().unwrap().clone();
            let records: Vec<Value> = objects
                .iter()
                .filter(|(name, _)| name.starts_with(&prefix))
                .map(|(name, object)| record(name, object))
                .collect();
            call.send_list(&records).await
        }
        CallRequest::Delete { name } => {
            state.objects.lock().unwrap().remove(&name);
            call.succeed(&json!({})).await
        }
    }
}

fn head(size: usize, content_type: &str) -> ObjectHead {
    ObjectHead {
        size_bytes: size as u64,
        content_type: content_type.into(),
        sha256: String::new(),
        md5: String::new(),
    }
}

fn record(name: &str, object: &Object) -> Value {
    json!({"name": name, "size_bytes": object.content.len(), "content_type": object.content_type})
}

async fn store(
    state: &State,
    call: &mut Call,
    name: String,
    content_type: Option<String>,
) -> io::Result<Value> {
    let mut content = Vec::new();
    while let Some(part) = call.part().await? {
        state.received.fetch_add(part.len(), Ordering::Relaxed);
        content.extend_from_slice(part);
    }
    let object = Object {
        content,
        content_type: content_type.unwrap_or_else(|| "application/octet-stream".into()),
    };
    let record = record(&name, &object);
    state.objects.lock().unwrap().insert(name, object);
    Ok(record)
}

async fn count(state: &State, call: &mut Call, name: &str) -> io::Result<Value> {
    let (mut size, filling) = (0, vec![FILLING; 1 << 20]);
    while let Some(part) = call.part().await? {
        state.received.fetch_add(part.len(), Ordering::Relaxed);
        assert!(part == &filling[..part.len()], "the upload {name} is not what was sent");
        size += part.len();
    }
    state.counted.lock().unwrap().insert(name.into(), size);
    Ok(json!({"name": name, "size_bytes": size}))
}

async fn generate(mut call: Call, size: usize) -> io::Result<()> {
    call.succeed(&head(size, "application/octet-stream")).await?;
    let block = vec![FILLING; 1 << 20];
    for start in (0..size).step_by(block.len()) {
        call.send(&block[..block.len().min(size - start)]).await?;
    }
    call.end().await
}
