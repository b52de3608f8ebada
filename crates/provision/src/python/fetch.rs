//! Pythons from a mirror of those that uv manages (`python-build-standalone`). uv installs them: it
//! knows the hash of each, is itself pinned by a hash, and installs a Python completely or not at
//! all.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::PythonRuntime;
use crate::error::ProvisionError;
use crate::platform::Arch;
use crate::progress::{Progress, Step};
use crate::provisioner::{Provisioner, Source};
use crate::request::PythonRequest;
use crate::version::Version;

/// The variables of the environment that uv receives, so that it can reach the mirror.
const PASSED_ON: [&str; 10] = [
    "HTTPS_PROXY",
    "https_proxy",
    "HTTP_PROXY",
    "http_proxy",
    "ALL_PROXY",
    "all_proxy",
    "NO_PROXY",
    "no_proxy",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
];

impl Provisioner {
    /// Returns the pinned Python that meets the request, from the cache or from the mirror. Returns
    /// `None` if there is no mirror, or if it does not have the Python and the next source should
    /// be tried.
    pub(super) fn managed_python(
        &self,
        request: &PythonRequest,
        progress: &mut dyn Progress,
    ) -> Result<Option<PythonRuntime>, ProvisionError> {
        let (Some(mirror), Some(version)) = (&self.config.python_mirror, request.pinned()) else {
            return Ok(None);
        };
        let Ok(arch) = Arch::host("python") else { return Ok(None) };
        let folder = self.config.cache.join("python");
        if let Some(python) = self.installed_python(&folder, version, arch, Source::Cache, progress)
        {
            return Ok(Some(python));
        }
        if self.config.offline {
            return Ok(None);
        }
        let uv = self.uv(progress)?;
        // Only one process installs at once. uv has locks of its own for the rest.
        let staging = self.cache.stage(&format!("python-{version}-{}", arch.name()), progress)?;
        progress.step(Step::Downloading { what: "python", version, bytes: 0, total: None });
        match install(&uv.program, mirror, version, &folder, staging.path()) {
            Ok(()) => {
                match self.installed_python(&folder, version, arch, Source::Fetched, progress) {
                    Some(python) => Ok(Some(python)),
                    None => Err(ProvisionError::DoesNotRun {
                        what: "python",
                        version,
                        why: "uv has installed it elsewhere".to_owned(),
                    }),
                }
            }
            Err(why) => {
                progress.step(Step::FallingBack { why: &why });
                Ok(None)
            }
        }
    }

    fn installed_python(
        &self,
        folder: &Path,
        version: Version,
        arch: Arch,
        source: Source,
        progress: &mut dyn Progress,
    ) -> Option<PythonRuntime> {
        let program = place(folder, version, arch).join("bin/python3");
        let python = self.examine_python(&program, source, progress).ok()?;
        (python.version == version).then_some(python)
    }
}

/// Returns the folder in which uv installs a Python.
fn place(folder: &Path, version: Version, arch: Arch) -> PathBuf {
    let machine = match arch {
        Arch::X64 => "x86_64",
        Arch::Arm64 => "aarch64",
    };
    folder.join(format!("cpython-{version}-linux-{machine}-gnu"))
}

/// Installs a version from the mirror with uv. `scratch` is its home and cache.
fn install(
    uv: &Path,
    mirror: &str,
    version: Version,
    folder: &Path,
    scratch: &Path,
) -> Result<(), String> {
    let mut command = Command::new(uv);
    command
        .args([
            "python",
            "install",
            "--no-bin",
            "--no-config",
            "--no-progress",
            "--color",
            "never",
            "--mirror",
            mirror,
            "--install-dir",
        ])
        .arg(folder)
        .arg(format!("cpython-{version}"))
        .env_clear()
        .env("HOME", scratch)
        .env("UV_CACHE_DIR", scratch.join("cache"))
        .env("PATH", "/usr/bin:/bin")
        .stdin(Stdio::null())
        .current_dir("/");
    for name in PASSED_ON {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    let output = command.output().map_err(|error| format!("uv cannot be started: {error}"))?;
    if output.status.success() {
        // The user of a sandbox must be able to read it, whatever the umask is. The folders above
        // stay closed to others.
        let _ = fs::set_permissions(folder, std::os::unix::fs::PermissionsExt::from_mode(0o755));
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<&str> = said.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    Err(format!(
        "uv did not install python {version}: {}",
        lines.join(": ").chars().take(300).collect::<String>()
    ))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;
    use crate::{ProvisionConfig, Silent};

    /// Returns a fake uv that installs the Python of this machine and records its arguments.
    fn double(folder: &Path, script: &str) -> PathBuf {
        let program = folder.join("uv");
        fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        program
    }

    #[test]
    fn uv_installs_exactly_the_pinned_version_from_the_mirror() {
        let folder = tempfile::tempdir().unwrap();
        let uv = double(folder.path(), "echo \"$@\" > \"$HOME/asked\"; env >> \"$HOME/asked\"");
        let version = PythonRequest::default().pinned().unwrap();
        install(
            &uv,
            "https://mirror.example/python",
            version,
            &folder.path().join("python"),
            folder.path(),
        )
        .unwrap();
        let asked = fs::read_to_string(folder.path().join("asked")).unwrap();
        assert!(
            asked.contains("--mirror https://mirror.example/python")
                && asked.contains(&format!("cpython-{version}")),
            "{asked}"
        );
        // uv's own settings have no effect.
        assert!(asked.contains("--no-config") && !asked.contains("CARGO_MANIFEST_DIR"), "{asked}");
    }

    #[test]
    fn the_output_of_uv_is_the_reason_of_the_fallback() {
        let folder = tempfile::tempdir().unwrap();
        let uv = double(folder.path(), "echo 'error: no such host' >&2; exit 2");
        let why = install(
            &uv,
            "https://mirror.example",
            Version::new(3, 13, 1),
            folder.path(),
            folder.path(),
        )
        .unwrap_err();
        assert!(why.contains("no such host") && why.contains("3.13.1"), "{why}");
    }

    #[test]
    fn an_installed_python_is_found_again_and_nothing_is_fetched() {
        let folder = tempfile::tempdir().unwrap();
        let mut config = ProvisionConfig {
            cache: folder.path().join("cache"),
            python: None,
            ..ProvisionConfig::from_env().unwrap()
        };
        let real = Provisioner::new(config.clone())
            .unwrap()
            .python(&PythonRequest::default(), &mut Silent)
            .unwrap();
        let place =
            place(&folder.path().join("cache/python"), real.version, Arch::host("python").unwrap());
        fs::create_dir_all(place.join("bin")).unwrap();
        symlink(&real.executable, place.join("bin/python3")).unwrap();
        config.python_mirror = Some("http://127.0.0.1:1".to_owned());
        let request: PythonRequest = real.version.to_string().parse().unwrap();
        let found = Provisioner::new(config).unwrap().python(&request, &mut Silent).unwrap();
        assert_eq!((found.source, found.version), (Source::Cache, real.version));
    }
}
