//! Finds, fetches and verifies the runtimes that Belljar boots: Node, which is fetched if this
//! machine has none, and `CPython`. It does the same for the installers of their packages, pnpm and
//! uv.
//!
//! All functions block. The properties of a program are cached, so that finding it again starts no
//! process.
//!
//! ```no_run
//! use belljar_provision::{NodeRequest, ProvisionConfig, Provisioner, Silent};
//!
//! let provisioner = Provisioner::new(ProvisionConfig::from_env()?)?;
//! let node = provisioner.node(&"24".parse()?, &mut Silent)?;
//! println!("node {} from {:?}, show {:?}", node.version, node.source, node.mounts());
//! # Ok::<(), belljar_provision::ProvisionError>(())
//! ```
#![forbid(unsafe_code)]

mod cache;
mod config;
mod credential;
mod error;
mod http;
mod index;
mod install;
mod installer;
mod integrity;
mod interpreter;
mod node;
mod npm;
mod npmrc;
mod pins;
mod platform;
mod progress;
mod provisioner;
mod python;
mod release;
mod request;
mod tool;
mod unpack;
mod version;

pub use config::{FetchBounds, ProvisionConfig, ProxyUse, PythonVersions, Trust};
pub use credential::{Login, Secret};
pub use error::ProvisionError;
pub use index::{DEFAULT_INDEX, PackageIndex, PythonIndex};
pub use installer::Installer;
pub use integrity::{Identity, Integrity};
pub use node::NodeRuntime;
pub use npmrc::{DEFAULT_REGISTRY, Registry};
pub use progress::{Progress, Silent, Step};
pub use provisioner::{Provisioner, Source};
pub use python::PythonRuntime;
pub use release::Release;
pub use request::{NodeRequest, PythonRequest};
pub use version::{NotAVersion, Version};
