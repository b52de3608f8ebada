//! Hashes of fetched and installed files: npm's integrity strings, the SHA-256 of a Python index
//! and of `SHASUMS256.txt`, and the identity of a binary.

use std::fmt::{self, Write as _};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::digest;
use serde::{Deserialize, Serialize};

/// A hash function that is strong enough for downloads. SHA-1 and MD5 are not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Function {
    Sha256,
    Sha384,
    Sha512,
}

impl Function {
    fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha384 => "sha384",
            Self::Sha512 => "sha512",
        }
    }

    fn ring(self) -> &'static digest::Algorithm {
        match self {
            Self::Sha256 => &digest::SHA256,
            Self::Sha384 => &digest::SHA384,
            Self::Sha512 => &digest::SHA512,
        }
    }
}

/// The expected hash of a download, by SHA-256 or a stronger function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Integrity {
    function: Function,
    digest: Vec<u8>,
}

impl Integrity {
    /// Reads a subresource-integrity string, `sha512-<base64>`. It may contain several hashes
    /// separated by spaces, of which the strongest counts, as in npm. Returns `None` if there is no
    /// strong hash, or if one is malformed.
    pub fn parse(text: &str) -> Option<Self> {
        let mut strongest: Option<Self> = None;
        for entry in text.split_ascii_whitespace() {
            let (name, rest) = entry.split_once('-')?;
            let Some(function) = [Function::Sha256, Function::Sha384, Function::Sha512]
                .into_iter()
                .find(|function| function.name() == name)
            else {
                continue;
            };
            let encoded = rest.split_once('?').map_or(rest, |(encoded, _options)| encoded);
            let digest = STANDARD
                .decode(encoded)
                .ok()
                .filter(|digest| digest.len() == function.ring().output_len())?;
            if strongest.as_ref().is_none_or(|best| best.function < function) {
                strongest = Some(Self { function, digest });
            }
        }
        strongest
    }

    /// Reads the 64 hexadecimal digits of a SHA-256, as a Python index publishes it. Returns `None`
    /// for any other text.
    pub fn from_sha256(hex: &str) -> Option<Self> {
        from_hex(hex).map(|digest| Self { function: Function::Sha256, digest })
    }

    /// Finds a file in the text of a `SHASUMS256.txt`, which has lines of `<64 hex digits>
    /// <name>`.
    pub(crate) fn from_shasums(text: &str, file_name: &str) -> Option<Self> {
        text.lines().find_map(|line| {
            let (hex, name) = line.split_once(char::is_whitespace)?;
            // `sha256sum` marks binary mode by a star before the name.
            let name = name.trim();
            (name.strip_prefix('*').unwrap_or(name) == file_name)
                .then(|| Self::from_sha256(hex))
                .flatten()
        })
    }

    /// Starts a computation of the hash.
    pub(crate) fn hasher(&self) -> digest::Context {
        digest::Context::new(self.function.ring())
    }

    /// Checks a hash. The error is the actual hash in the same notation.
    pub(crate) fn check(&self, digest: &digest::Digest) -> Result<(), String> {
        if digest.as_ref() == self.digest {
            return Ok(());
        }
        Err(Self { function: self.function, digest: digest.as_ref().to_vec() }.to_string())
    }
}

impl fmt::Display for Integrity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.function.name(), STANDARD.encode(&self.digest))
    }
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    if text.len() != 2 * digest::SHA256_OUTPUT_LEN
        || !text.bytes().all(|byte| byte.is_ascii_hexdigit())
    {
        return None;
    }
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok()).collect()
}

/// The identity of a runtime's binary, which is the 64 hexadecimal digits of its SHA-256. The
/// results of a runtime's self-test are stored under it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Identity(String);

impl Identity {
    /// Returns the hexadecimal digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Reads a file and returns its identity.
    pub(crate) fn of_file(path: &Path) -> io::Result<Self> {
        let mut file = File::open(path)?;
        let mut context = digest::Context::new(&digest::SHA256);
        let mut buffer = vec![0; 1 << 18];
        loop {
            match file.read(&mut buffer)? {
                0 => return Ok(Self::of_digest(&context.finish())),
                count => context.update(&buffer[..count]),
            }
        }
    }

    /// Returns one identity for a binary and the libraries that are part of the runtime. Without
    /// libraries, it is the hash of the binary.
    pub(crate) fn of_files<'a>(
        binary: &Path,
        libraries: impl Iterator<Item = &'a Path>,
    ) -> io::Result<Self> {
        let binary = Self::of_file(binary)?;
        let libraries: Vec<Self> = libraries.map(Self::of_file).collect::<io::Result<_>>()?;
        if libraries.is_empty() {
            return Ok(binary);
        }
        let all: Vec<&str> = std::iter::once(&binary).chain(&libraries).map(Self::as_str).collect();
        Ok(Self::of_bytes(all.join("\n").as_bytes()))
    }

    /// Returns the identity of bytes.
    pub(crate) fn of_bytes(bytes: &[u8]) -> Self {
        Self::of_digest(&digest::digest(&digest::SHA256, bytes))
    }

    fn of_digest(digest: &digest::Digest) -> Self {
        let mut hex = String::with_capacity(2 * digest.as_ref().len());
        for byte in digest.as_ref() {
            let _ = write!(hex, "{byte:02x}");
        }
        Self(hex)
    }
}

impl TryFrom<String> for Identity {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        if from_hex(&text).is_some() { Ok(Self(text)) } else { Err("not 64 hex digits") }
    }
}

impl From<Identity> for String {
    fn from(identity: Identity) -> Self {
        identity.0
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn integrity_of(bytes: &[u8]) -> Integrity {
        Integrity {
            function: Function::Sha512,
            digest: digest::digest(&digest::SHA512, bytes).as_ref().to_vec(),
        }
    }

    #[test]
    fn a_weak_or_malformed_integrity_is_none() {
        for text in [
            "",
            "sha512",
            "sha512-",
            "sha512-AAAA",
            "sha512-!!!!",
            "md5-1B2M2Y8AsgTpgAmY7PhCfg==",
            "sha1-2jmj7l5rSw0yVb/vlWAYkK/YBwk=",
            "SHA512-AAAA",
        ] {
            assert_eq!(Integrity::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn the_strongest_of_several_counts() {
        let strong = integrity_of(b"x").to_string();
        for text in [
            format!("sha1-2jmj7l5rSw0yVb/vlWAYkK/YBwk= {strong}"),
            format!("{strong} sha256-n4bQgYhMfWWaL+qgxVrQFaO/TxsrC4Is0V1sFbDwCgg="),
        ] {
            assert_eq!(Integrity::parse(&text).unwrap().to_string(), strong);
        }
    }

    #[test]
    fn a_known_hash_is_computed_correctly() {
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(Identity::of_bytes(b"").as_str(), empty);
        let sums = format!("{}  other\n{empty}  node-v1.tar.gz\n", "0".repeat(64));
        let integrity = Integrity::from_shasums(&sums, "node-v1.tar.gz").unwrap();
        assert!(integrity.check(&integrity.hasher().finish()).is_ok());
        assert_eq!(Integrity::from_shasums(&sums, "node-v1.tar"), None);
        assert_eq!(Integrity::from_shasums("abc  node-v1.tar.gz", "node-v1.tar.gz"), None);
    }

    proptest! {
        #[test]
        fn integrity_survives_its_own_notation_and_tells_other_bytes_apart(
            bytes: Vec<u8>,
            other: Vec<u8>,
        ) {
            let integrity = integrity_of(&bytes);
            prop_assert_eq!(Integrity::parse(&integrity.to_string()), Some(integrity.clone()));
            let mut hasher = integrity.hasher();
            hasher.update(&other);
            prop_assert_eq!(integrity.check(&hasher.finish()).is_ok(), bytes == other);
        }

        #[test]
        fn no_text_makes_the_parsers_panic(text in "\\PC*", name in "\\PC{0,8}") {
            let _ = Integrity::parse(&text);
            let _ = Integrity::parse(&format!("sha512-{text}"));
            let _ = Integrity::from_shasums(&text, &name);
        }

        #[test]
        fn every_line_of_a_shasums_file_is_found_by_its_name(
            names in prop::collection::btree_set("[a-z0-9.-]{1,20}", 1..8),
        ) {
            let hash = |name: &str| Identity::of_bytes(name.as_bytes());
            let lines: Vec<String> =
                names.iter().map(|name| format!("{}  {name}", hash(name))).collect();
            let sums = lines.join("\n");
            for name in &names {
                let integrity = Integrity::from_shasums(&sums, name).unwrap();
                let digest = digest::digest(&digest::SHA256, name.as_bytes());
                prop_assert!(integrity.check(&digest).is_ok());
            }
        }
    }
}
