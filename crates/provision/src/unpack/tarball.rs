//! Compressed tar archives, which are npm's packages and Node's distribution.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;
use tar::EntryType;

use super::{check_path, link_or_device, malformed, too_large, write};
use crate::tool::Kept;

/// The treatment of links.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Links {
    /// The archive is rejected.
    Refused,
    /// The link is not unpacked.
    PassedOver,
}

pub(super) fn unpack(
    archive: File,
    links: Links,
    kept: &[Kept],
    into: &Path,
    cap: u64,
) -> Result<(), String> {
    let mut bounded = GzDecoder::new(archive).take(cap + 1);
    {
        let mut reader = tar::Archive::new(&mut bounded);
        for entry in reader.entries().map_err(|error| error.to_string())? {
            let mut entry = entry.map_err(|error| malformed(&error))?;
            let path = entry.path().map_err(|error| malformed(&error))?.into_owned();
            let kind = entry.header().entry_type();
            check_path(&path)?;
            check_kind(&path, kind, links)?;
            let inner: PathBuf = path.components().skip(1).collect();
            let Some(kept) = kept.iter().find(|kept| inner == Path::new(&kept.from)) else {
                continue;
            };
            if !is_file(kind) {
                return Err(format!("{} is not a regular file", kept.from));
            }
            write(&mut entry, kept, into)?;
        }
    }
    // The rest is read too, to detect a bomb after the last entry or a wrong checksum of the
    // compression.
    io::copy(&mut bounded, &mut io::sink()).map_err(|error| malformed(&error))?;
    if bounded.limit() == 0 { Err(too_large(cap)) } else { Ok(()) }
}

fn is_file(kind: EntryType) -> bool {
    matches!(kind, EntryType::Regular | EntryType::Continuous)
}

fn check_kind(path: &Path, kind: EntryType, links: Links) -> Result<(), String> {
    let is_harmless = match kind {
        EntryType::Symlink | EntryType::Link => links == Links::PassedOver,
        EntryType::Directory | EntryType::XGlobalHeader => true,
        other => is_file(other),
    };
    if is_harmless { Ok(()) } else { Err(link_or_device(path)) }
}
