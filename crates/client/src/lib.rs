//! The Rust client of the HTTP API, used by the command line and by other programs.
//!
//! A [`Client`] connects to one server: to a remote one with a token ([`Client::remote`]), or as
//! the operator over the socket in the server's home ([`Client::socket`]). Each endpoint is a
//! method with the types of `belljar-protocol`. Events, lists and contents are
//! [`futures::Stream`]s.
//!
//! ```no_run
//! use belljar_client::Client;
//! use belljar_protocol::{Language, ObjectName, RunSubmission};
//! use futures::TryStreamExt;
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::remote("https://belljar.example.com", &std::env::var("BELLJAR_TOKEN")?)?;
//! let outcome = client.run_and_wait(&RunSubmission::new(Language::Python, "6 * 7")).await?;
//! assert_eq!(outcome.value.unwrap().get(), "42");
//!
//! // The events of a run as they happen. If the connection breaks, the stream reconnects and
//! // continues where it was.
//! let submission = RunSubmission::new(Language::JavaScript, "console.log('hello')");
//! let run = client.start_run(&submission).await?;
//! let mut events = client.run_events(&run.id);
//! while let Some(event) = events.try_next().await? {
//!     println!("{event:?}");
//! }
//!
//! // A download is checked against the object's SHA-256. The last item of the stream is an error
//! // if it does not match.
//! let mut content = client.get_object(&ObjectName::try_from("outputs/summary.json")?).await?;
//! while let Some(piece) = content.try_next().await? {
//!     println!("{} bytes", piece.len());
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # When the network fails
//!
//! Connecting times out after 10 seconds. Requests that only read are repeated a few times if the
//! connection fails, and if the server answers 429, 502, 503 or 504 and asks for a wait of at most
//! 10 seconds. So is starting a run, which always has an idempotency key. Streams have no time
//! limit except for 45 seconds without data, and resume where they broke.

#![forbid(unsafe_code)]

mod audit;
mod client;
mod error;
mod events;
mod lines;
mod objects;
mod pages;
mod projects;
mod runs;
mod transfer;

pub use audit::AuditExport;
pub use client::Client;
pub use error::ClientError;
pub use events::RunEvents;
pub use objects::Upload;
pub use transfer::{ContentInfo, Download};
