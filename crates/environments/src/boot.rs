//! What may have been lost with the power: what was made in an earlier boot of the machine and never seen to be on the disk.

use std::fs;
use std::path::Path;

/// What tells one boot of the machine from another; empty where the kernel does not say.
pub(crate) fn boot_id() -> String {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    id.trim().to_owned()
}

/// Whether what was made in a boot and is kept in a folder is whole: of this boot, or seen to be on the disk. Without a boot it was on the disk before it
/// could be found.
pub(crate) fn is_whole(place: &Path, boot: Option<&str>) -> bool {
    boot.is_none_or(|boot| !boot.is_empty() && boot == boot_id()) || place.join("synced").exists()
}
