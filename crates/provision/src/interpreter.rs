//! Finds interpreters and other programs on this machine, and queries their properties.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::cache::FileStamp;

/// The maximum time for an interpreter to answer. A cold disk takes seconds, and a shim that hangs
/// would take forever.
const PATIENCE: Duration = Duration::from_secs(20);

/// The maximum size of an answer. No genuine one is as large.
const ANSWER_BYTES: u64 = 1 << 20;

/// Returns the executable files with a name in the folders of PATH, in order.
pub(crate) fn on_path<'a>(
    folders: &'a [PathBuf],
    name: &'a str,
) -> impl Iterator<Item = PathBuf> + 'a {
    folders
        .iter()
        .filter(|folder| folder.is_absolute())
        .map(move |folder| folder.join(name))
        .filter(|path| is_executable(path))
}

/// Returns whether a path is an executable file.
pub(crate) fn is_executable(path: &Path) -> bool {
    fs::metadata(path)
        .is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

/// Returns whether a file is a program of its own and not a script, such as the shims of version
/// managers.
pub(crate) fn is_elf(path: &Path) -> bool {
    let mut magic = [0; 4];
    File::open(path).and_then(|mut file| file.read_exact(&mut magic)).is_ok()
        && magic == *b"\x7fELF"
}

/// Runs an interpreter and returns its output. Its environment contains only `HOME` and `PATH`, so
/// that `NODE_OPTIONS`, `PYTHONPATH`, `LD_PRELOAD` and similar variables neither change the answer
/// nor run anything.
pub(crate) fn ask<S: AsRef<OsStr>>(executable: &Path, arguments: &[S]) -> Result<Vec<u8>, String> {
    ask_with(executable, arguments, &[])
}

/// Returns the shared libraries that the loader finds for a program, and the loader itself. A
/// statically linked program has none: it ignores the loader's variable (`ld.so(8)`) and prints its
/// version again.
pub(crate) fn libraries_of(executable: &Path) -> Vec<PathBuf> {
    let traced = ask_with(executable, &["--version"], &[("LD_TRACE_LOADED_OBJECTS", "1")])
        .unwrap_or_default();
    traced_libraries(&String::from_utf8_lossy(&traced))
}

/// Reads lines of `name => /path (0x...)` and `/path (0x...)`. Each library is returned under the
/// name by which it is loaded and as the actual file.
fn traced_libraries(text: &str) -> Vec<PathBuf> {
    let path = |line: &str| {
        let found = line.split_once("=> ").map_or(line, |(_, found)| found);
        found
            .rsplit_once(" (0x")
            .map(|(path, _)| PathBuf::from(path.trim()))
            .filter(|path| path.is_absolute())
    };
    let named = text.lines().filter_map(path);
    named.flat_map(|path| [fs::canonicalize(&path).ok(), Some(path)]).flatten().collect()
}

fn ask_with<S: AsRef<OsStr>>(
    executable: &Path,
    arguments: &[S],
    variables: &[(&str, &str)],
) -> Result<Vec<u8>, String> {
    let mut command = Command::new(executable);
    command
        .args(arguments)
        .env_clear()
        .envs(variables.iter().copied())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .current_dir("/");
    for name in ["HOME", "PATH"] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    let mut child =
        spawn(&mut command).map_err(|error| format!("it cannot be started: {error}"))?;
    let answer = read_in_background(child.stdout.take());
    let complaint = read_in_background(child.stderr.take());
    // The end of stdout is the end of the answer. A grandchild that keeps it open cannot delay this
    // beyond the timeout.
    let Ok(answer) = answer.recv_timeout(PATIENCE) else {
        end(&mut child);
        return Err(format!("it did not answer within {} s", PATIENCE.as_secs()));
    };
    let status = wait(&mut child, Instant::now() + PATIENCE)
        .map_err(|error| format!("it did not end: {error}"))?;
    if status.success() {
        return Ok(answer);
    }
    let complaint = complaint.recv_timeout(Duration::from_secs(1)).unwrap_or_default();
    let complaint = String::from_utf8_lossy(&complaint);
    let last_line =
        complaint.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it said nothing");
    Err(format!("it ended with {status}: {}", last_line.chars().take(300).collect::<String>()))
}

/// Starts a command. A file that was just written can be busy: the fork of another thread may still
/// hold the descriptor through which it was written, until its own exec.
fn spawn(command: &mut Command) -> io::Result<Child> {
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        match command.spawn() {
            Err(error)
                if error.kind() == io::ErrorKind::ExecutableFileBusy
                    && Instant::now() < deadline =>
            {
                thread::sleep(Duration::from_millis(5));
            }
            other => return other,
        }
    }
}

fn read_in_background(source: Option<impl Read + Send + 'static>) -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(source) = source {
            // A broken pipe ends the answer like its regular end does. If something is missing,
            // parsing will fail.
            let _ = source.take(ANSWER_BYTES).read_to_end(&mut bytes);
        }
        let _ = sender.send(bytes);
    });
    receiver
}

fn wait(child: &mut Child, deadline: Instant) -> io::Result<std::process::ExitStatus> {
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if Instant::now() > deadline {
            end(child);
            return Err(io::ErrorKind::TimedOut.into());
        }
        thread::sleep(Duration::from_millis(1));
    }
}

fn end(child: &mut Child) {
    let _ = child.kill();
    let _ = child.wait();
}

/// A library that an interpreter had loaded, with the state of its file.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Library {
    pub path: PathBuf,
    pub stamp: FileStamp,
}

impl Library {
    /// Returns the libraries that exist outside of `prefix` and outside of the paths that every
    /// jail shows (`/usr`, `/lib*`).
    pub fn beyond(prefix: Option<&Path>, paths: &[PathBuf]) -> Vec<Self> {
        let mut libraries: Vec<Self> = paths
            .iter()
            .filter(|path| {
                !["/usr", "/lib", "/lib32", "/lib64", "/libx32"]
                    .iter()
                    .any(|shown| path.starts_with(shown))
            })
            .filter(|path| prefix.is_none_or(|prefix| !path.starts_with(prefix)))
            .filter_map(|path| Some(Self { path: path.clone(), stamp: FileStamp::of(path).ok()? }))
            .collect();
        libraries.sort_by(|a, b| a.path.cmp(&b.path));
        libraries.dedup_by(|a, b| a.path == b.path);
        libraries
    }

    /// Returns whether the file has not changed.
    pub fn is_unchanged(&self) -> bool {
        FileStamp::of(&self.path).is_ok_and(|stamp| stamp == self.stamp)
    }
}

/// Returns the paths to show to a sandbox for these libraries: their folders, because the loader
/// finds them by other names (symlinks) than their own, or only the files if a folder contains more
/// than libraries.
pub(crate) fn library_mounts(libraries: &[Library], home: Option<&Path>) -> Vec<PathBuf> {
    let mut mounts: Vec<PathBuf> = libraries
        .iter()
        .map(|library| match library.path.parent() {
            Some(folder) if !is_too_broad(folder, home) => folder.to_owned(),
            _ => library.path.clone(),
        })
        .collect();
    mounts.sort();
    mounts.dedup();
    mounts
}

/// Returns whether a folder contains more than a runtime: the root, a top-level folder other than
/// `/usr`, the home folder, and the folders above it.
pub(crate) fn is_too_broad(folder: &Path, home: Option<&Path>) -> bool {
    let top_level = folder.components().count() <= 2 && folder != Path::new("/usr");
    top_level || home.is_some_and(|home| home.starts_with(folder))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_fails_is_quoted_and_one_that_is_missing_is_named() {
        let shell = Path::new("/bin/sh");
        assert_eq!(ask(shell, &["-c", "echo yes"]).unwrap(), b"yes\n");
        let complaint = ask(shell, &["-c", "echo first >&2; echo boom >&2; exit 3"]).unwrap_err();
        assert!(complaint.contains("exit status: 3") && complaint.ends_with("boom"), "{complaint}");
        assert!(ask(Path::new("/nonexistent"), &["x"]).unwrap_err().contains("cannot be started"));
    }

    #[test]
    fn an_interpreter_is_queried_without_our_environment() {
        let answer = String::from_utf8(ask(Path::new("/bin/sh"), &["-c", "env"]).unwrap()).unwrap();
        // CARGO_MANIFEST_DIR is set for every test, so this environment is not empty.
        assert!(std::env::var_os("CARGO_MANIFEST_DIR").is_some());
        assert!(answer.contains("PATH=") && !answer.contains("CARGO_MANIFEST_DIR"), "{answer}");
    }

    #[test]
    fn the_libraries_of_a_program_are_those_that_the_loader_names() {
        let libraries = libraries_of(Path::new("/bin/sh"));
        assert!(
            libraries.iter().any(|path| path.to_string_lossy().contains("libc.so")),
            "{libraries:?}"
        );
        assert!(Library::beyond(None, &libraries).is_empty());
        let traced = "\tlinux-vdso.so.1 (0x1)\n\tliba.so => /nix/a b/liba.so (0x2)\n\tlibb.so => not found\n\t/nix/ld.so (0x3)\nuv 0.13.9\n";
        assert_eq!(
            traced_libraries(traced),
            [Path::new("/nix/a b/liba.so"), Path::new("/nix/ld.so")]
        );
    }

    #[test]
    fn homes_and_top_level_folders_are_never_shown() {
        let home = Some(Path::new("/home/me"));
        for folder in ["/", "/home", "/home/me", "/opt", "/root", "/tmp"] {
            assert!(is_too_broad(Path::new(folder), home), "{folder}");
        }
        for folder in ["/usr", "/usr/local", "/home/me/.pyenv/versions/3.11.7", "/opt/python"] {
            assert!(!is_too_broad(Path::new(folder), home), "{folder}");
        }
    }

    #[test]
    fn relative_folders_of_path_are_ignored() {
        let folders = [PathBuf::from("."), PathBuf::new(), PathBuf::from("/bin")];
        assert_eq!(on_path(&folders, "sh").collect::<Vec<_>>(), [PathBuf::from("/bin/sh")]);
    }
}
