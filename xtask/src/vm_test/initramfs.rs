//! The guest's initramfs: busybox, `init.sh`, the modules and the command, as a cpio archive in the
//! `newc` format that the kernel reads
//! (Documentation/driver-api/early-userspace/buffer-format.rst).

/// A cpio archive being written, in memory.
pub struct Initramfs {
    archive: Vec<u8>,
    entries: u32,
}

const DIRECTORY: u32 = 0o040_755;
const FILE: u32 = 0o100_644;
const EXECUTABLE: u32 = 0o100_755;
const CONSOLE: u32 = 0o020_600;

impl Initramfs {
    /// Returns an archive with the directories that `init.sh` uses as mount points.
    pub fn new() -> Self {
        let mut initramfs = Self { archive: Vec::new(), entries: 0 };
        for directory in ["bin", "dev", "lower", "upper", "root", "vm-test", "vm-test/modules"] {
            initramfs.entry(directory, DIRECTORY, (0, 0), &[]);
        }
        // The kernel opens the console as init's standard streams before anything can be mounted.
        // Without it, a failure is silent.
        initramfs.entry("dev/console", CONSOLE, (5, 1), &[]);
        initramfs
    }

    pub fn executable(&mut self, path: &str, content: &[u8]) {
        self.entry(path, EXECUTABLE, (0, 0), content);
    }

    pub fn file(&mut self, path: &str, content: &[u8]) {
        self.entry(path, FILE, (0, 0), content);
    }

    /// Finishes and returns the archive.
    pub fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, (0, 0), &[]);
        self.archive
    }

    fn entry(&mut self, path: &str, mode: u32, (major, minor): (u32, u32), content: &[u8]) {
        self.entries += 1;
        let (owner, links, time, checksum) = (0, 1, 0, 0);
        let fields = [
            self.entries,
            mode,
            owner,
            owner,
            links,
            time,
            u32::try_from(content.len()).expect("nothing in the initramfs is 4 GiB long"),
            0,
            0,
            major,
            minor,
            path.len() as u32 + 1,
            checksum,
        ];
        self.archive.extend_from_slice(b"070701");
        for field in fields {
            self.archive.extend_from_slice(format!("{field:08x}").as_bytes());
        }
        self.archive.extend_from_slice(path.as_bytes());
        self.archive.push(0);
        self.pad();
        self.archive.extend_from_slice(content);
        self.pad();
    }

    /// Pads the archive to a multiple of four bytes, as needed after each name and each content.
    fn pad(&mut self) {
        self.archive.resize(self.archive.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::Initramfs;

    #[test]
    fn every_entry_starts_on_four_bytes_and_the_trailer_ends_the_archive() {
        let mut initramfs = Initramfs::new();
        initramfs.file("odd", b"five!");
        let archive = initramfs.finish();
        let starts: Vec<usize> = archive
            .windows(6)
            .enumerate()
            .filter(|(_, window)| window == b"070701")
            .map(|(at, _)| at)
            .collect();
        assert_eq!(starts.len(), 10);
        assert!(starts.iter().all(|start| start % 4 == 0));
        assert!(archive.windows(10).any(|window| window == b"TRAILER!!!"));
    }
}
