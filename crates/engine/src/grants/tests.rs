use std::fs;
use std::os::unix::fs::symlink;

use belljar_protocol::Explain;

use super::*;

fn reading(paths: &[&str]) -> Result<Grants, EngineError> {
    Grants::of_caller(&read_policy(paths))
}

fn read_policy(paths: &[&str]) -> FsPolicy {
    FsPolicy { read: paths.iter().map(|&path| path.to_owned()).collect(), write: vec![] }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn the_sandboxs_own_places_cannot_be_granted() {
    for path in [
        "/proc/1",
        "/dev/sda",
        "/usr/bin",
        "/tmp",
        "/home/user",
        "/opt/belljar/x",
        "/sys",
        "/",
        "/etc",
        "/etc/passwd",
        "/opt",
    ] {
        assert!(matches!(reading(&[path]), Err(EngineError::Grant { .. })), "{path}");
    }
}

#[test]
fn a_path_that_is_not_there_is_named() {
    let error = reading(&["/no/such/path"]).unwrap_err().to_string();
    assert!(error.contains("/no/such/path"), "{error}");
}

#[test]
fn of_two_grants_of_one_path_the_wider_counts() {
    let folder = tempfile::tempdir().unwrap();
    let path = text(folder.path()).to_owned();
    let grants =
        Grants::of_caller(&FsPolicy { read: vec![path.clone()], write: vec![path.clone()] })
            .unwrap();
    assert_eq!(grants.iter().count(), 1);
    assert_eq!(grants.writable(), [path]);
}

#[test]
fn a_link_of_the_callers_own_is_followed_once_and_the_same_name_elsewhere_is_another_grant() {
    let folder = tempfile::tempdir().unwrap();
    let (one, other, link) =
        (folder.path().join("one"), folder.path().join("other"), folder.path().join("link"));
    for place in [&one, &other] {
        fs::create_dir(place).unwrap();
    }
    symlink(&one, &link).unwrap();
    let before = reading(&[text(&link)]).unwrap();
    assert_eq!(before, reading(&[text(&link)]).unwrap());
    fs::remove_file(&link).unwrap();
    symlink(&other, &link).unwrap();
    assert_ne!(before, reading(&[text(&link)]).unwrap());
    // What was opened is what it was.
    let inode = std::os::unix::fs::MetadataExt::ino(&fs::metadata(&one).unwrap());
    assert_eq!(before.iter().next().unwrap().opened.identity.inode, inode);
}

fn ceiling(read: &[&str], write: &[&str]) -> CeilingGrants {
    let paths = |paths: &[&str]| paths.iter().map(|&path| path.to_owned()).collect();
    CeilingGrants::open(&FsPolicy { read: paths(read), write: paths(write) }, Arc::default())
}

#[test]
fn under_a_ceiling_nothing_but_plain_files_and_folders_without_links_is_opened() {
    let place = tempfile::tempdir().unwrap();
    let path = |name: &str| place.path().join(name);
    fs::create_dir_all(path("open/folder")).unwrap();
    fs::create_dir(path("private")).unwrap();
    fs::write(path("open/file"), "x").unwrap();
    symlink(path("private"), path("open/out")).unwrap();
    symlink("folder", path("open/in")).unwrap();
    symlink("/proc/self/root", path("open/magic")).unwrap();
    rustix::fs::mknodat(CWD, path("open/fifo"), FileType::Fifo, Mode::from_raw_mode(0o644), 0)
        .unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(path("open/socket")).unwrap();
    // The ceiling's own path is the operator's, and may be a link.
    symlink(path("open"), path("alias")).unwrap();
    for root in ["open", "alias"] {
        let ceiling = ceiling(&[text(&path(root))], &[]);
        ceiling.check().unwrap();
        let asked = |name: &str| ceiling.resolve(&read_policy(&[text(&path(root).join(name))]));
        for name in ["", "folder", "file"] {
            let asked = if name.is_empty() {
                ceiling.resolve(&read_policy(&[text(&path(root))]))
            } else {
                asked(name)
            };
            assert_eq!(asked.unwrap().iter().count(), 1, "{root}/{name}");
        }
        for (name, words) in [
            ("out", "symbolic link"),
            ("in", "symbolic link"),
            ("out/x", "symbolic link"),
            ("magic/etc", "symbolic link"),
            ("fifo", "neither a file nor a folder"),
            ("socket", "neither a file nor a folder"),
            ("file/x", "no such"),
            ("missing", "no such"),
        ] {
            let said = asked(name).unwrap_err().to_string();
            assert!(said.contains(words), "{root}/{name}: {said}");
        }
    }
}

#[test]
fn a_ceilings_path_is_what_it_was_when_the_ceiling_was_set() {
    let place = tempfile::tempdir().unwrap();
    let path = |name: &str| place.path().join(name);
    fs::create_dir_all(path("one/in")).unwrap();
    fs::create_dir_all(path("other/in")).unwrap();
    symlink(path("one"), path("alias")).unwrap();
    let ceiling = ceiling(&[text(&path("alias")), text(&path("absent"))], &[]);
    assert!(ceiling.check().is_err(), "one of them is not there");
    let asked = |name: &str| ceiling.resolve(&read_policy(&[text(&path(name))]));
    let before = asked("alias/in").unwrap();
    fs::remove_file(path("alias")).unwrap();
    symlink(path("other"), path("alias")).unwrap();
    assert_eq!(asked("alias/in").unwrap(), before);
    // What was not there is not looked for again.
    fs::create_dir(path("absent")).unwrap();
    let is_for_the_operator =
        |error: &EngineError| error.hint().is_some_and(|hint| hint.contains("projects set"));
    let error = asked("absent").unwrap_err();
    assert!(error.to_string().contains("could not be opened when the ceiling was set"), "{error}");
    assert!(is_for_the_operator(&error));
    fs::remove_dir_all(path("one")).unwrap();
    fs::create_dir_all(path("one/in")).unwrap();
    let error = asked("alias/in").unwrap_err();
    assert!(error.to_string().contains("has been removed"), "{error}");
    assert!(is_for_the_operator(&error));
    assert!(asked("elsewhere").unwrap_err().to_string().contains("no longer within the ceiling"));
}

#[test]
fn of_two_paths_of_a_ceiling_the_longer_one_counts_and_only_one_for_writing_is_written() {
    let place = tempfile::tempdir().unwrap();
    let path = |name: &str| place.path().join(name);
    fs::create_dir_all(path("a/b/c")).unwrap();
    fs::create_dir(path("w")).unwrap();
    let ceiling = ceiling(&[text(&path("a")), text(&path("a/b"))], &[text(&path("w"))]);
    let inner = reading(&[text(&path("a/b/c"))]).unwrap();
    // Another folder by that name: only the outer one leads to it.
    fs::rename(path("a/b"), path("a/old")).unwrap();
    fs::create_dir_all(path("a/b/c")).unwrap();
    assert_eq!(ceiling.resolve(&read_policy(&[text(&path("a/b/c"))])).unwrap(), inner);
    let writing = |name: &str| {
        ceiling.resolve(&FsPolicy { read: vec![], write: vec![text(&path(name)).to_owned()] })
    };
    assert!(writing("w").is_ok() && writing("a").is_err());
    assert!(ceiling.resolve(&read_policy(&[text(&path("w"))])).is_ok());
}

#[test]
fn no_path_of_a_ceiling_lies_in_a_folder_that_programs_write_by_whatever_name() {
    let place = tempfile::tempdir().unwrap();
    let path = |name: &str| place.path().join(name);
    fs::create_dir_all(path("work/in")).unwrap();
    fs::create_dir(path("data")).unwrap();
    symlink(path("work/in"), path("link")).unwrap();
    let (work, nested, link, data) = (path("work"), path("work/in"), path("link"), path("data"));
    for inner in [&nested, &link] {
        let said = ceiling(&[text(inner)], &[text(&work)]).check().unwrap_err().to_string();
        assert!(said.contains("which programs may write"), "{said}");
        let (one, other) = (ceiling(&[text(inner)], &[]), ceiling(&[], &[text(&work)]));
        assert!(one.check_against(&other).is_err() && other.check_against(&one).is_err());
        let refused =
            one.without_what_runs_write([&other].into_iter()).resolve(&read_policy(&[text(inner)]));
        assert!(refused.unwrap_err().to_string().contains("which programs may write"));
    }
    // A name in such a folder that leads out of it today can lead elsewhere tomorrow.
    symlink(&data, work.join("out")).unwrap();
    assert!(ceiling(&[text(&work.join("out"))], &[text(&work)]).check().is_err());
    // The same by a name that does not begin as the folder's does.
    symlink(&work, path("alias")).unwrap();
    symlink("alias/../alias/out", path("by-two")).unwrap();
    for way in [path("alias/out"), path("by-two")] {
        let (one, other) = (ceiling(&[text(&way)], &[]), ceiling(&[], &[text(&work)]));
        assert!(one.check().is_ok() && one.check_against(&other).is_err(), "{way:?}");
        let refused =
            one.without_what_runs_write([&other].into_iter()).resolve(&read_policy(&[text(&way)]));
        assert!(refused.unwrap_err().to_string().contains("which programs may write"));
    }
    for (read, write) in [(&data, &work), (&work, &work)] {
        ceiling(&[text(read)], &[text(write)]).check().unwrap();
        ceiling(&[text(read)], &[]).check_against(&ceiling(&[], &[text(write)])).unwrap();
    }
}
