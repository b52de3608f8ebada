//! The checks of `belljar doctor`: every layer of isolation, every runtime and every start mode.
//! For each problem it suggests a fix with the exact flag, profile or unit line.

use std::fs;
use std::sync::Arc;

use belljar_jail::{CgroupVersion, NamespaceProbe, abi, probe_namespaces};
use belljar_protocol::{Explain, RuntimeName};
use belljar_provision::{ProvisionConfig, ProvisionError, Provisioner, Silent};
use serde::Serialize;

use crate::config::EngineConfig;
use crate::engine::Engine;
use crate::error::EngineError;
use crate::runtime::Runtime;
use crate::surroundings::Surroundings;

/// The state of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// The layer works.
    Good,
    /// Programs can run, but with weaker isolation or more slowly.
    Degraded,
    /// No program can run.
    Missing,
}

/// The finding about one layer.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// Name of the layer.
    pub layer: String,
    /// State of the layer.
    pub health: Health,
    /// Description of the state.
    pub found: String,
    /// Way to fix or improve the state, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
}

fn finding(layer: &str, health: Health, found: impl Into<String>) -> Finding {
    Finding { layer: layer.to_owned(), health, found: found.into(), fix: None }
}

impl Finding {
    /// Adds the hint of an error as the fix.
    fn with_hint_of(mut self, error: &impl Explain) -> Self {
        self.fix = error.hint().map(std::borrow::Cow::into_owned);
        self
    }

    fn fix(mut self, fix: impl Into<String>) -> Self {
        self.fix = Some(fix.into());
        self
    }
}

/// Checks everything. Downloads no runtime, and runs the self-test of the installed ones. Must be
/// called inside a tokio runtime.
pub async fn diagnose(mut config: EngineConfig) -> Vec<Finding> {
    let surroundings = Surroundings::look();
    let mut findings = vec![kernel(), namespaces(&surroundings), seccomp(), landlock(abi())];
    let can_run = findings[1].health != Health::Missing;
    let may_fetch = !config.provision.offline;
    // Offline, so that the checks download nothing.
    config.provision.offline = true;
    config.allow_degraded = true;
    let provision = config.provision.clone();
    match Engine::new(config) {
        Err(error) => findings.push(finding("engine", Health::Missing, error.to_string())),
        Ok(engine) => {
            findings.push(control_groups(&engine, &surroundings));
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
    let release =
        fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned();
    let mut numbers = release.split(['.', '-']).map(|part| part.parse::<u32>().unwrap_or(0));
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    let found = format!("Linux {release}, {}", std::env::consts::ARCH);
    if version < (5, 14) {
        // `mount_setattr` needs 5.12, and `cgroup.kill` 5.14. Nothing older than 6.1 is tested.
        return finding("kernel", Health::Missing, found)
            .fix("use Linux 5.14 or newer (6.1 and newer are tested)");
    }
    if version < (6, 1) {
        return finding("kernel", Health::Degraded, found)
            .fix("use Linux 6.1 or newer, which is tested");
    }
    finding("kernel", Health::Good, found)
}

fn namespaces(surroundings: &Surroundings) -> Finding {
    let user = if surroundings.is_root { "as root" } else { "as an ordinary user" };
    match probe_namespaces() {
        NamespaceProbe::Works => finding(
            "namespaces",
            Health::Good,
            format!("user, PID, mount, network, IPC, UTS and cgroup namespaces work {user}"),
        ),
        NamespaceProbe::Fails(error) => {
            finding("namespaces", Health::Missing, format!("{user}: {error}"))
                .fix(surroundings.fix_namespaces(error))
        }
    }
}

fn seccomp() -> Finding {
    match fs::read_to_string("/proc/sys/kernel/seccomp/actions_avail") {
        Ok(actions) if actions.contains("kill_process") && actions.contains("errno") => {
            finding("seccomp", Health::Good, format!("filters work ({})", actions.trim()))
        }
        _ => finding("seccomp", Health::Missing, "the kernel has no system call filters")
            .fix("use a kernel with CONFIG_SECCOMP_FILTER"),
    }
}

fn landlock(abi: u32) -> Finding {
    match abi {
        0 => finding(
            "Landlock",
            Health::Degraded,
            "not available: only mounts restrict paths, and each sandbox gets a network namespace \
             of its own",
        )
        .fix(
            "boot a kernel with CONFIG_SECURITY_LANDLOCK with `lsm=landlock,...`, followed by the \
             modules that /sys/kernel/security/lsm lists",
        ),
        1..=5 => finding(
            "Landlock",
            Health::Good,
            format!(
                "ABI {abi} without scopes, so each sandbox gets a network namespace of its own \
                 (0.3 ms)"
            ),
        ),
        _ => finding("Landlock", Health::Good, format!("ABI {abi}")),
    }
}

fn control_groups(engine: &Engine, surroundings: &Surroundings) -> Finding {
    match engine.isolation().cgroups {
        Ok(CgroupVersion::V1) => finding(
            "control groups",
            Health::Good,
            "version 1: memory, processes and CPU time are limited by the kernel",
        ),
        Ok(CgroupVersion::V2) => {
            let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
            let favours = mounts
                .lines()
                .any(|line| line.contains(" cgroup2 ") && line.contains("favordynmods"));
            let good = finding(
                "control groups",
                Health::Good,
                "version 2: memory, processes and CPU time are limited by the kernel",
            );
            if favours {
                good
            } else {
                good.fix(
                    "for the shortest start times, run \
                     `mount -o remount,favordynmods /sys/fs/cgroup`",
                )
            }
        }
        Err(why) => {
            let found = format!("none ({why}), so runs are refused without --allow-degraded");
            finding("control groups", Health::Missing, found).fix(surroundings.fix_control_groups())
        }
    }
}

/// Checks the installers of packages.
fn installers(provision: ProvisionConfig, may_fetch: bool) -> Vec<Finding> {
    let provisioner = match Provisioner::new(provision) {
        Ok(provisioner) => provisioner,
        Err(error) => {
            return vec![
                finding("packages", Health::Degraded, error.to_string()).with_hint_of(&error),
            ];
        }
    };
    let looked = [("uv", provisioner.uv(&mut Silent)), ("pnpm", provisioner.pnpm(&mut Silent))];
    let findings = looked.map(|(name, found)| match found {
        Ok(found) => {
            finding(name, Health::Good, format!("{} at {}", found.version, found.program.display()))
        }
        Err(ProvisionError::Offline { .. }) if may_fetch => finding(
            name,
            Health::Good,
            "not installed yet: downloaded and verified when packages are first installed",
        ),
        Err(error) => {
            finding(name, Health::Degraded, format!("no packages can be installed: {error}"))
                .with_hint_of(&error)
        }
    });
    findings.into()
}

async fn runtime(
    engine: &Engine,
    name: &RuntimeName,
    can_run: bool,
    may_fetch: bool,
    findings: &mut Vec<Finding>,
) {
    let layer = name.to_string();
    let found: Arc<Runtime> = match engine.runtime(name).await {
        Ok(runtime) => runtime,
        Err(EngineError::Provision(error)) => {
            findings.push(match error {
                ProvisionError::Offline { .. } if may_fetch => finding(
                    &layer,
                    Health::Good,
                    "not installed yet: downloaded and verified by the first run",
                ),
                error => finding(&layer, Health::Degraded, error.to_string()).with_hint_of(&error),
            });
            return;
        }
        Err(error) => {
            findings.push(finding(&layer, Health::Degraded, error.to_string()));
            return;
        }
    };
    findings.push(finding(
        &layer,
        Health::Good,
        format!("{} at {} ({})", found.name, found.executable.display(), found.source),
    ));
    if !can_run {
        return;
    }
    let layer = format!("{} start", found.name);
    findings.push(match engine.self_test(&found).await {
        Ok(result) if result.passed() => {
            finding(&layer, Health::Good, "fork: the self-test passed")
        }
        Ok(result) => {
            let found = format!("exec: forks failed the self-test ({})", result.failures());
            finding(&layer, Health::Degraded, found).fix(
                "choose another version of the runtime for `fork` starts (until then, each run \
                 starts a runtime process)",
            )
        }
        Err(error) => finding(&layer, Health::Missing, error.to_string()),
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn landlock_is_optional_but_its_absence_is_reported() {
        assert_eq!(landlock(0).health, Health::Degraded);
        assert_eq!(landlock(2).health, Health::Good);
        assert_eq!(landlock(7).health, Health::Good);
    }
}
