//! Keys of content. They are generated here and never come from a caller, so that no user-supplied
//! name becomes a path.

use std::fmt;
use std::str::FromStr;

use uuid::Uuid;

/// The maximum length of a project id.
const MAX_PROJECT_BYTES: usize = 64;

/// The key of content: a project's id and a `UUIDv7`, such as `prj_019a/019b2c3d-...`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    text: String,
    /// Index of the `/` in the text.
    slash: usize,
}

/// An error of a text that is not a key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a key of content")]
pub struct InvalidKey(pub String);

impl Key {
    /// Returns a new, unique key of a project.
    pub fn new(project: &str) -> Result<Self, InvalidKey> {
        if !is_project(project) {
            return Err(InvalidKey(project.to_owned()));
        }
        Ok(Self::of(project))
    }

    /// Returns a key for a probe. It belongs to no project, because project ids have a prefix.
    pub(crate) fn probe() -> Self {
        Self::of("probe")
    }

    fn of(project: &str) -> Self {
        Self { text: format!("{project}/{}", Uuid::now_v7().hyphenated()), slash: project.len() }
    }

    /// Returns the key as text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns the id of the project.
    pub fn project(&self) -> &str {
        &self.text[..self.slash]
    }

    pub(crate) fn file_name(&self) -> &str {
        &self.text[self.slash + 1..]
    }

    pub(crate) fn from_parts(project: &str, file_name: &str) -> Option<Self> {
        // Only the canonical form is allowed: 36 characters in lower case.
        let is_uuid = file_name.len() == 36
            && Uuid::try_parse(file_name).is_ok()
            && !file_name.bytes().any(|b| b.is_ascii_uppercase());
        (is_project(project) && is_uuid)
            .then(|| Self { text: format!("{project}/{file_name}"), slash: project.len() })
    }
}

pub(crate) fn is_project(text: &str) -> bool {
    (1..=MAX_PROJECT_BYTES).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

impl FromStr for Key {
    type Err = InvalidKey;

    fn from_str(text: &str) -> Result<Self, InvalidKey> {
        let parts = text.split_once('/');
        parts
            .and_then(|(project, name)| Self::from_parts(project, name))
            .ok_or_else(|| InvalidKey(text.chars().take(120).collect()))
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_back_as_it_was_made() {
        let key = Key::new("prj_019a").unwrap();
        assert_eq!(key.as_str().parse::<Key>().unwrap(), key);
        assert_eq!(key.project(), "prj_019a");
        assert_ne!(Key::new("prj_019a").unwrap(), key);
    }

    #[test]
    fn what_could_lead_elsewhere_is_no_key() {
        let uuid = "019b2c3d-0000-7000-8000-000000000000";
        assert!(format!("p/{uuid}").parse::<Key>().is_ok());
        for bad in [
            "",
            "p",
            "p/",
            "/x",
            "../../etc/passwd",
            &format!("../{uuid}"),
            &format!(".staging/{uuid}"),
            &format!("p/../{uuid}"),
            &format!("p/{uuid}/x"),
            &format!("p/{}", uuid.to_uppercase()),
            &format!("p/{}", uuid.replace('-', "")),
            &format!("p\0/{uuid}"),
            &format!("{}/{uuid}", "p".repeat(65)),
        ] {
            assert!(bad.parse::<Key>().is_err(), "{bad:?}");
        }
        for bad in ["", "a/b", "..", "a b"] {
            assert!(Key::new(bad).is_err(), "{bad:?}");
        }
    }
}
