//! Unpacking a verified archive of Node. Nothing in it decides where anything is written: three known files are picked out by name.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Component, Path};

use flate2::read::GzDecoder;
use tar::EntryType;

/// The only files that are kept: the program, its licence, and npm's description of the package. With the mode they get.
const WANTED: [(&str, u32); 3] = [("bin/node", 0o755), ("LICENSE", 0o644), ("package.json", 0o644)];

/// Where an archive comes from, which decides what it may hold beside the wanted files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// A package of npm, which never holds links.
    Npm,
    /// Node's own distribution, in which `bin/npm` is a symbolic link. It is not unpacked.
    Distribution,
}

/// Unpacks the wanted files into an existing, empty folder. `cap` bounds everything that the archive decompresses to.
pub(crate) fn unpack(archive: &Path, into: &Path, origin: Origin, cap: u64) -> Result<(), String> {
    let file = File::open(archive).map_err(|error| error.to_string())?;
    let mut bounded = GzDecoder::new(file).take(cap + 1);
    let mut found_program = false;
    {
        let mut reader = tar::Archive::new(&mut bounded);
        for entry in reader.entries().map_err(|error| error.to_string())? {
            let mut entry = entry.map_err(|error| malformed(&error))?;
            let path = entry.path().map_err(|error| malformed(&error))?.into_owned();
            let kind = entry.header().entry_type();
            check(&path, kind, origin)?;
            let inner: std::path::PathBuf = path.components().skip(1).collect();
            let Some((name, mode)) = WANTED.iter().find(|(name, _)| inner == Path::new(name)) else { continue };
            if !is_file(kind) {
                return Err(format!("{name} is not a regular file"));
            }
            write(&mut entry, &into.join(name), *mode).map_err(|error| format!("{name}: {error}"))?;
            found_program |= *name == "bin/node";
        }
    }
    // Reads on to the end, so that a bomb behind the last entry and a broken checksum of the compression are seen as well.
    io::copy(&mut bounded, &mut io::sink()).map_err(|error| malformed(&error))?;
    if bounded.limit() == 0 {
        return Err(format!("it unpacks to more than {cap} bytes"));
    }
    if found_program { Ok(()) } else { Err("there is no bin/node in it".to_owned()) }
}

fn malformed(error: &io::Error) -> String {
    format!("it is malformed or too large: {error}")
}

fn is_file(kind: EntryType) -> bool {
    matches!(kind, EntryType::Regular | EntryType::Continuous)
}

/// Refuses what no real package holds. The wanted files are safe without it; but who put such an entry there meant harm.
fn check(path: &Path, kind: EntryType, origin: Origin) -> Result<(), String> {
    // Quoted, as it may hold anything.
    let shown = path.to_string_lossy();
    let escapes = path.components().any(|component| !matches!(component, Component::Normal(_) | Component::CurDir));
    if escapes {
        return Err(format!("the path {shown:?} leads out of it"));
    }
    let is_harmless = match kind {
        EntryType::Symlink | EntryType::Link => origin == Origin::Distribution,
        EntryType::Directory | EntryType::XGlobalHeader => true,
        other => is_file(other),
    };
    if is_harmless { Ok(()) } else { Err(format!("{shown:?} is a link or a device")) }
}

fn write(source: &mut impl Read, path: &Path, mode: u32) -> io::Result<()> {
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
