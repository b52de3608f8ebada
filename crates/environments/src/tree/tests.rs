use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;

const LIMITS: TreeLimits = TreeLimits { files: 100, bytes: 1 << 20 };

/// A tree that is taken over, and its destination.
struct Place {
    folder: TempDir,
    from: PathBuf,
    to: PathBuf,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let [from, to] = ["from", "to"].map(|name| folder.path().join(name));
        fs::create_dir(&from).unwrap();
        Self { folder, from, to }
    }

    fn contents(&self) -> Blobs {
        Blobs::at(self.folder.path().join("contents"))
    }

    fn take_over(&self, limits: TreeLimits) -> Result<TreeSummary, TreeError> {
        let _ = fs::remove_dir_all(&self.to);
        fs::create_dir(&self.to).unwrap();
        let may_point_to = [PathBuf::from("/usr/bin/python3")];
        let rules = TakeOverRules {
            limits,
            leaves: &|_| false,
            may_point_to: &may_point_to,
            unwanted: &AtomicBool::new(false),
        };
        TakeOver::new(&self.contents(), rules).run(&self.from, &self.to)
    }

    fn refused(&self) -> String {
        match self.take_over(LIMITS) {
            Err(error @ TreeError::Refused { .. }) => error.to_string(),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn links_that_lead_out_are_refused_also_by_way_of_other_links() {
    for (folder, target) in [
        ("", "/etc/passwd"),
        ("", "../outside"),
        ("a/b", "../../../outside"),
        ("a", "b/../../../outside"),
        // `up` is a link to the root, so a path through it leads out, although the path alone does
        // not show that.
        ("a/b", "up/../outside"),
        ("", "/usr/bin/python3/../../../etc"),
        ("", "/"),
    ] {
        let place = Place::new();
        fs::create_dir_all(place.from.join("a/b")).unwrap();
        symlink("../..", place.from.join("a/b/up")).unwrap();
        assert!(place.take_over(LIMITS).is_ok());
        symlink(target, place.from.join(folder).join("link")).unwrap();
        let said = place.refused();
        assert!(said.contains("link") && said.contains("leads out of it"), "{target}: {said}");
    }
    let place = Place::new();
    symlink("/usr/bin/python3", place.from.join("python")).unwrap();
    symlink("python", place.from.join("python3")).unwrap();
    assert_eq!(place.take_over(LIMITS).unwrap().files, 2);
}

proptest! {
    /// No combination of accepted links leads out.
    #[test]
    fn links_that_are_taken_lead_nowhere_else(links in prop::collection::vec(("(d/|e/|d/e/)?", "[lmn]", "(\\.\\./|\\./|d/|e/|l/|m/|n/){0,6}(d|e|l|m|n|\\.\\.)"), 1..7)) {
        let place = Place::new();
        let root = place.from.canonicalize().unwrap();
        fs::create_dir_all(root.join("d/e/d")).unwrap();
        fs::create_dir_all(root.join("e")).unwrap();
        let mut made = Vec::new();
        for (folder, name, target) in links {
            let path = root.join(&folder).join(name);
            let is_inside = stays_inside(Path::new(&folder), Path::new(&target));
            if is_inside && symlink(&target, &path).is_ok() {
                made.push(path);
            }
        }
        for link in made {
            if let Ok(led_to) = link.canonicalize() {
                prop_assert!(led_to.starts_with(&root), "{} leads to {}", link.display(), led_to.display());
            }
        }
    }
}

#[test]
fn what_is_neither_file_folder_nor_link_is_refused() {
    let place = Place::new();
    rustix::fs::mknodat(rustix::fs::CWD, place.from.join("pipe"), FileType::Fifo, Mode::RUSR, 0)
        .unwrap();
    let refused = place.refused();
    assert!(refused.contains("pipe` is neither a file nor a folder"), "{refused}");
    let place = Place::new();
    let _socket = std::os::unix::net::UnixListener::bind(place.from.join("socket")).unwrap();
    assert!(place.refused().contains("neither a file nor a folder"));
    if rustix::process::geteuid().is_root() {
        let place = Place::new();
        let null = rustix::fs::makedev(1, 3);
        rustix::fs::mknodat(
            rustix::fs::CWD,
            place.from.join("device"),
            FileType::CharacterDevice,
            Mode::RUSR,
            null,
        )
        .unwrap();
        assert!(place.refused().contains("neither a file nor a folder"));
    }
}

#[test]
fn no_bit_but_that_of_a_program_is_kept() {
    let place = Place::new();
    for (name, mode) in
        [("set-user", 0o4755), ("set-group", 0o2777), ("open", 0o666), ("closed", 0o400)]
    {
        fs::write(place.from.join(name), name).unwrap();
        fs::set_permissions(place.from.join(name), fs::Permissions::from_mode(mode)).unwrap();
    }
    fs::create_dir(place.from.join("folder")).unwrap();
    fs::set_permissions(place.from.join("folder"), fs::Permissions::from_mode(0o7777)).unwrap();
    place.take_over(LIMITS).unwrap();
    let mode = |name: &str| fs::metadata(place.to.join(name)).unwrap().mode() & 0o7777;
    assert_eq!(
        ["set-user", "set-group", "open", "closed", "folder"].map(mode),
        [0o555, 0o555, 0o444, 0o444, 0o755]
    );
}

#[test]
fn a_second_name_of_a_file_changes_nothing_later() {
    let place = Place::new();
    let outside = place.folder.path().join("second name");
    fs::write(place.from.join("file"), "as it was").unwrap();
    fs::hard_link(place.from.join("file"), &outside).unwrap();
    fs::hard_link(place.from.join("file"), place.from.join("third")).unwrap();
    let summary = place.take_over(LIMITS).unwrap();
    fs::write(&outside, "changed!!").unwrap();
    assert_eq!(fs::read_to_string(place.to.join("file")).unwrap(), "as it was");
    assert_eq!(fs::read_to_string(place.to.join("third")).unwrap(), "as it was");
    assert_eq!(summary.files, 2);
    assert_ne!(
        fs::metadata(&outside).unwrap().ino(),
        fs::metadata(place.to.join("file")).unwrap().ino()
    );
}

#[test]
fn a_content_that_lost_its_end_is_not_used_again() {
    let place = Place::new();
    fs::write(place.from.join("file"), "whole").unwrap();
    place.take_over(LIMITS).unwrap();
    let content = place.contents();
    let kept = place.to.join("file");
    fs::set_permissions(&kept, fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(&kept, "").unwrap();
    fs::write(place.from.join("file"), "whole").unwrap();
    place.take_over(LIMITS).unwrap();
    assert_eq!(fs::read_to_string(place.to.join("file")).unwrap(), "whole");
    assert_eq!(content.sweep().unwrap(), 0);
    fs::remove_dir_all(&place.to).unwrap();
    assert_eq!(content.sweep().unwrap(), 5);
}

#[test]
fn names_are_only_names() {
    let place = Place::new();
    for name in ["a\nb", "\u{1b}[2J", "...", "..a", "-rf", " ", "\u{202e}gpj"] {
        fs::write(place.from.join(name), name).unwrap();
    }
    fs::write(
        place.from.join(<std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(b"\xff\xfe")),
        "not UTF-8",
    )
    .unwrap();
    assert_eq!(place.take_over(LIMITS).unwrap().files, 8);
    symlink("/etc", place.from.join("c\n\u{1b}[2Jd")).unwrap();
    let said = place.refused();
    assert!(!said.chars().any(char::is_control), "{said:?}");
}

#[test]
fn more_than_is_allowed_is_not_taken_over() {
    let place = Place::new();
    for index in 0..101 {
        fs::write(place.from.join(index.to_string()), "").unwrap();
    }
    let error = place.take_over(LIMITS).unwrap_err();
    assert!(error.to_string().contains("more than 100 files"), "{error}");
    let hint = error.hint().unwrap();
    assert!(hint.contains("environments.files (BELLJAR_ENVIRONMENT_FILES)"), "{hint}");
    let place = Place::new();
    // The file is sparse, and is refused before it is read.
    File::create(place.from.join("large")).unwrap().set_len(1 << 40).unwrap();
    let error = place.take_over(LIMITS).unwrap_err().to_string();
    assert!(error.contains("more than 1 MB"), "{error}");
    let place = Place::new();
    let mut deep = place.from.clone();
    (0..MAX_DEPTH + 2).for_each(|_| deep.push("d"));
    fs::create_dir_all(&deep).unwrap();
    assert!(place.refused().contains("nested too deep"));
}

#[test]
fn the_digest_is_of_names_kinds_and_contents_and_not_of_bytecode() {
    let digest = |change: &dyn Fn(&Path)| {
        let place = Place::new();
        fs::create_dir(place.from.join("package")).unwrap();
        fs::write(place.from.join("package/module.py"), "x = 1").unwrap();
        change(&place.from);
        place.take_over(LIMITS).unwrap().sha256
    };
    let plain = digest(&|_| ());
    assert_eq!(plain, digest(&|_| ()));
    let bytecode = digest(&|root| {
        fs::create_dir(root.join("package/__pycache__")).unwrap();
        fs::write(root.join("package/__pycache__/module.pyc"), "compiled").unwrap();
    });
    assert_eq!(plain, bytecode);
    let changes: [&dyn Fn(&Path); 4] = [
        &|root| fs::write(root.join("package/module.py"), "x = 2").unwrap(),
        &|root| fs::rename(root.join("package/module.py"), root.join("package/other.py")).unwrap(),
        &|root| {
            fs::set_permissions(root.join("package/module.py"), fs::Permissions::from_mode(0o755))
                .unwrap();
        },
        &|root| symlink("module.py", root.join("package/link.py")).unwrap(),
    ];
    for change in changes {
        assert_ne!(plain, digest(change));
    }
}

#[test]
fn a_folder_that_others_fill_is_measured_within_bounds() {
    let place = Place::new();
    let limits = |files, bytes| TreeLimits { files, bytes };
    // More sibling folders than a process may have descriptors.
    for index in 0..1500 {
        fs::create_dir(place.from.join(index.to_string())).unwrap();
    }
    fs::write(place.from.join("1499/large"), vec![1; 1 << 20]).unwrap();
    let before = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    assert!(before.current.is_none_or(|most| most > 64));
    assert!(measure(&place.from, limits(10_000, 1 << 30)).unwrap() >= 1 << 20);
    assert_eq!(measure(&place.from, limits(10_000, 1 << 20)), Err(TooMuch::Bytes));
    assert_eq!(measure(&place.from, limits(1000, 1 << 30)), Err(TooMuch::Files));
    let mut deep = place.from.clone();
    (0..2 * MAX_DEPTH + 2).for_each(|_| deep.push("d"));
    fs::create_dir_all(&deep).unwrap();
    assert_eq!(measure(&place.from, limits(10_000, 1 << 30)), Err(TooMuch::Depth));
    symlink("/", place.from.join("0/root")).unwrap();
    assert_eq!(
        measure(&place.from.join("0"), limits(10, 1 << 20)),
        Ok(0),
        "links are not followed"
    );
}

#[test]
fn what_nobody_waits_for_any_longer_is_not_taken_over_to_the_end() {
    let place = Place::new();
    for index in 0..100 {
        fs::write(place.from.join(format!("{index:03}")), index.to_string()).unwrap();
    }
    fs::create_dir(&place.to).unwrap();
    let unwanted = AtomicBool::new(false);
    let leaves = |path: &Path| {
        unwanted.store(path.ends_with("010"), Ordering::Relaxed);
        false
    };
    let rules =
        TakeOverRules { limits: LIMITS, leaves: &leaves, may_point_to: &[], unwanted: &unwanted };
    assert!(matches!(
        TakeOver::new(&place.contents(), rules).run(&place.from, &place.to),
        Err(TreeError::Unwanted)
    ));
    assert_eq!(fs::read_dir(&place.to).unwrap().count(), 10);
}
