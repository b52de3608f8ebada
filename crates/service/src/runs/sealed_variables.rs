//! The variables of an unfinished run, encrypted for the store.
//!
//! Callers pass keys in `env`, so the values must not be in the database in clear, but a run that
//! waits must survive the death of the server. They are therefore encrypted with AES-256-GCM, under
//! a key that is derived from the server's own key file for this one run.

use belljar_protocol::{RunId, Variables};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};

use crate::access::signing::Keys;

/// Each key encrypts one message only, so the nonce need not differ.
const NONCE: [u8; NONCE_LEN] = [0; NONCE_LEN];

fn key_of(keys: &Keys, project_id: &str, id: &RunId) -> LessSafeKey {
    let key = keys.key_of_variables(project_id, id.as_str());
    LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &key).expect("the key has 32 bytes"))
}

/// Encrypts the variables of a run. Returns `None` if there are none.
///
/// # Panics
/// Never: the text is far below the maximum size of a message.
pub(super) fn seal(
    keys: &Keys,
    project_id: &str,
    id: &RunId,
    variables: &Variables,
) -> Option<Vec<u8>> {
    if variables.is_empty() {
        return None;
    }
    let mut text = serde_json::to_vec(variables).expect("a map of strings has a JSON form");
    key_of(keys, project_id, id)
        .seal_in_place_append_tag(Nonce::assume_unique_for_key(NONCE), Aad::empty(), &mut text)
        .expect("the text is short enough");
    Some(text)
}

/// Decrypts the variables of a run. Returns `None` if the key is another one, or if the text was
/// changed or belongs to another run.
pub(super) fn unseal(
    keys: &Keys,
    project_id: &str,
    id: &RunId,
    mut sealed: Vec<u8>,
) -> Option<Variables> {
    let text = key_of(keys, project_id, id)
        .open_in_place(Nonce::assume_unique_for_key(NONCE), Aad::empty(), &mut sealed)
        .ok()?;
    serde_json::from_slice(text).ok()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn keys() -> Keys {
        let folder = tempfile::tempdir().unwrap();
        Keys::open(&folder.path().join("signing.key")).unwrap()
    }

    #[test]
    fn variables_are_read_with_the_same_key_for_the_same_run_only() {
        let (keys, id, other) = (keys(), RunId::new(), RunId::new());
        let variables = Variables::from(BTreeMap::from([("KEY".into(), "a canary".into())]));
        let sealed = seal(&keys, "prj_1", &id, &variables).unwrap();
        assert!(!sealed.windows(6).any(|part| part == b"canary"));
        assert_eq!(unseal(&keys, "prj_1", &id, sealed.clone()), Some(variables.clone()));
        assert_eq!(unseal(&keys, "prj_1", &other, sealed.clone()), None);
        assert_eq!(unseal(&keys, "prj_2", &id, sealed.clone()), None);
        assert_eq!(unseal(&self::keys(), "prj_1", &id, sealed.clone()), None);
        let mut changed = sealed.clone();
        changed[3] ^= 1;
        assert_eq!(unseal(&keys, "prj_1", &id, changed), None);
        assert_eq!(unseal(&keys, "prj_1", &id, sealed[..5].to_vec()), None);
        assert_ne!(seal(&keys, "prj_1", &other, &variables), Some(sealed));
        assert_eq!(seal(&keys, "prj_1", &id, &Variables::default()), None);
    }
}
