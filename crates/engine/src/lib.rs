//! Zygotes, parked sandboxes, and the life of a sandbox.
//!
//! An [`Engine`] boots real runtimes inside kernel jails and runs one program per sandbox. It knows mounts and keys, not packages; it decides every
//! outcome by what the kernel counted, and believes nothing that a sandbox says about anything but its own logs and result.
//!
//! ```no_run
//! use belljar_engine::{Engine, EngineConfig, RunEvent};
//! use belljar_protocol::{Language, RunRequest, Status};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let engine = Engine::new(EngineConfig::from_env()?)?;
//! let mut run = engine.run(RunRequest::new(Language::Python, "print('hello')\n6 * 7"));
//! while let Some(event) = run.next_event().await {
//!     if let RunEvent::Output { bytes, .. } = event {
//!         print!("{}", String::from_utf8_lossy(&bytes));
//!     }
//! }
//! let finished = run.finished().await;
//! assert_eq!(finished.outcome.status, Status::Succeeded);
//! assert_eq!(finished.outcome.value.unwrap().get(), "42");
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]
// tokio 1.54 deprecates `AsyncFd::new` for types that could close their descriptor early; its replacement is an unsafe function. An `OwnedFd` cannot.
#![allow(deprecated)]

mod activation;
mod artifacts;
mod calls;
mod carried;
mod config;
mod decision;
mod doctor;
mod door;
mod engine;
mod environment;
mod error;
mod fences;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod granted;
mod grants;
mod groups;
mod home;
mod imports;
mod leaving;
mod left_behind;
mod logs;
mod machine;
mod measure;
mod pace;
mod pipes;
mod pool;
mod protected;
mod python_variables;
mod report;
mod root;
mod run;
mod runtime;
mod sandbox;
mod self_test;
mod spawner;
mod still;
mod tool;
mod watch;
mod zygote;

pub use artifacts::{ArtifactFile, ArtifactRoom};
pub use belljar_channel::{CallError, CallErrorName, CallRequest, ObjectHead};
pub use config::EngineConfig;
pub use doctor::{Finding, Health, diagnose};
pub use door::{Call, Door};
pub use engine::{Engine, Isolation, RunOptions, describe_step};
pub use environment::{Ahead, Environment, EnvironmentFuture, EnvironmentSource};
pub use error::EngineError;
pub use grants::CeilingGrants;
pub use imports::{FoundImport, FoundImports};
pub use left_behind::LeftFiles;
pub use machine::Machine;
pub use measure::{Measurement, Times, measure};
pub use protected::Protected;
pub use run::{Finished, Run, RunCanceller, RunEvent};
pub use runtime::{Runtime, RuntimeKind};
pub use sandbox::{Sandbox, SandboxSpec};
pub use self_test::SelfTest;
pub use tool::{Check, FolderAccess, TOOL_HOME, Tool, ToolEnd, ToolFolder, ToolLimits, ToolNetwork};

/// Compiles the program of the guide.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/guides/library.md")]
pub struct LibraryGuide;
