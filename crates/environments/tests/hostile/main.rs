//! Packages that attack: what an archive, a registry or a package's own code tries, with the real installers in real jails, against a registry of the
//! test's own. Each attack first proves that it was tried.

mod archive;
mod home;
mod registry;

mod archives;
mod atomic;
mod builds;
mod credentials;
mod locks;
mod policy;
mod rootless;
mod sandboxes;
