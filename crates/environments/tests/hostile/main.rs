//! Attacks by archives, registries and the code of packages, with the real installers in real jails
//! and a registry of the tests. Each test first proves that its attack was carried out.

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
