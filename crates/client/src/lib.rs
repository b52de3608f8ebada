//! The Rust client of the HTTP API: beneath the command line, and for others to use.
//!
//! A [`Client`] speaks to one server: to a remote one with a token ([`Client::remote`]), or as the operator over the socket in the server's home
//! ([`Client::socket`]). Each endpoint is a method with the types of `belljar-protocol`; what comes piece by piece is a [`futures::Stream`].
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
//! // Its events as they come. A connection that breaks is made again, and the stream goes on where it was.
//! let run = client.start_run(&RunSubmission::new(Language::JavaScript, "console.log('hello')")).await?;
//! let mut events = client.run_events(&run.id);
//! while let Some(event) = events.try_next().await? {
//!     println!("{event:?}");
//! }
//!
//! // A download is checked against the object's SHA-256: the last piece is an error where it does not match.
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
//! Connecting may take 10 seconds. What only reads is tried again, a few times, when the connection fails and when the server says 429 or 503 and when to
//! come back. So is starting a run, which always has an idempotency key. Streams have no bound but on silence, and pick up where they broke off.

#![forbid(unsafe_code)]

mod audit;
mod client;
mod error;
mod events;
mod lines;
mod objects;
mod projects;
mod runs;
mod transfer;

pub use audit::{AuditExport, AuditFilter};
pub use client::Client;
pub use error::ClientError;
pub use events::RunEvents;
pub use objects::Upload;
pub use projects::UsageFilter;
pub use runs::RunFilter;
pub use transfer::{ContentInfo, Download};
