//! Finding, fetching and verifying runtimes, from outside: real processes, real files, and servers
//! on loopback that misbehave in every way.

mod archives;
mod fetch;
mod hostile;
mod installers;
mod killed;
mod node;
mod python;
mod real_installers;
mod registry;
mod wheels;
