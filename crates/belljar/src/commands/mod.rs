//! One module a command.

pub mod bench;
pub mod doctor;
pub mod generate;
pub mod mcp;
pub mod run;
pub mod self_test;
pub mod serve;
