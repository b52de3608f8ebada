//! The signing key of the server, and its signatures of URLs and callbacks.

use std::fmt;
use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use belljar_protocol::{ObjectName, SignedMethod, Timestamp};
use hmac::{Hmac, Mac};
use sha2::Sha256;

/// The size of the key in bytes.
const KEY_BYTES: usize = 32;

/// The signing key of the server. `Debug` does not show it, and it is never in the database or in
/// an answer.
#[derive(Clone)]
pub(crate) struct Keys([u8; KEY_BYTES]);

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keys(..)")
    }
}

/// The access that a signed URL allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedAccess {
    /// The id of the project.
    pub project_id: String,
    /// The name of the object.
    pub name: ObjectName,
    /// The method that the URL allows.
    pub method: SignedMethod,
    /// The time at which the URL expires.
    pub expires_at: Timestamp,
}

impl Keys {
    /// Reads the key at `path`, or creates one that only this user can read.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        if let Some(folder) = path.parent() {
            fs::DirBuilder::new().recursive(true).create(folder)?;
        }
        match fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
            Ok(mut file) => {
                let mut key = [0; KEY_BYTES];
                fs::File::open("/dev/urandom")?.read_exact(&mut key)?;
                file.write_all(&key)?;
                file.sync_all()?;
                Ok(Self(key))
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let bytes = fs::read(path)?;
                bytes.try_into().map(Self).map_err(|_| {
                    io::Error::new(
                        io::ErrorKind::InvalidData,
                        format!("the signing key does not have {KEY_BYTES} bytes"),
                    )
                })
            }
            Err(error) => Err(error),
        }
    }

    fn mac(&self, purpose: &str, parts: &[&str]) -> Hmac<Sha256> {
        let mut mac =
            Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes keys of any length");
        // Each part is preceded by its length, so that no two lists of parts have the same bytes.
        for part in [purpose].iter().chain(parts) {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part.as_bytes());
        }
        mac
    }

    fn access_mac(&self, access: &SignedAccess) -> Hmac<Sha256> {
        let expires = access.expires_at.unix_ms().to_string();
        self.mac(
            "object",
            &[&access.project_id, access.name.as_str(), access.method.name(), &expires],
        )
    }

    /// Returns the signature of a URL in hexadecimal.
    pub(crate) fn sign(&self, access: &SignedAccess) -> String {
        format!("{:x}", self.access_mac(access).finalize().into_bytes())
    }

    /// Returns whether a signature is valid for a URL. The duration does not depend on what is
    /// wrong with it.
    pub(crate) fn is_signed(&self, access: &SignedAccess, signature: &str) -> bool {
        unhex(signature).is_some_and(|bytes| self.access_mac(access).verify_slice(&bytes).is_ok())
    }

    /// Returns the key that encrypts the variables of a run.
    pub(crate) fn key_of_variables(&self, project_id: &str, run_id: &str) -> [u8; KEY_BYTES] {
        self.mac("variables", &[project_id, run_id]).finalize().into_bytes().into()
    }

    /// Returns a hash of a submission and its variables, in hexadecimal. It has a key, because
    /// values that are easy to guess could be found by trial from a plain hash.
    pub(crate) fn submission_hash(&self, submission: &str, variables: &str) -> String {
        format!("{:x}", self.mac("submission", &[submission, variables]).finalize().into_bytes())
    }

    /// Returns the key that signs the callbacks of a project, in hexadecimal.
    pub(crate) fn callback_key(&self, project_id: &str) -> String {
        format!("{:x}", self.mac("callback", &[project_id]).finalize().into_bytes())
    }
}

/// Returns the signature of a callback: HMAC-SHA256 over its time, a full stop and its body. The
/// key is the text of the project's callback key.
pub(crate) fn callback_signature(key: &str, timestamp_s: i64, body: &[u8]) -> String {
    let mut mac =
        Hmac::<Sha256>::new_from_slice(key.as_bytes()).expect("HMAC takes keys of any length");
    mac.update(format!("{timestamp_s}.").as_bytes());
    mac.update(body);
    format!("{:x}", mac.finalize().into_bytes())
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    if text.len() > 128
        || !text.len().is_multiple_of(2)
        || !text.bytes().all(|byte| byte.is_ascii_hexdigit())
    {
        return None;
    }
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access() -> SignedAccess {
        SignedAccess {
            project_id: "prj_1".into(),
            name: ObjectName::try_from("a/b").unwrap(),
            method: SignedMethod::Get,
            expires_at: Timestamp::from_unix_ms(1000),
        }
    }

    #[test]
    fn a_signature_holds_for_one_address_only() {
        let keys = Keys([7; KEY_BYTES]);
        let signature = keys.sign(&access());
        assert!(keys.is_signed(&access(), &signature));
        for other in [
            SignedAccess { project_id: "prj_2".into(), ..access() },
            SignedAccess { name: ObjectName::try_from("a/c").unwrap(), ..access() },
            SignedAccess { method: SignedMethod::Put, ..access() },
            SignedAccess { expires_at: Timestamp::from_unix_ms(1001), ..access() },
        ] {
            assert!(!keys.is_signed(&other, &signature));
        }
        for wrong in ["", "00", "zz", &signature[2..], &format!("{signature}00"), "é"] {
            assert!(!keys.is_signed(&access(), wrong), "{wrong}");
        }
        assert!(!Keys([8; KEY_BYTES]).is_signed(&access(), &signature));
    }

    #[test]
    fn the_key_is_made_once_and_is_for_this_user_alone() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys/signing.key");
        let first = Keys::open(&path).unwrap();
        assert_eq!(first.0, Keys::open(&path).unwrap().0);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::write(&path, b"short").unwrap();
        assert!(Keys::open(&path).is_err());
    }
}
