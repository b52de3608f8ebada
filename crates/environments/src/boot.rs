//! Detection of files that a loss of power may have damaged: those made in an earlier boot of the
//! machine and never known to be on the disk.

use std::fs;
use std::path::Path;

/// Returns the id of the current boot, or an empty text if the kernel has none.
pub(crate) fn boot_id() -> String {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    id.trim().to_owned()
}

/// Returns whether a folder that was made in the given boot is complete: it was made in this boot,
/// or is known to be on the disk. Without a boot, it was on the disk before it could be found.
pub(crate) fn is_whole(place: &Path, boot: Option<&str>) -> bool {
    boot.is_none_or(|boot| !boot.is_empty() && boot == boot_id()) || place.join("synced").exists()
}
