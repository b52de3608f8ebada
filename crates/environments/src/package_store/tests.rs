use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt, symlink};
use std::sync::atomic::AtomicBool;

use belljar_protocol::Timestamp;

use super::*;
use crate::lock::LockedPackage;
use crate::requirement::Ecosystem;

const LIMITS: TreeLimits = TreeLimits { files: 100, bytes: 1 << 20 };

struct Home {
    _folder: tempfile::TempDir,
    store: Arc<Store>,
}

impl Home {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::at(folder.path().join("environments")));
        Self { _folder: folder, store }
    }

    fn publish(&self, key: &str, files: &[(&str, &str)]) -> Result<(), FolderError> {
        let staging = self.store.stage()?;
        let installed = staging.path().join("root");
        for (name, content) in files {
            let path = installed.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            match content.strip_prefix("-> ") {
                Some(target) => symlink(target, &path).unwrap(),
                None => fs::write(path, content).unwrap(),
            }
        }
        let rules = TakeOverRules {
            limits: LIMITS,
            leaves: &|_| false,
            may_point_to: &[],
            unwanted: &AtomicBool::new(false),
        };
        self.store.publish_package(&installed, rules, key)
    }

    fn assemble(&self, key: &str, packages: &[&str]) -> Result<PathBuf, FolderError> {
        let packages: Vec<StoredPackage> = packages
            .iter()
            .map(|key| self.store.open_package(key).unwrap().expect("it was published"))
            .collect();
        self.store.assemble(&packages, LIMITS, &lock(), |_| record(key))?;
        Ok(self.place("made", key).join("root"))
    }

    fn place(&self, kind: &str, key: &str) -> PathBuf {
        self.store.root().join(kind).join(key)
    }

    /// Simulates a restart of the machine.
    fn start_again(&self) {
        for (kind, file) in [("packages", "package.json"), ("made", "environment.json")] {
            for entry in fs::read_dir(self.store.root().join(kind)).into_iter().flatten().flatten()
            {
                let path = entry.path().join(file);
                let text = fs::read_to_string(&path).unwrap().replace(&boot_id(), "another-boot");
                fs::write(path, text).unwrap();
            }
        }
        let mark = self.store.root().join("unsynced").join(boot_id());
        if mark.exists() {
            fs::rename(mark, self.store.root().join("unsynced/another-boot")).unwrap();
        }
    }
}

fn lock() -> Lock {
    let project = LockedPackage { name: "environment".into(), version: "0".into() };
    let (specifiers, hashes) = (BTreeMap::new(), BTreeMap::new());
    Lock {
        ecosystem: Ecosystem::PyPi,
        text: "a lock".into(),
        project,
        specifiers,
        packages: Vec::new(),
        hashes,
        installs_all: false,
    }
}

fn record(key: &str) -> EnvironmentRecord {
    EnvironmentRecord {
        schema: SCHEMA,
        key: key.into(),
        ecosystem: Ecosystem::PyPi,
        runtime: "python@3.11".into(),
        requirements: Vec::new(),
        packages: Vec::new(),
        modules: Vec::new(),
        files: 0,
        size_bytes: 0,
        content_sha256: String::new(),
        lock_sha256: lock().sha256(),
        identity: String::new(),
        linked_from: Vec::new(),
        unbuilt: Vec::new(),
        boot: Some(boot_id()),
        allow_build: false,
        created_at: Timestamp::now(),
    }
}

#[test]
fn environments_hold_the_files_of_their_packages_as_links() {
    let home = Home::new();
    home.publish(
        "one",
        &[
            ("lib/one/__init__.py", "1"),
            ("lib/shared.py", "of one"),
            ("bin/link", "-> ../lib/shared.py"),
        ],
    )
    .unwrap();
    home.publish("two", &[("lib/two.py", "2"), ("lib/shared.py", "of two")]).unwrap();
    let (both, alone) = (
        home.assemble("both", &["one", "two"]).unwrap(),
        home.assemble("alone", &["one"]).unwrap(),
    );
    let read = |name: &str| fs::read_to_string(both.join(name)).unwrap();
    assert_eq!(
        (read("lib/one/__init__.py"), read("lib/two.py"), read("bin/link")),
        ("1".into(), "2".into(), "of one".into())
    );
    assert_eq!(read("lib/shared.py"), "of one", "the first package's file counts");
    let inode = |path: PathBuf| fs::metadata(path).unwrap().ino();
    assert_eq!(inode(both.join("lib/one/__init__.py")), inode(alone.join("lib/one/__init__.py")));
    assert_eq!(fs::metadata(both.join("lib/two.py")).unwrap().mode() & 0o7777, 0o444);
    assert_eq!(fs::metadata(both.join("lib/one")).unwrap().mode() & 0o7777, 0o755);
}

#[test]
fn what_packages_hold_together_is_bounded() {
    let home = Home::new();
    let large = "x".repeat(700 << 10);
    home.publish("one", &[("one", &large)]).unwrap();
    home.publish("two", &[("two", &format!("{large}y"))]).unwrap();
    let error = home.assemble("both", &["one", "two"]).unwrap_err().to_string();
    assert!(error.contains("the environment has more than 1 MB"), "{error}");
    assert!(!home.place("made", "both").exists());
}

#[test]
fn a_package_that_leads_out_is_not_kept() {
    let home = Home::new();
    assert!(home.publish("bad", &[("lib/link", "-> /etc/passwd")]).is_err());
    assert!(home.store.open_package("bad").unwrap().is_none());
}

#[test]
fn a_package_that_is_linked_from_is_not_removed_and_contents_stay_with_environments() {
    let home = Home::new();
    home.publish("one", &[("one", "1")]).unwrap();
    let root = home.assemble("alone", &["one"]).unwrap();
    let used = home.store.open_package("one").unwrap().unwrap();
    assert!(!home.store.remove_package("one").unwrap());
    drop(used);
    assert!(home.store.remove_package("one").unwrap());
    assert_eq!(home.store.sweep_blobs().unwrap(), 0, "the environment has it");
    assert_eq!(fs::read_to_string(root.join("one")).unwrap(), "1");
    assert!(home.store.remove("alone").unwrap());
    assert_eq!(home.store.sweep_blobs().unwrap(), 1);
}

#[test]
fn after_a_restart_packages_are_built_again_and_their_contents_are_hashed_again() {
    let home = Home::new();
    home.publish("one", &[("one", "right"), ("two", "whole")]).unwrap();
    let root = home.assemble("alone", &["one"]).unwrap();
    home.start_again();
    assert!(
        home.store.open_package("one").unwrap().is_none()
            && home.store.open("alone").unwrap().is_none()
    );
    // The file has the right length on the disk, but not its content.
    let lost = root.join("one");
    fs::set_permissions(&lost, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    fs::write(&lost, "wrong").unwrap();
    home.publish("one", &[("one", "right"), ("two", "whole")]).unwrap();
    let root = home.assemble("alone", &["one"]).unwrap();
    assert_eq!(fs::read_to_string(root.join("one")).unwrap(), "right");
    assert_eq!(
        fs::read_dir(home.store.root().join("unsynced")).unwrap().count(),
        1,
        "the earlier boot is forgotten"
    );
}

#[test]
fn what_was_seen_to_be_on_the_disk_outlives_the_boot() {
    let home = Home::new();
    home.publish("one", &[("one", "1")]).unwrap();
    home.assemble("alone", &["one"]).unwrap();
    home.store.sync();
    home.start_again();
    assert!(
        home.store.open_package("one").unwrap().is_some()
            && home.store.open("alone").unwrap().is_some()
    );
    assert_eq!(fs::read_dir(home.store.root().join("unsynced")).unwrap().count(), 0);
}

#[test]
fn two_that_publish_the_same_package_leave_one() {
    let home = Home::new();
    home.publish("one", &[("one", "1")]).unwrap();
    home.publish("one", &[("one", "1")]).unwrap();
    assert_eq!(fs::read_dir(home.store.root().join("packages")).unwrap().count(), 1);
    assert_eq!(fs::read_dir(home.store.root().join("staging")).unwrap().count(), 0);
    assert_eq!(home.store.list_packages().len(), 1);
}

#[test]
fn a_package_reaches_nothing_of_others_by_a_link_or_a_name() {
    let home = Home::new();
    home.publish(
        "a",
        &[("lib/real/one.py", "a"), ("lib/trap", "-> real"), ("lib/shared.py", "of a")],
    )
    .unwrap();
    home.publish("b", &[("lib/trap/two.py", "b")]).unwrap();
    home.publish("c", &[("lib/shared.py", "of c")]).unwrap();
    // One package has a folder where the other has a link. Nothing is written through the link, and
    // no environment is created.
    assert!(home.assemble("a-b", &["a", "b"]).is_err());
    assert!(home.store.open("a-b").unwrap().is_none());
    assert!(!home.place("packages", "a").join("root/lib/real/two.py").exists());
    // Both packages have the file. The first one's is used in this environment only.
    let both = home.assemble("a-c", &["a", "c"]).unwrap();
    let alone = home.assemble("c", &["c"]).unwrap();
    let read = |root: &Path| fs::read_to_string(root.join("lib/shared.py")).unwrap();
    assert_eq!((read(&both), read(&alone)), ("of a".to_owned(), "of c".to_owned()));
}
