//! Unpacking a verified archive. Nothing in it decides where anything is written: a few known files are picked out by name.

mod tarball;
mod wheel;

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Component, Path};

use crate::tool::Kept;

/// What kind of archive it is, which decides what it may hold beside the files that are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// A package of npm, which never holds links.
    Package,
    /// Node's own distribution, in which `bin/npm` is a symbolic link. It is not unpacked.
    Distribution,
    /// A wheel of Python, which never holds links.
    Wheel,
}

/// Unpacks what is kept into an existing, empty folder. The first one of `kept` is the program, which must be there. `cap` bounds
/// everything that the archive decompresses to.
pub(crate) fn unpack(archive: &Path, format: Format, kept: &[Kept], into: &Path, cap: u64) -> Result<(), String> {
    let file = File::open(archive).map_err(|error| error.to_string())?;
    match format {
        Format::Package => tarball::unpack(file, tarball::Links::Refused, kept, into, cap)?,
        Format::Distribution => tarball::unpack(file, tarball::Links::PassedOver, kept, into, cap)?,
        Format::Wheel => wheel::unpack(file, kept, into, cap)?,
    }
    match kept.first() {
        Some(program) if !into.join(program.to).is_file() => Err(format!("there is no {} in it", program.from)),
        _ => Ok(()),
    }
}

fn malformed(error: &io::Error) -> String {
    format!("it is malformed or too large: {error}")
}

fn too_large(cap: u64) -> String {
    format!("it unpacks to more than {cap} bytes")
}

/// Refuses a path that no real archive holds. The files that are kept are safe without it; but who put such an entry there meant harm.
fn check_path(path: &Path) -> Result<(), String> {
    let escapes = path.components().any(|component| !matches!(component, Component::Normal(_) | Component::CurDir));
    // Quoted, as it may hold anything.
    if escapes { Err(format!("the path {:?} leads out of it", path.to_string_lossy())) } else { Ok(()) }
}

fn link_or_device(path: &Path) -> String {
    format!("{:?} is a link or a device", path.to_string_lossy())
}

fn write(source: &mut impl Read, kept: &Kept, into: &Path) -> Result<(), String> {
    write_file(source, &into.join(kept.to), kept.mode).map_err(|error| format!("{}: {error}", kept.from))
}

fn write_file(source: &mut impl Read, path: &Path, mode: u32) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    // A second entry of the same name fails here.
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    // The user a sandbox runs as must be able to execute it, whatever the umask is here.
    file.set_permissions(Permissions::from_mode(mode))?;
    io::copy(source, &mut file)?;
    file.sync_all()
}
