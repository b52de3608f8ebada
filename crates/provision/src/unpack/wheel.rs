//! Wheels, which are zip archives, compressed by deflate or not at all.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use zip::ZipArchive;

use super::{check_path, link_or_device, malformed, too_large, write};
use crate::tool::Kept;

/// The bits of a Unix mode for the kind of a file, and the kinds that a wheel may contain. Tools on
/// other systems leave them out.
const KIND: u32 = 0o170_000;
const HARMLESS: [u32; 3] = [0, 0o100_000, 0o040_000];

pub(super) fn unpack(archive: File, kept: &[Kept], into: &Path, cap: u64) -> Result<(), String> {
    let mut archive = ZipArchive::new(archive).map_err(|error| malformed(&error.into()))?;
    let mut left = cap;
    for index in 0..archive.len() {
        let entry = archive.by_index(index).map_err(|error| malformed(&error.into()))?;
        let name = entry.name().map_err(|error| malformed(&error.into()))?.into_owned();
        check_path(Path::new(&name))?;
        if entry.unix_mode().is_some_and(|mode| !HARMLESS.contains(&(mode & KIND))) {
            return Err(link_or_device(Path::new(&name)));
        }
        // The declared size counts too, because no genuine archive declares more than it contains.
        if entry.size() > left {
            return Err(too_large(cap));
        }
        let Some(kept) = kept.iter().find(|kept| name == kept.from) else {
            left -= entry.size();
            continue;
        };
        let mut bounded = entry.take(left + 1);
        write(&mut bounded, kept, into)?;
        if bounded.limit() == 0 {
            return Err(too_large(cap));
        }
        left = bounded.limit() - 1;
    }
    Ok(())
}
