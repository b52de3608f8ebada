//! The files of `--file`: their names, folders, and the check that they fit the limits.

use std::fs;
use std::os::unix::fs::symlink;

use belljar_test_support::{run, said};

const LIST: &str = "import os; sorted(os.path.join(at, name)[2:] for at, _, names in os.walk('.') \
                    for name in names if name != 'main.py')";

#[test]
fn an_absolute_path_and_one_that_leads_up_are_called_by_their_last_part() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir_all(folder.path().join("in/deep")).unwrap();
    fs::write(folder.path().join("x.csv"), "a,b").unwrap();
    fs::write(folder.path().join("in/y.csv"), "c,d").unwrap();
    let absolute = folder.path().join("x.csv");
    said(run(["-l", "py", "-e", LIST, "--file"]).arg(&absolute)).prints("[\"x.csv\"]\n");
    let mut command = run(["-l", "py", "-e", LIST, "--file", "../../x.csv", "--file", "../y.csv"]);
    said(command.current_dir(folder.path().join("in/deep"))).prints("[\"x.csv\",\"y.csv\"]\n");
    let mut command = run(["-l", "py", "-e", LIST, "--file", "./in/y.csv"]);
    said(command.current_dir(folder.path())).prints("[\"in/y.csv\"]\n");
}

#[test]
fn a_folder_is_copied_with_everything_beneath_it() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    fs::create_dir_all(data.join("2026/may")).unwrap();
    fs::write(data.join("a.csv"), "1").unwrap();
    fs::write(data.join("2026/may/b.csv"), "2").unwrap();
    symlink("/etc/passwd", data.join("link")).unwrap();
    symlink("2026", data.join("folder-link")).unwrap();
    let command = |flags: &[&str]| {
        let mut command = run(["-l", "py", "-e", LIST]);
        command.args(flags).current_dir(folder.path());
        said(&mut command)
    };
    let copied = command(&["--file", "data"]);
    copied.prints("[\"data/2026/may/b.csv\",\"data/a.csv\"]\n");
    for words in ["not copied: data/folder-link, data/link", "links"] {
        assert!(copied.stderr.contains(words), "{copied:?}");
    }
    let absolute = data.to_str().unwrap();
    command(&["--file", absolute]).prints("[\"data/2026/may/b.csv\",\"data/a.csv\"]\n");
    let renamed = format!("in={absolute}/");
    command(&["--file", &renamed]).prints("[\"in/2026/may/b.csv\",\"in/a.csv\"]\n");
    command(&["--file", "."]).prints("[\"data/2026/may/b.csv\",\"data/a.csv\"]\n");
    command(&["--file", "data", "--max-files", "16"]).prints(&copied.stdout);
    for number in 0..20 {
        fs::write(data.join(format!("{number}.txt")), "").unwrap();
    }
    command(&["--file", "data", "--max-files", "16"])
        .fails(2, &["more files and folders than the limit of 16", "--max-files 160", "--read"]);
}

#[test]
fn two_files_of_one_name_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("in")).unwrap();
    for name in ["x.csv", "in/x.csv"] {
        fs::write(folder.path().join(name), "").unwrap();
    }
    let [first, second] =
        ["x.csv", "in/x.csv"].map(|name| folder.path().join(name).display().to_string());
    let hint = format!("--file other/x.csv={second}");
    said(&mut run(["-l", "py", "-e", "1", "--file", &first, "--file", &second]))
        .fails(2, &["two files are called `x.csv`", &first, &second, &hint]);
    said(&mut run(["-l", "py", "-e", "1", "--file", &format!("main.py={first}")]))
        .fails(2, &["two files are called `main.py`: the program and"]);
}

#[test]
fn files_that_cannot_fit_are_refused_before_they_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let big = folder.path().join("big.csv");
    // A sparse file takes no space here, and could not be read in the time of a test.
    fs::File::create(&big).unwrap().set_len(84 << 30).unwrap();
    let name = big.to_str().unwrap();
    said(&mut run(["-l", "py", "-e", "1", "--file", name]))
        .fails(2, &["the files have 84 GB, but the disk limit is", "--disk 256G", "--read PATH"]);
    fs::File::options().write(true).open(&big).unwrap().set_len(84 << 20).unwrap();
    said(&mut run(["-l", "py", "-e", "1", "--file", name, "--disk", "64M"])).fails(
        2,
        &["the files have 84 MB, but the disk limit is 64 MB", "add --disk 256M", "--read PATH"],
    );
    said(&mut run(["-l", "py", "-e", "1", "--file", name, "--memory", "64M"]))
        .fails(2, &["the files have 84 MB, but the memory limit is 64 MB", "add --memory 256M"]);
    said(&mut run(["-l", "py", "-e", "1", "--file", name, "--disk", "256M"])).prints("1\n");
}
