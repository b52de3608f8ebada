//! The files for sandboxes that the binary contains: the native library and the drivers. `build.rs`
//! lists them. They are written to the user's cache once, so that every root can mount them and all
//! zygotes share their pages.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

include!(concat!(env!("OUT_DIR"), "/carried.rs"));

/// The read-only folder of these files in a sandbox.
pub(crate) const FOLDER: &str = "/opt/belljar";

/// The name of the library that is preloaded into programs that a program starts.
pub(crate) const INTERFACES_NAME: &str = "libbelljar_interfaces.so";

/// The host paths of these files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Carried {
    pub(crate) library: PathBuf,
    /// The library that is preloaded into programs that a program starts.
    pub(crate) interfaces: PathBuf,
    pub(crate) driver: PathBuf,
}

/// Returns the paths of the library and the driver for Node.js. Blocks, but only checks a folder
/// once the files exist.
pub(crate) fn for_node(cache: &Path) -> io::Result<Carried> {
    let driver = once(cache, "node", |stage| write_all(stage, NODE_DRIVER))?;
    let [library, interfaces] = libraries(cache)?;
    Ok(Carried { library, interfaces, driver })
}

/// Returns the paths of the library and the driver for Python. The driver is compiled by the given
/// Python: otherwise each start would compile it again, because nothing can be written in a
/// sandbox.
pub(crate) fn for_python(cache: &Path, python: &Path, identity: &str) -> io::Result<Carried> {
    let driver =
        once(cache, &format!("python-{}", &identity[..identity.len().min(16)]), |stage| {
            write_all(stage, PYTHON_DRIVER)?;
            // Tracebacks show the paths in the sandbox. If Python cannot compile the driver, it
            // still runs the source files.
            let _ = Command::new(python)
                .args(["-I", "-S"])
                .arg(stage.join("compile.py"))
                .arg(format!("{FOLDER}/python"))
                .env_clear()
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status();
            make_readable(stage)
        })?;
    let [library, interfaces] = libraries(cache)?;
    Ok(Carried { library, interfaces, driver })
}

fn libraries(cache: &Path) -> io::Result<[PathBuf; 2]> {
    let files = [("libbelljar.so", NATIVE), (INTERFACES_NAME, INTERFACES)];
    let folder = once(cache, "native", |stage| write_all(stage, &files))?;
    Ok(files.map(|(name, _)| folder.join(name)))
}

/// Returns the folder of `name`, and creates it by `fill` if it does not exist. It is created
/// atomically: filled in a temporary folder and then renamed.
fn once(
    cache: &Path,
    name: &str,
    fill: impl FnOnce(&Path) -> io::Result<()>,
) -> io::Result<PathBuf> {
    let parent = cache.join("carried").join(ID);
    let place = parent.join(name);
    if !place.is_dir() {
        fs::create_dir_all(&parent)?;
        // A unique name, because concurrent runs of one engine may all get here.
        let stage =
            tempfile::Builder::new().prefix(&format!(".{name}-")).tempdir_in(&parent)?.keep();
        let filled = fill(&stage)
            .and_then(|()| make_readable(&stage))
            .and_then(|()| fs::rename(&stage, &place));
        if let Err(error) = filled {
            let _ = fs::remove_dir_all(&stage);
            // Another process may have been faster.
            if !place.is_dir() {
                return Err(error);
            }
        }
    }
    // Symbolic links are not followed when the folder is mounted.
    place.canonicalize()
}

fn write_all(folder: &Path, files: &[(&str, &[u8])]) -> io::Result<()> {
    for (name, content) in files {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap_or(folder))?;
        fs::write(&path, content)?;
    }
    Ok(())
}

/// Makes the files readable for the sandbox's user, whatever the umask. The cache itself is closed
/// to other users.
fn make_readable(path: &Path) -> io::Result<()> {
    let is_folder = path.is_dir();
    fs::set_permissions(path, fs::Permissions::from_mode(if is_folder { 0o755 } else { 0o644 }))?;
    if is_folder {
        for entry in fs::read_dir(path)? {
            make_readable(&entry?.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_who_come_at_once_find_it_whole() {
        for _ in 0..20 {
            let cache = tempfile::tempdir().unwrap();
            std::thread::scope(|scope| {
                let comers: Vec<_> =
                    (0..8).map(|_| scope.spawn(|| for_node(cache.path()))).collect();
                for comer in comers {
                    let driver = comer.join().unwrap().unwrap().driver;
                    assert!(NODE_DRIVER.iter().all(|(name, content)| {
                        fs::read(driver.join(name)).is_ok_and(|found| found == *content)
                    }));
                }
            });
            // No temporary folder is left.
            assert_eq!(fs::read_dir(cache.path().join("carried").join(ID)).unwrap().count(), 2);
        }
    }
}
