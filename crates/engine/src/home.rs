//! The working folder of a sandbox, as the supervisor sees it: a descriptor that the sandbox sent.
//! The supervisor trusts only what the kernel reports about it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use belljar_jail::OWN_FILES;
use belljar_protocol::Limits;
use rustix::fs::{FileType, OFlags};

/// The magic number of the file system that a sandbox writes to (statfs(2)).
const TMPFS_MAGIC: i64 = 0x0102_1994;

/// The working folder of a sandbox. Artifacts are collected beneath it.
#[derive(Debug)]
pub(crate) struct Home {
    folder: OwnedFd,
    device: u64,
}

/// The reason why a descriptor is not that of a sandbox's working folder.
#[derive(Debug, thiserror::Error)]
pub enum NotHome {
    /// The kernel reports nothing about the descriptor.
    #[error("its descriptor of the working folder cannot be examined: {0}")]
    Unknown(#[from] rustix::io::Errno),
    /// The descriptor fails a check.
    #[error("its descriptor of the working folder is {0}")]
    Other(&'static str),
}

impl Home {
    /// Accepts the descriptor if it is an `O_PATH` descriptor of a folder that the sandbox's user
    /// owns, on a tmpfs with the limits of the sandbox.
    pub(crate) fn verified(folder: OwnedFd, owner: u32, limits: &Limits) -> Result<Self, NotHome> {
        let check =
            |holds: bool, otherwise| if holds { Ok(()) } else { Err(NotHome::Other(otherwise)) };
        let (status, space) = (rustix::fs::fstat(&folder)?, rustix::fs::fstatfs(&folder)?);
        check(
            rustix::fs::fcntl_getfl(&folder)?.contains(OFlags::PATH),
            "open for reading or writing",
        )?;
        check(FileType::from_raw_mode(status.st_mode) == FileType::Directory, "not a folder")?;
        check(space.f_type == TMPFS_MAGIC, "not on a tmpfs")?;
        check(status.st_uid == owner, "another user's")?;
        // tmpfs counts in blocks of one page.
        let blocks = limits.disk_bytes.0.div_ceil(u64::try_from(space.f_bsize).unwrap_or(u64::MAX));
        let files = u64::from(limits.files).saturating_add(OWN_FILES);
        check(
            (space.f_blocks, space.f_files) == (blocks, files),
            "on a file system with other limits",
        )?;
        Ok(Self { folder, device: status.st_dev })
    }

    /// Returns the device of the file system. Every file beneath that belongs to the sandbox is on
    /// this device.
    pub(crate) fn device(&self) -> u64 {
        self.device
    }

    /// Returns another descriptor of the folder.
    pub(crate) fn try_clone(&self) -> std::io::Result<Self> {
        Ok(Self { folder: self.folder.try_clone()?, device: self.device })
    }

    #[cfg(test)]
    pub(crate) fn of_test(folder: &std::path::Path) -> Self {
        let folder = OwnedFd::from(std::fs::File::open(folder).unwrap());
        let device = rustix::fs::fstat(&folder).unwrap().st_dev;
        Self { folder, device }
    }
}

impl AsFd for Home {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.folder.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_folder_is_not_taken_for_a_home() {
        let path = |path: &str| {
            rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, rustix::fs::Mode::empty())
                .expect("it is on every machine")
        };
        for (other, why) in [
            (OwnedFd::from(std::fs::File::open("/").unwrap()), "open for reading"),
            (path("/proc/self/status"), "not a folder"),
            (path("/proc"), "not on a tmpfs"),
        ] {
            let refused = Home::verified(other, 1, &Limits::default()).unwrap_err().to_string();
            assert!(refused.contains(why), "{refused}");
        }
        let shared = path("/dev/shm");
        if rustix::fs::fstatfs(&shared).unwrap().f_type == TMPFS_MAGIC {
            let own = |owner| {
                Home::verified(shared.try_clone().unwrap(), owner, &Limits::default())
                    .unwrap_err()
                    .to_string()
            };
            assert!(own(12345).contains("another user's"));
            assert!(own(0).contains("other limits"));
        }
    }
}
