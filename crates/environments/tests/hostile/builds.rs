//! The code of packages: it runs only if it is allowed to, and is isolated if it does.

use std::fs;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener, UnixStream};
use std::time::Duration;

use belljar_environments::{EnvironmentError, PreparedEnvironment, Wanted};
use belljar_protocol::Language;
use belljar_test_support::files_in;
use serde_json::Value;

use crate::archive::Entry;
use crate::home::{Home, wanted};
use crate::registry::Registry;

fn building(language: Language, packages: &[&str]) -> Wanted {
    Wanted { allow_build: true, ..wanted(language, packages) }
}

fn home(registry: &Registry) -> Home {
    Home::new(registry).policy(|policy| policy.allow_build = true)
}

/// Returns the report that the build of a package wrote.
fn report(prepared: &PreparedEnvironment, package: &str) -> Value {
    let path = Home::site_packages(prepared).join(format!("{package}_report.json"));
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

const POSTINSTALL: &str = ", \"scripts\": {\"preinstall\": \"touch ran-pre\", \"install\": \"touch ran-install\", \"postinstall\": \"touch ran\", \"prepare\": \"touch ran-prepare\"}";

#[tokio::test(flavor = "multi_thread")]
async fn no_code_of_a_package_runs_unless_it_may() {
    let registry = Registry::start();
    registry.sdist("source-only", "1.0", "def attack():\n    return 'ran'\n");
    // Each Python that starts with the environment runs this line, which writes a file into its own
    // folder.
    let line = "import pathlib, sys; pathlib.Path(__file__ if '__file__' in dir() else sys.prefix).parent.joinpath('pth-ran').write_text('x')\n";
    registry.wheel(
        "with-pth",
        "1.0",
        &[],
        &[
            Entry::file(
                "hostile.pth",
                format!("{line}import os; open('/belljar/environment-ran', 'w') if 0 else None\n"),
            ),
            Entry::file("sitecustomize.py", line),
            Entry::file("usercustomize.py", line),
        ],
    );
    registry.npm("scripts", "1.0.0", POSTINSTALL, &[Entry::file("package/binding.gyp", "{}")]);
    registry.npm("outer", "1.0.0", ", \"dependencies\": {\"scripts\": \"1.0.0\"}", &[]);
    let home = home(&registry);

    let error = home.python(&["source-only"]).await.unwrap_err();
    assert!(matches!(error, EnvironmentError::NeedsBuild(_)), "{error}");
    let prepared = home.python(&["with-pth"]).await.unwrap();
    assert!(Home::site_packages(&prepared).join("hostile.pth").exists(), "it was there to be run");
    assert!(!home.all_files().iter().any(|file| file.to_string_lossy().ends_with("ran")));
    let prepared = home.npm(&["outer"]).await.unwrap();
    let folder = prepared.environment.folder.join("scripts");
    assert!(
        folder.join("index.js").exists()
            && !folder.join("ran").exists()
            && !folder.join("ran-install").exists()
    );

    // With `allow_build`, the same code runs.
    let prepared = home.get(&building(Language::Python, &["source-only"])).await.unwrap();
    assert_eq!(report(&prepared, "source_only"), "ran");
    let prepared = home.get(&building(Language::JavaScript, &["outer"])).await.unwrap();
    assert!(prepared.environment.folder.join("scripts/ran").exists());
    // A run that requests builds is refused if the policy does not allow them.
    let strict = Home::new(&registry);
    let error = strict.get(&building(Language::Python, &["source-only"])).await.unwrap_err();
    assert!(matches!(error, EnvironmentError::Refused { .. }), "{error}");
}

/// Inspects everything that it can reach, and returns its findings.
const PROBE: &str = r"
import ctypes, glob, os, resource, signal, socket
def tried(what):
    try:
        return repr(what())
    except BaseException as error:
        return 'error ' + type(error).__name__ + ' ' + str(getattr(error, 'errno', ''))
def write(path):
    with open(path, 'w') as file:
        file.write('escaped')
    return 'written'
def attack():
    status = dict(line.split(':\t', 1) for line in open('/proc/self/status').read().splitlines() if ':\t' in line)
    libc = ctypes.CDLL(None, use_errno=True)
    def call(name, *arguments):
        result = getattr(libc, name)(*arguments)
        return result if result >= 0 else 'errno %d' % ctypes.get_errno()
    def abstract(kind):
        with socket.socket(socket.AF_UNIX, kind) as local:
            local.connect('\0' + NAME)
        return 'connected'
    def pair():
        one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        return one.sendto(b'x', '\0' + NAME + '-datagrams')
    def pairs():
        one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        one.send(b'x')
        return other.recv(1)
    mode = os.path.join(os.getcwd(), 'mode')
    open(mode, 'w').close()
    return {
        'variables': dict(os.environ),
        'status': {name: status[name].strip() for name in ('Uid', 'CapEff', 'CapPrm', 'CapBnd', 'CapAmb', 'NoNewPrivs', 'Seccomp', 'NSpid') if name in status},
        'root': sorted(os.listdir('/')),
        'home': tried(lambda: sorted(os.listdir('/root')) + sorted(os.listdir('/home'))),
        'canary': [tried(lambda path=path: open(path).read()) for path in CANARIES],
        'writes': {path: tried(lambda path=path: write(path)) for path in ('/escaped', '/usr/escaped', '/etc/escaped', '/belljar/escaped', '/opt/belljar/escaped', '/dev/escaped')},
        'processes': sorted(int(name) for name in os.listdir('/proc') if name.isdigit()),
        'first': tried(lambda: open('/proc/1/environ').read()),
        'commands': tried(lambda: [open(path).read() for path in glob.glob('/proc/[0-9]*/cmdline')]),
        'kill': tried(lambda: os.kill(1, signal.SIGKILL)),
        'kill all others': tried(lambda: os.kill(1, signal.SIGSTOP)),
        'setuid': tried(lambda: os.setuid(0)),
        'unshare': call('unshare', 0x10000000),
        'mount': call('mount', b'none', b'/tmp', b'tmpfs', 0, None),
        'device': tried(lambda: os.mknod('device', 0o020666, os.makedev(1, 1))),
        'set-id': tried(lambda: os.chmod(mode, 0o4755)),
        'attributes': tried(lambda: os.setxattr(mode, 'user.x', b'x')),
        'core': resource.getrlimit(resource.RLIMIT_CORE)[1],
        'abstract stream': tried(lambda: abstract(socket.SOCK_STREAM)),
        'abstract datagram': tried(lambda: abstract(socket.SOCK_DGRAM)),
        'datagram pair': tried(pair),
        'pair': tried(pairs),
        'raw': tried(lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)),
        'packet': tried(lambda: socket.socket(17, socket.SOCK_RAW, 0)),
        'host sockets': tried(lambda: open('/proc/net/unix').read()),
        'descriptors': {name: tried(lambda name=name: os.readlink('/proc/self/fd/' + name)) for name in os.listdir('/proc/self/fd')},
        'downloads': sorted(os.listdir('/belljar/downloads')),
        'session': tried(lambda: open('/dev/tty')),
    }
";

/// Files that only the host may read. They are removed at the end.
struct Canaries(Vec<std::path::PathBuf>);

impl Canaries {
    fn put() -> Self {
        let name = format!("belljar-canary-{}", std::process::id());
        let paths = ["/root", "/home", "/var/tmp", "/opt"]
            .map(|folder| std::path::Path::new(folder).join(&name));
        Self(paths.into_iter().filter(|path| fs::write(path, "the canary sings").is_ok()).collect())
    }
}

impl Drop for Canaries {
    fn drop(&mut self) {
        for path in &self.0 {
            let _ = fs::remove_file(path);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_sees_nothing_of_the_host_and_changes_nothing() {
    let canaries = Canaries::put();
    assert!(!canaries.0.is_empty());
    let name = format!("belljar-abstract-{}", std::process::id());
    let listener =
        UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    let datagrams = UnixDatagram::bind_addr(
        &SocketAddr::from_abstract_name(format!("{name}-datagrams")).unwrap(),
    )
    .unwrap();
    UnixStream::connect_addr(&SocketAddr::from_abstract_name(&name).unwrap())
        .expect("who is not jailed reaches it");
    let registry = Registry::start();
    registry.wheel("plain", "1.0", &[], &[]);
    let list = serde_json::to_string(&canaries.0).unwrap();
    registry.sdist("probe", "1.0", &format!("NAME = {name:?}\nCANARIES = {list}\n{PROBE}"));
    let home = home(&registry);
    // This creates shared downloads, which the build can find.
    home.python(&["plain"]).await.unwrap();
    let before = files(&home, "downloads");
    assert!(!before.is_empty());
    let prepared = home.get(&building(Language::Python, &["probe"])).await.unwrap();
    let found = report(&prepared, "probe");
    let said = |key: &str| found[key].to_string();
    let refused = |key: &str| {
        assert!(said(key).contains("error") || said(key).contains("errno"), "{key}: {}", said(key));
    };

    let variables = found["variables"].as_object().unwrap();
    assert!(variables.contains_key("PATH"));
    for (variable, value) in std::env::vars().filter(|(_, value)| value.len() > 8) {
        assert!(
            !variables.contains_key(&variable)
                || ["PATH", "HOME", "LANG", "SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS", "TMPDIR"]
                    .contains(&variable.as_str()),
            "{variable}"
        );
        if variable.starts_with("CARGO") {
            assert!(!said("first").contains(&value), "{variable}");
        }
    }
    for name in ["CapEff", "CapPrm", "CapBnd", "CapAmb"] {
        assert_eq!(found["status"][name].as_str().unwrap().trim_start_matches('0'), "", "{name}");
    }
    assert_eq!(found["status"]["NoNewPrivs"], "1");
    assert_eq!(found["status"]["Seccomp"], "2");
    assert!(!found["status"]["Uid"].as_str().unwrap().split_whitespace().any(|uid| uid == "0"));
    for canary in found["canary"].as_array().unwrap() {
        assert!(canary.as_str().unwrap().contains("error"), "{canary}");
    }
    assert!(!said("home").contains("canary"), "{}", said("home"));
    for (path, answer) in found["writes"].as_object().unwrap() {
        assert!(answer.as_str().unwrap().contains("error"), "{path}: {answer}");
    }
    assert!(
        found["processes"].as_array().unwrap().iter().all(|pid| pid.as_u64().unwrap() < 1000),
        "{}",
        said("processes")
    );
    assert!(!said("commands").contains("hostile"), "the test's own process: {}", said("commands"));
    for key in [
        "setuid",
        "unshare",
        "mount",
        "device",
        "set-id",
        "attributes",
        "abstract stream",
        "abstract datagram",
        "datagram pair",
        "raw",
        "packet",
        "host sockets",
        "session",
    ] {
        refused(key);
    }
    assert!(said("pair").contains('x'), "{}", said("pair"));
    assert!(found["core"].as_u64().unwrap() <= 1);
    datagrams.set_nonblocking(true).unwrap();
    assert!(datagrams.recv(&mut [0; 8]).is_err(), "nothing came");
    for (number, target) in found["descriptors"].as_object().unwrap() {
        let target = target.as_str().unwrap();
        assert!(
            ["pipe:", "/dev/null", "/proc", "/belljar", "/tmp", "/home/user"]
                .iter()
                .any(|own| target.contains(own))
                || target.contains("error"),
            "{number}: {target}"
        );
    }
    // The downloads that all installations share are unchanged.
    assert_eq!(files(&home, "downloads"), before);
    assert!(home.names("staging").is_empty());
    drop(listener);
}

fn files(home: &Home, folder: &str) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let mut all: Vec<_> = files_in(&home.store().join(folder))
        .into_iter()
        .map(|path| (path.clone(), fs::read(path).unwrap_or_default()))
        .collect();
    all.sort();
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_of_npms_sees_as_little() {
    let canaries = Canaries::put();
    let registry = Registry::start();
    let script = format!(
        "const fs = require('fs');\n\
         const tried = what => {{ try {{ return String(what()); }} catch (error) {{ return 'error ' + error.code; }} }};\n\
         const report = {{ variables: process.env, canary: {}.map(path => tried(() => fs.readFileSync(path))),\n\
         npmrc: tried(() => fs.readFileSync('/belljar/npmrc')), first: tried(() => fs.readFileSync('/proc/1/environ')),\n\
         outside: tried(() => fs.writeFileSync('/belljar/escaped', 'x')), status: tried(() => fs.readFileSync('/proc/self/status')),\n\
         downloads: tried(() => fs.readdirSync('/belljar/downloads')), uid: process.getuid() }};\n\
         fs.writeFileSync('report.json', JSON.stringify(report));\n\
         fs.rmSync('../../pnpm-lock.yaml'); fs.symlinkSync('/etc/passwd', '../../pnpm-lock.yaml');\n",
        serde_json::to_string(&canaries.0).unwrap()
    );
    registry.npm(
        "probe",
        "1.0.0",
        ", \"scripts\": {\"postinstall\": \"node probe.js\"}",
        &[Entry::file("package/probe.js", script)],
    );
    let home = home(&registry);
    let prepared = home.get(&building(Language::JavaScript, &["probe"])).await.unwrap();
    let text = fs::read_to_string(prepared.environment.folder.join("probe/report.json"))
        .expect("the probe ran");
    let found: Value = serde_json::from_str(&text).unwrap();
    assert!(
        found["canary"]
            .as_array()
            .unwrap()
            .iter()
            .all(|canary| canary.as_str().unwrap().starts_with("error")),
        "{found}"
    );
    assert!(found["outside"].as_str().unwrap().starts_with("error"), "{found}");
    assert!(found["status"].as_str().unwrap().contains("CapEff:\t0000000000000000"), "{found}");
    assert!(found["variables"].get("CARGO_MANIFEST_DIR").is_none() && found["uid"] != 0);
    assert!(found["npmrc"].as_str().unwrap().contains(registry.address()), "{found}");
}

#[tokio::test(flavor = "multi_thread")]
async fn builds_and_downloads_meet_their_limits() {
    let registry = Registry::start();
    // The children hold the installer's pipes, so they are killed before the build returns.
    let forks = "import signal, time\ndef attack():\n    made, answer = [], None\n    try:\n        for _ in range(5000):\n            pid = os.fork()\n            if pid == 0:\n                time.sleep(60)\n            made.append(pid)\n    except OSError as error:\n        answer = error.errno\n    for pid in made:\n        os.kill(pid, signal.SIGKILL)\n    return [len(made), answer]\n";
    registry.sdist("forks", "1.0", forks);
    registry.sdist(
        "memory",
        "1.0",
        "def attack():\n    return len([bytearray(os.urandom(1 << 20)) for _ in range(4000)])\n",
    );
    registry.sdist("disk", "1.0", "def attack():\n    for index in range(100000):\n        with open('fill%d' % index, 'wb') as file:\n            file.write(os.urandom(1 << 20) * 8)\n");
    registry.sdist("inodes", "1.0", "def attack():\n    for index in range(10**9):\n        if index % 1000 == 0:\n            os.mkdir('d%d' % index)\n        open('d%d/%d' % (index - index % 1000, index), 'w').close()\n");
    registry.sdist("depth", "1.0", "def attack():\n    while True:\n        try:\n            os.mkdir('d')\n            os.chdir('d')\n        except OSError:\n            import time\n            time.sleep(1)\n");
    registry.sdist(
        "endless",
        "1.0",
        "def attack():\n    import time\n    while True:\n        time.sleep(1)\n",
    );
    let output = "process.stdout.on('error', () => {}); const line = 'Downloading \\x1b[2J' + 'x'.repeat(50) + '\\n'; const more = () => { while (process.stdout.write(line.repeat(50))); process.stdout.once('drain', more); }; more();\n";
    registry.npm(
        "output",
        "1.0.0",
        ", \"scripts\": {\"postinstall\": \"node output.js\"}",
        &[Entry::file("package/output.js", output)],
    );
    registry.wheel(
        "slow",
        "1.0",
        &[],
        &[Entry::file(
            "noise",
            (0..50_000_u32)
                .map(|number| (number.wrapping_mul(2_654_435_761) >> 13) as u8)
                .collect::<Vec<_>>(),
        )],
    );
    let home = Home::with(&registry, |config| {
        config.limits.time = Duration::from_mins(2);
        config.limits.memory_bytes = 512 << 20;
        config.limits.environment_bytes = 64 << 20;
        config.limits.files = 2000;
    })
    .policy(|policy| policy.allow_build = true);

    match home.get(&building(Language::Python, &["forks"])).await {
        Ok(prepared) => {
            let made = report(&prepared, "forks");
            assert!(made[0].as_u64().is_some_and(|made| made < 256) && made[1] == 11, "{made}");
        }
        // The installer itself could not start a process that it needed.
        Err(error) => assert!(
            matches!(error, EnvironmentError::Stopped(_)) && registry.count("/files/forks") > 0,
            "{error}"
        ),
    }
    for (package, words) in
        [("memory", "memory"), ("disk", "MB"), ("inodes", "files"), ("depth", "deep")]
    {
        let error = home.get(&building(Language::Python, &[package])).await.unwrap_err();
        let said = error.to_string();
        assert!(said.contains(words), "{package}: {said}");
        assert!(home.names("staging").is_empty(), "{package}");
    }
    let short =
        Home::at_same_with(&home, &registry, |config| config.limits.time = Duration::from_secs(5))
            .policy(|policy| policy.allow_build = true);
    for (language, package) in [(Language::Python, "endless"), (Language::JavaScript, "output")] {
        let error = short.get(&building(language, &[package])).await.unwrap_err();
        assert!(error.to_string().contains("longer than 5 s"), "{error}");
    }
    assert!(
        short.reported().len() < 2000
            && short.reported().iter().all(|line| !line.chars().any(char::is_control)),
        "{}",
        short.reported().len()
    );
    assert!(
        home.reported().len() < 5000
            && home.reported().iter().all(|line| !line.chars().any(char::is_control)),
        "{}",
        home.reported().len()
    );
    // An installer that never ends, because the registry sends a byte now and then.
    home.environments
        .lock(&wanted(Language::Python, &["slow"]), &home.policy, &home.tell())
        .await
        .unwrap();
    registry.trickle("/files/slow-1.0-py3-none-any.whl");
    let cold = Home::with(&registry, |config| config.limits.time = Duration::from_secs(10));
    let error = cold.python(&["slow"]).await.unwrap_err();
    assert!(
        matches!(error, EnvironmentError::Stopped(_))
            && error.to_string().contains("longer than 10 s"),
        "{error}"
    );
    assert!(
        registry.count("/files/slow") > 0
            && cold.names("staging").is_empty()
            && cold.names("made").is_empty()
    );
}
