//! Debian's cloud kernels, unpacked once into the cache, and the modules that the guest needs to
//! start.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::ValueEnum;

/// Modules that the guest needs before its root is mounted: the disk, the ports to the host, and
/// two file systems. Some kernels have them built in.
const MODULES: [&str; 5] = ["virtio_pci", "virtio_blk", "virtio_console", "squashfs", "overlay"];

/// A kernel of Debian 12: the oldest and the newest that it offers.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Release {
    /// Debian 12's own, 6.1
    Bookworm,
    /// Debian 12's backport, 6.12 or newer
    Backports,
}

impl Release {
    /// The name that stands for this kernel on the command line and in the cache.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bookworm => "bookworm",
            Self::Backports => "backports",
        }
    }

    /// The suite of Debian's archive that contains the kernel.
    pub fn suite(self) -> &'static str {
        match self {
            Self::Bookworm => "bookworm",
            Self::Backports => "bookworm-backports",
        }
    }
}

/// An unpacked kernel.
pub struct Kernel {
    /// The bootable image.
    pub image: PathBuf,
    modules: PathBuf,
}

/// A module as the guest loads it, decompressed.
pub struct Module {
    pub name: String,
    pub content: Vec<u8>,
}

impl Kernel {
    /// Opens the kernel whose package is unpacked in `directory`.
    pub fn open(directory: &Path) -> Result<Self> {
        let image = only_entry(&directory.join("boot"), "vmlinuz-")?;
        Ok(Self { image, modules: only_entry(&directory.join("lib/modules"), "")? })
    }

    /// The kernel's release, as `uname -r` prints it.
    pub fn release(&self) -> String {
        self.modules.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// The modules of [`MODULES`] with what they depend on, in the order in which they load.
    ///
    /// The package has no `modules.dep` (depmod writes that on installation), so each module's own
    /// `depends=` is followed.
    pub fn modules(&self, busybox: &Path) -> Result<Vec<Module>> {
        let mut files = HashMap::new();
        list_modules(&self.modules.join("kernel"), &mut files)?;
        let mut loaded = Vec::new();
        for name in MODULES {
            load_order(name, &files, busybox, &mut loaded)?;
        }
        Ok(loaded)
    }
}

fn only_entry(directory: &Path, prefix: &str) -> Result<PathBuf> {
    let entries = fs::read_dir(directory).with_context(|| {
        format!("cannot read {}\n  hint: run again with --refresh", directory.display())
    })?;
    let mut matching = entries
        .filter_map(Result::ok)
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix));
    Ok(matching
        .next()
        .with_context(|| {
            format!("{} holds no kernel\n  hint: run again with --refresh", directory.display())
        })?
        .path())
}

/// Adds the modules beneath `directory` to `files`, by name. Names have underscores where file
/// names may have dashes.
fn list_modules(directory: &Path, files: &mut HashMap<String, PathBuf>) -> Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            list_modules(&path, files)?;
        } else if let Some((name, _)) =
            path.file_name().unwrap_or_default().to_string_lossy().split_once(".ko")
        {
            files.insert(name.replace('-', "_"), path);
        }
    }
    Ok(())
}

fn load_order(
    name: &str,
    files: &HashMap<String, PathBuf>,
    busybox: &Path,
    loaded: &mut Vec<Module>,
) -> Result<()> {
    // A module without a file is built into this kernel.
    let Some(file) = files.get(name).filter(|_| loaded.iter().all(|module| module.name != name))
    else {
        return Ok(());
    };
    let content = decompressed(file, busybox)?;
    for dependency in
        dependencies(&content).with_context(|| format!("{} is no kernel module", file.display()))?
    {
        load_order(&dependency, files, busybox, loaded)?;
    }
    loaded.push(Module { name: name.to_owned(), content });
    Ok(())
}

fn decompressed(file: &Path, busybox: &Path) -> Result<Vec<u8>> {
    let decompressor = match file.extension().and_then(|extension| extension.to_str()) {
        Some("ko") => {
            return fs::read(file).with_context(|| format!("cannot read {}", file.display()));
        }
        Some("xz") => "xzcat",
        _ => bail!("unknown compression of the kernel module {}", file.display()),
    };
    let output = Command::new(busybox)
        .arg(decompressor)
        .arg(file)
        .output()
        .with_context(|| format!("cannot run {}", busybox.display()))?;
    if !output.status.success() {
        bail!(
            "cannot decompress {}: {}",
            file.display(),
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(output.stdout)
}

/// The names in the `depends=` entry of a module's `.modinfo` section, whose entries are strings
/// that end in NUL.
fn dependencies(module: &[u8]) -> Option<Vec<String>> {
    const KEY: &[u8] = b"\0depends=";
    let start = module.windows(KEY.len()).position(|window| window == KEY)? + KEY.len();
    let value = module[start..].split(|byte| *byte == 0).next()?;
    Some(
        String::from_utf8_lossy(value)
            .split(',')
            .filter(|name| !name.is_empty())
            .map(str::to_owned)
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::dependencies;

    #[test]
    fn the_dependencies_of_a_module_are_the_names_in_its_modinfo() {
        let module = b"\x7fELF\0license=GPL\0depends=virtio,virtio_ring\0retpoline=Y\0";
        assert_eq!(dependencies(module), Some(vec!["virtio".to_owned(), "virtio_ring".to_owned()]));
        assert_eq!(dependencies(b"license=GPL\0depends=\0"), Some(vec![]));
        assert_eq!(dependencies(b"not a module"), None);
    }
}
