//! Looks at every layer of isolation, every runtime and start mode, and says how to mend what is missing: with the exact flag, profile or unit line.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use belljar_jail::{CgroupVersion, NamespaceProbe, SetupError, Step, abi, probe_namespaces};
use belljar_protocol::RuntimeName;
use belljar_provision::{ProvisionConfig, ProvisionError, Provisioner, Silent};
use serde::Serialize;

use crate::config::EngineConfig;
use crate::engine::Engine;
use crate::error::EngineError;
use crate::runtime::Runtime;

/// How a layer stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// As it should be.
    Good,
    /// Runs work, with less than they should have or slower than they could.
    Degraded,
    /// No run can work.
    Missing,
}

/// What was found of one layer.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// Which.
    pub layer: String,
    /// How it stands.
    pub health: Health,
    /// What was found.
    pub found: String,
    /// What to do about it, where there is something to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mend: Option<String>,
}

/// What is known of the place that this process runs in.
#[derive(Clone, Debug, Default)]
struct Place {
    is_root: bool,
    container: Option<&'static str>,
    apparmor_restricts_namespaces: bool,
    namespaces_switched_off: bool,
    most_namespaces: Option<u64>,
    executable: String,
}

impl Place {
    fn look() -> Self {
        let number = |path: &str| fs::read_to_string(path).ok().and_then(|text| text.trim().parse::<u64>().ok());
        let container = if std::env::var_os("KUBERNETES_SERVICE_HOST").is_some() {
            Some("Kubernetes")
        } else if Path::new("/.dockerenv").exists() {
            Some("Docker")
        } else if Path::new("/run/.containerenv").exists() {
            Some("Podman")
        } else {
            None
        };
        Self {
            is_root: rustix::process::geteuid().is_root(),
            container,
            apparmor_restricts_namespaces: number("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == Some(1),
            namespaces_switched_off: number("/proc/sys/kernel/unprivileged_userns_clone") == Some(0),
            most_namespaces: number("/proc/sys/user/max_user_namespaces"),
            executable: std::env::current_exe().map_or_else(|_| "/usr/bin/belljar".into(), |path| path.display().to_string()),
        }
    }
}

fn finding(layer: &str, health: Health, found: impl Into<String>) -> Finding {
    Finding { layer: layer.to_owned(), health, found: found.into(), mend: None }
}

impl Finding {
    fn mend(mut self, mend: impl Into<String>) -> Self {
        self.mend = Some(mend.into());
        self
    }
}

/// Looks at everything. Fetches no runtime; runs the self-test of those that are there. Must be called inside a tokio runtime.
pub async fn diagnose(mut config: EngineConfig) -> Vec<Finding> {
    let place = Place::look();
    let mut findings = vec![kernel(), namespaces(&place), seccomp(), landlock(abi())];
    let can_run = findings[1].health != Health::Missing;
    let may_fetch = !config.provision.offline;
    // Found or not found: nothing is fetched to find out.
    config.provision.offline = true;
    config.allow_degraded = true;
    let provision = config.provision.clone();
    match Engine::new(config) {
        Err(error) => findings.push(finding("engine", Health::Missing, error.to_string())),
        Ok(engine) => {
            findings.push(control_groups(&engine, &place));
            for name in [RuntimeName::Node(None), RuntimeName::Python(None)] {
                runtime(&engine, &name, can_run, may_fetch, &mut findings).await;
            }
            engine.shutdown().await;
            findings.extend(installers(provision, may_fetch));
        }
    }
    findings
}

fn kernel() -> Finding {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned();
    let mut numbers = release.split(['.', '-']).map(|part| part.parse::<u32>().unwrap_or(0));
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    let found = format!("Linux {release}, {}", std::env::consts::ARCH);
    if version < (5, 14) {
        // mount_setattr needs 5.12, cgroup.kill 5.14; nothing older than 6.1 is tested.
        return finding("kernel", Health::Missing, found).mend("use Linux 5.14 or newer; 6.1 and newer are tested");
    }
    if version < (6, 1) {
        return finding("kernel", Health::Degraded, found).mend("Linux 6.1 and newer are tested");
    }
    finding("kernel", Health::Good, found)
}

fn namespaces(place: &Place) -> Finding {
    let user = if place.is_root { "as root" } else { "as an ordinary user" };
    match probe_namespaces() {
        NamespaceProbe::Works => {
            finding("namespaces", Health::Good, format!("user, PID, mount, network, IPC, UTS and cgroup namespaces work {user}"))
        }
        NamespaceProbe::Fails(error) => {
            finding("namespaces", Health::Missing, format!("{user}: {error}")).mend(mend_namespaces(error, place))
        }
    }
}

/// The usual reasons why a sandbox cannot be made, and what to do about each.
fn mend_namespaces(error: SetupError, place: &Place) -> String {
    if let Some(container) = place.container {
        return mend_container(error.step, container);
    }
    if place.most_namespaces == Some(0) {
        return "user namespaces are limited to none: `sysctl -w user.max_user_namespaces=65536`".into();
    }
    if !place.is_root && place.namespaces_switched_off {
        return "this kernel keeps user namespaces to root: `sysctl -w kernel.unprivileged_userns_clone=1`, or run belljar as root".into();
    }
    if !place.is_root && place.apparmor_restricts_namespaces {
        return format!(
            "AppArmor keeps user namespaces from unconfined programs (Ubuntu 23.10 and newer). Write this to /etc/apparmor.d/belljar and run \
             `apparmor_parser -r /etc/apparmor.d/belljar`:\n\
             abi <abi/4.0>,\ninclude <tunables/global>\nprofile belljar {} flags=(unconfined) {{\n  userns,\n}}",
            place.executable
        );
    }
    match error.step {
        Step::Proc => {
            "another mount covers a part of /proc, so the kernel gives no fresh one: `grep /proc /proc/self/mountinfo` shows which".into()
        }
        Step::IdMaps => "user ids could not be mapped: run belljar as root, or as a user whose id is not itself mapped away".into(),
        _ if error.errno == 28 => {
            "the limit on namespaces is reached: raise user.max_user_namespaces and its like in /proc/sys/user".into()
        }
        _ => "a security module or a system call filter around belljar refuses it: look into `dmesg` and the unit's settings".into(),
    }
}

fn mend_container(step: Step, container: &str) -> String {
    let is_kubernetes = container == "Kubernetes";
    match step {
        Step::Proc if is_kubernetes => "the pod's /proc is masked: set `procMount: Unmasked` in the container's securityContext (with `hostUsers: false`)".into(),
        Step::Proc => format!("{container}'s /proc is masked: start the container with `--security-opt systempaths=unconfined`"),
        _ if is_kubernetes => {
            "the pod's system call filter or AppArmor profile refuses namespaces: set `seccompProfile: {type: Unconfined}` and `appArmorProfile: {type: \
             Unconfined}` in the container's securityContext, or a profile of your own that allows clone, unshare, mount, pivot_root and setns"
                .into()
        }
        _ => format!(
            "{container}'s default system call filter and AppArmor profile refuse namespaces: start the container with \
             `--security-opt seccomp=unconfined --security-opt apparmor=unconfined --security-opt systempaths=unconfined`"
        ),
    }
}

fn seccomp() -> Finding {
    match fs::read_to_string("/proc/sys/kernel/seccomp/actions_avail") {
        Ok(actions) if actions.contains("kill_process") && actions.contains("errno") => {
            finding("seccomp", Health::Good, format!("filters work ({})", actions.trim()))
        }
        _ => finding("seccomp", Health::Missing, "the kernel has no system call filters").mend("use a kernel with CONFIG_SECCOMP_FILTER"),
    }
}

fn landlock(abi: u32) -> Finding {
    match abi {
        0 => finding("Landlock", Health::Degraded, "not there: the mounts alone decide about paths, and each sandbox gets a network namespace of its own")
            .mend("boot with `lsm=landlock,...` in front of the modules that /sys/kernel/security/lsm lists, on a kernel with CONFIG_SECURITY_LANDLOCK"),
        1..=5 => finding("Landlock", Health::Good, format!("ABI {abi}: without scopes, so each sandbox gets a network namespace of its own (0.3 ms)")),
        _ => finding("Landlock", Health::Good, format!("ABI {abi}")),
    }
}

fn control_groups(engine: &Engine, place: &Place) -> Finding {
    match engine.isolation().cgroups {
        Ok(CgroupVersion::V1) => {
            finding("control groups", Health::Good, "version 1: memory, processes and CPU time are limited by the kernel")
        }
        Ok(CgroupVersion::V2) => {
            let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
            let favours = mounts.lines().any(|line| line.contains(" cgroup2 ") && line.contains("favordynmods"));
            let good = finding("control groups", Health::Good, "version 2: memory, processes and CPU time are limited by the kernel");
            if favours { good } else { good.mend("for the shortest start times: `mount -o remount,favordynmods /sys/fs/cgroup`") }
        }
        Err(why) => {
            let mend = match (place.container, place.is_root) {
                (Some("Kubernetes"), _) => "give the pod a writable cgroup file system of its own (a runtime with `cgroup-writable`), or accept --allow-degraded".to_owned(),
                (Some(container), _) => format!("start the {container} container with `--cgroupns=private -v /sys/fs/cgroup:/sys/fs/cgroup:rw`, or accept --allow-degraded"),
                (None, true) => "mount a cgroup file system with the memory and pids controllers, or accept --allow-degraded".to_owned(),
                (None, false) => "run belljar as `systemd-run --user --scope -p Delegate=yes belljar ...`, or as a unit with `Delegate=yes`, or accept --allow-degraded".to_owned(),
            };
            finding("control groups", Health::Degraded, format!("none: {why}; runs are refused unless --allow-degraded is given"))
                .mend(mend)
        }
    }
}

/// Those that packages are installed with.
fn installers(provision: ProvisionConfig, may_fetch: bool) -> Vec<Finding> {
    let provisioner = match Provisioner::new(provision) {
        Ok(provisioner) => provisioner,
        Err(error) => return vec![finding("packages", Health::Degraded, error.to_string()).mend(error.hint())],
    };
    let looked = [("uv", provisioner.uv(&mut Silent)), ("pnpm", provisioner.pnpm(&mut Silent))];
    let findings = looked.map(|(name, found)| match found {
        Ok(found) => finding(name, Health::Good, format!("{} at {}", found.version, found.program.display())),
        Err(ProvisionError::Offline { .. }) if may_fetch => {
            finding(name, Health::Good, "not here yet: it is fetched and verified when packages are first installed")
        }
        Err(error) => finding(name, Health::Degraded, format!("no packages can be installed: {error}")).mend(error.hint()),
    });
    findings.into()
}

async fn runtime(engine: &Engine, name: &RuntimeName, can_run: bool, may_fetch: bool, findings: &mut Vec<Finding>) {
    let layer = name.to_string();
    let found: Arc<Runtime> = match engine.runtime(name).await {
        Ok(runtime) => runtime,
        Err(EngineError::Provision(error)) => {
            let health = Health::Degraded;
            findings.push(if may_fetch && matches!(name, RuntimeName::Node(_)) && matches!(error, ProvisionError::Offline { .. }) {
                finding(&layer, health, "not here yet").mend("it is fetched and verified when it is first needed")
            } else {
                finding(&layer, health, error.to_string()).mend(error.hint())
            });
            return;
        }
        Err(error) => {
            findings.push(finding(&layer, Health::Degraded, error.to_string()));
            return;
        }
    };
    findings.push(finding(&layer, Health::Good, format!("{} at {} ({})", found.name, found.executable.display(), found.source)));
    if !can_run {
        return;
    }
    let layer = format!("{} start", found.name);
    findings.push(match engine.self_test(&found).await {
        Ok(result) if result.passed() => finding(&layer, Health::Good, "fork: the self-test passed"),
        Ok(result) => finding(&layer, Health::Degraded, format!("exec: forks failed the self-test ({})", result.failures()))
            .mend("runs work, each in a process of its own; choose another version of the runtime for `fork` start"),
        Err(error) => finding(&layer, Health::Missing, error.to_string()),
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mend(step: Step, errno: i32, place: &Place) -> String {
        mend_namespaces(SetupError { step, errno }, place)
    }

    #[test]
    fn the_usual_first_failures_get_the_exact_mend() {
        let ubuntu = Place { apparmor_restricts_namespaces: true, executable: "/opt/belljar".into(), ..Place::default() };
        assert!(mend(Step::PrivateMounts, 13, &ubuntu).contains("profile belljar /opt/belljar flags=(unconfined) {\n  userns,\n}"));
        let docker = Place { is_root: true, container: Some("Docker"), ..Place::default() };
        assert!(mend(Step::Proc, 1, &docker).contains("--security-opt systempaths=unconfined"));
        assert!(mend(Step::Namespaces, 1, &docker).contains("--security-opt seccomp=unconfined"));
        let kubernetes = Place { is_root: true, container: Some("Kubernetes"), ..Place::default() };
        assert!(mend(Step::Proc, 1, &kubernetes).contains("procMount: Unmasked"));
        let debian = Place { namespaces_switched_off: true, ..Place::default() };
        assert!(mend(Step::Namespaces, 1, &debian).contains("kernel.unprivileged_userns_clone=1"));
        let none = Place { most_namespaces: Some(0), ..Place::default() };
        assert!(mend(Step::Namespaces, 28, &none).contains("user.max_user_namespaces"));
    }

    #[test]
    fn landlock_is_never_a_must_but_its_absence_is_told() {
        assert_eq!(landlock(0).health, Health::Degraded);
        assert_eq!(landlock(2).health, Health::Good);
        assert_eq!(landlock(7).health, Health::Good);
    }
}
