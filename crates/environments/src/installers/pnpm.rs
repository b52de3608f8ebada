//! The installer `pnpm`, which resolves packages into a `pnpm-lock.yaml`, and installs them as a
//! flat `node_modules` like npm's.

use std::fmt::Write as _;
use std::path::Path;

use belljar_engine::Tool;
use serde_json::{Map, Value, json};

use super::gate::Gate;
use super::{
    DOWNLOADS, Downloads, Installed, Job, PROJECT, Ran, Staging, has_name, read_back, rewrite,
    secrets,
};
use crate::error::EnvironmentError;
use crate::lock::Lock;
use crate::progress::Steps;
use crate::requirement::{Ecosystem, Requirement};
use crate::sanitize::sanitize;

/// The place of the registry's configuration in the jail.
const NPMRC: &str = "/belljar/npmrc";

pub(super) async fn resolve(
    job: &Job<'_>,
    requirements: &[Requirement],
) -> Result<Lock, EnvironmentError> {
    let asked = requirements
        .iter()
        .filter_map(Requirement::as_npm)
        .map(|requirement| (requirement.name().to_owned(), Value::from(requirement.range())));
    let staging = job
        .project(&[
            ("package.json", &manifest(asked.collect())),
            ("pnpm-workspace.yaml", &settings(job, Code::IsNotRun)),
        ])
        .await?;
    let (mut tool, _gate) = tool(job, &staging, Code::IsNotRun).await?;
    tool.arguments.push("--lockfile-only".to_owned());
    let ran = job.run(tool, &staging, progress).await?;
    if !ran.is_success {
        return Err(explain(job, &ran, requirements));
    }
    Ok(Lock::written(&read_back(&staging, "pnpm-lock.yaml")?, &[])?)
}

pub(super) async fn install(job: &Job<'_>, lock: &Lock) -> Result<Installed, EnvironmentError> {
    let asked = lock
        .specifiers
        .iter()
        .map(|(name, range)| (name.clone(), Value::from(range.as_str())))
        .collect();
    let files = [
        ("package.json", &*manifest(asked)),
        ("pnpm-workspace.yaml", &*settings(job, Code::IsNotRun)),
        ("pnpm-lock.yaml", &*lock.text),
    ];
    let staging = job.project(&files).await?;
    let (mut fetching, _gate) = tool(job, &staging, Code::IsNotRun).await?;
    fetching.arguments.extend(["--frozen-lockfile", "--prod"].map(str::to_owned));
    let ran = job.run(fetching, &staging, progress).await?;
    if !ran.is_success {
        return Err(explain(job, &ran, &[]));
    }
    if job.rules.allow_build {
        (job.tell)("building".to_owned());
        rewrite(&staging, "pnpm-workspace.yaml", &settings(job, Code::IsRun))?;
        let (building, _) = tool(job, &staging, Code::IsRun).await?;
        let ran = job.run(building, &staging, progress).await?;
        if !ran.is_success {
            return Err(explain(job, &ran, &[]));
        }
    }
    let root = staging.path().join("project/node_modules");
    Ok(Installed { root, staging, may_point_to: Vec::new(), leaves })
}

/// Returns whether a path is the installer's own and would differ between installations.
fn leaves(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    path.components().count() == 1
        && (matches!(name, ".modules.yaml" | ".pnpm") || name.starts_with(".pnpm-workspace-state"))
}

/// A setting of pnpm: whether it runs packages' own code. If it does, it gets no login and no
/// shared downloads, because that code is the same user as pnpm.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Code {
    IsNotRun,
    IsRun,
}

/// Returns a pnpm and its gate to the registries, which must stay open as long as pnpm runs.
async fn tool(
    job: &Job<'_>,
    staging: &Staging,
    code: Code,
) -> Result<(Tool, Option<Gate>), EnvironmentError> {
    let tell = job.tell.clone();
    let pnpm =
        job.provision(move |provisioner| provisioner.pnpm(&mut Steps::reported_to(tell))).await?;
    let mut shows = pnpm.mounts.clone();
    shows.extend(job.runtime.mounts.iter().cloned());
    // A build uses the fetched files, so both steps use the same folder, which belongs to this
    // environment only.
    let downloads =
        if job.rules.allow_build { Downloads::ThrownAway } else { Downloads::Shared("pnpm") };
    let mut tool = job.tool(&pnpm.program, &shows, staging, Path::new(PROJECT), downloads)?;
    let registry = &job.config.provision.registry;
    let mut npmrc = registry.address_lines().join("\n");
    let mut gate = None;
    match code {
        Code::IsNotRun => {
            tool.arguments.extend(
                ["--dir", PROJECT, "install", "--reporter=ndjson", "--ignore-scripts"]
                    .map(str::to_owned),
            );
            if job.rules.offline {
                tool.arguments.push("--offline".to_owned());
            }
            for line in registry.credential_lines() {
                npmrc.push('\n');
                npmrc.push_str(line.expose());
            }
            // pnpm contacts any URL that a package names as a dependency before it refuses it, and
            // makes git contact any repository.
            tool.variables.insert("PATH".to_owned(), "/nonexistent".to_owned());
            if !tool.variables.keys().any(|name| secrets::names_a_proxy(name)) {
                let registries =
                    std::iter::once(registry.url()).chain(registry.scopes().map(|(_, url)| url));
                let opened = Gate::open(registries).await.map_err(|error| {
                    EnvironmentError::Internal(format!(
                        "cannot open the gate to the registry: {error}"
                    ))
                })?;
                tool.variables.extend(opened.variables());
                gate = Some(opened);
            }
        }
        Code::IsRun => {
            tool.arguments
                .extend(["--dir", PROJECT, "rebuild", "--reporter=ndjson"].map(str::to_owned));
            tool.variables.retain(|_, value| !(value.contains("://") && value.contains('@')));
        }
    }
    tool.files.push((NPMRC.into(), npmrc.into_bytes()));
    for (name, value) in
        [("NPM_CONFIG_USERCONFIG", NPMRC), ("npm_config_userconfig", NPMRC), ("CI", "1")]
    {
        tool.variables.insert(name.to_owned(), value.to_owned());
    }
    // Lifecycle scripts of packages that may be built find the runtime that they are built for.
    if let Some(folder) = job.runtime.executable.parent().filter(|_| code == Code::IsRun) {
        tool.variables.insert("PATH".to_owned(), format!("{}:/usr/bin:/bin", folder.display()));
    }
    Ok((tool, gate))
}

fn manifest(dependencies: Map<String, Value>) -> String {
    json!({"name": "environment", "version": "0.0.0", "private": true, "dependencies": dependencies}).to_string()
}

/// Returns pnpm's settings. The folder is flat like npm's, because code written by agents imports
/// packages that it has not declared.
fn settings(job: &Job<'_>, code: Code) -> String {
    let cpu = if std::env::consts::ARCH == "aarch64" { "arm64" } else { "x64" };
    let mut text = format!(
        "nodeLinker: hoisted\npackageImportMethod: copy\nstoreDir: {DOWNLOADS}/store\ncacheDir: {DOWNLOADS}/cache\nstateDir: {DOWNLOADS}/state\n\
         ignoreScripts: {}\nupdateNotifier: false\nmanagePackageManagerVersions: false\nignorePnpmfile: true\n\
         supportedArchitectures:\n  os: [linux]\n  cpu: [{cpu}]\n  libc: [glibc]\n",
        code == Code::IsNotRun
    );
    // Dependencies of packages come from the registry, and not from a URL or repository that a
    // package names.
    text.push_str("blockExoticSubdeps: true\n");
    match code {
        // The age is also checked for a lock of the run, if no version is old enough, and if the
        // age of a version is unknown.
        Code::IsNotRun => {
            let minutes = u64::from(job.rules.minimum_release_age_days) * 24 * 60;
            let _ = writeln!(
                text,
                "trustLockfile: false\nminimumReleaseAgeStrict: true\nminimumReleaseAgeIgnoreMissingTime: false\nminimumReleaseAge: {minutes}"
            );
        }
        // Everything was checked when it was fetched.
        Code::IsRun => text.push_str(
            "dangerouslyAllowAllBuilds: true\ntrustLockfile: true\nminimumReleaseAge: 0\n",
        ),
    }
    text
}

/// Returns the progress message of a line of pnpm's reporter.
fn progress(line: &str) -> Option<String> {
    let event: Value = serde_json::from_str(line).ok()?;
    let text = |key: &str| event.get(key).and_then(Value::as_str);
    match text("name")? {
        "pnpm:fetching-progress" if text("status") == Some("started") => {
            let size = event.get("size").and_then(Value::as_u64).filter(|size| *size > 1 << 20)?;
            let package = text("packageId")?;
            Some(format!("downloading {package} ({:.1}MiB)", size as f64 / f64::from(1 << 20)))
        }
        _ => None,
    }
}

fn explain(job: &Job<'_>, ran: &Ran, requirements: &[Requirement]) -> EnvironmentError {
    let (mut code, mut message) = (String::new(), String::new());
    for event in ran.lines.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
        let text =
            |key: &str| event.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        if text("level") == "error" {
            (code, message) = (text("code"), text("message"));
        }
    }
    if message.is_empty() {
        message = ran.lines.iter().rev().take(4).rev().cloned().collect::<Vec<_>>().join(", ");
    }
    let message = sanitize(
        &message
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
            .collect::<Vec<_>>()
            .join(", ")
            .replace(":, ", ": "),
    );
    // A package that is not in the cache may be in the registry.
    if job.rules.offline {
        return EnvironmentError::Offline(message);
    }
    match code.as_str() {
        "ERR_PNPM_FETCH_404" => {
            // The URL ends with the name. The slash of a scoped package may be encoded.
            let missing = requirements.iter().map(Requirement::name).find(|name| {
                let address = |name: &str| message.contains(&format!("/{name}:"));
                address(name)
                    || address(&name.replace('/', "%2F"))
                    || address(&name.replace('/', "%2f"))
                    || has_name(&message, name, "@")
            });
            match missing {
                Some(name) => EnvironmentError::not_in_registry(Ecosystem::Npm, name),
                None => EnvironmentError::Resolution(message),
            }
        }
        "ERR_PNPM_TARBALL_INTEGRITY" => EnvironmentError::Integrity(message),
        code if code.starts_with("ERR_PNPM_FETCH_") || message.starts_with("Failed to fetch") => {
            EnvironmentError::Registry(message)
        }
        // The codes that pnpm uses if no version is old enough, and if a lock contains one that is
        // not.
        code if code.contains("MATURE")
            || code.contains("MINIMUM_RELEASE_AGE")
            || message.contains("minimumReleaseAge") =>
        {
            EnvironmentError::TooYoung { why: message, days: job.rules.minimum_release_age_days }
        }
        _ => EnvironmentError::Resolution(message),
    }
}
