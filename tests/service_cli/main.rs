//! The verbs of a server from outside: the real binary against a real `belljar serve`, over its port and its socket. Nothing of ours is mocked; what
//! stands between the two in some tests is a proxy that cuts and damages what it carries.

mod backup;
mod listening;
mod login;
mod operator;
mod proxy;
mod runs;
mod server;
mod storage;
mod tls;
mod watching;
