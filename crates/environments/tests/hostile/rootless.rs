//! Environments of an ordinary user. The jail has that user's own id outside, so that only its
//! namespaces and mounts protect the user's files and processes.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use belljar_engine::{Engine, EngineConfig};
use belljar_environments::{Environments, Wanted};
use belljar_protocol::{Language, PackagePolicy};
use belljar_provision::{NodeRequest, ProvisionConfig, Provisioner, Silent};

use crate::home::{Home, config, wanted};
use crate::registry::Registry;

const UID: u32 = 12_345;
/// The variable that passes the registry to the process of the ordinary user.
const USER: &str = "BELLJAR_TEST_USER";

const PROBE: &str = "
import signal
def tried(what):
    try:
        return repr(what())
    except BaseException as error:
        return 'error ' + type(error).__name__
def attack():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    return {
        'canary': tried(lambda: open(CANARY).read()),
        'folder': tried(lambda: os.listdir(os.path.dirname(CANARY))),
        'group': tried(lambda: os.kill(0, signal.SIGTERM)),
        'all': tried(lambda: os.kill(-1, signal.SIGTERM)),
        'capabilities': [line for line in open('/proc/self/status') if line.startswith('CapEff')],
        'processes': [name for name in os.listdir('/proc') if name.isdigit() and int(name) > 1000],
        'escaped': tried(lambda: open('/belljar/escaped', 'w')),
    }
";

/// The process that [`an_ordinary_user_has_environments_too`] starts. It does nothing as a test of
/// its own.
#[tokio::test(flavor = "multi_thread")]
async fn user() {
    let Ok(address) = std::env::var(USER) else { return };
    let home = std::env::var("HOME").unwrap();
    let mut engine = EngineConfig::from_env().unwrap();
    engine.allow_degraded = true;
    let engine = Engine::new(engine).unwrap();
    let environments =
        Environments::new(engine, config(Path::new(&home), &Registry::known(&address), |_| ()))
            .unwrap();
    let policy = PackagePolicy { allow_build: true, ..PackagePolicy::default() };
    let tell: belljar_environments::Tell = std::sync::Arc::new(|line| eprintln!("{line}"));
    for language in [Language::Python, Language::JavaScript] {
        environments.prepare(&wanted(language, &["plain"]), &policy, &tell).await.unwrap();
    }
    let building = Wanted { allow_build: true, ..wanted(Language::Python, &["probe"]) };
    let prepared = environments.prepare(&building, &policy, &tell).await.unwrap();
    let report =
        fs::read_to_string(Home::site_packages(&prepared).join("probe_report.json")).unwrap();
    fs::write(Path::new(&home).join("report.json"), report).unwrap();
}

#[test]
fn an_ordinary_user_has_environments_too() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("not root: the whole suite is run as an ordinary user already");
        return;
    }
    let registry = Registry::start();
    let home = tempfile::tempdir_in("/var/tmp").unwrap();
    registry.wheel("plain", "1.0", &[], &[]);
    registry.npm("plain", "1.0.0", "", &[]);
    let canary = home.path().join("canary");
    registry.sdist(
        "probe",
        "1.0",
        &format!("CANARY = {:?}\n{PROBE}", canary.display().to_string()),
    );
    fs::write(&canary, "the canary sings").unwrap();
    chown(&canary, Some(UID), Some(UID)).unwrap();
    chown(home.path(), Some(UID), Some(UID)).unwrap();
    // Root's copies of these programs may be in folders that other users cannot read.
    let programs = tempfile::tempdir().unwrap();
    fs::set_permissions(programs.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let provisioner = Provisioner::new(ProvisionConfig::from_env().unwrap()).unwrap();
    let node = provisioner.node(&"24".parse::<NodeRequest>().unwrap(), &mut Silent).unwrap();
    let [uv, pnpm] = [
        provisioner.uv(&mut Silent).unwrap().program,
        provisioner.pnpm(&mut Silent).unwrap().program,
    ];
    let mine = |program: &Path, name: &str| {
        let copy = programs.path().join(name);
        fs::create_dir_all(copy.parent().unwrap()).unwrap();
        fs::copy(program, &copy).unwrap();
        copy
    };
    let this = mine(&std::env::current_exe().unwrap(), "hostile");
    let mut command = Command::new(this);
    command
        .args(["--exact", "rootless::user", "--nocapture"])
        .uid(UID)
        .gid(UID)
        .current_dir("/")
        .env_clear();
    command.env("HOME", home.path()).env("PATH", "/usr/bin:/bin").env(USER, registry.address());
    command
        .env("BELLJAR_PYTHON", "/usr/bin/python3")
        .env("BELLJAR_NODE", mine(&node.executable, "node/bin/node"));
    command.env("BELLJAR_UV", mine(&uv, "uv")).env("BELLJAR_PNPM", mine(&pnpm, "pnpm"));
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    let report: serde_json::Value =
        serde_json::from_slice(&fs::read(home.path().join("report.json")).unwrap()).unwrap();
    for attempt in ["canary", "folder", "escaped"] {
        assert!(report[attempt].as_str().unwrap().starts_with("error"), "{attempt}: {report}");
    }
    assert!(
        report["capabilities"][0].as_str().unwrap().trim().ends_with("0000000000000000"),
        "{report}"
    );
    assert_eq!(report["processes"].as_array().unwrap().len(), 0, "{report}");
    let made = fs::read_dir(home.path().join("environments/made")).unwrap().count();
    assert_eq!(made, 3);
    assert_eq!(fs::read_dir(home.path().join("environments/staging")).unwrap().count(), 0);
}
