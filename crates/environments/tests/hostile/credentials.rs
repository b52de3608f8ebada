//! The credentials of private registries reach those registries and nothing else.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use belljar_environments::{EnvironmentError, EnvironmentsConfig, Wanted};
use belljar_protocol::{Language, PackageOptions};
use belljar_provision::{PackageIndex, PythonIndex};

use crate::archive::Entry;
use crate::home::{Home, wanted};
use crate::registry::Registry;

const USER: &str = "reader-canary";
const PASSWORD: &str = "pass-canary@9/:x";
const TOKEN: &str = "npm-token-canary";

/// Returns every form in which the credentials could appear.
fn forms() -> Vec<String> {
    let basic = STANDARD.encode(format!("{USER}:{PASSWORD}"));
    vec![USER.into(), PASSWORD.into(), "pass-canary%409%2F%3Ax".into(), basic, TOKEN.into()]
}

fn private(registry: &Registry) -> impl FnOnce(&mut EnvironmentsConfig) + use<> {
    let (address, npm) = (registry.address().to_owned(), registry.npm_registry());
    move |config| {
        let index = format!("http://{USER}:pass-canary%409%2F%3Ax@{address}/simple");
        config.provision.python_index = PythonIndex::at(PackageIndex::parse(&index).unwrap());
        config.provision.registry = belljar_provision::Registry::from_npmrc(&format!(
            "registry={npm}\n//{address}/npm/:_authToken={TOKEN}\n"
        ));
    }
}

fn shows_none(text: &str, where_: &str) {
    for form in forms() {
        assert!(!text.contains(&form), "{form} is in {where_}: {text:.400}");
    }
}

/// Reads the command lines of all processes of the host until it is stopped. Every user can read
/// them.
fn watch_command_lines() -> (Arc<AtomicBool>, std::thread::JoinHandle<(usize, Vec<String>)>) {
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let watching = std::thread::spawn(move || {
        let (mut installers, mut shown) = (0, Vec::new());
        while !stopped.load(Ordering::Acquire) {
            for entry in fs::read_dir("/proc").unwrap().flatten() {
                let Ok(line) = fs::read(entry.path().join("cmdline")) else { continue };
                let line = String::from_utf8_lossy(&line).replace('\0', " ");
                if line.contains("/belljar/project") {
                    installers += 1;
                    shown.extend(forms().into_iter().filter(|form| line.contains(form)));
                }
            }
        }
        (installers, shown)
    });
    (stop, watching)
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_reach_the_registry_and_no_other_host() {
    for language in [Language::Python, Language::JavaScript] {
        let registry = Registry::start();
        let spy = "import os\nopen('/tmp/x', 'w')\nBASE = {name: value for name, value in os.environ.items()}\n";
        registry.wheel("private", "1.0", &["needed"], &[Entry::file("spy.py", spy)]);
        registry.wheel("needed", "1.0", &[], &[]);
        registry.npm("private", "1.0.0", ", \"dependencies\": {\"needed\": \"1.0.0\"}", &[]);
        registry.npm("needed", "1.0.0", "", &[]);
        let expected = match language {
            Language::Python => format!("Basic {}", STANDARD.encode(format!("{USER}:{PASSWORD}"))),
            _ => format!("Bearer {TOKEN}"),
        };
        registry.require(&expected);
        let anonymous = Home::new(&registry);
        assert!(
            anonymous.get(&wanted(language, &["private"])).await.is_err(),
            "the login is needed"
        );
        let home = Home::with(&registry, private(&registry));
        let (stop, watching) = watch_command_lines();
        let prepared = home.get(&wanted(language, &["private"])).await.unwrap();
        let missing = home.get(&wanted(language, &["there-is-none"])).await.unwrap_err();
        stop.store(true, Ordering::Release);
        let (installers, shown) = watching.join().unwrap();
        assert!(
            installers > 0 && shown.is_empty(),
            "{installers} command lines of installers show {shown:?}"
        );

        assert!(
            registry.asked().iter().any(|asked| asked.header("authorization") == Some(&*expected))
        );
        shows_none(&prepared.lock, "the lock");
        shows_none(&serde_json::to_string(&prepared.record).unwrap(), "the record");
        shows_none(&format!("{missing} {missing:?}"), "an error");
        shows_none(&format!("{:?} {:?} {prepared:?}", home.environments, home.policy), "Debug");
        shows_none(&home.reported().join("\n"), "progress");
        for file in home.all_files() {
            shows_none(
                &String::from_utf8_lossy(&fs::read(&file).unwrap_or_default()),
                &file.display().to_string(),
            );
            shows_none(&file.to_string_lossy(), "a name");
        }
        let code = match language {
            Language::Python => {
                "import private, os\nstr(dict(os.environ)) + open('/proc/self/cmdline').read() + str(os.listdir('/')) + str(os.path.exists('/belljar'))"
            }
            _ => {
                "require('private').name + JSON.stringify(process.env) + require('fs').existsSync('/belljar')"
            }
        };
        let outcome = home.run(language, code, &["private"], PackageOptions::default(), None).await;
        let value = outcome.value.unwrap_or_else(|| panic!("{:?}", outcome.error)).get().to_owned();
        assert!(value.to_lowercase().contains("false"), "{value}");
        shows_none(&value, "a sandbox");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_login_is_not_shown_by_the_error() {
    let registry = Registry::start();
    registry.wheel("private", "1.0", &[], &[]);
    registry.npm("private", "1.0.0", "", &[]);
    registry.require("Basic of-somebody-else");
    let home = Home::with(&registry, private(&registry));
    for language in [Language::Python, Language::JavaScript] {
        let error = home.get(&wanted(language, &["private"])).await.unwrap_err();
        assert!(registry.asked().iter().any(|asked| asked.header("authorization").is_some()));
        shows_none(&format!("{error} {error:?} {}", home.reported().join(" ")), "the error");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn code_of_packages_never_runs_where_a_login_is() {
    let registry = Registry::start();
    registry.sdist("probe", "1.0", "def attack():\n    return str(dict(os.environ))\n");
    let script = "const fs = require('fs'); const all = [JSON.stringify(process.env)];\n\
                  const walk = folder => { for (const name of fs.readdirSync(folder)) { const path = folder + '/' + name; try { const stat = fs.lstatSync(path); if (stat.isDirectory()) walk(path); else if (stat.isFile()) all.push(fs.readFileSync(path, 'latin1')); } catch {} } };\n\
                  walk('/belljar'); walk('/tmp'); walk('/home');\n\
                  for (const pid of fs.readdirSync('/proc').filter(name => /^[0-9]+$/.test(name))) for (const name of ['environ', 'cmdline']) try { all.push(fs.readFileSync(`/proc/${pid}/${name}`, 'latin1')); } catch {}\n\
                  fs.writeFileSync('report.txt', all.join('\\n'));\n";
    registry.npm(
        "probe",
        "1.0.0",
        ", \"scripts\": {\"postinstall\": \"node probe.js\"}",
        &[Entry::file("package/probe.js", script)],
    );
    let home = Home::with(&registry, private(&registry)).policy(|policy| policy.allow_build = true);
    let building = |language| Wanted { allow_build: true, ..wanted(language, &["probe"]) };
    // uv passes the credentials on to builds, so builds are refused.
    let error = home.get(&building(Language::Python)).await.unwrap_err();
    assert!(
        matches!(error, EnvironmentError::Refused { .. })
            && error.to_string().contains("credentials"),
        "{error}"
    );
    assert_eq!(registry.count("probe-1.0.tar.gz"), 0);
    // pnpm first fetches with the credentials, and then builds without them.
    registry.require(&format!("Bearer {TOKEN}"));
    let prepared = home.get(&building(Language::JavaScript)).await.unwrap();
    let report = fs::read_to_string(prepared.environment.folder.join("probe/report.txt"))
        .expect("the probe ran");
    assert!(
        report.contains("NPM_CONFIG_USERCONFIG") && report.contains("registry="),
        "{report:.300}"
    );
    shows_none(&report, "what a package's code sees");
}
