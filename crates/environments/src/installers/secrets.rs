//! The secrets that installers receive, which are the logins of registries and proxies. They are
//! removed from all output of installers.

use belljar_provision::{ProvisionConfig, ProxyUse};

/// The minimum length of a secret that is removed. Shorter ones would remove parts of ordinary
/// words.
const MIN_LENGTH: usize = 4;

/// Returns the variables of proxies, which installers receive unchanged.
pub(super) fn proxies() -> Vec<(String, String)> {
    let names =
        ["HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY"].map(str::to_owned).into_iter();
    names
        .flat_map(|name| [name.to_lowercase(), name])
        .filter_map(|name| std::env::var(&name).ok().map(|value| (name, value)))
        .collect()
}

/// Returns whether a variable sends requests to a proxy.
pub(super) fn names_a_proxy(variable: &str) -> bool {
    let name = variable.to_uppercase();
    name.ends_with("_PROXY") && name != "NO_PROXY"
}

/// Returns whether uv receives a login, which code that it runs could read, because it is the same
/// user.
pub(super) fn uv_receives_logins(config: &ProvisionConfig) -> bool {
    let index = &config.python_index;
    index.default_index().login().is_some()
        || index.extra_indexes().iter().any(|index| index.login().is_some())
        || !of_proxies(config).is_empty()
}

/// Returns every form in which an installer receives a login.
pub(super) fn of(config: &ProvisionConfig) -> Vec<String> {
    let index = &config.python_index;
    let mut all = of_proxies(config);
    for index in std::iter::once(index.default_index()).chain(index.extra_indexes()) {
        if let Some(login) = index.login() {
            all.extend([login.username(), login.password()].map(|part| part.expose().to_owned()));
            all.extend(login_of(index.authenticated_url().expose()));
        }
    }
    for line in config.registry.credential_lines() {
        all.extend(line.expose().split_once('=').map(|(_, secret)| secret.to_owned()));
    }
    all.retain(|secret| secret.len() >= MIN_LENGTH);
    // Longer secrets come before their own parts.
    all.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
    all.dedup();
    all
}

fn of_proxies(config: &ProvisionConfig) -> Vec<String> {
    if config.proxy == ProxyUse::Never {
        Vec::new()
    } else {
        proxies().iter().flat_map(|(_, value)| login_of(value)).collect()
    }
}

/// Returns the login of a URL as a whole and in its parts.
fn login_of(url: &str) -> Vec<String> {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let Some((login, _)) = authority.rsplit_once('@') else { return Vec::new() };
    std::iter::once(login).chain(login.splitn(2, ':')).map(str::to_owned).collect()
}

/// Returns a line without the secrets.
pub(super) fn without(secrets: &[String], line: String) -> String {
    secrets.iter().fold(line, |line, secret| {
        if line.contains(secret.as_str()) { line.replace(secret.as_str(), "****") } else { line }
    })
}

#[cfg(test)]
mod tests {
    use belljar_provision::{PackageIndex, PythonIndex, Registry};

    use super::*;

    #[test]
    fn a_variable_that_names_a_proxy_is_known() {
        assert!(names_a_proxy("https_proxy") && !names_a_proxy("NO_PROXY"));
    }

    #[test]
    fn no_form_of_a_login_is_shown() {
        let mut config = ProvisionConfig::new("/nowhere".into());
        config.proxy = ProxyUse::Never;
        assert!(of(&config).is_empty() && !uv_receives_logins(&config));
        config.python_index = PythonIndex::at(
            PackageIndex::parse("https://reader:p%40ss-word@index.example/simple").unwrap(),
        );
        config.registry = Registry::from_npmrc(
            "registry=https://r.example/\n//r.example/:_authToken=npm_token\n",
        );
        let secrets = of(&config);
        let shown = without(&secrets, "a reader:p%40ss-word b p@ss-word c npm_token d".to_owned());
        assert_eq!(shown, "a **** b **** c **** d");
        assert!(uv_receives_logins(&config));
    }
}
