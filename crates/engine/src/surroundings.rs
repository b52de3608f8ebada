//! The surroundings of this process, and the fixes for what they refuse to belljar.

use std::fs;
use std::path::Path;

use belljar_jail::{SetupError, Step};

/// The facts about the surroundings of this process that decide which fix applies.
#[derive(Clone, Debug, Default)]
pub(crate) struct Surroundings {
    pub is_root: bool,
    container: Option<&'static str>,
    apparmor_restricts_namespaces: bool,
    namespaces_switched_off: bool,
    max_namespaces: Option<u64>,
    /// Whether systemd runs this machine.
    systemd: bool,
    /// Whether the user of this process has a systemd of their own.
    user_systemd: bool,
    executable: String,
}

impl Surroundings {
    pub(crate) fn look() -> Self {
        let number = |path: &str| {
            fs::read_to_string(path).ok().and_then(|text| text.trim().parse::<u64>().ok())
        };
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
            apparmor_restricts_namespaces: number(
                "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
            ) == Some(1),
            namespaces_switched_off: number("/proc/sys/kernel/unprivileged_userns_clone")
                == Some(0),
            max_namespaces: number("/proc/sys/user/max_user_namespaces"),
            // The test of sd_booted(3).
            systemd: Path::new("/run/systemd/system").is_dir(),
            user_systemd: std::env::var_os("XDG_RUNTIME_DIR")
                .is_some_and(|folder| Path::new(&folder).join("systemd/private").exists()),
            executable: std::env::current_exe()
                .map_or_else(|_| "/usr/bin/belljar".into(), |path| path.display().to_string()),
        }
    }

    /// Returns the fix for the usual reasons why a sandbox cannot be created.
    pub(crate) fn fix_namespaces(&self, error: SetupError) -> String {
        if let Some(container) = self.container {
            return fix_container(error.step, container);
        }
        if self.max_namespaces == Some(0) {
            return "user namespaces are disabled: run `sysctl -w user.max_user_namespaces=65536`"
                .into();
        }
        if !self.is_root && self.namespaces_switched_off {
            return "this kernel allows user namespaces only to root: run \
                    `sysctl -w kernel.unprivileged_userns_clone=1`, or run belljar as root"
                .into();
        }
        if !self.is_root && self.apparmor_restricts_namespaces {
            return format!(
                "AppArmor denies user namespaces to unconfined programs (Ubuntu 23.10 and newer): \
                 write this to /etc/apparmor.d/belljar and run \
                 `apparmor_parser -r /etc/apparmor.d/belljar`:\n\
                 abi <abi/4.0>,\ninclude <tunables/global>\n\
                 profile belljar {} flags=(unconfined) {{\n  userns,\n}}",
                self.executable
            );
        }
        match error.step {
            Step::Proc => "another mount covers a part of /proc, so the kernel refuses to mount a new \
                           one: find it with `grep /proc /proc/self/mountinfo`"
                .into(),
            Step::IdMaps => {
                "user ids cannot be mapped: run belljar as root, or as a user whose own id \
                             is mapped"
                    .into()
            }
            _ if error.errno == 28 => "the limit on namespaces is reached: raise \
                                       user.max_user_namespaces and the similar limits in \
                                       /proc/sys/user"
                .into(),
            _ => "a security module or a system call filter around belljar refuses it: check `dmesg` \
                  and the settings of the unit"
                .into(),
        }
    }

    /// Returns the fix for control groups that belljar cannot use.
    pub(crate) fn fix_control_groups(&self) -> String {
        match self.container {
            Some("Kubernetes") => {
                return "give the pod a writable cgroup file system of its own (a runtime with \
                        `cgroup-writable`), or accept weaker limits with --allow-degraded"
                    .into();
            }
            Some(container) => {
                return format!(
                    "start the {container} container with \
                     `--cgroupns=private -v /sys/fs/cgroup:/sys/fs/cgroup:rw`, or accept weaker \
                     limits with --allow-degraded"
                );
            }
            None => {}
        }
        if self.is_root {
            "mount a cgroup file system with the memory and pids controllers, or accept weaker \
             limits with --allow-degraded"
        } else if self.user_systemd {
            "start belljar with `systemd-run --user --scope -p Delegate=yes belljar ...`, or accept \
             weaker limits with --allow-degraded"
        } else if self.systemd {
            "start belljar in a unit with `Delegate=yes`, for example with \
             `sudo systemd-run --pty --uid=$(id -u) -p Delegate=yes belljar ...`, or accept weaker \
             limits with --allow-degraded"
        } else {
            "run belljar as root, or accept weaker limits with --allow-degraded"
        }
        .into()
    }
}

fn fix_container(step: Step, container: &str) -> String {
    let is_kubernetes = container == "Kubernetes";
    match step {
        Step::Proc if is_kubernetes => "the pod's /proc is masked: set `procMount: Unmasked` in \
                                        the container's securityContext (with `hostUsers: false`)"
            .into(),
        Step::Proc => format!(
            "{container}'s /proc is masked: start the container with \
             `--security-opt systempaths=unconfined`"
        ),
        _ if is_kubernetes => {
            "the pod's system call filter or AppArmor profile refuses namespaces: set \
             `seccompProfile: {type: Unconfined}` and `appArmorProfile: {type: Unconfined}` in the \
             container's securityContext, or use a profile of your own that allows clone, unshare, \
             mount, pivot_root and setns"
                .into()
        }
        _ => format!(
            "{container}'s default system call filter and AppArmor profile refuse namespaces: \
             start the container with `--security-opt seccomp=unconfined \
             --security-opt apparmor=unconfined --security-opt systempaths=unconfined`"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fix(step: Step, errno: i32, surroundings: &Surroundings) -> String {
        surroundings.fix_namespaces(SetupError { step, errno })
    }

    #[test]
    fn the_usual_first_failures_get_an_exact_fix() {
        let ubuntu = Surroundings {
            apparmor_restricts_namespaces: true,
            executable: "/opt/belljar".into(),
            ..Surroundings::default()
        };
        assert!(
            fix(Step::PrivateMounts, 13, &ubuntu)
                .contains("profile belljar /opt/belljar flags=(unconfined) {\n  userns,\n}")
        );
        let docker =
            Surroundings { is_root: true, container: Some("Docker"), ..Surroundings::default() };
        assert!(fix(Step::Proc, 1, &docker).contains("--security-opt systempaths=unconfined"));
        assert!(fix(Step::Namespaces, 1, &docker).contains("--security-opt seccomp=unconfined"));
        let kubernetes = Surroundings {
            is_root: true,
            container: Some("Kubernetes"),
            ..Surroundings::default()
        };
        assert!(fix(Step::Proc, 1, &kubernetes).contains("procMount: Unmasked"));
        let debian = Surroundings { namespaces_switched_off: true, ..Surroundings::default() };
        assert!(fix(Step::Namespaces, 1, &debian).contains("kernel.unprivileged_userns_clone=1"));
        let none = Surroundings { max_namespaces: Some(0), ..Surroundings::default() };
        assert!(fix(Step::Namespaces, 28, &none).contains("user.max_user_namespaces"));
    }

    #[test]
    fn missing_control_groups_get_one_command_that_fits_the_machine() {
        let root = Surroundings { is_root: true, ..Surroundings::default() };
        let docker = Surroundings { is_root: true, container: Some("Docker"), ..root.clone() };
        let session = Surroundings { systemd: true, user_systemd: true, ..Surroundings::default() };
        let system = Surroundings { systemd: true, ..Surroundings::default() };
        for (surroundings, words) in [
            (root, "mount a cgroup file system"),
            (docker, "-v /sys/fs/cgroup:/sys/fs/cgroup:rw"),
            (session, "`systemd-run --user --scope -p Delegate=yes belljar ...`"),
            (system, "systemd-run --pty --uid=$(id -u) -p Delegate=yes"),
            (Surroundings::default(), "run belljar as root"),
        ] {
            let fix = surroundings.fix_control_groups();
            assert!(fix.contains(words) && fix.ends_with("--allow-degraded"), "{fix}");
        }
    }
}
