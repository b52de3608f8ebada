//! Black-box tests of the commands that use a server: the real binary against a real `belljar
//! serve`, over its port and its socket. Nothing is mocked. Some tests put a proxy in between that
//! cuts connections and damages data.

mod backup;
mod listening;
mod login;
mod operator;
mod proxy;
mod runs;
mod storage;
mod tls;
mod watching;

use belljar_test_support::{Server, said};

/// Starts a run of JavaScript with `belljar run --detach`, and returns its id.
#[track_caller]
fn detach(server: &Server, code: &str, flags: &[&str]) -> String {
    let mut command = server.client(["run", "--remote", "--detach", "-l", "js", "-e", code]);
    let said = said(command.args(flags));
    assert_eq!(said.code, Some(0), "{said:?}");
    said.stdout.trim().to_owned()
}
