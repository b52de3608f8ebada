//! The server that a page's examples speak to: the real one, in a home of its own.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

/// Killed when it is dropped.
pub struct Server {
    /// What it printed at its first start, as it would on a machine where the usual port and the usual home are free.
    pub greeting: String,
    url: String,
    token: String,
    home: PathBuf,
    process: Child,
    folder: TempDir,
}

impl Server {
    pub fn start(binary: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let home = folder.path().join("home");
        let mut process = Command::new(binary)
            .args(["serve", "--listen", "127.0.0.1:0"])
            .env("BELLJAR_HOME", &home)
            .env("BELLJAR_LOG", "warn")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("belljar serve starts");
        let mut out = BufReader::new(process.stdout.take().expect("its output"));
        let mut printed = String::new();
        while !printed.contains("/docs.") {
            assert!(out.read_line(&mut printed).expect("its output") > 0, "it ended, having printed: {printed}");
        }
        std::thread::spawn(move || std::io::copy(&mut out, &mut std::io::sink()));
        let word = |start: &str| {
            let word = printed.split_whitespace().find(|word| word.starts_with(start)).expect("an address and a token");
            word.trim_end_matches(',').to_owned()
        };
        let (url, token) = (word("http://"), word("bjr_"));
        let greeting = printed.replace(&url, "http://127.0.0.1:8411").replace(&home.display().to_string(), "/var/lib/belljar");
        Self { greeting, url, token, home, process, folder }
    }

    /// What the commands of whoever speaks to it find in their environment.
    pub fn environment(&self, who: Who) -> Vec<(&'static str, String)> {
        match who {
            Who::Client => vec![("BELLJAR_URL", self.url.clone()), ("BELLJAR_TOKEN", self.token.clone())],
            Who::Operator => vec![("BELLJAR_HOME", path(&self.home)), ("HOME", path(self.folder.path()))],
        }
    }
}

fn path(path: &Path) -> String {
    path.display().to_string()
}

/// Who runs a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// Somebody with the server's address and a token.
    Client,
    /// Whoever may use the server's home.
    Operator,
}

impl Drop for Server {
    fn drop(&mut self) {
        // It has ended by itself, or ends now.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
