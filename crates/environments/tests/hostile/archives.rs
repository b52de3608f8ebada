//! Archives that try to write outside of their environment, contain other things than files, or are
//! too large.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use belljar_environments::{EnvironmentError, PreparedEnvironment};
use belljar_test_support::{eventually, files_in};

use crate::archive::Entry;
use crate::home::Home;
use crate::registry::Registry;

/// The name of the file that the archives try to write outside.
const ESCAPED: &str = "escaped-by-an-archive";

/// Checks that no file with that name is on the host except in the environment, and that the
/// environment contains only plain files, folders and links that stay inside.
fn nothing_escaped(
    home: &Home,
    result: &Result<PreparedEnvironment, EnvironmentError>,
    attack: &str,
) {
    for place in ["/", "/tmp", "/etc", "/root", "/home", "/var/tmp", "/usr", "/belljar"] {
        assert!(!Path::new(place).join(ESCAPED).exists(), "{attack}: in {place}");
    }
    let store = home.store().canonicalize().unwrap();
    let kept = [store.join("made"), store.join("packages")];
    for file in home.all_files() {
        let file = file.parent().unwrap().canonicalize().unwrap().join(file.file_name().unwrap());
        if file.to_string_lossy().contains(ESCAPED) && !file.starts_with(store.join("downloads")) {
            assert!(
                kept.iter().any(|place| file.starts_with(place))
                    && file.components().any(|part| part.as_os_str() == "root"),
                "{attack}: {}",
                file.display()
            );
        }
    }
    match result {
        Ok(prepared) => {
            let root = &prepared.environment.folder;
            for file in files_in(root) {
                let kind = fs::symlink_metadata(&file).unwrap();
                assert!(kind.is_file() || kind.is_symlink(), "{attack}: {}", file.display());
                assert!(
                    !kind.file_type().is_fifo() && kind.mode() & 0o6000 == 0,
                    "{attack}: {}",
                    file.display()
                );
                if kind.is_symlink() && !file.starts_with(root.join("bin")) {
                    // A dangling link is harmless.
                    assert!(
                        file.canonicalize().map_or(true, |led_to| led_to.starts_with(root)),
                        "{attack}: {} leads out",
                        file.display()
                    );
                }
            }
        }
        Err(error) => {
            let said = error.to_string();
            assert!(!said.is_empty() && !said.chars().any(char::is_control), "{attack}: {said:?}");
            assert!(home.names("made").is_empty(), "{attack}: {said}");
        }
    }
    assert!(home.names("staging").is_empty(), "{attack}");
}

#[tokio::test(flavor = "multi_thread")]
async fn wheels_write_nothing_outside() {
    let up = |levels: usize| format!("{}{ESCAPED}", "../".repeat(levels));
    let console = |name: &str| {
        Entry::file(
            "hostile-1.0.dist-info/entry_points.txt",
            format!("[console_scripts]\n{name} = hostile:main\n"),
        )
    };
    let attacks: Vec<(&str, Vec<Entry>)> = vec![
        ("one level up", vec![Entry::file(&up(1), "x")]),
        ("many levels up", vec![Entry::file(&up(12), "x")]),
        ("absolute", vec![Entry::file(&format!("/tmp/{ESCAPED}"), "x")]),
        ("up from a folder", vec![Entry::file(&format!("hostile/../../../../../{ESCAPED}"), "x")]),
        (
            "data scheme",
            vec![Entry::file(&format!("hostile-1.0.data/data/../../../../{ESCAPED}"), "x")],
        ),
        (
            "scripts scheme",
            vec![Entry::file(
                &format!("hostile-1.0.data/scripts/../../../../{ESCAPED}"),
                "#!python\n",
            )],
        ),
        (
            "headers scheme",
            vec![Entry::file(&format!("hostile-1.0.data/headers/../../../../../{ESCAPED}"), "x")],
        ),
        (
            "a link, and a file through it",
            vec![Entry::link("out", "/tmp"), Entry::file(&format!("out/{ESCAPED}"), "x")],
        ),
        (
            "a link upwards, and a file through it",
            vec![Entry::link("out", "../../../../.."), Entry::file(&format!("out/{ESCAPED}"), "x")],
        ),
        ("a script's name", vec![console(&format!("../../../../{ESCAPED}"))]),
        ("an absolute script's name", vec![console(&format!("/tmp/{ESCAPED}"))]),
        (
            "set-id",
            vec![
                Entry::file("hostile-1.0.data/scripts/tool", "#!python\n").mode(0o104_755),
                Entry::file("set", "x").mode(0o106_777),
            ],
        ),
        (
            "control characters",
            vec![Entry::file("a\nb\u{1b}[2J.py", "x = 1\n"), Entry::file("c\rd.txt", "")],
        ),
        ("deep", vec![Entry::file(&format!("{}x", "d/".repeat(300)), "x")]),
        (
            "a file for the installer's own folder",
            vec![
                Entry::file("../../../pyvenv.cfg", ESCAPED),
                Entry::file("../../../bin/python", ESCAPED),
            ],
        ),
    ];
    let (mut installed, mut refused) = (0, 0);
    for (attack, entries) in attacks {
        let registry = Registry::start();
        registry.wheel("hostile", "1.0", &[], &entries);
        let home = Home::new(&registry);
        let result = home.python(&["hostile"]).await;
        assert!(
            registry.count("/files/hostile") > 0,
            "{attack}: it was not even fetched: {result:?}"
        );
        eprintln!(
            "{attack}: {}",
            result.as_ref().map_or_else(ToString::to_string, |prepared| format!(
                "installed {} files",
                prepared.record.files
            ))
        );
        nothing_escaped(&home, &result, attack);
        match &result {
            Ok(prepared) => {
                installed += 1;
                let site = Home::site_packages(prepared);
                assert!(site.join("hostile.py").exists(), "{attack}");
                assert_ne!(
                    fs::read_to_string(prepared.environment.folder.join("pyvenv.cfg")).unwrap(),
                    ESCAPED,
                    "{attack}"
                );
            }
            Err(_) => refused += 1,
        }
    }
    assert!(installed > 0 && refused > 0, "{installed} {refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tarballs_write_nothing_outside() {
    let up = |levels: usize| format!("package/{}{ESCAPED}", "../".repeat(levels));
    let attacks: Vec<(&str, &str, Vec<Entry>)> = vec![
        ("levels up", "", vec![Entry::file(&up(2), "x"), Entry::file(&up(12), "x")]),
        ("absolute", "", vec![Entry::file(&format!("/tmp/{ESCAPED}"), "x")]),
        (
            "a link, and a file through it",
            "",
            vec![
                Entry::link("package/out", "/tmp"),
                Entry::file(&format!("package/out/{ESCAPED}"), "x"),
            ],
        ),
        (
            "links by way of a link",
            "",
            vec![
                Entry::link("package/a", "."),
                Entry::link("package/b", "a/../../../../.."),
                Entry::file(&format!("package/b/{ESCAPED}"), "x"),
            ],
        ),
        (
            "a hard link",
            "",
            vec![
                Entry::of_kind(b'1', "package/passwd", "/etc/passwd"),
                Entry::of_kind(b'1', "package/up", "../../../package.json"),
            ],
        ),
        (
            "devices and pipes",
            "",
            vec![
                Entry::of_kind(b'3', "package/null", ""),
                Entry::of_kind(b'4', "package/block", ""),
                Entry::of_kind(b'6', "package/pipe", ""),
            ],
        ),
        ("set-id", "", vec![Entry::file("package/tool", "#!/bin/sh\n").mode(0o6755)]),
        ("control characters", "", vec![Entry::file("package/a\nb\u{1b}[2J.js", "")]),
        ("deep", "", vec![Entry::file(&format!("package/{}x", "d/".repeat(200)), "x")]),
        (
            "a command's name",
            ", \"bin\": {\"../../../escaped-by-an-archive\": \"index.js\"}",
            vec![],
        ),
        ("a command's file", ", \"bin\": {\"hostile\": \"../../../../../etc/passwd\"}", vec![]),
        ("a folder of commands", ", \"directories\": {\"bin\": \"../../../..\"}", vec![]),
        (
            "another's name",
            "",
            vec![Entry::file(
                "package/package.json",
                "{\"name\": \"../../../escaped-by-an-archive\", \"version\": \"1.0.0\"}",
            )],
        ),
        (
            "nested packages",
            "",
            vec![
                Entry::link("package/node_modules", "/etc"),
                Entry::file(&format!("package/node_modules/{ESCAPED}"), "x"),
            ],
        ),
    ];
    let mut installed = 0;
    for (attack, manifest, entries) in attacks {
        let registry = Registry::start();
        registry.npm("hostile", "1.0.0", manifest, &entries);
        let home = Home::new(&registry);
        let result = home.npm(&["hostile"]).await;
        assert!(
            registry.count("hostile-1.0.0.tgz") > 0,
            "{attack}: it was not even fetched: {result:?}"
        );
        eprintln!(
            "{attack}: {}",
            result.as_ref().map_or_else(ToString::to_string, |prepared| format!(
                "installed {} files",
                prepared.record.files
            ))
        );
        nothing_escaped(&home, &result, attack);
        if let Ok(prepared) = &result {
            installed += 1;
            assert!(prepared.environment.folder.join("hostile/index.js").exists(), "{attack}");
        }
    }
    assert!(installed > 0, "{installed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn archives_that_unpack_to_too_much_are_refused() {
    let zeros = vec![0; 4 << 20];
    let bomb = |prefix: &str| {
        (0..64)
            .map(|index| Entry::file(&format!("{prefix}zeros{index}"), &zeros))
            .collect::<Vec<_>>()
    };
    let many = |prefix: &str| {
        (0..1500).map(|index| Entry::file(&format!("{prefix}many/{index}"), "")).collect::<Vec<_>>()
    };
    for (attack, python, npm) in
        [("bytes", bomb(""), bomb("package/")), ("files", many(""), many("package/"))]
    {
        let registry = Registry::start();
        registry.wheel("hostile", "1.0", &[], &python);
        registry.npm("hostile", "1.0.0", "", &npm);
        let home = Home::with(&registry, |config| {
            config.limits.environment_bytes = 16 << 20;
            config.limits.files = 500;
        });
        for result in [home.python(&["hostile"]).await, home.npm(&["hostile"]).await] {
            let said = result.unwrap_err().to_string();
            assert!(
                said.contains("more than") && (said.contains(attack) || said.contains("MB")),
                "{attack}: {said}"
            );
            assert!(home.names("made").is_empty() && home.names("staging").is_empty(), "{attack}");
        }
        assert!(registry.count("hostile-1.0") >= 2);
        let contents: u64 = files_in(&home.store().join("contents"))
            .iter()
            .map(|file| fs::metadata(file).unwrap().len())
            .sum();
        assert!(contents <= 17 << 20, "{contents}");
        eventually("what was taken over of it goes with the next collection", || {
            home.environments.collect(Some(std::time::Duration::ZERO)).unwrap();
            files_in(&home.store().join("contents")).is_empty()
        });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_package_that_brings_files_of_another_changes_nothing_for_environments_without_it() {
    let registry = Registry::start();
    registry.wheel("good", "1.0", &[], &[Entry::file("good_module.py", "WHOSE = 'good'\n")]);
    let stolen = Entry::file("good_module.py", "WHOSE = 'hostile'\n");
    let climbing =
        Entry::file("../good/lib/python3/site-packages/good_module.py", "WHOSE = 'hostile'\n");
    registry.wheel("hostile", "1.0", &[], &[stolen]);
    registry.wheel("climbing", "1.0", &[], &[climbing]);
    let home = Home::new(&registry);
    let read = |prepared: &belljar_environments::PreparedEnvironment| {
        fs::read_to_string(Home::site_packages(prepared).join("good_module.py")).unwrap()
    };
    let both = home.python(&["hostile", "good"]).await.unwrap();
    assert!(
        home.names("packages").iter().any(|name| name.starts_with("pypi-good-")),
        "it was kept when both were installed"
    );
    assert!(read(&both).contains("WHOSE"));
    // Whether or not `climbing` can be installed, it must not change `good`.
    let _ = home.python(&["climbing", "good"]).await;
    let alone = home.python(&["good"]).await.unwrap();
    assert_eq!(read(&alone), "WHOSE = 'good'\n");
}
