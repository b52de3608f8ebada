//! Preparation of runs. The command line, the Model Context Protocol and the service all turn a
//! submission into a run of the engine here, so the rules about access and packages are applied in
//! one place.
//!
//! A [`PreparedRun`] is made of five parts: the submission, the [`Contents`] of its files, its
//! [`GrantedAccess`], the [`Packages`] that it can use, and the
//! [`RunHost`](belljar_engine::RunHost) that receives the run. Access under a ceiling needs a
//! [`Permit`], which only a check against the ceiling gives.

#![forbid(unsafe_code)]

mod access;
mod contents;
mod packages;
mod prepared_run;

pub use access::{GrantedAccess, InvalidAccess, OmittedPolicy, Permit, RequestedAccess};
pub use contents::{Contents, ContentsError};
pub use packages::Packages;
pub use prepared_run::PreparedRun;
