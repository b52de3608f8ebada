//! Archives of a fake Node: good ones, and every kind of bad one.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use tar::{Builder, EntryType, Header};

/// Returns a program that prints the version of this Node. An installation runs it only with
/// `--version`.
pub fn program(version: &str) -> Vec<u8> {
    format!("#!/bin/sh\necho v{version}\n").into_bytes()
}

/// A builder of archives, which takes entries exactly as given and makes no path safe.
pub struct Archive(Builder<GzEncoder<Vec<u8>>>);

impl Archive {
    pub fn empty() -> Self {
        Self(Builder::new(GzEncoder::new(Vec::new(), Compression::fast())))
    }

    /// Returns the content of an npm package, with a file that must not be extracted.
    pub fn package(version: &str) -> Self {
        Self::empty()
            .file("package/package.json", format!("{{\"version\":\"{version}\"}}").as_bytes())
            .file("package/LICENSE", b"do as you like\n")
            .file("package/include/node/node.h", b"// not kept\n")
            .file("package/bin/node", &program(version))
    }

    pub fn file(self, path: &str, content: &[u8]) -> Self {
        self.entry(path, EntryType::Regular, "", content)
    }

    pub fn entry(mut self, path: &str, kind: EntryType, link: &str, content: &[u8]) -> Self {
        let mut header = Header::new_ustar();
        // The builder's own methods refuse a hostile path, so the bytes are set directly.
        header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
        header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_entry_type(kind);
        header.set_mode(0o777);
        header.set_size(content.len() as u64);
        header.set_cksum();
        self.0.append(&header, content).unwrap();
        self
    }

    pub fn bytes(self) -> Vec<u8> {
        self.0.into_inner().unwrap().finish().unwrap()
    }

    /// Returns a good archive with `count` zeros after its end, which compress to nearly nothing.
    pub fn bytes_and_zeros(self, count: usize) -> Vec<u8> {
        let mut encoder = self.0.into_inner().unwrap();
        encoder.write_all(&vec![0; count]).unwrap();
        encoder.finish().unwrap()
    }
}
