//! The memory that a run touches. A fork shares the memory of its zygote until it touches it, and
//! most of the time from a fork to an outcome was spent on some 450 page faults, the same ones in
//! every sandbox. Therefore a zygote prepares for its sandboxes the memory that its scout has
//! touched. The pages that they will write are copied, in one step before they are parked and in
//! another when they are activated. For the code that they will run from files, the fork copies the
//! page tables.

use std::ffi::c_void;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::OnceLock;

use crate::mappings::{self, Mapping};

/// The maximum size of the copies that are made before a sandbox is parked. It holds this memory as
/// long as it is parked. Everything that Node writes fits; the rest of Python's 1.6 MB is copied at
/// the activation, in 0.2 ms.
const MAX_PARKED_BYTES: usize = 1200 << 10;
/// The maximum size of all copies: a quarter of the smallest memory limit.
const MAX_BYTES: usize = 2 << 20;

/// The touched memory that this zygote has learned from its scout.
static LEARNED: OnceLock<Touched> = OnceLock::new();

/// The memory that a run touched, as ranges of addresses.
#[derive(Debug, Default)]
pub struct Touched {
    written: Vec<Range<usize>>,
    /// Pages of files, in mappings that cannot be written.
    read: Vec<Range<usize>>,
}

/// An entry of `/proc/self/pagemap` (the kernel's documentation, "pagemap").
#[derive(Clone, Copy)]
struct Page(u64);

impl Page {
    fn is_present(self) -> bool {
        self.0 >> 63 & 1 == 1
    }

    /// Returns whether the page belongs neither to a file nor to a shared mapping, whether it is in
    /// memory, swapped out or being migrated. Such a page is a copy of this process, or one that it
    /// shares with its parent until either of them writes to it.
    fn is_anonymous(self) -> bool {
        self.0 >> 62 & 3 != 0 && self.0 >> 61 & 1 == 0
    }

    /// Returns whether a child has written the page since the fork.
    fn is_own(self) -> bool {
        self.is_present() && self.is_anonymous() && self.0 >> 56 & 1 == 1
    }
}

fn page_bytes() -> usize {
    // SAFETY: no pointers.
    unsafe { libc::sysconf(libc::_SC_PAGESIZE) as usize }
}

/// Calls `see` with each page of the mapping.
fn for_each_page(
    pagemap: &File,
    mapping: &Mapping,
    mut see: impl FnMut(usize, Page),
) -> io::Result<()> {
    const ENTRY: usize = size_of::<u64>();
    let page_bytes = page_bytes();
    let mut entries = vec![0; 4096 * ENTRY];
    let mut address = mapping.range.start;
    while address < mapping.range.end {
        let wanted = ((mapping.range.end - address) / page_bytes * ENTRY).min(entries.len());
        let got =
            pagemap.read_at(&mut entries[..wanted], (address / page_bytes * ENTRY) as u64)? / ENTRY;
        if got == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        for entry in entries[..got * ENTRY].as_chunks::<ENTRY>().0 {
            see(address, Page(u64::from_ne_bytes(*entry)));
            address += page_bytes;
        }
    }
    Ok(())
}

/// Adds a page to sorted ranges. It must be higher than all of them.
fn add(ranges: &mut Vec<Range<usize>>, page: usize) {
    let end = page + page_bytes();
    match ranges.last_mut() {
        Some(last) if last.end == page => last.end = end,
        _ => ranges.push(page..end),
    }
}

impl Touched {
    /// Returns the memory that this process, a scout, has touched since its fork.
    pub fn since_fork() -> io::Result<Self> {
        let pagemap = File::open("/proc/self/pagemap")?;
        let mut touched = Self::default();
        for mapping in mappings::private()?.into_iter().filter(|mapping| mapping.readable) {
            let Self { written, read } = &mut touched;
            for_each_page(&pagemap, &mapping, |address, page| {
                if mapping.writable && page.is_own() {
                    add(written, address);
                } else if !mapping.writable && mapping.of_file && page.is_present() {
                    add(read, address);
                }
            })?;
        }
        Ok(touched)
    }

    /// Encodes the ranges: two lists of start and end addresses, each preceded by its length, as
    /// little-endian 64-bit numbers.
    pub fn encode(&self) -> Vec<u8> {
        let number = |number: usize| (number as u64).to_le_bytes();
        let list = |ranges: &[Range<usize>]| {
            let bounds = ranges.iter().flat_map(|range| [range.start, range.end]);
            std::iter::once(ranges.len()).chain(bounds).flat_map(number).collect::<Vec<_>>()
        };
        [list(&self.written), list(&self.read)].concat()
    }

    /// Decodes the ranges. Returns `None` if the bytes are malformed.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut numbers =
            bytes.as_chunks().0.iter().map(|number| u64::from_le_bytes(*number) as usize);
        let mut list = || -> Option<Vec<Range<usize>>> {
            let length = numbers.next()?;
            (0..length).map(|_| Some(numbers.next()?..numbers.next()?)).collect()
        };
        Some(Self { written: list()?, read: list()? })
    }

    /// Returns whether nothing is known.
    pub fn is_empty(&self) -> bool {
        self.written.is_empty()
    }

    #[cfg(test)]
    pub fn is_written(&self, address: usize) -> bool {
        self.written.iter().any(|range| range.contains(&address))
    }

    #[cfg(test)]
    pub fn is_read(&self, address: usize) -> bool {
        self.read.iter().any(|range| range.contains(&address))
    }

    /// Returns the ranges without the memory that only the scout had. Called in the zygote, because
    /// copying a range fails at the first page that does not exist.
    pub fn of_this_process(self) -> Self {
        let mappings = mappings::private().unwrap_or_default();
        let common = |ranges: &[Range<usize>], writable: bool| {
            let mut common = Vec::new();
            for range in ranges {
                for Mapping { range: own, .. } in
                    mappings.iter().filter(|mapping| mapping.writable == writable)
                {
                    let both = range.start.max(own.start)..range.end.min(own.end);
                    if !both.is_empty() {
                        common.push(both);
                    }
                }
            }
            common
        };
        Self { written: common(&self.written, true), read: common(&self.read, false) }
    }

    /// Copies a part of the written pages. `part` is a range of bytes in the concatenation of these
    /// pages in the order of their addresses.
    fn copy(&self, part: Range<usize>) {
        let mut before = 0;
        for range in &self.written {
            let skipped = part.start.saturating_sub(before).min(range.len());
            let wanted = part.end.saturating_sub(before).min(range.len());
            before += range.len();
            if skipped < wanted {
                // SAFETY: has the effect of reading each page and writing the same content back.
                unsafe {
                    libc::madvise(
                        (range.start + skipped) as *mut c_void,
                        wanted - skipped,
                        libc::MADV_POPULATE_WRITE,
                    )
                };
            }
        }
    }

    /// Keeps the ranges for the sandboxes of this zygote. Called once.
    pub fn keep(self) {
        let _ = LEARNED.set(self);
    }

    /// Makes each fork copy the page tables of the file pages that a run needs, and of no others.
    /// Called in the zygote, once.
    pub fn make_forks_copy_file_pages(&self) {
        let (Ok(pagemap), Ok(memory), Ok(mappings)) = (
            File::open("/proc/self/pagemap"),
            File::options().write(true).open("/proc/self/mem"),
            mappings::private(),
        ) else {
            return;
        };
        for mapping in mappings
            .iter()
            .filter(|mapping| mapping.of_file && mapping.readable && !mapping.writable)
        {
            let mut is_as_mapped = true;
            let read =
                for_each_page(&pagemap, mapping, |_, page| is_as_mapped &= !page.is_anonymous());
            // A mapping that relocation has written to is left out: a fork copies its page table
            // anyway.
            if read.is_ok() && is_as_mapped && !self.read.is_empty() {
                copied_by_forks(mapping, &memory);
            }
        }
        for range in &self.read {
            // SAFETY: has the effect of reading each page.
            unsafe {
                libc::madvise(range.start as *mut c_void, range.len(), libc::MADV_POPULATE_READ)
            };
        }
    }
}

/// Copies pages that the program will write. Called in a sandbox before it is parked.
pub fn copy_before_parked() {
    if let Some(touched) = LEARNED.get() {
        touched.copy(0..MAX_PARKED_BYTES);
    }
}

/// Copies the remaining pages that the program will write. Called in a sandbox when it is
/// activated.
pub fn copy_rest() {
    if let Some(touched) = LEARNED.get() {
        touched.copy(MAX_PARKED_BYTES..MAX_BYTES);
    }
}

/// Makes forks copy the page table of a file's mapping. The kernel does so only if a page of the
/// mapping was ever written (`vma_needs_copy` in mm/memory.c). Therefore its first byte is written,
/// unchanged, through `/proc/self/mem`, so that the mapping itself is never writable. A kernel that
/// does not allow this changes nothing.
fn copied_by_forks(mapping: &Mapping, memory: &File) {
    let start = mapping.range.start;
    // Drops the pages that only the boot needed. Every fork would copy their entries, and every
    // exit would free them. SAFETY: every page belongs to the file, and is loaded from there again
    // when it is touched.
    unsafe { libc::madvise(start as *mut c_void, mapping.range.len(), libc::MADV_DONTNEED) };
    // SAFETY: the mapping is readable.
    let first = unsafe { (start as *const u8).read_volatile() };
    let _ = memory.write_at(&[first], start as u64);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory(pages: usize) -> usize {
        // SAFETY: a new private mapping.
        let memory = unsafe {
            let access = libc::PROT_READ | libc::PROT_WRITE;
            libc::mmap(
                std::ptr::null_mut(),
                pages * page_bytes(),
                access,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        assert_ne!(memory, libc::MAP_FAILED);
        memory as usize
    }

    #[test]
    fn a_part_of_the_pages_is_copied_in_the_order_of_addresses() {
        let start = memory(6);
        let range = |pages: Range<usize>| {
            start + pages.start * page_bytes()..start + pages.end * page_bytes()
        };
        let touched = Touched { written: vec![range(0..2), range(3..6)], read: Vec::new() };
        touched.copy(page_bytes()..4 * page_bytes());
        let mapping =
            Mapping { range: range(0..6), readable: true, writable: true, of_file: false };
        let mut present = Vec::new();
        for_each_page(&File::open("/proc/self/pagemap").unwrap(), &mapping, |_, page| {
            present.push(page.is_present());
        })
        .unwrap();
        assert_eq!(present, [false, true, false, true, true, false]);
    }

    #[test]
    fn memory_that_only_the_scout_had_is_left_out() {
        let start = memory(3);
        let page = |index: usize| start + index * page_bytes();
        // SAFETY: a page of the new mapping, which nothing uses.
        assert_eq!(unsafe { libc::munmap(page(1) as *mut c_void, page_bytes()) }, 0);
        let touched =
            Touched { written: vec![page(0)..page(2), page(2)..page(3)], read: Vec::new() }
                .of_this_process();
        assert_eq!(touched.written, [page(0)..page(1), page(2)..page(3)]);
    }

    #[test]
    fn an_encoded_report_is_decoded() {
        let touched = Touched { written: vec![1..2, 5..9], read: vec![3..4, 6..7] };
        let encoded = touched.encode();
        let decoded = Touched::decode(&encoded).unwrap();
        assert_eq!((decoded.written, decoded.read), (touched.written, touched.read));
        assert!(Touched::decode(&encoded[..encoded.len() - 8]).is_none());
    }
}
