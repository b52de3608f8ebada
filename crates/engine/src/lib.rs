//! The engine of Belljar: zygotes, parked sandboxes, and the life of a sandbox.
//!
//! An [`Engine`] boots real runtimes inside kernel jails and runs one program per sandbox. It knows
//! mounts and keys, but no packages. It decides every outcome by the kernel's counters, and trusts
//! a sandbox only about the program's own logs and result.
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
// tokio 1.54 deprecates `AsyncFd::new` for types that could close their descriptor early; its
// replacement is an unsafe function. An `OwnedFd` cannot.
#![allow(deprecated)]

mod activation;
mod call_handler;
mod carried;
mod config;
mod doctor;
mod engine;
mod environment;
mod error;
mod execution;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod grants;
mod home;
mod imports;
mod machine;
mod measure;
mod pool;
mod process;
mod progress;
mod protected;
mod python_variables;
mod root;
mod runtime;
mod sandbox;
mod spec;
mod surroundings;
mod tool;
mod zygote;

pub use belljar_channel::{CallError, CallErrorName, CallRequest, ObjectHead};
pub use call_handler::{Call, CallHandler};
pub use config::EngineConfig;
pub use doctor::{Finding, Health, diagnose};
pub use engine::{Engine, Isolation};
pub use environment::{Environment, EnvironmentFuture, EnvironmentSource, Preload};
pub use error::{EngineError, ImportSearchError, NotReady};
pub use execution::{
    ArtifactFile, ArtifactRoom, Finished, LeftFiles, Run, RunCanceller, RunEvent, RunHost,
};
pub use grants::CeilingGrants;
pub use imports::{FoundImport, FoundImports};
pub use machine::Machine;
pub use measure::{Measurement, Times, measure};
pub use pool::SelfTest;
pub use progress::describe_step;
pub use protected::Protected;
pub use runtime::{Runtime, RuntimeKind};
pub use sandbox::Sandbox;
pub use spec::SandboxSpec;
pub use tool::{
    Check, FolderAccess, TOOL_HOME, Tool, ToolEnd, ToolFolder, ToolLimits, ToolNetwork,
};

/// Compiles the program of the guide.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/guides/library.md")]
pub struct LibraryGuide;
