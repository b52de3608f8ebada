//! The interface to Node: a Node-API module, and the fork hooks of Node.

mod api;
mod call;
mod event_loop;
mod module;
mod platform;
mod process;
mod syntax;
mod wrap;
