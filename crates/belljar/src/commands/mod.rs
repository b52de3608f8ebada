//! The commands, one module for each.

pub mod audit;
pub mod backup;
pub mod bench;
pub mod cancel;
pub mod code;
pub mod doctor;
pub mod env;
pub mod generate;
pub mod login;
pub mod logs;
pub mod mcp;
pub mod mcp_remote;
pub mod projects;
pub mod run;
pub mod run_remote;
pub mod runs;
pub mod self_test;
pub mod serve;
pub mod storage;
pub mod storage_cp;
pub mod tokens;
pub mod usage;
