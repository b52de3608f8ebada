//! The configuration of npm as far as fetching needs it: the registry, its credentials, and a CA
//! file.
//!
//! Only the user's own file is read, not one in the working folder: a cloned project must not
//! choose where binaries come from.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::credential::{Credential, Login, Secret};

/// The registry that npm uses by default.
pub const DEFAULT_REGISTRY: &str = "https://registry.npmjs.org/";

/// An npm registry, the registries of scopes, and their credentials.
#[derive(Clone, Debug)]
pub struct Registry {
    /// URL without a login, with a slash at its end.
    url: String,
    /// URLs of scopes (`@acme`), in the same form.
    scopes: Vec<(String, String)>,
    /// Credentials by place in npm's notation, `//host:port/path/`. If a place has several, the
    /// last one counts.
    credentials: Vec<(String, Credential)>,
    ca_file: Option<PathBuf>,
}

impl Default for Registry {
    fn default() -> Self {
        Self::at(DEFAULT_REGISTRY)
    }
}

impl Registry {
    /// Returns the registry at a base URL. A login in it is separated, and sent only to that place.
    pub fn at(url: &str) -> Self {
        let mut registry =
            Self { url: String::new(), scopes: Vec::new(), credentials: Vec::new(), ca_file: None };
        registry.url = registry.address(url);
        registry
    }

    /// Returns the configuration that npm would read from the text of an `.npmrc` alone, without
    /// expanding `${VARIABLE}`.
    pub fn from_npmrc(text: &str) -> Self {
        Self::from_npm(text, None, &|_| None)
    }

    /// Returns the configuration that npm would use: `registry_variable` (`npm_config_registry`)
    /// takes precedence over the text of `.npmrc`. Like npm, it ignores what it does not
    /// understand.
    pub(crate) fn from_npm(
        npmrc: &str,
        registry_variable: Option<&str>,
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> Self {
        let settings = parse(npmrc, variable);
        let last = |key: &str| {
            settings.iter().rev().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
        };
        let url = registry_variable
            .or_else(|| last("registry"))
            .filter(|url| is_http(url))
            .unwrap_or(DEFAULT_REGISTRY);
        let mut registry = Self::at(url);
        registry.ca_file = last("cafile").map(PathBuf::from);
        for (name, value) in &settings {
            let Some((subject, kind)) =
                name.rsplit_once(':').filter(|(subject, _)| is_plain(subject))
            else {
                continue;
            };
            if subject.starts_with('@') && kind == "registry" && is_http(value) {
                let url = registry.address(value);
                registry.scopes.retain(|(scope, _)| scope != subject);
                registry.scopes.push((subject.to_owned(), url));
            }
            if !subject.starts_with("//") {
                continue;
            }
            let credential = match kind {
                "_authToken" => Credential::bearer(value),
                "_auth" => Credential::basic_encoded(value),
                "username" => last(&format!("{subject}:_password"))
                    .and_then(|encoded| STANDARD.decode(encoded).ok())
                    .and_then(|password| Credential::basic(value.as_bytes(), &password)),
                _ => None,
            };
            if let Some(credential) = credential {
                registry
                    .credentials
                    .push((format!("{}/", subject.trim_end_matches('/')), credential));
            }
        }
        registry
    }

    /// Returns the URL of the registry, with a slash at its end and without a login.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Returns the scopes with a registry of their own (`@acme`) and the URL of each, in the form
    /// of [`url`](Self::url).
    pub fn scopes(&self) -> impl Iterator<Item = (&str, &str)> {
        self.scopes.iter().map(|(scope, url)| (scope.as_str(), url.as_str()))
    }

    /// Returns the PEM file with the registry's certificate authorities: `cafile` of `.npmrc`.
    pub fn ca_file(&self) -> Option<&Path> {
        self.ca_file.as_deref()
    }

    /// Returns the lines of an `.npmrc` with the sources of packages: `registry=https://...`, and
    /// `@acme:registry=https://...` for each scope with a registry of its own. They contain no
    /// secrets.
    pub fn address_lines(&self) -> Vec<String> {
        let own = self.scopes().map(|(scope, url)| format!("{scope}:registry={url}"));
        std::iter::once(format!("registry={}", self.url)).chain(own).collect()
    }

    /// Returns the lines of an `.npmrc` with the credentials: `//host/path/:_authToken=...`, or
    /// `_auth` with an encoded user and password. They refer to no variables of the environment.
    pub fn credential_lines(&self) -> Vec<Secret> {
        self.credentials
            .iter()
            .map(|(place, credential)| {
                Secret::new(format!("{place}:{}", credential.npmrc_setting()))
            })
            .collect()
    }

    /// Separates the login from a URL, and stores it for that place.
    fn address(&mut self, url: &str) -> String {
        let (url, login) = Login::split(url);
        let url = format!("{}/", url.trim_end_matches('/'));
        if let Some((_, rest)) = url.split_once("://")
            && let Some(credential) = login.and_then(|login| login.credential())
        {
            self.credentials.push((format!("//{rest}"), credential));
        }
        url
    }

    /// Returns the registry of a package: the one of its scope, if that has its own.
    fn registry_of(&self, package: &str) -> &str {
        let scope = package.split_once('/').map(|(scope, _)| scope);
        self.scopes().find(|(name, _)| Some(*name) == scope).map_or(&self.url, |(_, url)| url)
    }

    /// Returns the URL of a package's metadata.
    pub(crate) fn package_url(&self, package: &str) -> String {
        // The slash after a scope is part of the name, and npm encodes it like this.
        format!("{}{}", self.registry_of(package), package.replace('/', "%2f"))
    }

    /// Returns the URL of a package's tarball. Mirrors often return URLs of the default registry.
    /// Like npm (`replace-registry-host`), this replaces them by the configured registry.
    pub(crate) fn tarball_url(&self, package: &str, published: &str) -> String {
        match published.strip_prefix(DEFAULT_REGISTRY) {
            Some(path) => format!("{}{path}", self.registry_of(package)),
            None => published.to_owned(),
        }
    }

    /// Returns the credential that npm would send to a URL: the one of the longest matching place.
    /// It is never sent unencrypted, unless a registry on that host is configured that way.
    pub(crate) fn credential_for(&self, url: &str) -> Option<&Credential> {
        let (scheme, rest) = url.split_once("://")?;
        let mut registries =
            std::iter::once(self.url.as_str()).chain(self.scopes().map(|(_, url)| url));
        if scheme != "https" && !registries.any(|registry| origin(registry) == origin(url)) {
            return None;
        }
        let address = format!("//{rest}");
        self.credentials
            .iter()
            .filter(|(place, _)| address.starts_with(place.as_str()))
            .max_by_key(|(place, _)| place.len())
            .map(|(_, credential)| credential)
    }
}

/// Returns the scheme, host and port of a URL.
fn origin(url: &str) -> &str {
    let start = url.find("://").map_or(0, |at| at + 3);
    &url[..url[start..].find('/').map_or(url.len(), |at| start + at)]
}

/// Returns whether a text is allowed in a line of its own.
fn is_plain(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_graphic())
}

fn is_http(url: &str) -> bool {
    is_plain(url) && (url.starts_with("https://") || url.starts_with("http://"))
}

/// Returns the `key = value` lines of an `.npmrc` in order, with `${VARIABLE}` expanded. Sections,
/// comments and lines without a value are ignored.
fn parse(text: &str, variable: &dyn Fn(&str) -> Option<String>) -> Vec<(String, String)> {
    text.lines()
        .map(str::trim)
        .filter(|line| !line.starts_with(['#', ';', '[']))
        .filter_map(|line| line.split_once('='))
        .map(|(key, value)| {
            (expand(unquote(key.trim()), variable), expand(unquote(value.trim()), variable))
        })
        .collect()
}

fn unquote(text: &str) -> &str {
    for quote in ['"', '\''] {
        if let Some(inner) = text.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote)) {
            return inner;
        }
    }
    text
}

/// Replaces `${NAME}` by its value, and `${NAME?}` by nothing if it has none. Like in npm,
/// `${NAME}` without a value is left unchanged.
fn expand(text: &str, variable: &dyn Fn(&str) -> Option<String>) -> String {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, from)) = rest.split_once("${") {
        let Some((name, after)) = from.split_once('}') else { break };
        expanded.push_str(before);
        match (variable(name.strip_suffix('?').unwrap_or(name)), name.ends_with('?')) {
            (Some(value), _) => expanded.push_str(&value),
            (None, true) => {}
            (None, false) => {
                expanded.push_str("${");
                expanded.push_str(name);
                expanded.push('}');
            }
        }
        rest = after;
    }
    expanded.push_str(rest);
    expanded
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn registry(npmrc: &str) -> Registry {
        Registry::from_npm(npmrc, None, &|name| (name == "TOKEN").then(|| "s3cret".to_owned()))
    }

    #[test]
    fn the_last_registry_line_counts_and_the_variable_comes_first() {
        let npmrc = "# registry=https://a/\nregistry = https://b.example/npm\n;registry=https://c/\n[section]\nregistry=\"https://d.example/npm/\"\n";
        assert_eq!(registry(npmrc).package_url("p"), "https://d.example/npm/p");
        assert_eq!(
            Registry::from_npm(npmrc, Some("https://e.example"), &|_| None).package_url("p"),
            "https://e.example/p"
        );
        for nonsense in
            ["", "registry", "registry=", "registry=ftp://x/", "=", "registry=file:///etc"]
        {
            assert_eq!(
                registry(nonsense).package_url("p"),
                format!("{DEFAULT_REGISTRY}p"),
                "{nonsense:?}"
            );
        }
    }

    #[test]
    fn a_token_goes_to_its_own_host_and_path_and_never_in_the_clear() {
        let registry = registry(
            "registry=https://r.example/npm/\n//r.example/npm/:_authToken=${TOKEN}\n//r.example/:_authToken=root\n",
        );
        let sent = |url| registry.credential_for(url).map(Credential::header);
        assert_eq!(sent("https://r.example/npm/p"), Some("Bearer s3cret"));
        assert_eq!(sent("https://r.example/other"), Some("Bearer root"));
        for elsewhere in [
            "https://r.example.evil.test/npm/p",
            "https://evil.test/r.example/npm/",
            "http://r.example/npm/p",
            "https://r.example:8443/npm/p",
            "r.example/npm/p",
        ] {
            assert_eq!(sent(elsewhere), None, "{elsewhere}");
        }
        assert!(!format!("{registry:?}").contains("s3cret"));
    }

    #[test]
    fn passwords_become_basic_credentials() {
        let expected = format!("Basic {}", STANDARD.encode("me:pass"));
        let npmrc = format!(
            "registry=https://r.example\n//r.example/:username=me\n//r.example/:_password={}\n",
            STANDARD.encode("pass")
        );
        assert_eq!(
            registry(&npmrc).credential_for("https://r.example/p").map(Credential::header),
            Some(expected.as_str())
        );
        let npmrc = format!(
            "registry=https://r.example\n//r.example/:_auth=\"{}\"\n",
            STANDARD.encode("me:pass")
        );
        assert_eq!(
            registry(&npmrc).credential_for("https://r.example/p").map(Credential::header),
            Some(expected.as_str())
        );
    }

    #[test]
    fn a_tarball_of_the_default_registry_is_fetched_from_the_configured_one() {
        let registry = registry("registry=http://127.0.0.1:4873");
        assert_eq!(
            registry.tarball_url("p", &format!("{DEFAULT_REGISTRY}p/-/p-1.tgz")),
            "http://127.0.0.1:4873/p/-/p-1.tgz"
        );
        assert_eq!(
            registry.tarball_url("p", "https://cdn.example/p-1.tgz"),
            "https://cdn.example/p-1.tgz"
        );
    }

    #[test]
    fn the_lines_for_an_installer_are_equivalent_and_have_no_secret_in_the_urls() {
        let npmrc = "registry=https://me:p%40ss@r.example/npm\n@acme:registry=https://old.example\n@acme:registry=https://acme.example/a/\n\
                     @bad:registry=ftp://x/\n//acme.example/a/:_authToken=${TOKEN}\nfund=false\n";
        let registry = registry(npmrc);
        assert_eq!(
            registry.address_lines(),
            ["registry=https://r.example/npm/", "@acme:registry=https://acme.example/a/"]
        );
        let lines = registry.credential_lines();
        let basic = format!("//r.example/npm/:_auth={}", STANDARD.encode("me:p@ss"));
        assert_eq!(
            lines.iter().map(Secret::expose).collect::<Vec<_>>(),
            [basic.as_str(), "//acme.example/a/:_authToken=s3cret"]
        );
        assert_eq!(registry.package_url("@acme/p"), "https://acme.example/a/@acme%2fp");
        assert_eq!(registry.package_url("@other/p"), "https://r.example/npm/@other%2fp");
        assert_eq!(
            registry.tarball_url("@acme/p", &format!("{DEFAULT_REGISTRY}x.tgz")),
            "https://acme.example/a/x.tgz"
        );
        assert_eq!(
            registry.credential_for("https://acme.example/a/x.tgz").map(Credential::header),
            Some("Bearer s3cret")
        );
        assert_eq!(registry.credential_for("http://acme.example/a/x.tgz"), None);
        let shown = format!("{registry:?} {lines:?}");
        assert!(
            !shown.contains("s3cret")
                && !shown.contains("p%40ss")
                && !shown.contains(&STANDARD.encode("me:p@ss")),
            "{shown}"
        );
    }

    #[test]
    fn no_value_can_add_a_line() {
        let evil = |name: &str| {
            (name == "EVIL").then(|| "https://r.example/\n//evil.test/:_authToken=x".to_owned())
        };
        let npmrc = "registry=${EVIL}\n@acme:registry=${EVIL}\n//r.example/${EVIL}:_authToken=t\n//r.example/:_authToken=${EVIL}\n";
        let registry = Registry::from_npm(npmrc, None, &evil);
        assert_eq!(registry.address_lines(), [format!("registry={DEFAULT_REGISTRY}")]);
        assert!(registry.credential_lines().is_empty());
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic_or_yields_something_else_than_http(
            text in "(\\PC|\n|=|\\$\\{|\\}|//|:_authToken=|registry=){0,40}",
        ) {
            let registry = registry(&text);
            prop_assert!(is_http(&registry.url));
            let _ = registry.credential_for(&text);
        }

        #[test]
        fn expansion_leaves_text_without_variables_alone(text in "[^$]*") {
            prop_assert_eq!(expand(&text, &|_| Some("x".to_owned())), text);
        }

        #[test]
        fn keys_and_values_come_back(
            settings in
                prop::collection::vec(("[a-z:/._]{1,12}", "[a-zA-Z0-9/:+.-]{0,12}"), 0..6),
        ) {
            let lines: Vec<String> =
                settings.iter().map(|(key, value)| format!("  {key} = {value}")).collect();
            prop_assert_eq!(parse(&lines.join("\n"), &|_| None), settings);
        }
    }
}
