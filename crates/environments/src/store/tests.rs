use std::os::unix::fs::{PermissionsExt, symlink};
use std::sync::Barrier;
use std::sync::atomic::AtomicBool;

use belljar_protocol::Timestamp;

use super::lock_records::MadeLock;
use super::*;
use crate::lock::LockedPackage;
use crate::requirement::Ecosystem;
use crate::resolution::Resolution;

const LIMITS: TreeLimits = TreeLimits { files: 100, bytes: 1 << 20 };

struct Home {
    _folder: tempfile::TempDir,
    store: Store,
}

impl Home {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::at(folder.path().join("environments"));
        Self { _folder: folder, store }
    }

    fn lock() -> Lock {
        let project = LockedPackage { name: "environment".into(), version: "0".into() };
        Lock {
            ecosystem: Ecosystem::PyPi,
            text: "a lock".into(),
            project,
            specifiers: std::collections::BTreeMap::new(),
            packages: Vec::new(),
            hashes: std::collections::BTreeMap::new(),
            installs_all: false,
        }
    }

    fn publish(&self, key: &str, files: &[(&str, &str)]) -> Result<(), FolderError> {
        let staging = self.store.stage()?;
        let installed = staging.path().join("root");
        fs::create_dir(&installed).unwrap();
        for (name, content) in files {
            fs::write(installed.join(name), content).unwrap();
        }
        let rules = TakeOverRules {
            limits: LIMITS,
            leaves: &|_| false,
            may_point_to: &[],
            unwanted: &AtomicBool::new(false),
        };
        self.store.publish(&installed, rules, &Self::lock(), |_, summary| record(key, summary))
    }

    fn made(&self, key: &str) -> PathBuf {
        self.store.root().join("made").join(key)
    }

    fn names(&self, folder: &str) -> Vec<String> {
        let entries = fs::read_dir(self.store.root().join(folder)).into_iter().flatten().flatten();
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    }
}

fn record(key: &str, summary: TreeSummary) -> EnvironmentRecord {
    EnvironmentRecord {
        schema: SCHEMA,
        key: key.into(),
        ecosystem: Ecosystem::PyPi,
        runtime: "python@3.11".into(),
        requirements: Vec::new(),
        packages: Vec::new(),
        modules: Vec::new(),
        files: summary.files,
        size_bytes: summary.bytes,
        content_sha256: summary.sha256,
        lock_sha256: Home::lock().sha256(),
        identity: String::new(),
        linked_from: Vec::new(),
        unbuilt: Vec::new(),
        boot: None,
        allow_build: false,
        created_at: Timestamp::now(),
    }
}

#[test]
fn only_the_owner_gets_to_the_contents_and_nobody_writes_them() {
    let home = Home::new();
    home.publish("a", &[("x", "1")]).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    for folder in ["", "made", "contents", "staging"] {
        assert_eq!(mode(&home.store.root().join(folder)), 0o700, "{folder}");
    }
    assert_eq!(
        (mode(&home.made("a").join("root")), mode(&home.made("a").join("root/x"))),
        (0o755, 0o444)
    );
    assert!(home.names("staging").is_empty());
}

#[test]
fn a_folder_that_others_can_write_is_not_used() {
    let home = Home::new();
    home.publish("a", &[("x", "1")]).unwrap();
    for mode in [0o777, 0o720] {
        fs::set_permissions(home.store.root(), fs::Permissions::from_mode(mode)).unwrap();
        let error = home.publish("b", &[]).unwrap_err().to_string();
        assert!(error.contains("belongs to another user"), "{error}");
    }
    assert_eq!(home.names("made"), ["a"]);
}

#[test]
fn an_environment_in_use_is_not_removed_and_its_contents_stay() {
    let home = Home::new();
    home.publish("a", &[("x", "1"), ("y", "22")]).unwrap();
    home.publish("b", &[("x", "1")]).unwrap();
    let used = home.store.open("a").unwrap().unwrap();
    assert!(!home.store.remove("a").unwrap());
    assert_eq!(home.store.sweep_blobs().unwrap(), 0);
    assert_eq!(fs::read_to_string(used.root.join("y")).unwrap(), "22");
    let lease = Arc::clone(&used.lease);
    drop(used);
    assert!(!home.store.remove("a").unwrap(), "the lease alone holds it");
    drop(lease);
    assert!(home.store.remove("a").unwrap());
    assert_eq!(home.store.sweep_blobs().unwrap(), 2, "what b has stays");
    assert!(home.store.open("a").unwrap().is_none() && home.store.open("b").unwrap().is_some());
}

#[test]
fn those_used_last_are_listed_first() {
    let home = Home::new();
    for (key, age) in [("a", 100), ("b", 300), ("c", 200)] {
        home.publish(key, &[("x", "1")]).unwrap();
        let used = File::options().write(true).open(home.made(key).join("used")).unwrap();
        used.set_modified(SystemTime::now() - Duration::from_secs(age)).unwrap();
    }
    let keys = || home.store.list().into_iter().map(|(record, _)| record.key).collect::<Vec<_>>();
    assert_eq!(keys(), ["a", "c", "b"]);
    home.store.open("b").unwrap().unwrap();
    assert_eq!(keys(), ["b", "a", "c"]);
}

#[test]
fn contents_are_not_swept_while_an_environment_is_made() {
    let home = Home::new();
    home.publish("a", &[("x", "1")]).unwrap();
    assert!(home.store.remove("a").unwrap());
    let making = File::open(home.store.root().join("sweeping")).unwrap();
    making.lock_shared().unwrap();
    assert_eq!(home.store.sweep_blobs().unwrap(), 0);
    drop(making);
    assert_eq!(home.store.sweep_blobs().unwrap(), 1);
}

#[test]
fn what_is_written_into_a_record_leads_to_no_other_folder() {
    let home = Home::new();
    home.publish("a", &[("x", "1")]).unwrap();
    let outside = home.store.root().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("used"), "").unwrap();
    let path = home.made("a").join("environment.json");
    let text = fs::read_to_string(&path).unwrap();
    for key in ["../../outside", "../outside", "b", ""] {
        fs::write(&path, text.replace("\"key\": \"a\"", &format!("\"key\": \"{key}\""))).unwrap();
        assert!(home.store.list().is_empty(), "{key}");
        assert!(home.store.open("a").unwrap().is_none(), "{key}");
    }
    for tampered in ["", "{}", "null", "[1]", &text.replace("\"schema\": 1", "\"schema\": 99")] {
        fs::write(&path, tampered).unwrap();
        assert!(home.store.list().is_empty() && home.store.open("a").unwrap().is_none());
    }
    assert!(outside.exists());
}

#[test]
fn what_is_no_environment_is_not_in_the_way_of_one() {
    let home = Home::new();
    home.publish("a", &[("x", "1")]).unwrap();
    fs::write(home.made("a").join("environment.json"), "{ half").unwrap();
    home.publish("a", &[("x", "1")]).unwrap();
    assert!(home.store.open("a").unwrap().is_some());
    fs::remove_file(home.made("a").join("used")).unwrap();
    home.publish("a", &[("x", "1")]).unwrap();
    assert!(home.store.open("a").unwrap().is_some());
    assert!(home.names("staging").is_empty());
}

#[test]
fn of_many_that_make_the_same_one_is_kept_and_each_can_open_it() {
    let home = Home::new();
    let together = Barrier::new(8);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                together.wait();
                home.publish("a", &[("x", "1"), ("y", "2")]).unwrap();
                assert_eq!(home.store.open("a").unwrap().unwrap().record.files, 2);
            });
        }
    });
    assert_eq!(home.names("made"), ["a"]);
    assert_eq!(home.store.sweep_blobs().unwrap(), 0);
}

#[test]
fn opening_and_removing_at_once_never_gives_what_is_going() {
    let home = Home::new();
    std::thread::scope(|scope| {
        let opener = scope.spawn(|| {
            let mut seen = 0;
            while seen < 200 {
                if let Some(stored) = home.store.open("a").unwrap() {
                    assert_eq!(fs::read_to_string(stored.root.join("x")).unwrap(), "1");
                    seen += 1;
                }
            }
        });
        while !opener.is_finished() {
            home.publish("a", &[("x", "1")]).unwrap();
            home.store.remove("a").unwrap();
            home.store.sweep_blobs().unwrap();
        }
    });
}

#[test]
fn staging_of_the_dead_is_swept_and_that_of_the_living_is_not() {
    let home = Home::new();
    let living = home.store.stage().unwrap();
    let dead = home.store.root().join("staging/install-dead");
    fs::create_dir_all(dead.join("project/node_modules")).unwrap();
    fs::write(dead.join("alive"), "").unwrap();
    let outside = home.store.root().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("file"), "").unwrap();
    symlink(&outside, dead.join("project/node_modules/link")).unwrap();
    symlink(&outside, home.store.root().join("staging/link")).unwrap();
    let next = home.store.stage().unwrap();
    assert!(!dead.exists() && living.path().exists() && next.path().exists());
    assert!(outside.join("file").exists(), "links are removed, and not what they lead to");
    let clone = living.clone();
    drop(living);
    assert!(clone.path().exists());
    let path = clone.path().to_owned();
    drop(clone);
    assert!(!path.exists());
}

#[test]
fn downloads_over_the_limit_are_removed_once_they_are_not_in_use() {
    let home = Home::new();
    home.store.folder("downloads").unwrap();
    let downloads = home.store.folder("downloads/uv").unwrap();
    fs::write(downloads.join("large"), vec![1; 1 << 20]).unwrap();
    let used = home.store.use_downloads(1 << 30).unwrap();
    drop(home.store.use_downloads(1 << 10).unwrap());
    assert!(downloads.join("large").exists(), "the downloads are in use");
    drop(used);
    drop(home.store.use_downloads(1 << 10).unwrap());
    assert!(downloads.exists() && !downloads.join("large").exists());
}

#[test]
fn locks_are_forgotten_by_their_last_use_and_beyond_a_size() {
    let home = Home::new();
    let long_ago = SystemTime::now() - Duration::from_hours(1);
    let made = MadeLock { names: vec!["six".into()], minimum_release_age_days: 3 };
    for request in ["old", "used", "new"] {
        let lock = Lock { text: request.into(), ..Home::lock() };
        home.store.remember_made(&lock, &made).unwrap();
        home.store
            .remember_resolution(
                request,
                &Resolution {
                    lock: Some(lock),
                    missing: Vec::new(),
                    notes: Vec::new(),
                    resolved_at: 0,
                },
            )
            .unwrap();
    }
    let file = |name: &str| home.store.root().join("locks").join(name);
    for name in ["old.json", "used.json"] {
        File::options().write(true).open(file(name)).unwrap().set_modified(long_ago).unwrap();
    }
    assert_eq!(home.store.known_resolution("used").unwrap().unwrap().lock.unwrap().text, "used");
    assert!(home.store.forget_locks(long_ago + Duration::from_mins(1), u64::MAX) > 0);
    assert!(!file("old.json").exists() && file("used.json").exists() && file("new.json").exists());
    home.store.forget_locks(SystemTime::UNIX_EPOCH, 4096);
    assert_eq!(home.names("locks").len(), 1, "the size of one");
}

#[test]
fn who_makes_an_environment_leaves_no_file_and_the_next_one_can() {
    let home = Home::new();
    let making = home.store.try_making("pypi-1").unwrap().unwrap();
    assert!(home.store.try_making("pypi-1").unwrap().is_none());
    // Another process has opened the file and waits for the lock.
    let waiting = File::open(home.store.root().join("making/pypi-1")).unwrap();
    drop(making);
    assert!(home.names("making").is_empty());
    waiting.try_lock().unwrap();
    let next = home.store.try_making("pypi-1").unwrap();
    assert!(
        next.is_some() && home.store.try_making("pypi-1").unwrap().is_none(),
        "a file without a name keeps nobody away"
    );
}
