//! Packages: detected in the program, locked, installed once and cached. They come from the
//! registries that this machine is configured for.

use std::io::Read;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use belljar_test_support::{STARTS, Said, belljar, outcome, run, said};
use serde_json::{Value, json};

/// Runs `belljar env` with arguments.
fn env(arguments: &[&str]) -> Said {
    let mut all = vec!["env"];
    all.extend(arguments);
    said(&mut belljar(all))
}

#[test]
fn a_program_of_python_has_what_it_imports() {
    for start in STARTS {
        let ended = outcome(
            "python",
            "import humanize, json\nhumanize.intcomma(1234567)",
            &["--start", start],
        );
        assert_eq!(ended["value"], "1,234,567", "{ended}");
        assert!(
            ended["sandbox"]["environment"].as_str().is_some_and(|key| key.starts_with("pypi-")),
            "{ended}"
        );
    }
}

#[test]
fn a_program_of_javascript_has_what_it_requires_and_imports() {
    for start in STARTS {
        for code in [
            "const chunk = require('lodash/chunk'); chunk([1, 2, 3], 2)",
            "import chunk from 'lodash/chunk.js'; chunk([1, 2, 3], 2)",
            "import chunk from 'npm:lodash@4/chunk.js'; chunk([1, 2, 3], 2)",
            "// @add-package lodash=4.17.21\nmodule.exports = async () => (await import('lodash')).default.chunk([1, 2, 3], 2);",
        ] {
            let ended = outcome("javascript", code, &["--start", start]);
            assert_eq!(ended["value"], json!([[1, 2], [3]]), "{code}: {ended}");
        }
    }
    let typed = outcome(
        "typescript",
        "import chunk from 'lodash/chunk.js';\nconst n: number = 2;\nchunk([1, 2, 3], n)",
        &[],
    );
    assert_eq!(typed["value"], json!([[1, 2], [3]]), "{typed}");
}

#[test]
fn a_program_that_imports_nothing_else_has_no_environment() {
    for (language, code) in [
        ("python", "import json, os.path\njson.dumps(1)"),
        ("javascript", "require('fs').existsSync('/etc')"),
    ] {
        let ended = outcome(language, code, &[]);
        assert_eq!(ended["status"], "succeeded", "{ended}");
        assert_eq!(ended["sandbox"]["environment"], Value::Null, "{ended}");
    }
}

#[test]
fn a_manifest_rules_and_a_listed_version_rules_over_it() {
    let block = "# /// script\n# dependencies = ['humanize==4.9.0']\n# ///\nimport importlib.metadata as m\nm.version('humanize')";
    assert_eq!(outcome("python", block, &[])["value"], "4.9.0");
    let listed = outcome("python", block, &["--package", "humanize==4.8.0"]);
    assert_eq!(listed["value"], "4.8.0", "{listed}");
    let folder = tempfile::tempdir().unwrap();
    let requirements = folder.path().join("requirements.txt");
    std::fs::write(&requirements, "humanize==4.7.0 # pinned\n").unwrap();
    let file = format!("requirements.txt={}", requirements.display());
    let ended = outcome(
        "python",
        "import importlib.metadata as m\nm.version('humanize')",
        &["--file", &file],
    );
    assert_eq!(ended["value"], "4.7.0", "{ended}");
    let later = outcome(
        "python",
        "# /// script\n# requires-python = '>=3.99'\n# dependencies = ['humanize']\n# ///\n1",
        &[],
    );
    assert_eq!(
        (&later["status"], &later["error"]["name"]),
        (&json!("refused"), &json!("InvalidPackages")),
        "{later}"
    );
}

#[test]
fn a_listed_name_that_no_registry_has_is_refused_with_near_ones_and_nothing_comes_in_its_place() {
    for (language, package, near) in
        [("python", "pandass", "pandas"), ("javascript", "expresss-zz", "express")]
    {
        let ended = outcome(language, "1", &["--package", package]);
        assert_eq!(
            (&ended["status"], &ended["error"]["name"]),
            (&json!("refused"), &json!("PackageNotFound")),
            "{ended}"
        );
        let hint = ended["error"]["hint"].as_str().unwrap();
        assert!(hint.contains(near) || language == "javascript", "{hint}");
        assert!(ended["sandbox"]["environment"].is_null(), "{ended}");
    }
}

#[test]
fn a_lock_gives_the_same_again_and_frozen_refuses_what_none_names() {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("main.py");
    std::fs::write(&program, "import humanize, importlib.metadata as m\nm.version('humanize')")
        .unwrap();
    let (program, lock) = (program.to_str().unwrap(), folder.path().join("uv.lock"));
    let lock = lock.to_str().unwrap();
    let made = env(&["lock", program, "--output", lock]);
    assert_eq!(made.code, Some(0), "{made:?}");
    let frozen = said(&mut run([program, "--frozen", "--lock", lock, "--json"])).outcome();
    assert!(frozen["value"].as_str().is_some(), "{frozen}");
    let offline = said(&mut run([program, "--offline", "--lock", lock, "--json"])).outcome();
    assert_eq!(offline["sandbox"]["environment"], frozen["sandbox"]["environment"], "{offline}");
    let missing = outcome("python", "1", &["--offline", "--package", "humanize==3.0.0"]);
    assert_eq!(missing["error"]["name"], "PackagesOffline", "{missing}");
    let unlocked = said(&mut run([program, "--frozen", "--json"])).outcome();
    assert_eq!(
        (&unlocked["status"], &unlocked["error"]["name"]),
        (&json!("refused"), &json!("PackagesNotLocked")),
        "{unlocked}"
    );
    let elsewhere = folder.path().join("elsewhere.lock");
    let text = std::fs::read_to_string(lock)
        .unwrap()
        .replace("https://files.pythonhosted.org", "http://127.0.0.1:1");
    std::fs::write(&elsewhere, text).unwrap();
    let refused =
        said(&mut run([program, "--lock", elsewhere.to_str().unwrap(), "--json"])).outcome();
    assert!(
        refused["status"] == "refused"
            && refused["error"]["message"].as_str().unwrap().contains("registry"),
        "{refused}"
    );
}

#[test]
fn packages_can_be_left_out_and_neither_come_from_elsewhere_nor_run_unasked() {
    let none = outcome("python", "import humanize", &["--no-packages"]);
    assert_eq!(
        (&none["status"], &none["error"]["name"]),
        (&json!("failed"), &json!("ModuleNotFoundError")),
        "{none}"
    );
    for package in [
        "git+https://example.com/x.git",
        "x @ https://example.com/x.whl",
        "../x",
        "--index-url=http://127.0.0.1",
        "-r x",
        "x\ny",
    ] {
        let refused = outcome("python", "1", &[&format!("--package={package}")]);
        assert_eq!(
            (&refused["status"], &refused["error"]["name"]),
            (&json!("refused"), &json!("InvalidPackages")),
            "{package}: {refused}"
        );
    }
    // The package has no wheel, so building it would run its setup.py.
    let built = outcome("python", "import docopt", &["--package", "docopt==0.6.2"]);
    assert_eq!(
        (&built["status"], &built["error"]["name"]),
        (&json!("refused"), &json!("PackageNeedsBuild")),
        "{built}"
    );
}

#[test]
fn environments_are_listed_shown_warmed_and_removed() {
    let warmed = env(&["warm", "--package", "humanize==4.6.0", "--language", "python", "--json"]);
    assert_eq!(warmed.code, Some(0), "{warmed:?}");
    let key = warmed.outcome()["environments"][0]["key"].as_str().unwrap().to_owned();
    let listed = env(&["list", "--json"]).outcome();
    assert!(
        listed["environments"]
            .as_array()
            .unwrap()
            .iter()
            .any(|entry| entry["environment"]["key"] == *key),
        "{listed}"
    );
    assert!(env(&["list"]).stdout.contains(&key));
    let shown = env(&["show", &key, "--json"]).outcome();
    assert_eq!(shown["packages"], json!([{"name": "humanize", "version": "4.6.0"}]), "{shown}");
    assert_eq!(shown["modules"], json!(["humanize"]), "{shown}");
    assert!(env(&["show", &key, "--lock"]).stdout.contains("humanize"));
    env(&["show", "no-such"]).fails(2, &["environment `no-such` not found", "belljar env list"]);
    let collected = env(&["gc", "--unused-for", "1000d", "--json"]).outcome();
    assert_eq!(collected["environments"], 0, "{collected}");
}

#[test]
fn what_a_run_uses_can_be_locked_and_warmed_by_the_same_flags() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (program, lock, policy) = (path("main.py"), path("uv.lock"), path("policy.json"));
    std::fs::write(&program, "import humanize, importlib.metadata as m\nm.version('humanize')")
        .unwrap();
    std::fs::write(&policy, r#"{"packages": {"minimum_release_age_days": 40}}"#).unwrap();
    let key_of_run = |flags: &[&str]| {
        let ended = said(run([&program]).args(flags).arg("--json")).outcome();
        assert_eq!(ended["status"], "succeeded", "{flags:?}: {ended}");
        ended["sandbox"]["environment"].clone()
    };
    let key_of_warm = |flags: &[&str]| {
        let mut arguments = vec!["warm", "--json"];
        arguments.extend(flags);
        let warmed = env(&arguments);
        assert_eq!(warmed.code, Some(0), "{flags:?}: {warmed:?}");
        warmed.outcome()["environments"][0]["key"].clone()
    };
    let version_of =
        |flags: &[&str]| said(run([&program]).args(flags).arg("--json")).outcome()["value"].clone();
    let plain = key_of_run(&[]);
    for flags in [&["--minimum-release-age", "30"][..], &["--policy", &policy]] {
        let mut arguments = vec!["lock", &program, "--output", &lock];
        arguments.extend(flags);
        let made = env(&arguments);
        assert_eq!(made.code, Some(0), "{flags:?}: {made:?}");
        let with_lock = [flags, &["--lock", &lock]].concat();
        let of_program = [&[&*program][..], flags].concat();
        let of_lock = [&["--language", "python"][..], &with_lock].concat();
        let key = key_of_warm(&of_lock);
        assert_eq!(key, key_of_run(&with_lock), "{flags:?}: by the lock");
        assert_eq!(key_of_warm(&of_program), key_of_run(flags), "{flags:?}: by the program");
        assert_eq!(
            key,
            key_of_warm(&[&of_program[..], &["--offline"]].concat()),
            "{flags:?}: offline"
        );
        assert_eq!(
            key == plain,
            version_of(flags) == version_of(&[]),
            "{flags:?}: the same versions are one environment"
        );
    }
    // A policy that does not mention building forbids it, for `env` as for a run.
    for flags in [&["warm"][..], &["lock", &program]] {
        let asked = [
            flags,
            &[
                "--package",
                "docopt==0.6.2",
                "--language",
                "python",
                "--allow-build",
                "--policy",
                &policy,
            ],
        ]
        .concat();
        env(&asked).fails(1, &["the policy refuses building packages"]);
    }
}

#[test]
fn an_environment_that_is_too_large_is_refused_by_the_setting_that_can_be_raised() {
    let warm = |package: &str, files: &str| {
        let mut warming = belljar(["env", "warm", "--package", package, "--language", "python"]);
        said(warming.env("BELLJAR_ENVIRONMENT_FILES", files))
    };
    // No other test builds this environment: an existing one is not measured again.
    let refused = "humanize==4.1.0";
    warm(refused, "100").fails(
        1,
        &[
            "the environment has more than 100 files",
            "environments.files (BELLJAR_ENVIRONMENT_FILES)",
        ],
    );
    warm(refused, "many").fails(2, &["BELLJAR_ENVIRONMENT_FILES is `many`"]);
    assert_eq!(warm("humanize==4.4.0", "20000").code, Some(0));
}

#[test]
fn a_folder_of_packages_is_not_used_and_that_is_reported() {
    let folder = tempfile::tempdir().unwrap();
    // A new request is resolved, whatever is in the cache.
    let now =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_micros();
    let ended = |links: Option<&std::path::Path>, least: u128| {
        let mut running = run(["-e", "1", "--language", "python", "--events"]);
        running
            .arg(format!("--package=humanize==4.3.0,>=0.{least}"))
            .env_remove("PIP_FIND_LINKS")
            .env_remove("UV_FIND_LINKS");
        said(running.envs(links.map(|links| ("PIP_FIND_LINKS", links))))
    };
    let shown = ended(Some(folder.path()), now);
    assert!(
        shown.code == Some(0) && shown.stdout.contains("find-links is set but ignored"),
        "{shown:?}"
    );
    let silent = ended(None, now + 1);
    assert!(silent.code == Some(0) && !silent.stdout.contains("find-links"), "{silent:?}");
}

#[test]
fn an_environment_cannot_be_written_to() {
    let code = "import humanize, os\ntried = 0\nfor path in (humanize.__file__, os.path.dirname(humanize.__file__) + '/new', '/opt/belljar/environment/x'):\n    try:\n        open(path, 'w')\n    except OSError:\n        tried += 1\ntried";
    assert_eq!(outcome("python", code, &[])["value"], 3);
}

#[test]
fn frozen_holds_a_program_to_the_lock_that_it_is_given() {
    let folder = tempfile::tempdir().unwrap();
    let (program, lock) = (folder.path().join("main.py"), folder.path().join("uv.lock"));
    std::fs::write(&program, "import humanize").unwrap();
    let (program, lock) = (program.to_str().unwrap(), lock.to_str().unwrap());
    assert_eq!(env(&["lock", program, "--output", lock]).code, Some(0));
    let held =
        |code: &str, more: &[&str]| outcome("python", code, &[&["--lock", lock], more].concat());
    assert_eq!(held("import humanize\nhumanize.intcomma(1000)", &["--frozen"])["value"], "1,000");
    let elsewhere = "# /// script\n# dependencies = ['humanize', 'tabulate; sys_platform == \"win32\"']\n# ///\n1";
    assert_eq!(
        held(elsewhere, &["--frozen"])["value"],
        1,
        "what is needed elsewhere need not be there"
    );
    for code in
        ["import humanize, tabulate", "# /// script\n# dependencies = ['tabulate']\n# ///\n1"]
    {
        let refused = held(code, &["--frozen"]);
        assert_eq!(
            (&refused["status"], &refused["error"]["name"]),
            (&json!("refused"), &json!("PackagesNotLocked")),
            "{refused}"
        );
        assert!(refused["error"]["message"].as_str().unwrap().contains("tabulate"), "{refused}");
    }
    // Without --frozen, the import fails in the program.
    let failed = held("import humanize, tabulate", &[]);
    assert_eq!(
        (&failed["status"], &failed["error"]["name"]),
        (&json!("failed"), &json!("ModuleNotFoundError")),
        "{failed}"
    );
    assert!(
        failed["error"]["hint"]
            .as_str()
            .unwrap()
            .contains("use a lock file that contains tabulate"),
        "{failed}"
    );
}

#[test]
fn a_missing_package_is_reported_with_what_decided() {
    let folder = tempfile::tempdir().unwrap();
    for (name, content) in [
        ("requirements.txt", "humanize\n"),
        ("package.json", r#"{"dependencies": {"lodash": "^4.17.0"}}"#),
    ] {
        std::fs::write(folder.path().join(name), content).unwrap();
    }
    let file = |name: &str| format!("{name}={}", folder.path().join(name).display());
    let (requirements, package_json) = (file("requirements.txt"), file("package.json"));
    let block = "# /// script\n# dependencies = []\n# ///\nimport tabulate";
    for (language, code, flags, words) in [
        (
            "python",
            "import tabulate",
            ["--file", requirements.as_str()].as_slice(),
            "add tabulate to requirements.txt",
        ),
        ("python", block, &[], "add tabulate to the dependencies of the program's script block"),
        (
            "python",
            "import tabulate",
            &["--package", "humanize", "--only-packages"],
            "only the listed packages are installed",
        ),
        ("python", "import tabulate", &["--no-packages"], "remove --no-packages"),
        ("python", "__import__('tab' + 'ulate')", &[], "add the line `# @add-package tabulate`"),
        (
            "javascript",
            "require('chalk')",
            &["--file", package_json.as_str()],
            "add chalk to the dependencies of package.json",
        ),
    ] {
        let ended = outcome(language, code, flags);
        let hint = ended["error"]["hint"].as_str().unwrap_or_default();
        assert!(ended["status"] == "failed" && hint.contains(words), "{code} {flags:?}: {ended}");
    }
    let of_its_own = outcome("javascript", "require('./not-there')", &[]);
    assert!(of_its_own["error"]["hint"].is_null(), "{of_its_own}");
}

#[test]
fn a_module_next_to_a_program_is_not_taken_from_a_registry() {
    let folder = tempfile::tempdir().unwrap();
    let (program, helper) = (folder.path().join("main.py"), folder.path().join("humanize.py"));
    std::fs::write(&program, "import humanize\nhumanize.own()").unwrap();
    std::fs::write(&helper, "def own():\n    return 'own'").unwrap();
    said(&mut run([program.as_os_str()]))
        .fails(1, &["include humanize, which is next to the program", "--file humanize.py"]);
    let given = format!("humanize.py={}", helper.display());
    let ran = said(run([program.as_os_str()]).args(["--file", &given]));
    assert!(ran.code == Some(0) && ran.stdout.contains("own"), "{ran:?}");
}

#[test]
fn where_nothing_may_be_fetched_no_package_is() {
    for variable in ["1", "true"] {
        let mut running = run(["-e", "1", "--language", "python", "--package", "humanize==4.2.1"]);
        said(running.env("BELLJAR_OFFLINE", variable)).fails(125, &["offline"]);
    }
    assert!(!env(&["list"]).stdout.contains("humanize==4.2.1"));
}

/// The registry accepts requests and never answers. The command is stopped while the installer
/// waits.
#[test]
fn env_ends_at_once_on_a_signal() {
    let registry = TcpListener::bind("127.0.0.1:0").unwrap();
    let index = format!("http://{}/simple", registry.local_addr().unwrap());
    let mut warming =
        belljar(["env", "warm", "--package", "humanize==4.2.2", "--language", "python"]);
    warming
        .env("UV_DEFAULT_INDEX", index)
        .env_remove("PIP_INDEX_URL")
        .stderr(std::process::Stdio::piped());
    let mut warming = warming.spawn().unwrap();
    registry.set_nonblocking(true).unwrap();
    let deadline = Instant::now() + Duration::from_mins(2);
    let mut asked = loop {
        match registry.accept() {
            Ok((asked, _)) => break asked,
            Err(_) if Instant::now() < deadline && warming.try_wait().unwrap().is_none() => {
                std::thread::sleep(Duration::from_millis(10));
            }
            Err(error) => panic!("the installer did not ask: {error}"),
        }
    };
    asked.set_nonblocking(false).unwrap();
    assert!(asked.read(&mut [0; 64]).unwrap() > 0, "the installer asks");
    let since = Instant::now();
    rustix::process::kill_process(
        rustix::process::Pid::from_child(&warming),
        rustix::process::Signal::TERM,
    )
    .unwrap();
    let ended = warming.wait().unwrap();
    assert_eq!(ended.code(), Some(130));
    assert!(since.elapsed() < Duration::from_secs(20), "{:?}", since.elapsed());
    let mut printed = String::new();
    warming.stderr.take().unwrap().read_to_string(&mut printed).unwrap();
    assert!(printed.contains("stopped"), "{printed}");
    // The installer is gone too: the connection is closed.
    asked.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let closed = asked.read_to_end(&mut Vec::new());
    assert!(!closed.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock));
}

#[test]
fn two_requests_that_come_to_the_same_packages_have_one_environment_and_share_files_with_others() {
    let key = |code: &str, flags: &[&str]| {
        let ended = outcome("python", code, flags);
        assert_eq!(ended["status"], "succeeded", "{ended}");
        ended["sandbox"]["environment"].as_str().unwrap().to_owned()
    };
    let one = key("import humanize", &[]);
    assert_eq!(
        one,
        key("import humanize as h\nh.intcomma(1)", &["--package", "humanize>=4"]),
        "another range, the same version"
    );
    let both = key("import humanize, tabulate", &[]);
    assert_ne!(one, both);
    let made = |key: &str| env(&["show", key, "--json"]).outcome();
    let links = |key: &str| made(key)["linked_from"].as_array().map_or(0, Vec::len);
    assert_eq!(
        (links(&one), links(&both)),
        (2, 3),
        "the packages, and what all environments have in common"
    );
    // A file that both environments contain is stored on the disk once.
    let inode = "import humanize, os\nos.stat(humanize.__file__).st_ino";
    let inodes =
        [outcome("python", inode, &[]), outcome("python", inode, &["--package", "tabulate"])]
            .map(|ended| ended["value"].clone());
    assert!(inodes[0].is_u64() && inodes[0] == inodes[1], "{inodes:?}");
}

#[test]
fn a_new_combination_of_known_packages_needs_no_network_and_says_nothing_of_installing() {
    let version = |code: &str, flags: &[&str]| {
        said(run(["--language", "python", "--eval", code]).args(flags))
    };
    let first = version("import humanize", &["--package", "tabulate==0.8.10"]);
    assert_eq!(first.code, Some(0), "{first:?}");
    // Both packages are cached, but were never installed together.
    let offline = version("import wcwidth", &["--package", "wcwidth==0.2.13"]);
    assert_eq!(offline.code, Some(0), "{offline:?}");
    let together = version(
        "import tabulate, wcwidth",
        &["--package", "tabulate==0.8.10", "--package", "wcwidth==0.2.13", "--offline"],
    );
    assert_eq!(together.code, Some(0), "{together:?}");
    assert!(!together.stderr.contains("installed"), "{together:?}");
}
