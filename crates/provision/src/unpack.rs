//! Unpacks verified archives. Nothing in an archive decides where files are written: a few known
//! files are selected by name.

mod tarball;
mod wheel;

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Component, Path};

use crate::tool::Kept;

/// The kind of an archive, which determines what it may contain in addition to the files that are
/// kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// An npm package, which never contains links.
    Package,
    /// Node's own distribution, in which `bin/npm` is a symbolic link. The link is not unpacked.
    Distribution,
    /// A Python wheel, which never contains links.
    Wheel,
}

/// Unpacks the files in `kept` into an existing, empty folder. The first of them is the program,
/// which the archive must contain. `cap` limits the size of everything that the archive
/// decompresses to.
pub(crate) fn unpack(
    archive: &Path,
    format: Format,
    kept: &[Kept],
    into: &Path,
    cap: u64,
) -> Result<(), String> {
    let file = File::open(archive).map_err(|error| error.to_string())?;
    match format {
        Format::Package => tarball::unpack(file, tarball::Links::Refused, kept, into, cap)?,
        Format::Distribution => tarball::unpack(file, tarball::Links::PassedOver, kept, into, cap)?,
        Format::Wheel => wheel::unpack(file, kept, into, cap)?,
    }
    match kept.first() {
        Some(program) if !into.join(program.to).is_file() => {
            Err(format!("there is no {} in it", program.from))
        }
        _ => Ok(()),
    }
}

fn malformed(error: &io::Error) -> String {
    format!("it is malformed or too large: {error}")
}

fn too_large(cap: u64) -> String {
    format!("it unpacks to more than {cap} bytes")
}

/// Rejects a path that no genuine archive contains. The files that are kept are safe without this
/// check, but such an entry shows malicious intent.
fn check_path(path: &Path) -> Result<(), String> {
    let escapes = path
        .components()
        .any(|component| !matches!(component, Component::Normal(_) | Component::CurDir));
    // The path is quoted, because it may contain any character.
    if escapes {
        Err(format!("the path {:?} leads out of it", path.to_string_lossy()))
    } else {
        Ok(())
    }
}

fn link_or_device(path: &Path) -> String {
    format!("{:?} is a link or a device", path.to_string_lossy())
}

fn write(source: &mut impl Read, kept: &Kept, into: &Path) -> Result<(), String> {
    write_file(source, &into.join(kept.to), kept.mode)
        .map_err(|error| format!("{}: {error}", kept.from))
}

fn write_file(source: &mut impl Read, path: &Path, mode: u32) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    // A second entry with the same name fails here.
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    // The user of a sandbox must be able to execute it, whatever the umask is.
    file.set_permissions(Permissions::from_mode(mode))?;
    io::copy(source, &mut file)?;
    file.sync_all()
}
