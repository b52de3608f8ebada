//! What npm is configured with, as far as fetching needs it: the registry, the credentials for it, and a CA file.
//!
//! Only the user's own file is read. One in the working folder is not: a project that was cloned must not choose where binaries come from.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// The registry that npm uses where nothing is configured.
pub const DEFAULT_REGISTRY: &str = "https://registry.npmjs.org/";

/// The value of an `Authorization` header. It is not shown by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Credential(String);

impl Credential {
    /// The header's value.
    pub fn header(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credential(..)")
    }
}

/// An npm registry and how to log in to it.
#[derive(Clone, Debug)]
pub struct Registry {
    /// Ends in a slash.
    url: String,
    /// By scope, in npm's notation: `//host:port/path/`.
    credentials: Vec<(String, Credential)>,
    ca_file: Option<String>,
}

impl Default for Registry {
    fn default() -> Self {
        Self::at(DEFAULT_REGISTRY)
    }
}

impl Registry {
    /// The registry at a base URL, without credentials.
    pub fn at(url: &str) -> Self {
        Self { url: format!("{}/", url.trim_end_matches('/')), credentials: Vec::new(), ca_file: None }
    }

    /// What npm would use: `registry_variable` (`npm_config_registry`) comes before the text of `.npmrc`. What cannot be understood is passed
    /// over, as npm does it.
    pub(crate) fn from_npm(npmrc: &str, registry_variable: Option<&str>, variable: &dyn Fn(&str) -> Option<String>) -> Self {
        let settings = parse(npmrc, variable);
        let last = |key: &str| settings.iter().rev().find(|(name, _)| name == key).map(|(_, value)| value.as_str());
        let url = registry_variable.or_else(|| last("registry")).filter(|url| is_http(url)).unwrap_or(DEFAULT_REGISTRY);
        let mut registry = Self::at(url);
        registry.ca_file = last("cafile").map(str::to_owned);
        for (name, value) in settings.iter().rev() {
            let Some((scope, kind)) = name.rsplit_once(':').filter(|(scope, _)| scope.starts_with("//")) else { continue };
            let password = || last(&format!("{scope}:_password")).and_then(|encoded| STANDARD.decode(encoded).ok());
            let header = match kind {
                "_authToken" => Some(format!("Bearer {value}")),
                "_auth" => Some(format!("Basic {value}")),
                "username" => password().map(|password| {
                    let pair = [value.as_bytes(), b":", &password].concat();
                    format!("Basic {}", STANDARD.encode(pair))
                }),
                _ => None,
            };
            if let Some(header) = header.filter(|header| !value.is_empty() && header.bytes().all(|byte| (b' '..=b'~').contains(&byte))) {
                let scope = format!("{}/", scope.trim_end_matches('/'));
                registry.credentials.push((scope, Credential(header)));
            }
        }
        registry
    }

    /// The address of a package's metadata.
    pub(crate) fn package_url(&self, package: &str) -> String {
        format!("{}{package}", self.url)
    }

    /// The PEM file with the registry's certificate authorities.
    pub(crate) fn ca_file(&self) -> Option<&str> {
        self.ca_file.as_deref()
    }

    /// Where to fetch a tarball from. Mirrors often repeat the default registry's own addresses; as npm does (`replace-registry-host`), those
    /// are taken to mean the configured registry.
    pub(crate) fn tarball_url(&self, published: &str) -> String {
        match published.strip_prefix(DEFAULT_REGISTRY) {
            Some(path) => format!("{}{path}", self.url),
            None => published.to_owned(),
        }
    }

    /// The credential that npm would send to this address: the one of the longest scope that it lies in. Never in the clear, unless the
    /// registry itself is configured so.
    pub(crate) fn credential_for(&self, url: &str) -> Option<&Credential> {
        let (scheme, rest) = url.split_once("://")?;
        if scheme != self.url.split_once("://")?.0 {
            return None;
        }
        let address = format!("//{rest}");
        self.credentials
            .iter()
            .filter(|(scope, _)| address.starts_with(scope.as_str()))
            .max_by_key(|(scope, _)| scope.len())
            .map(|(_, c)| c)
    }
}

fn is_http(url: &str) -> bool {
    url.starts_with("https://") || url.starts_with("http://")
}

/// The `key = value` lines of an `.npmrc`, in order, with `${VARIABLE}` expanded. Sections, comments and lines without a value are passed over.
fn parse(text: &str, variable: &dyn Fn(&str) -> Option<String>) -> Vec<(String, String)> {
    text.lines()
        .map(str::trim)
        .filter(|line| !line.starts_with(['#', ';', '[']))
        .filter_map(|line| line.split_once('='))
        .map(|(key, value)| (expand(unquote(key.trim()), variable), expand(unquote(value.trim()), variable)))
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

/// Replaces `${NAME}` by its value, and `${NAME?}` by nothing where it has none. `${NAME}` without a value stays as it is, as npm does it.
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
        assert_eq!(Registry::from_npm(npmrc, Some("https://e.example"), &|_| None).package_url("p"), "https://e.example/p");
        for nonsense in ["", "registry", "registry=", "registry=ftp://x/", "=", "registry=file:///etc"] {
            assert_eq!(registry(nonsense).package_url("p"), format!("{DEFAULT_REGISTRY}p"), "{nonsense:?}");
        }
    }

    #[test]
    fn a_token_goes_to_its_own_host_and_path_and_never_in_the_clear() {
        let registry = registry("registry=https://r.example/npm/\n//r.example/npm/:_authToken=${TOKEN}\n//r.example/:_authToken=root\n");
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
        let npmrc = format!("registry=https://r.example\n//r.example/:username=me\n//r.example/:_password={}\n", STANDARD.encode("pass"));
        assert_eq!(registry(&npmrc).credential_for("https://r.example/p").map(Credential::header), Some(expected.as_str()));
        let npmrc = format!("registry=https://r.example\n//r.example/:_auth=\"{}\"\n", STANDARD.encode("me:pass"));
        assert_eq!(registry(&npmrc).credential_for("https://r.example/p").map(Credential::header), Some(expected.as_str()));
    }

    #[test]
    fn a_tarball_of_the_default_registry_is_fetched_from_the_configured_one() {
        let registry = registry("registry=http://127.0.0.1:4873");
        assert_eq!(registry.tarball_url(&format!("{DEFAULT_REGISTRY}p/-/p-1.tgz")), "http://127.0.0.1:4873/p/-/p-1.tgz");
        assert_eq!(registry.tarball_url("https://cdn.example/p-1.tgz"), "https://cdn.example/p-1.tgz");
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic_or_yields_something_else_than_http(text in "(\\PC|\n|=|\\$\\{|\\}|//|:_authToken=|registry=){0,40}") {
            let registry = registry(&text);
            prop_assert!(is_http(&registry.url));
            let _ = registry.credential_for(&text);
        }

        #[test]
        fn expansion_leaves_text_without_variables_alone(text in "[^$]*") {
            prop_assert_eq!(expand(&text, &|_| Some("x".to_owned())), text);
        }

        #[test]
        fn keys_and_values_come_back(settings in prop::collection::vec(("[a-z:/._]{1,12}", "[a-zA-Z0-9/:+.-]{0,12}"), 0..6)) {
            let lines: Vec<String> = settings.iter().map(|(key, value)| format!("  {key} = {value}")).collect();
            prop_assert_eq!(parse(&lines.join("\n"), &|_| None), settings);
        }
    }
}
