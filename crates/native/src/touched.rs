//! Which memory a run touches. A fork shares its zygote's memory until it touches it, and most of the time from a fork to an outcome went into some 450
//! page faults, the same ones in every sandbox. So a zygote gives its sandboxes what its scout has touched: the pages that they will write as copies, made
//! in one go before they are parked and in another when they are woken; of files, the code that they will run, as page tables that the fork copies.

use std::ffi::c_void;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::OnceLock;

use crate::mappings::{self, Mapping};

/// Copies that a sandbox gets before it is parked are memory that it holds for as long as it is. All that Node writes fits; of Python's 1.6 MB the rest is
/// copied when it is woken, for 0.2 ms.
const MOST_PARKED_BYTES: usize = 1200 << 10;
/// All that it gets: a quarter of the smallest memory limit.
const MOST_BYTES: usize = 2 << 20;

/// What this zygote has learned, for its sandboxes.
static LEARNED: OnceLock<Touched> = OnceLock::new();

/// What a run touched, as ranges of addresses.
#[derive(Debug, Default)]
pub struct Touched {
    written: Vec<Range<usize>>,
    /// Of files, where they cannot be written to.
    read: Vec<Range<usize>>,
}

/// A page as `/proc/self/pagemap` has it (the kernel's documentation, "pagemap").
#[derive(Clone, Copy)]
struct Page(u64);

impl Page {
    fn is_present(self) -> bool {
        self.0 >> 63 & 1 == 1
    }

    /// Not a file's, nor shared, be it in memory, swapped out or on the move: this process's own copy, or one that it shares with its parent until
    /// either writes.
    fn is_anonymous(self) -> bool {
        self.0 >> 62 & 3 != 0 && self.0 >> 61 & 1 == 0
    }

    /// In a child: it has written the page since the fork.
    fn is_own(self) -> bool {
        self.is_present() && self.is_anonymous() && self.0 >> 56 & 1 == 1
    }
}

fn page_bytes() -> usize {
    // SAFETY: asks for a number.
    unsafe { libc::sysconf(libc::_SC_PAGESIZE) as usize }
}

/// Calls `see` with each page of the mapping.
fn for_each_page(pagemap: &File, mapping: &Mapping, mut see: impl FnMut(usize, Page)) -> io::Result<()> {
    const ENTRY: usize = size_of::<u64>();
    let page_bytes = page_bytes();
    let mut entries = vec![0; 4096 * ENTRY];
    let mut address = mapping.range.start;
    while address < mapping.range.end {
        let wanted = ((mapping.range.end - address) / page_bytes * ENTRY).min(entries.len());
        let got = pagemap.read_at(&mut entries[..wanted], (address / page_bytes * ENTRY) as u64)? / ENTRY;
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

/// Adds a page to ranges that are filled in order.
fn add(ranges: &mut Vec<Range<usize>>, page: usize) {
    let end = page + page_bytes();
    match ranges.last_mut() {
        Some(last) if last.end == page => last.end = end,
        _ => ranges.push(page..end),
    }
}

impl Touched {
    /// In a scout: what it has touched since its fork.
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

    /// As bytes: two lists of start and end, each after its length.
    pub fn encode(&self) -> Vec<u8> {
        let number = |number: usize| (number as u64).to_le_bytes();
        let list = |ranges: &[Range<usize>]| {
            let bounds = ranges.iter().flat_map(|range| [range.start, range.end]);
            std::iter::once(ranges.len()).chain(bounds).flat_map(number).collect::<Vec<_>>()
        };
        [list(&self.written), list(&self.read)].concat()
    }

    /// Reads these bytes; `None` if that is not what they are.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut numbers = bytes.as_chunks().0.iter().map(|number| u64::from_le_bytes(*number) as usize);
        let mut list = || -> Option<Vec<Range<usize>>> {
            let length = numbers.next()?;
            (0..length).map(|_| Some(numbers.next()?..numbers.next()?)).collect()
        };
        Some(Self { written: list()?, read: list()? })
    }

    /// Whether anything is known.
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

    /// In the zygote: without the memory that only the scout had. A copy of a range fails at the first page that is not there.
    pub fn of_this_process(self) -> Self {
        let mappings = mappings::private().unwrap_or_default();
        let common = |ranges: &[Range<usize>], writable: bool| {
            let mut common = Vec::new();
            for range in ranges {
                for Mapping { range: own, .. } in mappings.iter().filter(|mapping| mapping.writable == writable) {
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

    /// Copies what comes in the order of addresses between so many and so many bytes of the pages that are written.
    fn copy(&self, part: Range<usize>) {
        let mut before = 0;
        for range in &self.written {
            let skipped = part.start.saturating_sub(before).min(range.len());
            let wanted = part.end.saturating_sub(before).min(range.len());
            before += range.len();
            if skipped < wanted {
                // SAFETY: as if each page were read, and written with what it holds.
                unsafe { libc::madvise((range.start + skipped) as *mut c_void, wanted - skipped, libc::MADV_POPULATE_WRITE) };
            }
        }
    }

    /// In the zygote, once: keeps this for its sandboxes.
    pub fn keep(self) {
        let _ = LEARNED.set(self);
    }

    /// In the zygote, once: makes a fork copy the page tables of those pages of files that a run needs, and of no others.
    pub fn hand_on_files(&self) {
        let (Ok(pagemap), Ok(memory), Ok(mappings)) =
            (File::open("/proc/self/pagemap"), File::options().write(true).open("/proc/self/mem"), mappings::private())
        else {
            return;
        };
        for mapping in mappings.iter().filter(|mapping| mapping.of_file && mapping.readable && !mapping.writable) {
            let mut is_as_mapped = true;
            let read = for_each_page(&pagemap, mapping, |_, page| is_as_mapped &= !page.is_anonymous());
            // What relocation has written stays; a fork copies its tables anyway.
            if read.is_ok() && is_as_mapped && !self.read.is_empty() {
                copied_by_forks(mapping, &memory);
            }
        }
        for range in &self.read {
            // SAFETY: as if each page were read.
            unsafe { libc::madvise(range.start as *mut c_void, range.len(), libc::MADV_POPULATE_READ) };
        }
    }
}

/// In a sandbox that is about to be parked: copies pages that its program will write.
pub fn copy_before_parked() {
    if let Some(touched) = LEARNED.get() {
        touched.copy(0..MOST_PARKED_BYTES);
    }
}

/// In a sandbox that is woken: copies the others.
pub fn copy_rest() {
    if let Some(touched) = LEARNED.get() {
        touched.copy(MOST_PARKED_BYTES..MOST_BYTES);
    }
}

/// A fork copies the page table of a file's mapping only if a page of it was ever written (`vma_needs_copy` in the kernel's mm/memory.c). So its first
/// byte is written as it is, through `/proc/self/mem`: the mapping is never writable for it. A kernel that does not allow that leaves all as it was.
fn copied_by_forks(mapping: &Mapping, memory: &File) {
    let start = mapping.range.start;
    // What boot needed and no run does would be copied by every fork, and freed by every end.
    // SAFETY: every page is the file's, and comes back from there whenever it is touched.
    unsafe { libc::madvise(start as *mut c_void, mapping.range.len(), libc::MADV_DONTNEED) };
    // SAFETY: the mapping is readable.
    let first = unsafe { (start as *const u8).read_volatile() };
    let _ = memory.write_at(&[first], start as u64);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory(pages: usize) -> usize {
        // SAFETY: a new mapping of this process's own.
        let memory = unsafe {
            let access = libc::PROT_READ | libc::PROT_WRITE;
            libc::mmap(std::ptr::null_mut(), pages * page_bytes(), access, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0)
        };
        assert_ne!(memory, libc::MAP_FAILED);
        memory as usize
    }

    #[test]
    fn a_part_of_the_pages_is_made_ready_in_order() {
        let start = memory(6);
        let range = |pages: Range<usize>| start + pages.start * page_bytes()..start + pages.end * page_bytes();
        let touched = Touched { written: vec![range(0..2), range(3..6)], read: Vec::new() };
        touched.copy(page_bytes()..4 * page_bytes());
        let mapping = Mapping { range: range(0..6), readable: true, writable: true, of_file: false };
        let mut present = Vec::new();
        for_each_page(&File::open("/proc/self/pagemap").unwrap(), &mapping, |_, page| present.push(page.is_present())).unwrap();
        assert_eq!(present, [false, true, false, true, true, false]);
    }

    #[test]
    fn what_only_the_scout_had_is_left_out() {
        let start = memory(3);
        let page = |index: usize| start + index * page_bytes();
        // SAFETY: a page of that mapping, which nothing uses.
        assert_eq!(unsafe { libc::munmap(page(1) as *mut c_void, page_bytes()) }, 0);
        let touched = Touched { written: vec![page(0)..page(2), page(2)..page(3)], read: Vec::new() }.of_this_process();
        assert_eq!(touched.written, [page(0)..page(1), page(2)..page(3)]);
    }

    #[test]
    fn what_is_told_is_understood() {
        let touched = Touched { written: vec![1..2, 5..9], read: vec![3..4, 6..7] };
        let told = touched.encode();
        let heard = Touched::decode(&told).unwrap();
        assert_eq!((heard.written, heard.read), (touched.written, touched.read));
        assert!(Touched::decode(&told[..told.len() - 8]).is_none());
    }
}
