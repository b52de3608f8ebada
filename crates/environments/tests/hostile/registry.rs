//! A registry on loopback, with an index of Python packages and one of npm. It records its
//! requests.

use std::collections::BTreeMap;
use std::io::{BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use belljar_test_support::http::{ReceivedRequest, read_request};
use serde_json::{Value, json};
use sha2::{Digest, Sha256, Sha512};

/// A date that is old enough for every policy.
pub const OLD: &str = "2020-01-02T03:04:05.000Z";

#[derive(Default)]
struct State {
    /// Files of the registry, by path.
    files: BTreeMap<String, Vec<u8>>,
    /// Entries of the index for the files of each package.
    python: BTreeMap<String, Vec<Value>>,
    /// Versions of each package, with their part of the packument and their date.
    npm: BTreeMap<String, Vec<(String, Value, String)>>,
    /// Value of `Authorization` that every request needs, if any.
    authorization: Option<String>,
    /// Forbids caching of all answers.
    keeps_nothing: bool,
    /// Files that are sent byte by byte.
    trickles: Vec<String>,
    /// Redirects, by path.
    moved: BTreeMap<String, String>,
    asked: Vec<ReceivedRequest>,
}

/// The server of a registry. It ends with the process.
#[derive(Clone)]
pub struct Registry {
    address: String,
    state: Arc<Mutex<State>>,
}

impl Registry {
    pub fn start() -> Self {
        Self::start_at("127.0.0.1")
    }

    /// Returns a registry that another process serves.
    pub fn known(address: &str) -> Self {
        Self { address: address.to_owned(), state: Arc::default() }
    }

    /// Starts a registry on another host than [`Registry::start`] does.
    pub fn start_elsewhere() -> Self {
        Self::start_at("127.0.0.2")
    }

    fn start_at(host: &str) -> Self {
        let listener = TcpListener::bind((host, 0)).unwrap();
        let registry =
            Self { address: listener.local_addr().unwrap().to_string(), state: Arc::default() };
        let serving = registry.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let serving = serving.clone();
                std::thread::spawn(move || serving.serve(stream));
            }
        });
        registry
    }

    /// Returns the origin of the registry: `http://127.0.0.1:PORT`.
    pub fn origin(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn address(&self) -> &str {
        &self.address
    }

    pub fn python_index(&self) -> String {
        format!("{}/simple", self.origin())
    }

    pub fn npm_registry(&self) -> String {
        format!("{}/npm/", self.origin())
    }

    /// Publishes a file of a Python package with a date.
    pub fn python(&self, package: &str, file: &str, content: Vec<u8>, published: &str) {
        let hash = hex::encode(Sha256::digest(&content));
        let entry = json!({"filename": file, "url": format!("{}/files/{file}", self.origin()), "hashes": {"sha256": hash}, "size": content.len(), "upload-time": published});
        let mut state = self.state.lock().unwrap();
        let files = state.python.entry(package.into()).or_default();
        files.retain(|known| known["filename"] != file);
        files.push(entry);
        state.files.insert(format!("/files/{file}"), content);
    }

    /// Publishes a wheel with an old date.
    pub fn wheel(
        &self,
        package: &str,
        version: &str,
        requires: &[&str],
        more: &[crate::archive::Entry],
    ) {
        let file = format!("{}-{version}-py3-none-any.whl", package.replace('-', "_"));
        self.python(package, &file, crate::archive::wheel(package, version, requires, more), OLD);
    }

    /// Publishes a source distribution with an old date.
    pub fn sdist(&self, package: &str, version: &str, attack: &str) {
        let file = format!("{}-{version}.tar.gz", package.replace('-', "_"));
        self.python(package, &file, crate::archive::sdist(package, version, attack), OLD);
    }

    /// Replaces the bytes of a file, but not its entry in the index.
    pub fn tamper(&self, path: &str, content: Vec<u8>) {
        assert!(self.state.lock().unwrap().files.insert(path.into(), content).is_some(), "{path}");
    }

    /// Publishes a version of an npm package. `manifest` are further members of its packument and
    /// `package.json`, each preceded by a comma.
    pub fn npm_at(
        &self,
        package: &str,
        version: &str,
        manifest: &str,
        more: &[crate::archive::Entry],
        published: &str,
    ) {
        let content = crate::archive::npm(package, version, manifest, more);
        let path =
            format!("/npm/{package}/-/{}-{version}.tgz", package.rsplit('/').next().unwrap());
        let integrity = format!("sha512-{}", STANDARD.encode(Sha512::digest(&content)));
        let mut said: Value = serde_json::from_str(&format!(
            "{{\"name\": {package:?}, \"version\": {version:?}{manifest}}}"
        ))
        .unwrap();
        said["dist"] =
            json!({"tarball": format!("{}{path}", self.origin()), "integrity": integrity});
        if said["scripts"].get("postinstall").is_some() {
            said["hasInstallScript"] = json!(true);
        }
        let mut state = self.state.lock().unwrap();
        let versions = state.npm.entry(package.into()).or_default();
        versions.retain(|(known, ..)| known != version);
        versions.push((version.into(), said, published.into()));
        state.files.insert(path, content);
    }

    pub fn npm(
        &self,
        package: &str,
        version: &str,
        manifest: &str,
        more: &[crate::archive::Entry],
    ) {
        self.npm_at(package, version, manifest, more, OLD);
    }

    /// Requires this value of `Authorization` from now on.
    pub fn require(&self, authorization: &str) {
        self.state.lock().unwrap().authorization = Some(authorization.into());
    }

    /// Forbids caching of all answers from now on, as some mirrors do.
    pub fn keep_nothing(&self) {
        self.state.lock().unwrap().keeps_nothing = true;
    }

    /// Sends a file byte by byte, which takes longer than any client waits.
    pub fn trickle(&self, path: &str) {
        self.state.lock().unwrap().trickles.push(path.into());
    }

    /// Redirects a path.
    pub fn redirect(&self, path: &str, to: &str) {
        self.state.lock().unwrap().moved.insert(path.into(), to.into());
    }

    pub fn asked(&self) -> Vec<ReceivedRequest> {
        self.state.lock().unwrap().asked.clone()
    }

    /// Returns the number of requests whose path contains the text.
    pub fn count(&self, part: &str) -> usize {
        self.asked().iter().filter(|asked| asked.path.contains(part)).count()
    }

    fn serve(&self, mut stream: TcpStream) {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        // Installers send several requests over one connection.
        while let Some(asked) = read_request(&mut reader) {
            let answer = self.answer(&asked);
            self.state.lock().unwrap().asked.push(asked.clone());
            let (status, kind, body) = answer;
            let moved = self.state.lock().unwrap().moved.get(&asked.path).cloned();
            if let Some(to) = moved {
                let head =
                    format!("HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n");
                if stream.write_all(head.as_bytes()).is_err() {
                    return;
                }
                continue;
            }
            if asked.method == "GET" && self.state.lock().unwrap().trickles.contains(&asked.path) {
                let _ = write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
                for byte in body {
                    if stream.write_all(&[byte]).is_err() {
                        return;
                    }
                    std::thread::sleep(Duration::from_millis(50));
                }
                return;
            }
            let kept = if self.state.lock().unwrap().keeps_nothing {
                "Cache-Control: max-age=0\r\n"
            } else {
                ""
            };
            let head = format!(
                "HTTP/1.1 {status} Said\r\n{kept}Content-Type: {kind}\r\nContent-Length: {}\r\n\r\n",
                body.len()
            );
            let body = if asked.method == "HEAD" { &[] } else { body.as_slice() };
            if stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body)).is_err() {
                return;
            }
        }
    }

    fn answer(&self, asked: &ReceivedRequest) -> (u16, &'static str, Vec<u8>) {
        let state = self.state.lock().unwrap();
        let authorization = state.authorization.as_deref();
        if authorization.is_some() && authorization != asked.header("authorization") {
            return (401, "text/plain", b"who is asking?".to_vec());
        }
        if let Some(content) = state.files.get(&asked.path) {
            return (200, "application/octet-stream", content.clone());
        }
        if let Some(package) =
            asked.path.strip_prefix("/simple/").map(|rest| rest.trim_end_matches('/'))
            && let Some(files) = state.python.get(package)
        {
            let page = json!({"meta": {"api-version": "1.1"}, "name": package, "files": files});
            return (200, "application/vnd.pypi.simple.v1+json", page.to_string().into_bytes());
        }
        if let Some(package) = asked
            .path
            .strip_prefix("/npm/")
            .map(|rest| rest.replace("%2f", "/").replace("%2F", "/").replace("%40", "@"))
            && let Some(versions) = state.npm.get(&package)
        {
            let latest = versions.last().map(|(version, ..)| version);
            let all: BTreeMap<_, _> =
                versions.iter().map(|(version, said, _)| (version, said)).collect();
            let mut time: BTreeMap<_, _> =
                versions.iter().map(|(version, _, at)| (version.as_str(), at.as_str())).collect();
            time.insert("created", OLD);
            let newest = versions.iter().map(|(.., at)| at.as_str()).max().unwrap_or(OLD);
            time.insert("modified", newest);
            let packument = json!({"name": package, "dist-tags": {"latest": latest}, "versions": all, "time": time, "modified": newest});
            return (200, "application/json", packument.to_string().into_bytes());
        }
        (404, "text/plain", b"there is none".to_vec())
    }
}
