//! Programs from the registries that tests run against: installed into `target/tmp` once, by this machine's own pip and npm with their own
//! configuration. Where that fails, the test fails and shows what they said.

#![allow(dead_code)] // Each test takes what it needs.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A virtual environment with these packages, `name==version`; its `bin/python`.
pub fn python_with(name: &str, packages: &[&str]) -> PathBuf {
    let folder = installed(name, packages, |folder| {
        run(Command::new("python3").args(["-m", "venv"]).arg(folder));
        run(Command::new(folder.join("bin/python")).args(["-m", "pip", "install", "--quiet"]).args(packages));
    });
    folder.join("bin/python")
}

/// A folder whose `node_modules` has these packages, `name@version`.
pub fn node_modules_with(name: &str, packages: &[&str]) -> PathBuf {
    installed(name, packages, |folder| {
        fs::create_dir(folder).expect("a folder");
        fs::write(folder.join("package.json"), r#"{"private": true, "type": "module"}"#).expect("package.json");
        run(Command::new("npm").args(["install", "--no-audit", "--no-fund", "--loglevel=error"]).args(packages).current_dir(folder));
    })
}

/// The folder `name`, made by `install` unless it is there with just these packages. One process at a time.
fn installed(name: &str, packages: &[&str], install: impl FnOnce(&Path)) -> PathBuf {
    let place = Path::new(env!("CARGO_TARGET_TMPDIR"));
    fs::create_dir_all(place).expect("a folder");
    let lock = File::create(place.join(format!("{name}.lock"))).expect("a lock file");
    lock.lock().expect("a lock");
    let (folder, mark) = (place.join(name), place.join(format!("{name}.installed")));
    let wanted = packages.join("\n");
    if fs::read_to_string(&mark).is_ok_and(|found| found == wanted) && folder.is_dir() {
        return folder;
    }
    let _ = fs::remove_file(&mark);
    let _ = fs::remove_dir_all(&folder);
    install(&folder);
    fs::write(&mark, wanted).expect("a mark");
    folder
}

fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("cannot run {}: {error}; install it", command.get_program().display()));
    assert!(
        output.status.success(),
        "{command:?} ended with {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}
