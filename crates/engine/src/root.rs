//! The contents of a sandbox's root, for a runtime and the host paths that a policy grants.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use belljar_channel::BootFacts;
use belljar_jail::{
    Bind, BindAccess, BindOwner, BindSource, FIRST_UID, GeneratedFile, HOME, IdMap, LEASABLE_UIDS,
    RootPlan,
};
use belljar_protocol::{Exec, Language, Network, Start};

use crate::activation::rehearsal;
use crate::carried::{FOLDER, INTERFACES_NAME};
use crate::environment::Environment;
use crate::grants::{Grant, GrantAccess, Grants, OWN_FILES, PRELOAD};
use crate::runtime::{Runtime, RuntimeKind};

/// The system folders that every program can see: libraries and programs (which run only with an
/// `exec` grant). Symbolic links are copied as links.
const SYSTEM: [&str; 6] = ["/usr", "/lib", "/lib64", "/lib32", "/bin", "/sbin"];
/// The parts of `/etc` that programs need: the locations of libraries and alternatives,
/// certificates, time zones, media types.
const CONFIGURATION: [&str; 8] = [
    "/etc/ld.so.cache",
    "/etc/alternatives",
    "/etc/ssl/certs",
    "/etc/ssl/openssl.cnf",
    "/etc/pki/tls/certs",
    "/etc/pki/ca-trust/extracted",
    "/etc/ca-certificates/extracted",
    "/etc/mime.types",
];
/// The folder of the time zone rules.
const ZONES: &str = "/usr/share/zoneinfo";
const LOCAL_TIME: &str = "/etc/localtime";
/// Folders in `/usr` that are hidden, because they contain files that the machine's operator has
/// installed.
const HIDDEN: [&str; 2] = ["/usr/local", "/usr/src"];
/// Folders of the host's own packages at fixed paths. Debian's Node.js needs the first one itself.
const PACKAGES: [&str; 3] = [NODE_DEBIAN, "/usr/share/javascript", "/usr/lib/node_modules"];
const NODE_DEBIAN: &str = "/usr/share/nodejs";
const DEVICES: [&str; 5] = ["null", "zero", "full", "random", "urandom"];

/// The properties of the processes for which a root is built.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Boot {
    pub(crate) start: Start,
    pub(crate) ids: IdMap,
    /// For an `exec` start: the right of the sandbox to start programs.
    pub(crate) exec: Exec,
    /// For an `exec` start: the network of the sandbox.
    pub(crate) network: Network,
    /// For an `exec` start: the memory limit of the sandbox.
    pub(crate) memory_bytes: u64,
}

impl Boot {
    /// Returns whether each sandbox attaches its own mounts of the granted paths. It does if it is
    /// forked and has a uid of its own.
    fn attaches_grants(self) -> bool {
        self.start == Start::Fork && self.ids == IdMap::Own
    }

    /// Returns whether a sandbox may start programs. Of those that are forked, each has a right of
    /// its own.
    fn may_start_programs(self) -> bool {
        self.start == Start::Fork || self.exec == Exec::Granted
    }
}

fn bind(path: &Path, access: BindAccess) -> Bind {
    show_as(path, path, access)
}

/// Returns a bind mount of a path of the system or the installation at another path.
pub(crate) fn show_as(source: &Path, target: &Path, access: BindAccess) -> Bind {
    Bind {
        source: BindSource::Path(source.to_owned()),
        target: target.to_owned(),
        access,
        exec: Exec::Granted,
        owner: BindOwner::Host,
    }
}

/// Returns the parts of the system that every root has.
pub(crate) fn system() -> RootPlan {
    let mut plan = RootPlan::default();
    for path in SYSTEM.map(Path::new) {
        match fs::symlink_metadata(path) {
            Ok(metadata) if metadata.is_symlink() => {
                if let Ok(to) = fs::read_link(path) {
                    plan.links.push((path.to_owned(), to));
                }
            }
            Ok(metadata) if metadata.is_dir() => plan.binds.push(bind(path, BindAccess::Read)),
            _ => {}
        }
    }
    for path in CONFIGURATION.map(Path::new) {
        // Resolved, because a link into a hidden part of /etc would lead nowhere.
        if let Ok(source) = fs::canonicalize(path) {
            plan.binds.push(show_as(&source, path, BindAccess::Read));
        }
    }
    // A symbolic link, because programs derive the name of the zone from its target.
    match zone() {
        Some(zone) => plan.links.push((LOCAL_TIME.into(), Path::new(ZONES).join(zone))),
        None => {
            if let Ok(source) = fs::canonicalize(LOCAL_TIME) {
                plan.binds.push(show_as(&source, Path::new(LOCAL_TIME), BindAccess::Read));
            }
        }
    }
    for device in DEVICES {
        plan.binds.push(bind(&Path::new("/dev").join(device), BindAccess::Device));
    }
    for (link, to) in [
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
    ] {
        plan.links.push((Path::new("/dev").join(link), to.into()));
    }
    plan
}

/// Returns the name of the machine's time zone, if its rules are visible in every root.
fn zone() -> Option<String> {
    let zone = match fs::canonicalize(LOCAL_TIME) {
        Ok(rules) => rules.strip_prefix(ZONES).ok()?.to_str()?.to_owned(),
        Err(_) => "Etc/UTC".to_owned(),
    };
    Path::new(ZONES).join(&zone).is_file().then_some(zone)
}

/// Shows host paths at the same paths, unless another bind mount contains them. Packages and
/// configuration that the host's users have added there are hidden.
pub(crate) fn show(plan: &mut RootPlan, mounts: &[PathBuf]) {
    for mount in mounts {
        // `/usr/local` is hidden unless something in it is needed.
        if !SYSTEM.iter().any(|shown| mount.starts_with(shown))
            || HIDDEN.iter().any(|hidden| mount.starts_with(hidden))
        {
            plan.binds.push(bind(mount, BindAccess::Read));
        }
    }
    let is_needed = |hidden: &Path| mounts.iter().any(|mount| mount.starts_with(hidden));
    let (needed, hidden): (Vec<PathBuf>, Vec<PathBuf>) =
        HIDDEN.map(PathBuf::from).into_iter().partition(|hidden| is_needed(hidden));
    plan.masks.extend(hidden.into_iter().filter(|hidden| hidden.is_dir()));
    let shown = needed.iter().chain(mounts).map(PathBuf::as_path).chain([Path::new("/usr")]);
    plan.masks.extend(shown.flat_map(packages_beneath));
    plan.masks.extend(
        needed
            .iter()
            .map(|prefix| prefix.join("lib/node_modules"))
            .filter(|folder| folder.is_dir()),
    );
    let is_node_of_system =
        mounts.iter().any(|mount| mount.starts_with("/usr/bin") && mount.ends_with("node"));
    let packages =
        PACKAGES.into_iter().filter(|folder| *folder != NODE_DEBIAN || !is_node_of_system);
    plan.masks.extend(packages.map(PathBuf::from).filter(|folder| folder.is_dir()));
    // Only these prefixes are shown completely. The file contains credentials of registries.
    let configured = needed
        .iter()
        .map(PathBuf::as_path)
        .chain([Path::new("/usr")])
        .map(|prefix| prefix.join("pip.conf"));
    plan.masks.extend(configured.filter(|file| file.is_file()));
}

/// Returns the folders in which a Python installation keeps packages that its user has installed:
/// they are in the folder of the standard library, which is in `lib` of the prefix, for every kind
/// of installation.
fn packages_beneath(shown: &Path) -> Vec<PathBuf> {
    let folders = |folder: &Path, start: &str| -> Vec<PathBuf> {
        let names = fs::read_dir(folder).into_iter().flatten().flatten();
        names
            .filter(|entry| entry.file_name().to_string_lossy().starts_with(start))
            .map(|entry| entry.path())
            .collect()
    };
    // Either a library folder itself is shown, or a prefix that contains some.
    let mut libraries = folders(shown, "lib");
    libraries.push(shown.to_owned());
    let mut pythons: Vec<PathBuf> =
        libraries.iter().flat_map(|folder| folders(folder, "python")).collect();
    pythons.push(shown.to_owned());
    let candidates = pythons
        .iter()
        .flat_map(|python| ["site-packages", "dist-packages"].map(|name| python.join(name)));
    // Not through a symbolic link: `/usr/lib64` may lead to a folder that is found anyway.
    candidates
        .filter(|folder| {
            folder.is_dir() && fs::canonicalize(folder).is_ok_and(|canonical| canonical == *folder)
        })
        .collect()
}

/// Returns the paths to hide so that everything in a folder is hidden except granted paths, because
/// a grant is an explicit decision.
fn hidden_but_for(mask: &Path, grants: &Grants) -> Vec<PathBuf> {
    let granted = || grants.iter().map(|grant| grant.inside.as_path());
    if granted().any(|inside| mask.starts_with(inside)) {
        return Vec::new();
    }
    if !granted().any(|inside| inside.starts_with(mask)) {
        return vec![mask.to_owned()];
    }
    let entries = fs::read_dir(mask).into_iter().flatten().flatten();
    entries.flat_map(|entry| hidden_but_for(&entry.path(), grants)).collect()
}

/// Returns the plan of the root of a runtime, including the generated files.
pub(crate) fn plan(
    runtime: &Runtime,
    grants: &Grants,
    environment: Option<&Environment>,
    boot: Boot,
) -> RootPlan {
    let mut plan = system();
    show(&mut plan, &runtime.mounts);
    let packages = runtime.packages.iter().filter(|folder| {
        folder.is_dir() && !plan.masks.iter().any(|mask| folder.starts_with(mask))
    });
    plan.masks.extend(packages.cloned().collect::<Vec<_>>());
    plan.masks = plan.masks.iter().flat_map(|mask| hidden_but_for(mask, grants)).collect();
    for (source, name) in [
        (&runtime.carried.library, "libbelljar.so"),
        (&runtime.carried.driver, runtime.driver_folder()),
    ] {
        plan.binds.push(show_as(source, &Path::new(FOLDER).join(name), BindAccess::Read));
    }
    if boot.may_start_programs() {
        let place = Path::new(FOLDER).join(INTERFACES_NAME);
        plan.binds.push(show_as(&runtime.carried.interfaces, &place, BindAccess::Read));
    }
    if runtime.kind == RuntimeKind::Python {
        // Programs start others by these names, and mean the Python that they run in.
        for name in ["python", "python3"] {
            plan.links.push((Path::new(FOLDER).join("bin").join(name), runtime.executable.clone()));
        }
    }
    if let Some(environment) = environment {
        plan.binds.push(show_as(&environment.folder, &environment.place, BindAccess::Read));
    }
    let kept = kept(&plan, grants);
    if boot.attaches_grants() {
        plan.points = grants.iter().map(Grant::point).collect();
    } else {
        let exec = match boot.start {
            // Each sandbox makes them non-executable for itself.
            Start::Fork => Exec::Granted,
            Start::Exec => boot.exec,
        };
        plan.binds.extend(grants.iter().map(|grant| Bind {
            source: grant.opened.source(),
            target: grant.inside.clone(),
            access: grant.bind_access(),
            exec,
            owner: BindOwner::Sandbox,
        }));
        // Outer paths before inner ones, so that a grant around the runtime does not hide it.
        plan.binds.sort_by(|a, b| a.target.cmp(&b.target));
    }
    generated(&mut plan, runtime.kind, (grants, kept), environment, boot);
    plan
}

/// Returns the mounts of the root that are inside granted paths, which must stay visible.
fn kept(plan: &RootPlan, grants: &Grants) -> Vec<(String, bool)> {
    let is_covered = |bind: &&Bind| {
        let covers = |grant: &Grant| {
            bind.target.starts_with(&grant.inside)
                && (bind.target != grant.inside || grant.access == GrantAccess::Read)
        };
        grants.iter().any(covers)
    };
    plan.binds
        .iter()
        .filter(is_covered)
        .map(|bind| (bind.target.display().to_string(), bind.source.is_folder()))
        .collect()
}

fn generated(
    plan: &mut RootPlan,
    kind: RuntimeKind,
    (grants, kept): (&Grants, Vec<(String, bool)>),
    environment: Option<&Environment>,
    boot: Boot,
) {
    // Every sandbox of a zygote has a uid of its own, and all are named "user". Root owns the files
    // of the system, and programs look up its name. No process becomes root.
    let (mut users, mut groups) =
        ("root:x:0:0:root:/root:/usr/sbin/nologin\n".to_owned(), "root:x:0:\n".to_owned());
    for uid in FIRST_UID..=FIRST_UID + LEASABLE_UIDS {
        users.push_str(&format!("user:x:{uid}:{uid}::{HOME}:/bin/sh\n"));
        groups.push_str(&format!("user:x:{uid}:\n"));
    }
    users.push_str("nobody:x:65534:65534:nobody:/:/usr/sbin/nologin\n");
    groups.push_str("nogroup:x:65534:\n");
    let staged: Vec<_> = plan
        .staged()
        .into_iter()
        .map(|(stage, target, is_folder)| {
            (stage.to_string_lossy().into_owned(), target.to_string_lossy().into_owned(), is_folder)
        })
        .collect();
    let facts = BootFacts {
        forks: boot.start == Start::Fork,
        may_set_groups: boot.ids == IdMap::Own,
        exec: boot.exec,
        network: boot.network,
        memory_bytes: boot.memory_bytes,
        shares_files: !grants.is_empty(),
        write: grants.writable(),
        points: plan
            .points
            .iter()
            .map(|point| (point.target.display().to_string(), point.is_folder))
            .collect(),
        kept,
        granted: if boot.attaches_grants() { Vec::new() } else { mounted_grants(&staged, grants) },
        staged,
    };
    let start = if boot.start == Start::Fork { "fork" } else { "exec" };
    let (language, program) = match kind {
        RuntimeKind::Node => (Language::JavaScript, "node/rehearsal/scout.js"),
        RuntimeKind::Python => (Language::Python, "python/rehearsal/scout.py"),
    };
    // Like the program's own files, it is named relative to the working folder.
    let from_home = "/..".repeat(Path::new(HOME).components().count() - 1);
    let rehearsal = rehearsal(language, &format!("{}{FOLDER}/{program}", &from_home[1..]));
    let configuration = serde_json::json!({
        "start": start,
        "cpus": processors(),
        "rehearsal": rehearsal,
        "environment": environment.map(Environment::driver_settings),
    });
    let mut files: Vec<(String, Vec<u8>)> = vec![
        ("/etc/passwd".into(), users.into_bytes()),
        ("/etc/group".into(), groups.into_bytes()),
        ("/etc/hosts".into(), b"127.0.0.1 localhost sandbox\n::1 localhost\n".to_vec()),
        ("/etc/hostname".into(), b"sandbox\n".to_vec()),
        (
            "/etc/nsswitch.conf".into(),
            b"passwd: files\ngroup: files\nhosts: files dns\nservices: files\nprotocols: files\n"
                .to_vec(),
        ),
        ("/etc/services".into(), include_bytes!("root/services").to_vec()),
        ("/etc/protocols".into(), include_bytes!("root/protocols").to_vec()),
        (
            "/etc/timezone".into(),
            format!("{}\n", zone().as_deref().unwrap_or("Etc/UTC")).into_bytes(),
        ),
        ("/etc/resolv.conf".into(), Vec::new()),
        (BootFacts::PATH.into(), facts.encode().into_bytes()),
        (format!("{FOLDER}/boot.json"), configuration.to_string().into_bytes()),
    ];
    if boot.may_start_programs() {
        files.push((PRELOAD.into(), format!("{FOLDER}/{INTERFACES_NAME}\n").into_bytes()));
    }
    debug_assert!(
        files
            .iter()
            .all(|(path, _)| OWN_FILES.contains(&path.as_str()) || path.starts_with(FOLDER)),
        "grants may not cover these"
    );
    plan.files.extend(
        files.into_iter().map(|(path, content)| GeneratedFile { path: path.into(), content }),
    );
}

/// Returns every path at which the root shows a grant: the granted path itself, and the stage of
/// one that the sandbox's own space would cover.
fn mounted_grants(staged: &[(String, String, bool)], grants: &Grants) -> Vec<String> {
    let places: Vec<String> =
        grants.iter().map(|grant| grant.inside.display().to_string()).collect();
    let stages = staged
        .iter()
        .filter(|(_, target, _)| places.contains(target))
        .map(|(stage, ..)| stage.clone());
    stages.chain(places.iter().cloned()).collect()
}

/// Returns the machine's processors, as `os.cpus()` names them. A sandbox's `/proc` shows none.
fn processors() -> &'static [serde_json::Value] {
    static PROCESSORS: OnceLock<Vec<serde_json::Value>> = OnceLock::new();
    PROCESSORS.get_or_init(|| {
        let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let values = |key: &str| -> Vec<String> {
            let matching = text
                .lines()
                .filter_map(|line| line.split_once(':'))
                .filter(|(name, _)| name.trim() == key);
            matching.map(|(_, value)| value.trim().to_owned()).collect()
        };
        let (models, speeds) = (values("model name"), values("cpu MHz"));
        let count = values("processor").len().max(1);
        let model = |index: usize| models.get(index).map_or("unknown", String::as_str);
        let speed = |index: usize| {
            speeds.get(index).and_then(|mhz: &String| mhz.parse::<f64>().ok()).unwrap_or(0.0) as u64
        };
        (0..count)
            .map(|index| serde_json::json!({"model": model(index), "speed": speed(index)}))
            .collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(paths: &[&str]) -> Result<Grants, crate::EngineError> {
        Grants::of_caller(&belljar_protocol::FsPolicy {
            read: paths.iter().map(|&path| path.to_owned()).collect(),
            write: vec![],
        })
    }

    #[test]
    fn what_is_granted_of_a_hidden_folder_is_seen_and_nothing_next_to_it() {
        let folder = tempfile::tempdir().unwrap();
        let hidden = folder.path().canonicalize().unwrap().join("site-packages");
        for module in ["granted/inner", "granted/other", "secret"] {
            fs::create_dir_all(hidden.join(module)).unwrap();
        }
        let seen = |paths: &[&Path]| {
            let paths: Vec<&str> = paths.iter().filter_map(|path| path.to_str()).collect();
            let mut masks = hidden_but_for(&hidden, &reading(&paths).unwrap());
            masks.sort();
            masks
        };
        assert_eq!(seen(&[]), std::slice::from_ref(&hidden));
        assert_eq!(seen(&[&hidden.join("granted")]), [hidden.join("secret")]);
        assert_eq!(
            seen(&[&hidden.join("granted/inner")]),
            [hidden.join("granted/other"), hidden.join("secret")]
        );
        assert!(seen(&[&hidden]).is_empty() && seen(&[folder.path()]).is_empty());
    }

    #[test]
    fn packages_of_a_python_are_found_wherever_its_library_is_shown() {
        let prefix = tempfile::tempdir().unwrap();
        let prefix = prefix.path().canonicalize().unwrap();
        let mut expected = Vec::new();
        for folder in [
            "lib/python3.11/site-packages",
            "lib/python3/dist-packages",
            "lib64/python3.9/site-packages",
        ] {
            fs::create_dir_all(prefix.join(folder)).unwrap();
            expected.push(prefix.join(folder));
        }
        for other in [
            "lib/python3.11/lib-dynload",
            "lib/site-packages-of-another",
            "share/python3.11/site-packages",
        ] {
            fs::create_dir_all(prefix.join(other)).unwrap();
        }
        std::os::unix::fs::symlink(prefix.join("lib"), prefix.join("lib32")).unwrap();
        let found = |shown: &Path| {
            let mut found = packages_beneath(shown);
            found.sort();
            found
        };
        expected.sort();
        assert_eq!(found(&prefix), expected);
        assert_eq!(found(&prefix.join("lib")), expected[..2]);
        assert_eq!(found(&prefix.join("lib/python3.11")), expected[1..2]);
        assert!(found(&prefix.join("bin/python3.11")).is_empty());
    }
}
