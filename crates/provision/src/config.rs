//! The configuration of provisioning. Every value can be set by hand, and
//! [`ProvisionConfig::from_env`] reads them from the environment.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::ProvisionError;
use crate::index::PythonIndex;
use crate::npmrc::Registry;
use crate::pins;
use crate::release::Release;

/// The configuration of a [`Provisioner`](crate::Provisioner).
#[derive(Clone, Debug)]
pub struct ProvisionConfig {
    /// Folder for fetched programs and for the properties of interpreters. It is created with mode
    /// 0700, and no other user may own it or write to it.
    pub cache: PathBuf,
    /// Folders of `PATH`, in order. Relative ones are ignored, because the programs must not depend
    /// on the working folder.
    pub search_path: Vec<PathBuf>,
    /// Path of the only Node to use.
    pub node: Option<PathBuf>,
    /// Path of the only Python to use.
    pub python: Option<PathBuf>,
    /// Path of the only uv to use.
    pub uv: Option<PathBuf>,
    /// Release of uv that is fetched. Default: the one that Belljar pins.
    pub uv_release: Release,
    /// Path of the only pnpm to use. It must be a program of its own, which pnpm is since version
    /// 12.
    pub pnpm: Option<PathBuf>,
    /// Release of pnpm that is fetched. Default: the one that Belljar pins.
    pub pnpm_release: Release,
    /// URL of a mirror of Node's distribution, which contains `v24.21.0/SHASUMS256.txt` and
    /// `v24.21.0/node-v24.21.0-linux-x64.tar.gz`. It is tried before npm.
    pub node_mirror: Option<String>,
    /// URL of a mirror of the Pythons that uv manages, with the same layout: it contains
    /// `20261110/cpython-3.13.18+20261110-...-install_only_stripped.tar.gz`. The variable is
    /// `BELLJAR_PYTHON_MIRROR`, or uv's own `UV_PYTHON_INSTALL_MIRROR`.
    pub python_mirror: Option<String>,
    /// npm registry that npm packages are fetched from, and that pnpm installs from.
    pub registry: Registry,
    /// Python indexes that uv is fetched from, and that it installs from.
    pub python_index: PythonIndex,
    /// Whether fetching is disabled.
    pub offline: bool,
    /// Home folder, which is never shown to a sandbox as a whole.
    pub home: Option<PathBuf>,
    /// Setup of Python version managers.
    pub python_versions: PythonVersions,
    /// Trusted certificate authorities.
    pub trust: Trust,
    /// Use of `HTTPS_PROXY`, `ALL_PROXY`, `HTTP_PROXY` and `NO_PROXY`.
    pub proxy: ProxyUse,
    /// Limits on fetching.
    pub bounds: FetchBounds,
}

/// The setup of Python version managers.
#[derive(Clone, Debug, Default)]
pub struct PythonVersions {
    /// Folders with one installation of Python per version, such as `<pyenv>/versions`. They are
    /// searched if PATH has no match.
    pub installations: Vec<PathBuf>,
    /// Value of `PYENV_VERSION`, the version that pyenv's shims select.
    pub pyenv_version: Option<String>,
    /// Folder where pyenv starts looking upwards for a `.python-version` file: the working folder.
    pub directory: Option<PathBuf>,
}

/// The trusted certificate authorities: the system's bundle (or Mozilla's, which is built in) if
/// `file` and `directories` are empty.
#[derive(Clone, Debug, Default)]
pub struct Trust {
    /// PEM file that replaces the system's bundle (`SSL_CERT_FILE`).
    pub file: Option<PathBuf>,
    /// Folders of PEM files that replace the system's bundle (`SSL_CERT_DIR`).
    pub directories: Vec<PathBuf>,
    /// PEM file with additional authorities (`NODE_EXTRA_CA_CERTS`).
    pub extra: Option<PathBuf>,
}

/// The use of the environment's proxy variables.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ProxyUse {
    /// Use the variables like curl and npm.
    #[default]
    FromEnvironment,
    /// Ignore the variables and connect directly.
    Never,
}

/// Limits on fetching, so that neither a hostile nor a hanging server can do harm.
#[derive(Clone, Copy, Debug)]
pub struct FetchBounds {
    /// Maximum size of an archive. Node's have 50 to 65 MB.
    pub archive_bytes: u64,
    /// Maximum size of an unpacked archive, including the files that are not kept. Node's have 190
    /// to 230 MB.
    pub unpacked_bytes: u64,
    /// Maximum size of a metadata document. The registry's document for Node has less than 1 MB.
    pub metadata_bytes: u64,
    /// Timeout of a connection, including name resolution and TLS.
    pub connect: Duration,
    /// Timeout of silence on an open connection.
    pub silence: Duration,
    /// Timeout of a whole download.
    pub download: Duration,
    /// Maximum number of attempts of a request.
    pub attempts: u32,
    /// Pause before the second attempt. It doubles before each further one.
    pub pause: Duration,
}

impl Default for FetchBounds {
    fn default() -> Self {
        Self {
            archive_bytes: 256 << 20,
            unpacked_bytes: 1 << 30,
            metadata_bytes: 32 << 20,
            connect: Duration::from_secs(15),
            silence: Duration::from_secs(30),
            download: Duration::from_mins(30),
            attempts: 3,
            pause: Duration::from_millis(500),
        }
    }
}

impl ProvisionConfig {
    /// Returns the defaults with a cache folder: nothing configured, nothing on PATH, and the
    /// default registry and index.
    pub fn new(cache: PathBuf) -> Self {
        Self {
            cache,
            search_path: Vec::new(),
            node: None,
            python: None,
            uv: None,
            uv_release: pins::uv(),
            pnpm: None,
            pnpm_release: pins::pnpm(),
            node_mirror: None,
            python_mirror: None,
            registry: Registry::default(),
            python_index: PythonIndex::default(),
            offline: false,
            home: None,
            python_versions: PythonVersions::default(),
            trust: Trust::default(),
            proxy: ProxyUse::default(),
            bounds: FetchBounds::default(),
        }
    }

    /// Reads the configuration from the environment of this process.
    ///
    /// Belljar's own variables are `BELLJAR_CACHE`, `BELLJAR_NODE`, `BELLJAR_PYTHON`, `BELLJAR_UV`,
    /// `BELLJAR_PNPM`, `BELLJAR_NODE_MIRROR`, `BELLJAR_PYTHON_MIRROR` and `BELLJAR_OFFLINE` (any
    /// value except an empty one and `0`). It also reads `PATH`, `HOME`, `XDG_CACHE_HOME`,
    /// `SSL_CERT_FILE`, `SSL_CERT_DIR`, `NODE_EXTRA_CA_CERTS`, and the settings of other programs:
    ///
    /// - npm: `npm_config_registry` and `npm_config_userconfig` (in lower or upper case) and
    ///   `~/.npmrc`
    /// - uv: `UV_PYTHON_INSTALL_MIRROR`, `UV_DEFAULT_INDEX`, `UV_INDEX_URL`, `UV_INDEX`,
    ///   `UV_EXTRA_INDEX_URL`, `UV_FIND_LINKS`
    /// - pip, if uv has no such setting: `PIP_INDEX_URL`, `PIP_EXTRA_INDEX_URL`, `PIP_FIND_LINKS`,
    ///   `PIP_CERT`, and the section `[global]` of its files: `PIP_CONFIG_FILE`,
    ///   `$XDG_CONFIG_HOME/pip/pip.conf`, `~/.pip/pip.conf`, `/etc/pip.conf`
    /// - pyenv: `PYENV_ROOT` and `PYENV_VERSION`
    pub fn from_env() -> Result<Self, ProvisionError> {
        let mut config = Self::from_variables(
            &|name| std::env::var_os(name),
            rustix::process::geteuid().is_root(),
        )?;
        config.python_versions.directory = std::env::current_dir().ok();
        Ok(config)
    }

    /// Reads the configuration from the given variables.
    fn from_variables(
        variable: &dyn Fn(&str) -> Option<OsString>,
        is_root: bool,
    ) -> Result<Self, ProvisionError> {
        let set = |name: &str| variable(name).filter(|value| !value.is_empty());
        let path = |name: &str| set(name).map(PathBuf::from);
        let text = |name: &str| set(name).and_then(|value| value.into_string().ok());
        let paths = |name: &str| -> Vec<PathBuf> {
            set(name).map(|value| std::env::split_paths(&value).collect()).unwrap_or_default()
        };
        let npm = |name: &str| {
            text(&format!("npm_config_{name}"))
                .or_else(|| text(&format!("NPM_CONFIG_{}", name.to_uppercase())))
        };

        let home = path("HOME").filter(|home| home.is_absolute());
        let mut config = Self::new(cache_folder(&path, home.as_deref(), is_root)?);
        config.search_path = paths("PATH");
        config.node = path("BELLJAR_NODE");
        config.python = path("BELLJAR_PYTHON");
        config.uv = path("BELLJAR_UV");
        config.pnpm = path("BELLJAR_PNPM");
        config.node_mirror = text("BELLJAR_NODE_MIRROR");
        config.python_mirror =
            text("BELLJAR_PYTHON_MIRROR").or_else(|| text("UV_PYTHON_INSTALL_MIRROR"));
        config.offline = text("BELLJAR_OFFLINE").is_some_and(|value| value != "0");
        config.trust = Trust {
            file: path("SSL_CERT_FILE"),
            directories: paths("SSL_CERT_DIR"),
            extra: path("NODE_EXTRA_CA_CERTS"),
        };
        config.python_versions = PythonVersions {
            installations: installations(path("PYENV_ROOT"), home.as_deref()),
            pyenv_version: text("PYENV_VERSION"),
            directory: None,
        };
        let npmrc = npm("userconfig")
            .map(PathBuf::from)
            .or_else(|| home.as_ref().map(|home| home.join(".npmrc")));
        let npmrc = npmrc.and_then(|path| fs::read_to_string(path).ok()).unwrap_or_default();
        config.registry = Registry::from_npm(&npmrc, npm("registry").as_deref(), &text);
        config.python_index = PythonIndex::from_variables(&text, home.as_deref());
        config.home = home;
        Ok(config)
    }
}

fn cache_folder(
    path: &dyn Fn(&str) -> Option<PathBuf>,
    home: Option<&Path>,
    is_root: bool,
) -> Result<PathBuf, ProvisionError> {
    let candidates = [
        path("BELLJAR_CACHE"),
        path("XDG_CACHE_HOME").map(|cache| cache.join("belljar")),
        is_root.then(|| PathBuf::from("/var/cache/belljar")),
        home.map(|home| home.join(".cache/belljar")),
    ];
    // A relative path is ignored, as the XDG specification requires.
    candidates
        .into_iter()
        .flatten()
        .find(|cache| cache.is_absolute())
        .ok_or(ProvisionError::NoCache)
}

/// Returns the folders where pyenv, uv, asdf and mise install Pythons.
fn installations(pyenv_root: Option<PathBuf>, home: Option<&Path>) -> Vec<PathBuf> {
    let pyenv = pyenv_root
        .or_else(|| home.map(|home| home.join(".pyenv")))
        .map(|root| root.join("versions"));
    let of_home =
        [".local/share/uv/python", ".asdf/installs/python", ".local/share/mise/installs/python"];
    pyenv
        .into_iter()
        .chain(of_home.iter().filter_map(|folder| home.map(|home| home.join(folder))))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(
        variables: &[(&str, &str)],
        is_root: bool,
    ) -> Result<ProvisionConfig, ProvisionError> {
        ProvisionConfig::from_variables(
            &|name| {
                variables
                    .iter()
                    .find(|(variable, _)| *variable == name)
                    .map(|(_, value)| OsString::from(value))
            },
            is_root,
        )
    }

    #[test]
    fn the_cache_is_the_first_absolute_candidate() {
        let cache = |variables: &[(&str, &str)], is_root| {
            config(variables, is_root).map(|config| config.cache.display().to_string()).ok()
        };
        let home = ("HOME", "/home/me");
        assert_eq!(cache(&[home], false).unwrap(), "/home/me/.cache/belljar");
        assert_eq!(cache(&[home], true).unwrap(), "/var/cache/belljar");
        assert_eq!(cache(&[home, ("XDG_CACHE_HOME", "/x")], false).unwrap(), "/x/belljar");
        assert_eq!(
            cache(&[home, ("XDG_CACHE_HOME", "x")], false).unwrap(),
            "/home/me/.cache/belljar"
        );
        assert_eq!(
            cache(&[home, ("XDG_CACHE_HOME", "/x"), ("BELLJAR_CACHE", "/b")], true).unwrap(),
            "/b"
        );
        assert_eq!(
            cache(&[home, ("BELLJAR_CACHE", "")], false).unwrap(),
            "/home/me/.cache/belljar"
        );
        assert!(matches!(config(&[], false), Err(ProvisionError::NoCache)));
    }

    #[test]
    fn settings_of_npm_and_pyenv_are_read_as_they_read_them() {
        let folder = tempfile::tempdir().unwrap();
        let npmrc = folder.path().join("rc");
        fs::write(&npmrc, "registry=https://${HOST}/npm\n").unwrap();
        let npmrc = npmrc.to_str().unwrap();
        let base = [("HOME", "/home/me"), ("HOST", "r.example"), ("NPM_CONFIG_USERCONFIG", npmrc)];
        assert_eq!(
            config(&base, false).unwrap().registry.package_url("p"),
            "https://r.example/npm/p"
        );
        let with_variable = [&base[..], &[("npm_config_registry", "http://127.0.0.1:1/")]].concat();
        assert_eq!(
            config(&with_variable, false).unwrap().registry.package_url("p"),
            "http://127.0.0.1:1/p"
        );
        assert_eq!(
            config(&base, false).unwrap().python_versions.installations[0],
            Path::new("/home/me/.pyenv/versions")
        );
        let with_root = [&base[..], &[("PYENV_ROOT", "/opt/pyenv")]].concat();
        assert_eq!(
            config(&with_root, false).unwrap().python_versions.installations[0],
            Path::new("/opt/pyenv/versions")
        );
    }

    #[test]
    fn settings_of_installers_and_the_index_are_read_as_uv_and_pip_read_them() {
        let base = [("HOME", "/home/me"), ("PIP_CONFIG_FILE", "/dev/null")];
        let url = |variables: &[(&str, &str)]| {
            let config = config(&[&base[..], variables].concat(), false).unwrap();
            config.python_index.default_index().url().to_owned()
        };
        assert_eq!(url(&[]), crate::DEFAULT_INDEX);
        assert_eq!(
            url(&[("PIP_INDEX_URL", "https://pip.example/simple")]),
            "https://pip.example/simple"
        );
        assert_eq!(
            url(&[
                ("PIP_INDEX_URL", "https://pip.example/"),
                ("UV_DEFAULT_INDEX", "https://uv.example/")
            ]),
            "https://uv.example"
        );
        let config = config(
            &[&base[..], &[("BELLJAR_UV", "/opt/uv"), ("BELLJAR_PNPM", "/opt/pnpm")]].concat(),
            false,
        )
        .unwrap();
        assert_eq!(
            (config.uv.unwrap(), config.pnpm.unwrap()),
            (PathBuf::from("/opt/uv"), PathBuf::from("/opt/pnpm"))
        );
    }

    #[test]
    fn offline_is_any_value_except_empty_and_0() {
        for (value, expected) in [("1", true), ("true", true), ("0", false), ("", false)] {
            assert_eq!(
                config(&[("HOME", "/h"), ("BELLJAR_OFFLINE", value)], false).unwrap().offline,
                expected,
                "{value:?}"
            );
        }
    }
}
