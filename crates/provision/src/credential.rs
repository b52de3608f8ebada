//! Credentials for servers. `Debug` does not show them, and no message contains them.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::percent_decode_str;

/// A text that is or contains a credential. `Debug` does not show it, and it has no `Display`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub(crate) fn new(text: String) -> Self {
        Self(text)
    }

    /// Returns the text, to be passed to a server or a program.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// The value of an `Authorization` header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Credential(Secret);

impl Credential {
    /// Returns the credential for a token.
    pub fn bearer(token: &str) -> Option<Self> {
        Self::new("Bearer", token)
    }

    /// Returns the credential for a user and password.
    pub fn basic(username: &[u8], password: &[u8]) -> Option<Self> {
        Self::new("Basic", &STANDARD.encode([username, b":", password].concat()))
    }

    /// Returns the credential for a user and password that are already encoded.
    pub fn basic_encoded(encoded: &str) -> Option<Self> {
        Self::new("Basic", encoded)
    }

    /// Returns `None` if the value is empty or not allowed in a header.
    fn new(scheme: &str, value: &str) -> Option<Self> {
        let is_plain = !value.is_empty() && value.bytes().all(|byte| (b' '..=b'~').contains(&byte));
        is_plain.then(|| Self(Secret(format!("{scheme} {value}"))))
    }

    /// Returns the value of the header.
    pub fn header(&self) -> &str {
        self.0.expose()
    }

    /// Returns the same as a setting of `.npmrc`: `_authToken=...` or `_auth=...`.
    pub fn npmrc_setting(&self) -> String {
        match self.header().split_once(' ') {
            Some(("Bearer", token)) => format!("_authToken={token}"),
            Some((_basic, encoded)) => format!("_auth={encoded}"),
            None => String::new(),
        }
    }
}

/// The user and password of a URL, separated from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    username: Secret,
    password: Secret,
}

impl Login {
    /// Splits a URL into one without a login, and the login. Both parts of a login are
    /// percent-encoded in a URL.
    pub(crate) fn split(url: &str) -> (String, Option<Self>) {
        let Some((scheme, rest)) = url.split_once("://") else { return (url.to_owned(), None) };
        let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        let Some((login, host)) = authority.rsplit_once('@') else { return (url.to_owned(), None) };
        let decoded =
            |part: &str| Secret(percent_decode_str(part).decode_utf8_lossy().into_owned());
        let (username, password) = login.split_once(':').unwrap_or((login, ""));
        (
            format!("{scheme}://{host}{path}"),
            Some(Self { username: decoded(username), password: decoded(password) }),
        )
    }

    /// Returns the user. It is secret too, because some services expect a token as the user, and no
    /// password.
    pub fn username(&self) -> &Secret {
        &self.username
    }

    /// Returns the password, which is empty if the URL has none.
    pub fn password(&self) -> &Secret {
        &self.password
    }

    pub(crate) fn credential(&self) -> Option<Credential> {
        Credential::basic(self.username.expose().as_bytes(), self.password.expose().as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_login_is_removed_from_a_url_and_never_shown() {
        let (url, login) = Login::split("https://me%40x:p%3Aa/ss@r.example:8443/simple?a#b");
        // The slash ends the authority, so this URL has no login.
        assert_eq!(
            (url.as_str(), login),
            ("https://me%40x:p%3Aa/ss@r.example:8443/simple?a#b", None)
        );
        let (url, login) = Login::split("https://me%40x:p%3Ass@r.example:8443/simple@1?a#b");
        let login = login.unwrap();
        assert_eq!(url, "https://r.example:8443/simple@1?a#b");
        assert_eq!((login.username().expose(), login.password().expose()), ("me@x", "p:ss"));
        assert_eq!(
            login.credential().unwrap().header(),
            format!("Basic {}", STANDARD.encode("me@x:p:ss"))
        );
        for shown in [format!("{login:?}"), format!("{:?}", login.credential())] {
            assert!(
                !shown.contains("me@") && !shown.contains("p:ss") && !shown.contains("Basic"),
                "{shown}"
            );
        }
        let (url, login) = Login::split("https://token@r.example");
        assert_eq!((url.as_str(), login.unwrap().password().expose()), ("https://r.example", ""));
    }

    #[test]
    fn text_that_no_header_may_contain_is_no_credential() {
        for value in ["", "a\r\nx-header: b", "caf\u{e9}"] {
            assert_eq!(Credential::bearer(value), None, "{value:?}");
        }
        assert_eq!(Credential::bearer("t").unwrap().npmrc_setting(), "_authToken=t");
        assert_eq!(Credential::basic(b"a", b"b").unwrap().npmrc_setting(), "_auth=YTpi");
    }

    proptest! {
        #[test]
        fn no_text_makes_the_splitting_panic_and_no_login_is_left(
            text in "(https://)?[a-z:@/%0-9?#]{0,30}",
        ) {
            let (url, login) = Login::split(&text);
            prop_assert_eq!(login.is_none(), url == text);
            if let Some((_, rest)) = url.split_once("://") {
                prop_assert!(!rest.split(['/', '?', '#']).next().unwrap().contains('@'));
            }
        }
    }
}
