//! Bytes by key, streamed in and out with bounded memory: in a directory by default, in an S3 by configuration.
//!
//! Only content lives here. Names, content types, and which key belongs to which object, are the metadata's (`store`). A key is used once: it is made,
//! content is put under it, read any number of times, deleted. So a reader never sees half of anything, and replacing an object is the metadata
//! pointing to another key.
//!
//! ```
//! use belljar_objects::{Durability, Key, Objects, ObjectsConfig};
//! use bytes::Bytes;
//! use futures::{TryStreamExt, stream};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let path = folder.path().join("objects");
//! let objects = Objects::open(&ObjectsConfig::Directory { path, durability: Durability::Process })?;
//! let key = Key::new("prj_019a")?;
//! let body = stream::iter([Ok::<_, std::io::Error>(Bytes::from("hello")), Ok(Bytes::from(" world"))]);
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

mod bucket;
mod config;
mod digests;
mod directory;
mod error;
mod key;
mod objects;
mod upload;

pub use config::{Durability, ObjectsConfig, SecretAccessKey};
pub use error::{ObjectsError, PutError};
pub use key::{InvalidKey, Key};
pub use objects::{Content, Listed, Objects, Stored};
