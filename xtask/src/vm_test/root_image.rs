//! The guest's root file system: files of the host in a read-only squashfs image. It does not have
//! all of the host, which may be tens of gigabytes, but the installed packages that tests use with
//! their dependencies, and the files that the command includes.
//!
//! It is an image and not a shared directory because Debian's cloud kernels have no 9p, and
//! virtiofsd would run as root and serve a guest that runs hostile programs as root.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use tar::{Builder, EntryType, Header};

use crate::programs::command_output;

/// The host program that packs the image, with its Debian package.
pub const PROGRAM: (&str, &str) = ("sqfstar", "squashfs-tools");

/// Packages that the guest has, with their dependencies, if the host has them.
const PACKAGES: [&str; 28] = [
    "base-files",
    "bash",
    "ca-certificates",
    "coreutils",
    "dash",
    "diffutils",
    "e2fsprogs",
    "findutils",
    "gawk",
    "grep",
    "gzip",
    "hostname",
    "iproute2",
    "libatomic1",
    "libc-bin",
    "libgcc-s1",
    "libstdc++6",
    "media-types",
    "mount",
    "openssl",
    "procps",
    "python3",
    "sed",
    "strace",
    "tar",
    "tzdata",
    "uidmap",
    "util-linux",
];

/// Files and directories that belong to no package because they are created during installation.
const GENERATED: [&str; 11] = [
    "/bin",
    "/sbin",
    "/lib",
    "/lib64",
    "/usr/bin/sh",
    "/etc/alternatives",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/localtime",
    "/etc/ssl/certs",
];

/// Directories that no test reads.
const LEFT_OUT: [&str; 6] = [
    "/usr/share/doc/",
    "/usr/share/man/",
    "/usr/share/info/",
    "/usr/share/locale/",
    "/usr/share/lintian/",
    "/usr/share/bug/",
];

/// Mount points of the guest's own file systems.
const MOUNTED_OVER: [&str; 4] = ["/dev", "/proc", "/run", "/sys"];

/// Writes an image with the host's packages, and with the files and directories in `included` at
/// their own paths, to `image`.
pub fn write(image: &Path, included: &[PathBuf]) -> Result<()> {
    let mut files = package_files()?;
    for path in GENERATED {
        add_tree(Path::new(path), &mut files)?;
    }
    let mut extra = BTreeSet::new();
    for path in included {
        if let Some(mount) = MOUNTED_OVER.iter().find(|mount| path.starts_with(mount)) {
            bail!(
                "cannot include {}: the guest has a {mount} of its own\n  hint: copy it to another place",
                path.display()
            );
        }
        add_tree(path, &mut extra)?;
        // If the path is a link, its target is needed too.
        let real =
            path.canonicalize().with_context(|| format!("cannot include {}", path.display()))?;
        add_tree(&real, &mut extra)?;
    }
    extra.extend(shared_libraries(&extra)?);
    files.append(&mut extra);
    pack(image, &files)
}

/// Every file of [`PACKAGES`] and their dependencies.
fn package_files() -> Result<BTreeSet<PathBuf>> {
    let packages = installed_closure()?;
    let listing = command_output(Command::new("dpkg-query").arg("--listfiles").args(packages))?;
    let mut directories = HashMap::new();
    let mut files = BTreeSet::new();
    for line in listing.lines().filter(|line| line.starts_with('/') && *line != "/.") {
        if LEFT_OUT.iter().any(|left_out| line.starts_with(left_out)) {
            continue;
        }
        // Packages still list /lib where the system has /usr/lib.
        let path = Path::new(line);
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { continue };
        let parent =
            directories.entry(parent.to_owned()).or_insert_with(|| parent.canonicalize().ok());
        let Some(path) = parent.as_ref().map(|parent| parent.join(name)) else { continue };
        // Bytecode is compiled at installation; compiling it in each emulated guest is too slow.
        let bytecode = path.join("__pycache__");
        if bytecode.is_dir() {
            add_tree(&bytecode, &mut files)?;
        }
        files.insert(path);
    }
    Ok(files)
}

fn installed_closure() -> Result<Vec<String>> {
    let records =
        command_output(Command::new("dpkg-query").args([
            "--show",
            "--showformat=${db:Status-Abbrev}\t${Package}\t${binary:Package}\t${Provides}\t${Pre-Depends}, ${Depends}\n",
        ]))?;
    let installed = parse_installed(&records);
    ensure!(
        installed.contains_key("libc-bin"),
        "dpkg lists no installed packages: vm-test needs a Debian or Ubuntu host"
    );
    Ok(closure(&PACKAGES, &installed))
}

/// An installed package, listed under its own name and under each name that it provides.
#[derive(Debug, Clone)]
struct Installed<'a> {
    /// The package's name for dpkg, with the architecture where that is needed.
    listed_as: &'a str,
    depends: Vec<&'a str>,
}

fn parse_installed(records: &str) -> HashMap<&str, Vec<Installed<'_>>> {
    let mut installed: HashMap<&str, Vec<Installed<'_>>> = HashMap::new();
    for record in records.lines() {
        let fields: Vec<&str> = record.split('\t').collect();
        let [status, name, listed_as, provides, depends] = fields[..] else { continue };
        if !status.starts_with("ii") {
            continue;
        }
        let package = Installed { listed_as, depends: relation_names(depends).collect() };
        for name in std::iter::once(name).chain(relation_names(provides)) {
            installed.entry(name).or_default().push(package.clone());
        }
    }
    installed
}

/// The names in a relationship field such as `libc6 (>= 2.36), default-mta | mail-transport-agent`.
/// All alternatives are included, because those that are not installed are dropped later.
fn relation_names(field: &str) -> impl Iterator<Item = &str> {
    field
        .split([',', '|'])
        .filter_map(|relation| relation.trim().split([' ', ':', '(']).next())
        .filter(|name| !name.is_empty())
}

fn closure(roots: &[&str], installed: &HashMap<&str, Vec<Installed<'_>>>) -> Vec<String> {
    let mut found = HashSet::new();
    let mut pending: Vec<&str> = roots.to_vec();
    while let Some(name) = pending.pop() {
        for package in installed.get(name).into_iter().flatten() {
            if found.insert(package.listed_as) {
                pending.extend(&package.depends);
            }
        }
    }
    let mut names: Vec<String> = found.into_iter().map(str::to_owned).collect();
    names.sort();
    names
}

/// Adds `path` and, if it is a directory, everything beneath it. Links are added, not followed.
fn add_tree(path: &Path, files: &mut BTreeSet<PathBuf>) -> Result<()> {
    let Ok(metadata) = path.symlink_metadata() else { return Ok(()) };
    files.insert(path.to_owned());
    if metadata.is_dir() {
        let entries = fs::read_dir(path)
            .with_context(|| format!("cannot read the directory {}", path.display()))?;
        for entry in entries {
            add_tree(&entry?.path(), files)?;
        }
    }
    Ok(())
}

/// The libraries that the programs among `files` are linked with, as found by the host's loader.
fn shared_libraries(files: &BTreeSet<PathBuf>) -> Result<BTreeSet<PathBuf>> {
    let programs: Vec<&PathBuf> = files.iter().filter(|path| is_elf(path)).collect();
    let mut libraries = BTreeSet::new();
    // In chunks, to limit the length of the command line.
    for some in programs.chunks(256) {
        // ldd fails for a file that is linked with nothing, which is not an error here.
        let output = Command::new("ldd").args(some).output().context("cannot run ldd")?;
        for word in String::from_utf8_lossy(&output.stdout).split_whitespace() {
            if let Ok(library) = Path::new(word).canonicalize()
                && word.starts_with('/')
                && library.is_file()
            {
                libraries.insert(resolved_parent(Path::new(word)));
                libraries.insert(library);
            }
        }
    }
    Ok(libraries)
}

fn resolved_parent(path: &Path) -> PathBuf {
    match (path.parent().and_then(|parent| parent.canonicalize().ok()), path.file_name()) {
        (Some(parent), Some(name)) => parent.join(name),
        _ => path.to_owned(),
    }
}

fn is_elf(path: &Path) -> bool {
    let mut magic = [0; 4];
    path.symlink_metadata().is_ok_and(|metadata| metadata.is_file())
        && File::open(path).and_then(|mut file| file.read_exact(&mut magic)).is_ok()
        && &magic == b"\x7fELF"
}

fn pack(image: &Path, files: &BTreeSet<PathBuf>) -> Result<()> {
    // Uncompressed: the guest would decompress on an emulated processor.
    let mut sqfstar = Command::new(PROGRAM.0)
        .args([
            "-quiet",
            "-no-progress",
            "-exit-on-error",
            "-no-xattrs",
            "-noI",
            "-noD",
            "-noF",
            "-noX",
        ])
        .arg(image)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .context("cannot run sqfstar")?;
    let packed = write_archive(sqfstar.stdin.take().expect("its stdin is piped"), files);
    let status = sqfstar.wait()?;
    ensure!(status.success(), "sqfstar failed: {status}");
    packed
}

fn write_archive(output: impl Write, files: &BTreeSet<PathBuf>) -> Result<()> {
    let mut archive = Builder::new(std::io::BufWriter::with_capacity(1 << 20, output));
    let parents: BTreeSet<PathBuf> = files
        .iter()
        .flat_map(|path| path.ancestors().skip(1))
        .filter(|path| path.parent().is_some())
        .map(Path::to_owned)
        .collect();
    // Parents are accessible to everyone: an ordinary user of the guest must reach a file of the
    // command even if it is in a private home on the host.
    for directory in &parents {
        if directory.symlink_metadata().is_ok_and(|metadata| metadata.is_dir()) {
            append(
                &mut archive,
                directory,
                header(EntryType::Directory, 0o755, 0, 0),
                std::io::empty(),
            )?;
        }
    }
    for path in files.difference(&parents) {
        append_file(&mut archive, path)
            .with_context(|| format!("cannot add {} to the root image", path.display()))?;
    }
    archive.into_inner()?.flush().context("sqfstar has ended early")
}

fn append_file<W: Write>(archive: &mut Builder<W>, path: &Path) -> Result<()> {
    // Packages list files that an administrator may have removed, and some that an ordinary user
    // may not read. The guest needs neither.
    let Ok(metadata) = path.symlink_metadata() else { return Ok(()) };
    let header = |kind, length| {
        header(kind, metadata.mode() & 0o7777, metadata.mtime().try_into().unwrap_or(0), length)
    };
    if metadata.is_symlink() {
        archive.append_link(
            &mut header(EntryType::Symlink, 0),
            inside(path),
            fs::read_link(path)?,
        )?;
    } else if metadata.is_dir() {
        append(archive, path, header(EntryType::Directory, 0), std::io::empty())?;
    } else if metadata.is_file() {
        let file = match File::open(path) {
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => return Ok(()),
            file => file?,
        };
        // The length that the header promises, even if the file grows.
        append(
            archive,
            path,
            header(EntryType::Regular, metadata.len()),
            file.take(metadata.len()),
        )?;
    } else {
        let kind = metadata.file_type();
        ensure!(
            kind.is_socket() || kind.is_fifo() || kind.is_block_device() || kind.is_char_device(),
            "unknown file type"
        );
    }
    Ok(())
}

fn append<W: Write>(
    archive: &mut Builder<W>,
    path: &Path,
    mut header: Header,
    content: impl Read,
) -> Result<()> {
    archive.append_data(&mut header, inside(path), content)?;
    Ok(())
}

/// Returns an archive header with root as the owner, whatever the owner on the host. Modification
/// times are kept: without them, Python would recompile everything.
fn header(kind: EntryType, mode: u32, modified: u64, length: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_mtime(modified);
    header.set_size(length);
    header.set_uid(0);
    header.set_gid(0);
    header
}

fn inside(path: &Path) -> &Path {
    path.strip_prefix("/").unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::{closure, parse_installed};

    #[test]
    fn a_package_brings_its_installed_dependencies_and_no_others() {
        let records = "ii \tpython3\tpython3\t\tlibpython3 (>= 3.11), mawk | gawk\n\
                       ii \tlibpython3.11\tlibpython3.11:amd64\tlibpython3 (= 3.11)\t, libc6\n\
                       ii \tgawk\tgawk\t\t\n\
                       rc \tmawk\tmawk\t\t\n\
                       ii \tlibc6\tlibc6:amd64\t\tlibpython3\n\
                       ii \tdoom\tdoom\t\tlibc6\n";
        assert_eq!(
            closure(&["python3", "absent"], &parse_installed(records)),
            ["gawk", "libc6:amd64", "libpython3.11:amd64", "python3"]
        );
    }
}
