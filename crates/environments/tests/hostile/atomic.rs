//! Environments are complete or absent, are installed once, and stay while they are in use.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use belljar_engine::{Engine, EngineConfig};
use belljar_environments::Environments;
use belljar_protocol::{Language, PackagePolicy};
use belljar_test_support::{eventually, files_in};

use crate::archive::Entry;
use crate::home::{Home, config, wanted};
use crate::registry::Registry;

/// The variable that passes the folder and the registry to the process that will be killed.
const VICTIM: &str = "BELLJAR_TEST_VICTIM";
const KILLS: u32 = 20;
const FILES: usize = 120;

fn filled() -> Registry {
    let registry = Registry::start();
    let python: Vec<Entry> = (0..FILES)
        .map(|index| Entry::file(&format!("many/{index}.py"), format!("X = {index}\n")))
        .collect();
    let npm: Vec<Entry> = (0..FILES)
        .map(|index| {
            Entry::file(&format!("package/many/{index}.js"), format!("exports.x = {index};\n"))
        })
        .collect();
    registry.wheel("large", "1.0", &[], &python);
    registry.npm("large", "1.0.0", "", &npm);
    registry
}

fn open(folder: &Path, registry: &Registry) -> Environments {
    let engine = Engine::new(EngineConfig::from_env().unwrap()).unwrap();
    Environments::new(engine, config(folder, registry, |_| ())).unwrap()
}

/// Returns the processes with this registry's port in their environment or settings, which are its
/// installers. No other process knows the port.
fn installers_of(registry: &Registry) -> Vec<u32> {
    let read =
        |path: String| String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned();
    let knows = |pid: &u32| {
        let environment = read(format!("/proc/{pid}/environ"));
        let settings = || read(format!("/proc/{pid}/root/belljar/project/uv.toml"));
        !environment.contains(VICTIM)
            && (environment.contains(registry.address()) || settings().contains(registry.address()))
    };
    fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(knows)
        .collect()
}

/// The process that [`a_process_killed_at_any_moment_leaves_nothing_half`] starts and kills. It
/// does nothing as a test of its own.
#[tokio::test(flavor = "multi_thread")]
async fn victim() {
    let Ok(value) = std::env::var(VICTIM) else { return };
    let (folder, address) = value.split_once('|').unwrap();
    let environments = open(Path::new(folder), &Registry::known(address));
    let tell: belljar_environments::Tell = std::sync::Arc::new(|_| ());
    for language in [Language::Python, Language::JavaScript] {
        environments
            .prepare(&wanted(language, &["large"]), &PackagePolicy::default(), &tell)
            .await
            .unwrap();
    }
}

fn start_victim(folder: &Path, registry: &Registry) -> std::process::Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "atomic::victim"])
        .env(VICTIM, format!("{}|{}", folder.display(), registry.address()));
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_killed_at_any_moment_leaves_nothing_half() {
    let registry = filled();
    let reference = tempfile::tempdir().unwrap();
    let started = Instant::now();
    assert!(start_victim(reference.path(), &registry).wait().unwrap().success());
    let whole = started.elapsed();
    let folder = tempfile::tempdir().unwrap();
    let (mut unfinished, mut made_something) = (0, 0);
    for kill in 1..=KILLS {
        // The environments are complete by now. Without them, the next process has to do all of its
        // work, including downloads.
        if kill % 3 == 0 {
            for place in ["made", "packages", "locks", "downloads"] {
                let _ = fs::remove_dir_all(folder.path().join("environments").join(place));
            }
        }
        let mut victim = start_victim(folder.path(), &registry);
        // The time of the kill is the parameter of this test, so it has to sleep.
        std::thread::sleep(whole * kill / KILLS);
        if victim.try_wait().unwrap().is_none() {
            unfinished += 1;
        }
        victim.kill().unwrap();
        victim.wait().unwrap();
        eventually("its installers go with it", || installers_of(&registry).is_empty());
        for place in
            fs::read_dir(folder.path().join("environments/made")).into_iter().flatten().flatten()
        {
            made_something += 1;
            let record: serde_json::Value =
                serde_json::from_slice(&fs::read(place.path().join("environment.json")).unwrap())
                    .unwrap();
            assert!(place.path().join("used").exists() && place.path().join("lock").exists());
            let files = files_in(&place.path().join("root"));
            assert!(files.len() >= FILES, "{} of {record}", files.len());
            assert!(files.iter().all(|file| fs::symlink_metadata(file).unwrap().is_symlink()
                || fs::metadata(file).unwrap().len() > 0
                || file.extension().is_none_or(|end| end != "py")));
        }
    }
    assert!(
        unfinished > KILLS / 4 && made_something > 0,
        "{unfinished} were killed at work, {made_something} seen made"
    );
    assert!(start_victim(folder.path(), &registry).wait().unwrap().success());
    // Folders of processes that were killed before they locked them, or after they released them,
    // are removed once they are old.
    let left = fs::read_dir(folder.path().join("environments/staging")).unwrap().flatten();
    assert!(
        left.into_iter().all(|entry| !entry.path().join("alive").exists()),
        "what the killed have left is swept"
    );
    let environments = open(folder.path(), &registry);
    let others = open(reference.path(), &registry);
    let digests = |environments: &Environments| {
        let mut all: Vec<_> = environments
            .list()
            .into_iter()
            .map(|(record, _)| (record.key, record.content_sha256))
            .collect();
        all.sort();
        all
    };
    assert_eq!(digests(&environments), digests(&others));
    assert_eq!(digests(&environments).len(), 2);
    eventually("nothing of the killed is kept for ever", || {
        environments.collect(Some(Duration::ZERO)).unwrap();
        files_in(&folder.path().join("environments/contents")).is_empty()
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_that_want_the_same_one_installs_and_the_other_waits() {
    for language in [Language::Python, Language::JavaScript] {
        let (alone, together) = (filled(), filled());
        let folder = tempfile::tempdir().unwrap();
        Home::new(&alone).get(&wanted(language, &["large"])).await.unwrap();
        // Like two processes, they share only the folder.
        let homes = [open(folder.path(), &together), open(folder.path(), &together)];
        let (policy, wanted) = (PackagePolicy::default(), wanted(language, &["large"]));
        let reported = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
        let note = std::sync::Arc::clone(&reported);
        let tell: belljar_environments::Tell =
            std::sync::Arc::new(move |line| note.lock().unwrap().push(line));
        let (one, other) = tokio::join!(
            homes[0].prepare(&wanted, &policy, &tell),
            homes[1].prepare(&wanted, &policy, &tell)
        );
        assert_eq!(one.unwrap().record, other.unwrap().record);
        assert_eq!(
            together.asked().len(),
            alone.asked().len(),
            "{language}: {:?}",
            together.asked()
        );
        assert!(
            reported.lock().unwrap().iter().any(|line| line.contains("waiting")),
            "{:?}",
            reported.lock().unwrap()
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_stops_waiting_leaves_nothing() {
    let registry = filled();
    registry.trickle("/files/large-1.0-py3-none-any.whl");
    let home = Home::new(&registry);
    let (environments, policy, tell) =
        (home.environments.clone(), home.policy.clone(), home.tell());
    let installing = tokio::spawn(async move {
        environments.prepare(&wanted(Language::Python, &["large"]), &policy, &tell).await.map(drop)
    });
    eventually("it is fetched", || {
        registry.count("/files/large") > 0 && !installers_of(&registry).is_empty()
    });
    let groups: Vec<String> = installers_of(&registry)
        .iter()
        .filter_map(|pid| fs::read_to_string(format!("/proc/{pid}/cgroup")).ok())
        .collect();
    assert!(groups.iter().any(|group| group.contains("/s")), "{groups:?}");
    installing.abort();
    assert!(installing.await.unwrap_err().is_cancelled());
    eventually("its processes end", || installers_of(&registry).is_empty());
    eventually("its folder goes", || home.names("staging").is_empty());
    for group in groups {
        for line in group
            .lines()
            .filter_map(|line| line.rsplit(':').next())
            .filter(|path| path.contains("/s"))
        {
            let at = ["", "memory", "pids", "cpuacct", "cpu,cpuacct", "unified"].map(|kind| {
                Path::new("/sys/fs/cgroup").join(kind).join(line.trim_start_matches('/'))
            });
            // A group that holds pages of files that it was the first to read stays for a while,
            // but it is empty.
            let is_empty = |path: &Path| {
                fs::read_to_string(path.join("cgroup.procs"))
                    .is_ok_and(|members| members.is_empty())
            };
            let may_stay = |path: &Path| path.join("memory.stat").exists() && is_empty(path);
            eventually("its control groups go", || {
                at.iter().all(|path| !path.exists() || may_stay(path))
            });
        }
    }
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains("/belljar/project") && !mounts.contains("install-"), "{mounts}");
    // The remains do not block other installations.
    let again = Home::at_same(&home, &filled());
    assert!(again.python(&["large"]).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_used_stays_and_what_is_not_makes_room() {
    let registry = Registry::start();
    for package in ["one", "two", "three"] {
        registry.wheel(
            package,
            "1.0",
            &[],
            &[Entry::file(&format!("{package}_data.bin"), package.repeat(200_000))],
        );
    }
    let home = Home::new(&registry);
    let one = home.python(&["one"]).await.unwrap();
    let two = home.python(&["two"]).await.unwrap();
    let three = home.python(&["three"]).await.unwrap();
    let keys = [&one, &two, &three].map(|prepared| prepared.record.key.clone());
    let size = three.record.size_bytes;
    for (key, age) in keys.iter().zip([300, 200, 100]) {
        let used = fs::File::options()
            .write(true)
            .open(home.store().join("made").join(key).join("used"))
            .unwrap();
        used.set_modified(SystemTime::now() - Duration::from_secs(age)).unwrap();
    }
    // The engine's part alone keeps the environment in use.
    let held = (std::sync::Arc::clone(&one.environment), std::sync::Arc::clone(&three.environment));
    drop((one, two, three));
    let small =
        Home::at_same_with(&home, &registry, |config| config.max_total_bytes = size + size * 3 / 4);
    let mut expected = vec![keys[0].clone(), keys[2].clone()];
    expected.sort();
    let mut freed = 0;
    // A process that is forked to launch a jail holds the locks of this process for a moment, so a
    // collection may have to be repeated.
    eventually("the one that nobody uses goes", || {
        let collected = small.environments.collect(None).unwrap();
        freed += collected.freed_bytes;
        assert!(collected.environments <= 1, "{collected:?}");
        let mut left = home.names("made");
        left.sort();
        left == expected
    });
    eventually("its contents go", || {
        freed += small.environments.collect(Some(Duration::from_hours(1))).unwrap().freed_bytes;
        freed >= 600_000
    });
    assert_eq!(home.names("made").len(), 2);
    assert!(held.0.folder.join("bin").exists());
    drop(held);
    for package in home.names("packages") {
        let used = fs::File::options()
            .write(true)
            .open(home.store().join("packages").join(package).join("used"))
            .unwrap();
        used.set_modified(SystemTime::now() - Duration::from_secs(100)).unwrap();
    }
    eventually("what nobody has used for so long goes", || {
        small.environments.collect(Some(Duration::from_secs(50))).unwrap();
        home.names("made").is_empty() && files_in(&home.store().join("contents")).is_empty()
    });
}
