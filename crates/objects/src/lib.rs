//! Storage of bytes by key, streamed in and out with bounded memory: in a directory by default, or
//! in S3 if configured.
//!
//! This crate only stores content. Names, media types and the keys of objects are metadata, which
//! `belljar-store` keeps. A key is used once: it is created, content is written to it, read any
//! number of times, and deleted. So a reader never sees partial content, and replacing an object
//! means that the metadata point to another key.
//!
//! ```
//! use belljar_objects::{Key, Objects, ObjectsConfig};
//! use belljar_protocol::Durability;
//! use bytes::Bytes;
//! use futures::{TryStreamExt, stream};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let path = folder.path().join("objects");
//! let durability = Durability::Process;
//! let objects = Objects::open(&ObjectsConfig::Directory { path, durability })?;
//! let key = Key::new("prj_019a")?;
//! let chunks = [Bytes::from("hello"), Bytes::from(" world")];
//! let body = stream::iter(chunks.map(Ok::<_, std::io::Error>));
//! let stored = objects.put(&key, body, 1 << 20).await?;
//! assert_eq!(stored.size_bytes, 11);
//! let chunks: Vec<Bytes> = objects.get(&key, Some(0..4)).await?.try_collect().await?;
//! assert_eq!(chunks.concat(), b"hell");
//! objects.delete(&key).await?;
//! # Ok(())
//! # }
//! # tokio::runtime::Runtime::new().unwrap().block_on(example()).unwrap();
//! ```
#![forbid(unsafe_code)]

mod batch;
mod bucket;
mod config;
mod content;
mod digests;
mod directory;
mod error;
mod key;
mod objects;
mod upload;

pub use config::{ObjectsConfig, SecretAccessKey};
pub use content::{Content, Listed, StoredContent};
pub use error::{ObjectsError, PutError};
pub use key::{InvalidKey, Key};
pub use objects::Objects;
