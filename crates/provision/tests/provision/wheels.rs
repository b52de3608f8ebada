//! Wheels of a fake uv, good and bad ones, and an index that has them.

use std::io::{Cursor, Write as _};

use belljar_provision::{Integrity, PackageIndex, ProvisionConfig, PythonIndex, Release};
use belljar_test_support::http::ReceivedRequest;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use crate::registry::{Reply, Server, sha256};

/// The version of every fake uv. It is the pinned one, so that other processes look for the same
/// version.
pub const UV: &str = "0.13.9";

/// Returns the name of its wheel for this machine.
pub fn wheel_name() -> String {
    let platform = if cfg!(target_arch = "x86_64") {
        "manylinux_2_17_x86_64.manylinux2014_x86_64"
    } else {
        "manylinux_2_17_aarch64.manylinux2014_aarch64.musllinux_1_1_aarch64"
    };
    format!("uv-{UV}-py3-none-{platform}.whl")
}

/// Returns the path of the program in the wheel.
pub fn program_entry() -> String {
    format!("uv-{UV}.data/scripts/uv")
}

/// Returns a program that prints the version of this uv.
pub fn program() -> Vec<u8> {
    format!("#!/bin/sh\necho 'uv {UV} (pretended)'\n").into_bytes()
}

/// A builder of wheels, which takes entries exactly as given.
pub struct Wheel(ZipWriter<Cursor<Vec<u8>>>);

impl Wheel {
    pub fn empty() -> Self {
        Self(ZipWriter::new(Cursor::new(Vec::new())))
    }

    /// Returns the content of uv's wheel, with some files that must not be extracted.
    pub fn of_uv() -> Self {
        let licences = format!("uv-{UV}.dist-info/licenses");
        Self::empty()
            .file("uv/__init__.py", b"# not kept\n")
            .file(&program_entry(), &program())
            .file(&format!("uv-{UV}.data/scripts/uvx"), b"not kept either")
            .file(&format!("{licences}/LICENSE-APACHE"), b"do as you like\n")
            .file(&format!("{licences}/LICENSE-MIT"), b"do as you like\n")
    }

    pub fn file(self, path: &str, content: &[u8]) -> Self {
        self.entry(path, content, CompressionMethod::Deflated)
    }

    pub fn stored(self, path: &str, content: &[u8]) -> Self {
        self.entry(path, content, CompressionMethod::Stored)
    }

    fn entry(mut self, path: &str, content: &[u8], method: CompressionMethod) -> Self {
        let options =
            SimpleFileOptions::default().compression_method(method).unix_permissions(0o777);
        self.0.start_file(path, options).unwrap();
        self.0.write_all(content).unwrap();
        self
    }

    pub fn symlink(mut self, path: &str, target: &str) -> Self {
        self.0.add_symlink(path, target, SimpleFileOptions::default()).unwrap();
        self
    }

    pub fn bytes(self) -> Vec<u8> {
        self.0.finish().unwrap().into_inner()
    }
}

/// The format of an index's pages.
#[derive(Clone, Copy, Debug)]
pub enum Page {
    Json,
    Html,
}

impl Page {
    /// Returns a page that lists a file with this URL among others.
    pub fn listing(self, name: &str, address: &str) -> Vec<u8> {
        let page = match self {
            Self::Json => {
                let files = [(format!("{name}.metadata"), "nowhere"), (name.to_owned(), address)];
                let files = files.map(|(name, url)| serde_json::json!({"filename": name, "url": url, "hashes": {"sha256": "00"}}));
                serde_json::json!({"meta": {"api-version": "1.1"}, "name": "uv", "files": files})
                    .to_string()
            }
            Self::Html => format!(
                "<!DOCTYPE html><html><body>\n<a href=\"nowhere\">{name}.metadata</a><br/>\n\
                 <a href=\"{address}#sha256=00\" data-requires-python=\"&gt;=3.8\">{name}</a>\n</body></html>"
            ),
        };
        page.into_bytes()
    }
}

/// Returns whether a request is for a wheel, and not for the page.
pub fn wants_wheel(request: &ReceivedRequest) -> bool {
    request.path.starts_with("/files/")
}

/// Starts an index that lists this wheel with a relative URL, and answers the request for it with
/// `reply`.
pub fn index(
    wheel: Vec<u8>,
    page: Page,
    reply: impl Fn(Vec<u8>) -> Reply + Send + Sync + 'static,
) -> Server {
    let listing = page.listing(&wheel_name(), &format!("../../files/{}", wheel_name()));
    Server::start(move |request| match request.path.as_str() {
        "/simple/uv/" => Reply::Whole(listing.clone()),
        _ if wants_wheel(request) => reply(wheel.clone()),
        _ => Reply::Status(404),
    })
}

/// Returns a configuration that fetches uv from this server, with the hash of `published` as the
/// pinned one.
pub fn config(server: &Server, published: &[u8], cache: &std::path::Path) -> ProvisionConfig {
    let mut config = server.config(cache);
    config.python_index =
        PythonIndex::at(PackageIndex::parse(&format!("{}/simple", server.url)).unwrap());
    config.uv_release = release(UV, published);
    config
}

/// Returns a release with the hash of `archive`.
pub fn release(version: &str, archive: &[u8]) -> Release {
    let hash = Integrity::from_sha256(&sha256(archive)).unwrap();
    Release { version: version.parse().unwrap(), x64: hash.clone(), arm64: hash }
}
