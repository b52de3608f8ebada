//! Archives that are written byte by byte, so that they can have names, kinds and modes that a
//! library refuses to write.

use std::io::Write as _;

use flate2::{Compression, Crc, write::DeflateEncoder, write::GzEncoder};

/// An entry of an archive.
#[derive(Clone, Debug)]
pub struct Entry {
    pub name: String,
    pub content: Vec<u8>,
    /// Permissions and, in a wheel, the kind.
    pub mode: u32,
    /// Kind in a tarball: `0` file, `1` hard link, `2` link, `3` device, `5` folder, `6` FIFO.
    pub kind: u8,
    pub link: String,
}

impl Entry {
    pub fn file(name: &str, content: impl AsRef<[u8]>) -> Self {
        Self {
            name: name.into(),
            content: content.as_ref().into(),
            mode: 0o100_644,
            kind: b'0',
            link: String::new(),
        }
    }

    pub fn mode(self, mode: u32) -> Self {
        Self { mode, ..self }
    }

    pub fn link(name: &str, to: &str) -> Self {
        Self { kind: b'2', link: to.into(), mode: 0o120_777, ..Self::file(name, to) }
    }

    pub fn of_kind(kind: u8, name: &str, link: &str) -> Self {
        Self { kind, link: link.into(), content: Vec::new(), ..Self::file(name, "") }
    }
}

/// Returns a ZIP file of these entries, deflated.
pub fn zip(entries: &[Entry]) -> Vec<u8> {
    let (mut archive, mut directory) = (Vec::new(), Vec::new());
    for entry in entries {
        let mut deflate = DeflateEncoder::new(Vec::new(), Compression::fast());
        deflate.write_all(&entry.content).unwrap();
        let data = deflate.finish().unwrap();
        let mut crc = Crc::new();
        crc.update(&entry.content);
        // Version, flags (UTF-8), method, time, date, checksum, sizes, length of the name, length 0
        // of the extra field.
        let mut shared = Vec::new();
        for number in [20_u16, 0x800, 8, 0, 0x21] {
            shared.extend(number.to_le_bytes());
        }
        for number in [crc.sum(), data.len() as u32, entry.content.len() as u32] {
            shared.extend(number.to_le_bytes());
        }
        shared.extend((entry.name.len() as u16).to_le_bytes());
        shared.extend(0_u16.to_le_bytes());
        let offset = archive.len() as u32;
        archive.extend(b"PK\x03\x04");
        archive.extend(&shared);
        archive.extend(entry.name.as_bytes());
        archive.extend(data);
        directory.extend(b"PK\x01\x02");
        // The creator is Unix, so that the mode is used.
        directory.extend([20, 3]);
        directory.extend(&shared);
        directory.extend([0; 6]);
        directory.extend((entry.mode << 16).to_le_bytes());
        directory.extend(offset.to_le_bytes());
        directory.extend(entry.name.as_bytes());
    }
    let (count, start, size) = (entries.len() as u16, archive.len() as u32, directory.len() as u32);
    archive.extend(directory);
    archive.extend(b"PK\x05\x06\0\0\0\0");
    archive.extend(count.to_le_bytes());
    archive.extend(count.to_le_bytes());
    archive.extend(size.to_le_bytes());
    archive.extend(start.to_le_bytes());
    archive.extend([0, 0]);
    archive
}

/// Returns a gzipped tarball of these entries. A long name gets a header of its own, as in GNU tar.
pub fn tgz(entries: &[Entry]) -> Vec<u8> {
    let mut tar = Vec::new();
    for entry in entries {
        if entry.name.len() > 100 {
            let long = Entry {
                name: "././@LongLink".into(),
                content: [entry.name.as_bytes(), b"\0"].concat(),
                kind: b'L',
                ..entry.clone()
            };
            header(&mut tar, &long);
        }
        header(&mut tar, entry);
    }
    tar.extend([0; 1024]);
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(&tar).unwrap();
    gzip.finish().unwrap()
}

fn header(tar: &mut Vec<u8>, entry: &Entry) {
    let mut header = [0_u8; 512];
    let mut put = |at: usize, bytes: &[u8]| header[at..at + bytes.len()].copy_from_slice(bytes);
    let name = entry.name.as_bytes();
    put(0, &name[..name.len().min(100)]);
    put(100, format!("{:07o}", entry.mode & 0o7777).as_bytes());
    put(108, b"0000000");
    put(116, b"0000000");
    put(
        124,
        format!("{:011o}", if matches!(entry.kind, b'0' | b'L') { entry.content.len() } else { 0 })
            .as_bytes(),
    );
    put(136, b"00000000000");
    put(148, b"        ");
    put(156, &[entry.kind]);
    put(157, entry.link.as_bytes());
    put(257, b"ustar\x0000");
    put(329, b"0000001");
    put(337, b"0000003");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    tar.extend(header);
    if matches!(entry.kind, b'0' | b'L') {
        tar.extend(&entry.content);
        tar.resize(tar.len().div_ceil(512) * 512, 0);
    }
}

/// Returns a wheel of `name` with a module of that name and additional entries. `requires` are its
/// requirements.
pub fn wheel(name: &str, version: &str, requires: &[&str], more: &[Entry]) -> Vec<u8> {
    let info = format!("{}-{version}.dist-info", name.replace('-', "_"));
    let requires =
        requires.iter().map(|line| format!("Requires-Dist: {line}\n")).collect::<Vec<_>>().concat();
    let module = format!("{}.py", name.replace('-', "_"));
    let mut entries =
        vec![Entry::file(&module, format!("NAME = {name:?}\nVERSION = {version:?}\n"))];
    entries.extend_from_slice(more);
    let mut record =
        entries.iter().map(|entry| format!("{},,\n", entry.name)).collect::<Vec<_>>().concat();
    record.push_str(&format!("{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n"));
    entries.push(Entry::file(
        &format!("{info}/METADATA"),
        format!("Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{requires}"),
    ));
    entries.push(Entry::file(
        &format!("{info}/WHEEL"),
        "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    ));
    entries.push(Entry::file(&format!("{info}/RECORD"), record));
    zip(&entries)
}

/// Returns a source distribution whose build runs a program. `build_wheel` calls its `attack()` and
/// packs the returned value as `report.json` next to the module.
pub fn sdist(name: &str, version: &str, attack: &str) -> Vec<u8> {
    let folder = format!("{}-{version}", name.replace('-', "_"));
    let module = name.replace('-', "_");
    let backend = format!(
        "import json, os, zipfile\n{attack}\n\
         def get_requires_for_build_wheel(config_settings=None):\n    return []\n\
         def build_wheel(folder, config_settings=None, metadata_directory=None):\n\
         \x20   name = '{module}-{version}-py3-none-any.whl'\n\
         \x20   report = json.dumps(attack())\n\
         \x20   with zipfile.ZipFile(os.path.join(folder, name), 'w') as wheel:\n\
         \x20       wheel.writestr('{module}.py', 'BUILT = True\\n')\n\
         \x20       wheel.writestr('{module}_report.json', report)\n\
         \x20       wheel.writestr('{module}-{version}.dist-info/METADATA', 'Metadata-Version: 2.1\\nName: {name}\\nVersion: {version}\\n')\n\
         \x20       wheel.writestr('{module}-{version}.dist-info/WHEEL', 'Wheel-Version: 1.0\\nGenerator: test\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n')\n\
         \x20       wheel.writestr('{module}-{version}.dist-info/RECORD', '')\n\
         \x20   return name\n"
    );
    let project = format!(
        "[project]\nname = \"{name}\"\nversion = \"{version}\"\n[build-system]\nrequires = []\nbuild-backend = \"backend\"\nbackend-path = [\".\"]\n"
    );
    tgz(&[
        Entry::file(
            &format!("{folder}/PKG-INFO"),
            format!("Metadata-Version: 2.2\nName: {name}\nVersion: {version}\n"),
        ),
        Entry::file(&format!("{folder}/pyproject.toml"), project),
        Entry::file(&format!("{folder}/backend.py"), backend),
    ])
}

/// Returns an npm package. `manifest` are further members of its `package.json`, each preceded by a
/// comma.
pub fn npm(name: &str, version: &str, manifest: &str, more: &[Entry]) -> Vec<u8> {
    let mut entries = vec![
        Entry::file(
            "package/package.json",
            format!("{{\"name\": {name:?}, \"version\": {version:?}{manifest}}}"),
        ),
        Entry::file(
            "package/index.js",
            format!("module.exports = {{ name: {name:?}, version: {version:?} }};\n"),
        ),
    ];
    entries.extend_from_slice(more);
    tgz(&entries)
}
