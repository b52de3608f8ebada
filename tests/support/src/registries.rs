//! Programs from the package registries that tests run against. This machine's own pip and npm
//! install them once, with their own configuration. If that fails, the test fails and shows what
//! they printed.
//!
//! The folder for installed programs is `env!("CARGO_TARGET_TMPDIR")`, which cargo defines only for
//! the tests themselves.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Returns the Python of a virtual environment with these packages, each given as `name==version`.
pub fn python_with(installed: &str, name: &str, packages: &[&str]) -> PathBuf {
    let folder = install_once(installed, name, packages, |folder| {
        run(Command::new("python3").args(["-m", "venv"]).arg(folder));
        run(Command::new(folder.join("bin/python"))
            .args(["-m", "pip", "install", "--quiet"])
            .args(packages));
    });
    folder.join("bin/python")
}

/// Returns a folder whose `node_modules` contains these packages, each given as `name@version`.
pub fn node_modules_with(installed: &str, name: &str, packages: &[&str]) -> PathBuf {
    install_once(installed, name, packages, |folder| {
        fs::create_dir(folder).expect("a folder");
        fs::write(folder.join("package.json"), r#"{"private": true, "type": "module"}"#)
            .expect("package.json");
        run(Command::new("npm")
            .args(["install", "--no-audit", "--no-fund", "--loglevel=error"])
            .args(packages)
            .current_dir(folder));
    })
}

/// Returns the folder `name`. It is filled by `install`, in one process at a time, unless it
/// already contains exactly these packages.
fn install_once(
    installed: &str,
    name: &str,
    packages: &[&str],
    install: impl FnOnce(&Path),
) -> PathBuf {
    let installed = Path::new(installed);
    fs::create_dir_all(installed).expect("a folder");
    let lock = File::create(installed.join(format!("{name}.lock"))).expect("a lock file");
    lock.lock().expect("a lock");
    let (folder, mark) = (installed.join(name), installed.join(format!("{name}.installed")));
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
    let output = command.output().unwrap_or_else(|error| {
        panic!("cannot run {}: {error}; install it", command.get_program().display())
    });
    assert!(
        output.status.success(),
        "{command:?} ended with {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}
