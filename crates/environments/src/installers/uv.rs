//! The installer `uv`, which resolves packages into a `uv.lock`, and installs them as a virtual
//! environment.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use belljar_engine::{Environment, RuntimeKind, Tool, ToolNetwork};

use super::{
    DOWNLOADS, Downloads, Installed, InstalledPackages, Job, PROJECT, Part, Ran, Staging, has_name,
    read_back, secrets,
};
use crate::error::EnvironmentError;
use crate::folder_error::io_error;
use crate::lock::{Lock, LockedPackage};
use crate::progress::Steps;
use crate::requirement::{Ecosystem, Requirement};
use crate::sanitize::sanitize;

/// The name of every project.
const PROJECT_NAME: &str = "environment";

/// A note for find-links: a lock has hashes for packages of an index, but not for those in a folder
/// of this machine.
const FIND_LINKS_UNUSED: &str =
    "find-links is set but ignored: packages come only from the configured indexes";

/// A lock, and the steps that led to it.
pub(super) struct Traced {
    pub(super) lock: Lock,
    pub(super) trace: Vec<String>,
}

/// The use of pre-releases if a package has no other acceptable version.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum PreReleases {
    WhereNeeded,
    Never,
}

/// Resolves requirements without the dependencies in `left_out`.
pub(super) async fn resolve(
    job: &Job<'_>,
    requirements: &[Requirement],
    left_out: &[String],
    pre_releases: PreReleases,
) -> Result<Traced, EnvironmentError> {
    if has_find_links(job) {
        (job.tell)(FIND_LINKS_UNUSED.to_owned());
    }
    let mut manifest = manifest(job, PROJECT_NAME, "0", requirements);
    if !left_out.is_empty() {
        let _ = writeln!(manifest, "exclude-dependencies = {}", serde_json::Value::from(left_out));
    }
    let settings = index_settings(job);
    let mut files = vec![("pyproject.toml", manifest.as_str())];
    files.extend(settings.as_deref().map(|settings| (SETTINGS, settings)));
    let staging = job.project(&files).await?;
    let mut tool = tool(job, &staging).await?;
    if settings.is_some() {
        // The variables would replace the settings. A named file replaces all files that uv would
        // look for.
        tool.variables.retain(|name, _| !INDEX_VARIABLES.contains(&name.as_str()));
        tool.arguments.retain(|argument| argument != "--no-config");
        tool.arguments.extend(["--config-file".to_owned(), format!("{PROJECT}/{SETTINGS}")]);
    }
    tool.arguments.insert(0, "lock".to_owned());
    if job.rules.minimum_release_age_days == 0 && !job.rules.offline {
        // The answers that another resolution has cached for ten minutes are too old if the newest
        // version counts.
        tool.arguments.push("--refresh".to_owned());
    }
    if job.rules.minimum_release_age_days > 0 {
        tool.arguments.extend([
            "--exclude-newer".to_owned(),
            format!("{} days", job.rules.minimum_release_age_days),
        ]);
    }
    if pre_releases == PreReleases::Never {
        tool.arguments.extend(["--prerelease", "disallow"].map(str::to_owned));
    }
    tool.variables.insert("RUST_LOG".to_owned(), "uv_resolver=debug".to_owned());
    let ran = job.run(tool, &staging, progress).await?;
    if !ran.is_success {
        return Err(explain(job, &ran, requirements));
    }
    Ok(Traced {
        lock: Lock::written(&read_back(&staging, "uv.lock")?, &job.config.indexes())?,
        trace: ran.trace,
    })
}

pub(super) async fn install(job: &Job<'_>, lock: &Lock) -> Result<Installed, EnvironmentError> {
    let LockedPackage { name, version } = &lock.project;
    let manifest = manifest(job, name, if version.is_empty() { "0" } else { version }, &[]);
    let staging = job.project(&[("pyproject.toml", &manifest), ("uv.lock", &lock.text)]).await?;
    let mut tool = tool(job, &staging).await?;
    tool.arguments.insert(0, "sync".to_owned());
    tool.arguments.extend(
        [
            "--frozen",
            "--no-dev",
            "--no-default-groups",
            "--no-install-project",
            "--link-mode",
            "copy",
        ]
        .map(str::to_owned),
    );
    let ran = job.run(tool, &staging, progress).await?;
    if !ran.is_success {
        return Err(explain(job, &ran, &[]));
    }
    compile(job, &staging).await?;
    let root = staging.path().join("root");
    Ok(Installed { root, staging, may_point_to: vec![job.runtime.executable.clone()], leaves })
}

/// The program that installs and compiles packages one by one.
const INSTALL_PACKAGES: &str = include_str!("install_packages.py");
/// The places of the program and of its plan in the jail.
const SCRIPT: &str = "/belljar/install_packages.py";
const PLAN: &str = "/belljar/plan.json";
/// Variables that limit the threads of each of several concurrent uv: on a machine with many
/// processors, they would exceed the jail's limit.
const FEW_THREADS: [(&str, &str); 3] =
    [("TOKIO_WORKER_THREADS", "2"), ("RAYON_NUM_THREADS", "2"), ("UV_CONCURRENT_INSTALLS", "2")];

/// Installs packages, each into a folder of its own so that no other package can change its files,
/// then compiles them without a network.
pub(super) async fn install_packages(
    job: &Job<'_>,
    parts: &[Part],
) -> Result<InstalledPackages, EnvironmentError> {
    let place = Environment::place(RuntimeKind::Python);
    let tell = job.tell.clone();
    let uv =
        job.provision(move |provisioner| provisioner.uv(&mut Steps::reported_to(tell))).await?;
    let mut arguments =
        ["--no-config", "--no-python-downloads", "--no-progress", "--color", "never", "--no-build"]
            .map(str::to_owned)
            .to_vec();
    if job.rules.offline {
        arguments.push("--offline".to_owned());
    }
    // The random names keep archives from knowing the folder of another package.
    let folders = parts.iter().map(|_| unforeseeable_name()).collect::<Result<Vec<_>, _>>()?;
    let packages: Vec<serde_json::Value> = parts
        .iter()
        .zip(&folders)
        .filter(|(part, _)| !part.requirement.is_empty())
        .map(
            |(part, folder)| serde_json::json!({"folder": folder, "requirement": part.requirement}),
        )
        .collect();
    let plan = serde_json::json!({
        "uv": uv.program, "arguments": arguments, "interpreter": job.runtime.executable, "place": place,
        "folder": format!("{PROJECT}/packages"), "packages": packages,
    });
    let staging = job.project(&[]).await?;
    // These files are at places that an unpacked archive cannot change.
    let files = [(PLAN, plan.to_string()), (SCRIPT, INSTALL_PACKAGES.to_owned())];
    let files = files.map(|(path, text)| (PathBuf::from(path), text.into_bytes()));
    let shows: Vec<PathBuf> = uv.mounts.iter().chain(&job.runtime.mounts).cloned().collect();
    let command = |what: &str| ["-I", "-S", SCRIPT, what, PLAN].map(str::to_owned).to_vec();
    let mut installing =
        job.tool(&job.runtime.executable, &shows, &staging, place, Downloads::Shared("uv"))?;
    installing.arguments = command("install");
    installing.files.extend(files.clone());
    for (name, value) in
        [("UV_CACHE_DIR", DOWNLOADS), ("UV_NO_ENV_FILE", "1"), ("UV_NO_MANAGED_PYTHON", "1")]
            .into_iter()
            .chain(FEW_THREADS)
    {
        installing.variables.insert(name.to_owned(), value.to_owned());
    }
    installing.variables.extend(index_variables(job)?);
    let ran = job.run(installing, &staging, progress).await?;
    if !ran.is_success {
        return Err(explain(job, &ran, &[]));
    }
    if packages.is_empty() {
        return Ok(InstalledPackages {
            roots: vec![staging.path().join("root")],
            staging,
            may_point_to: vec![job.runtime.executable.clone()],
            leaves,
        });
    }
    (job.tell)("compiling".to_owned());
    let mut compiling =
        job.tool(&job.runtime.executable, &job.runtime.mounts, &staging, place, Downloads::None)?;
    without_network(&mut compiling);
    compiling.arguments = command("compile");
    compiling.files.extend(files);
    job.run(compiling, &staging, |_| None).await?;
    let root = |(part, folder): (&Part, &String)| {
        if part.requirement.is_empty() {
            staging.path().join("root")
        } else {
            staging.path().join("project/packages").join(folder)
        }
    };
    let roots = parts.iter().zip(&folders).map(root).collect();
    Ok(InstalledPackages {
        roots,
        staging,
        may_point_to: vec![job.runtime.executable.clone()],
        leaves,
    })
}

/// Returns an unpredictable name.
fn unforeseeable_name() -> Result<String, EnvironmentError> {
    let mut bytes = [0; 16];
    let path = Path::new("/dev/urandom");
    let read = std::fs::File::open(path)
        .and_then(|mut source| std::io::Read::read_exact(&mut source, &mut bytes));
    read.map_err(io_error("read", path))?;
    Ok(hex::encode(bytes))
}

/// Removes the network and the proxies from a tool that processes the code of packages.
fn without_network(tool: &mut Tool) {
    tool.network = ToolNetwork::None;
    tool.variables.insert("PYTHONHASHSEED".to_owned(), "0".to_owned());
    tool.variables.retain(|name, _| !name.to_lowercase().ends_with("_proxy"));
}

/// Compiles the modules of packages, except tests, so that sandboxes do not have to. The result
/// contains no times, so it is reproducible. This needs no network.
async fn compile(job: &Job<'_>, staging: &Staging) -> Result<(), EnvironmentError> {
    (job.tell)("compiling".to_owned());
    let place = Environment::place(RuntimeKind::Python);
    let mut tool =
        job.tool(&job.runtime.executable, &job.runtime.mounts, staging, place, Downloads::None)?;
    without_network(&mut tool);
    let arguments = [
        "-I",
        "-S",
        "-m",
        "compileall",
        "-q",
        "-q",
        "-j",
        "0",
        "--invalidation-mode",
        "unchecked-hash",
        "-x",
        r"/(tests?|testing/tests)/",
    ];
    tool.arguments = arguments.map(str::to_owned).into();
    tool.arguments.push(place.join("lib").display().to_string());
    // Files that do not compile are not an error, because they are for other versions of Python.
    job.run(tool, staging, |_| None).await.map(drop)
}

/// Returns whether a path is the installer's own and would differ between installations.
fn leaves(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let depth = path.components().count();
    match depth {
        1 => matches!(name, ".lock" | ".gitignore" | "CACHEDIR.TAG"),
        2 if path.starts_with("bin") => {
            name.starts_with("activate") || matches!(name, "deactivate.bat" | "pydoc.bat")
        }
        4 => matches!(name, "_virtualenv.py" | "_virtualenv.pth"),
        _ => false,
    }
}

async fn tool(job: &Job<'_>, staging: &Staging) -> Result<Tool, EnvironmentError> {
    // Builds run as the same user as uv, and inherit its variables.
    if job.rules.allow_build && secrets::uv_receives_logins(&job.config.provision) {
        return Err(EnvironmentError::Refused {
            what: "building packages of Python".to_owned(),
            why: "their own code would see the credentials of the configured index or proxy",
            hint: "request versions with a wheel, or have the operator configure one without \
                   credentials",
        });
    }
    let tell = job.tell.clone();
    let uv =
        job.provision(move |provisioner| provisioner.uv(&mut Steps::reported_to(tell))).await?;
    let shows: Vec<PathBuf> =
        uv.mounts.iter().chain(&job.runtime.mounts).chain(&job.runtime.headers).cloned().collect();
    let place = Environment::place(RuntimeKind::Python);
    let downloads =
        if job.rules.allow_build { Downloads::ThrownAway } else { Downloads::Shared("uv") };
    let mut tool = job.tool(&uv.program, &shows, staging, place, downloads)?;
    let arguments = [
        "--directory",
        PROJECT,
        "--no-config",
        "--no-python-downloads",
        "--no-progress",
        "--color",
        "never",
        "--python",
    ];
    tool.arguments.extend(arguments.map(str::to_owned));
    tool.arguments.push(job.runtime.executable.display().to_string());
    if !job.rules.allow_build {
        tool.arguments.push("--no-build".to_owned());
    }
    if job.rules.offline {
        tool.arguments.push("--offline".to_owned());
    }
    for (name, value) in [
        ("UV_CACHE_DIR", DOWNLOADS),
        ("UV_PROJECT_ENVIRONMENT", &place.display().to_string()),
        ("UV_NO_ENV_FILE", "1"),
        ("UV_NO_MANAGED_PYTHON", "1"),
    ] {
        tool.variables.insert(name.to_owned(), value.to_owned());
    }
    tool.variables.extend(index_variables(job)?);
    Ok(tool)
}

/// The variables of `uv` for the default index and the additional ones.
const INDEX_VARIABLES: [&str; 2] = ["UV_DEFAULT_INDEX", "UV_INDEX"];
/// The file with the settings of indexes.
const SETTINGS: &str = "uv.toml";

/// Returns the settings of the indexes with the time for which uv caches their answers: ten minutes
/// for a list of versions, like `PyPI` itself, and unlimited for a file, which is known by its
/// hash. Some mirrors specify no times, so that uv would repeat all requests for each resolution.
/// Returns `None` if the newest version may be seconds old, and if an index has a login, because no
/// file may contain one.
fn index_settings(job: &Job<'_>) -> Option<String> {
    let index = &job.config.provision.python_index;
    let all = || index.extra_indexes().iter().chain(std::iter::once(index.default_index()));
    if job.rules.minimum_release_age_days == 0 || all().any(|index| index.login().is_some()) {
        return None;
    }
    let count = all().count();
    let mut text = String::new();
    for (number, index) in all().enumerate() {
        let quoted = |text: &str| serde_json::Value::from(text).to_string();
        let name =
            index.name().map(|name| format!("name = {}\n", quoted(name))).unwrap_or_default();
        let _ = write!(
            text,
            "[[index]]\n{name}url = {}\ndefault = {}\ncache-control = {{ api = \"max-age=600\", files = \"max-age=365000000, immutable\" }}\n",
            quoted(index.url()),
            number + 1 == count,
        );
    }
    Some(text)
}

/// Returns the variables of the indexes. Only `uv` sees their logins.
fn index_variables(job: &Job<'_>) -> Result<Vec<(String, String)>, EnvironmentError> {
    let index = &job.config.provision.python_index;
    if let Some(setting) = index.passed_over().first() {
        // If the public index were queried for packages of another index, anyone could publish a
        // package of that name there.
        return Err(EnvironmentError::Configuration(format!("{setting} is not supported")));
    }
    let extra: Vec<String> = index
        .extra_indexes()
        .iter()
        .map(|index| {
            format!(
                "{}{}",
                index.name().map(|name| format!("{name}=")).unwrap_or_default(),
                index.authenticated_url().expose()
            )
        })
        .collect();
    let [default, others] = INDEX_VARIABLES.map(str::to_owned);
    let mut variables =
        vec![(default, index.default_index().authenticated_url().expose().to_owned())];
    if !extra.is_empty() {
        variables.push((others, extra.join(" ")));
    }
    Ok(variables)
}

/// Returns the manifest of a project with these requirements.
fn manifest(job: &Job<'_>, name: &str, version: &str, requirements: &[Requirement]) -> String {
    // A JSON string of plain text is a TOML string too.
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    let minor = job
        .runtime
        .name
        .trim_start_matches("python@")
        .rsplit_once('.')
        .map_or("3", |(minor, _)| minor);
    let mut text = format!(
        "[project]\nname = {}\nversion = {}\nrequires-python = {}\ndependencies = [\n",
        quoted(name),
        quoted(version),
        quoted(&format!("=={minor}.*"))
    );
    for requirement in requirements {
        let _ = writeln!(text, "  {},", quoted(&requirement.to_string()));
    }
    let machine = std::env::consts::ARCH;
    let _ = write!(
        text,
        "]\n\n[tool.uv]\npackage = false\nenvironments = [{}]\n",
        quoted(&format!(
            "sys_platform == 'linux' and platform_machine == '{machine}' and implementation_name == 'cpython'"
        ))
    );
    text
}

/// Returns the progress message of a line of `uv`.
fn progress(line: &str) -> Option<String> {
    let line = line.trim();
    let message = ["Downloading ", "Building "]
        .iter()
        .find_map(|start| line.strip_prefix(start).map(|rest| (start, rest)))?;
    Some(format!("{}{}", message.0.to_lowercase(), message.1))
}

fn explain(job: &Job<'_>, ran: &Ran, requirements: &[Requirement]) -> EnvironmentError {
    let (text, mut words) = (ran.lines.join("\n"), last_words(&ran.lines));
    let has_any = |signs: &[&str]| signs.iter().any(|sign| text.contains(sign));
    let days = job.rules.minimum_release_age_days;
    // uv does not report which versions it has ignored because of their age.
    if days > 0
        && has_any(&[
            "no usable wheels",
            "there is no version of",
            "there are no versions of",
            "only the following versions",
        ])
    {
        let _ = write!(words, " (versions younger than {days} days are ignored)");
    }
    if has_any(&[
        "no usable wheels",
        "`--no-build`",
        "--no-build is set",
        "source distributions is disabled",
    ]) {
        return EnvironmentError::NeedsBuild(words);
    }
    // A package that is not in the cache may be in the registry.
    if job.rules.offline {
        return EnvironmentError::Offline(words);
    }
    if text.contains("Hash mismatch") {
        return EnvironmentError::Integrity(words);
    }
    if has_any(&[
        "Failed to fetch",
        "could not be queried",
        "Request failed after",
        "error sending request",
    ]) {
        return EnvironmentError::Registry(words);
    }
    match requirements
        .iter()
        .map(Requirement::name)
        .find(|name| has_name(&text, name, " was not found in the"))
    {
        Some(name) => EnvironmentError::not_in_registry(Ecosystem::PyPi, name),
        None if has_find_links(job) => {
            EnvironmentError::Resolution(format!("{words} ({FIND_LINKS_UNUSED})"))
        }
        None => EnvironmentError::Resolution(words),
    }
}

fn has_find_links(job: &Job<'_>) -> bool {
    !job.config.provision.python_index.find_links().is_empty()
}

/// Returns uv's error in one line: the error and its causes, without its hints, which are about
/// flags that callers do not have.
fn last_words(lines: &[String]) -> String {
    let from = lines
        .iter()
        .rposition(|line| line.starts_with("error:"))
        .unwrap_or(lines.len().saturating_sub(6));
    let words: Vec<&str> = lines[from..]
        .iter()
        .map(|line| line.trim().trim_start_matches("error:").trim_start_matches("cause:").trim())
        .take_while(|line| !line.starts_with("hint:"))
        .filter(|line| !line.is_empty())
        .collect();
    let mut words = words.join(": ").trim_end_matches('.').to_owned();
    // The machine is irrelevant to the reader.
    if let Some(start) = words.find(" for split (markers: ")
        && let Some(length) = words[start..].find(')')
    {
        words.replace_range(start..=start + length, "");
    }
    sanitize(&words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_an_error_are_one_sentence_without_hints() {
        let lines = [
            "Resolved nothing",
            "error: No solution found when resolving dependencies for split (markers: sys_platform == 'linux')",
            "  cause: Because there is no version of x==9 and your project depends on x==9, it is unsatisfiable.",
            "",
            "hint: Wheels are required for `x`; use `--no-build`",
        ];
        let words = last_words(&lines.map(str::to_owned));
        let expected = "No solution found when resolving dependencies: Because there is no version of x==9 and your project depends on x==9, it is unsatisfiable";
        assert_eq!(words, expected);
    }

    #[test]
    fn a_name_is_no_end_of_another() {
        assert!(has_name(
            "Because foo was not found in the registry",
            "foo",
            " was not found in the"
        ));
        assert!(!has_name(
            "Because py-foo was not found in the registry",
            "foo",
            " was not found in the"
        ));
    }
}
