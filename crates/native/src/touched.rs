//! Which memory a run touches. A fork shares its zygote's memory until it touches it, and most of the time from a fork to an outcome went into some 450
//! page faults, the same ones in every sandbox. So a zygote sends one child ahead as a scout, which goes the way of a sandbox with a program of the
//! driver's, and gives its sandboxes what that touched: the pages that they will write as copies made in one go, before they are parked; the code that
//! they will run as tables copied by the fork itself.

use std::ffi::c_void;
use std::fs::File;
use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::sync::{Mutex, OnceLock, PoisonError};

use crate::mappings::{self, Mapping};

/// Copies that a sandbox gets before it is parked are memory that it holds for as long as it is.
const MOST_PARKED_BYTES: usize = 75 << 14;
/// All that it gets, with what is copied when it is woken.
const MOST_BYTES: usize = 4 << 20;

/// What this zygote has learned, for its sandboxes.
static LEARNED: OnceLock<Touched> = OnceLock::new();

/// What a run touched, as ranges of addresses.
#[derive(Debug, Default)]
pub struct Touched {
    written: Vec<Range<usize>>,
    code: Vec<Range<usize>>,
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
    /// In a child that has rehearsed: what it has touched since its fork.
    fn since_fork() -> io::Result<Self> {
        let pagemap = File::open("/proc/self/pagemap")?;
        let mut touched = Self::default();
        for mapping in mappings::private()?.into_iter().filter(|mapping| mapping.readable) {
            let Self { written, code } = &mut touched;
            for_each_page(&pagemap, &mapping, |address, page| {
                if mapping.writable && page.is_own() {
                    add(written, address);
                } else if !mapping.writable && mapping.of_file && page.is_present() {
                    add(code, address);
                }
            })?;
        }
        Ok(touched)
    }

    /// As bytes: two lists of start and end, each after its length.
    fn encode(&self) -> Vec<u8> {
        let number = |number: usize| (number as u64).to_le_bytes();
        let list = |ranges: &[Range<usize>]| {
            let bounds = ranges.iter().flat_map(|range| [range.start, range.end]);
            std::iter::once(ranges.len()).chain(bounds).flat_map(number).collect::<Vec<_>>()
        };
        [list(&self.written), list(&self.code)].concat()
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let mut numbers = bytes.as_chunks().0.iter().map(|number| u64::from_le_bytes(*number) as usize);
        let mut list = || -> Option<Vec<Range<usize>>> {
            let length = numbers.next()?;
            (0..length).map(|_| Some(numbers.next()?..numbers.next()?)).collect()
        };
        Some(Self { written: list()?, code: list()? })
    }

    /// In the zygote, once: forks the scout, in which `enter` is called and `None` returned, and learns what it touched from there to its `tell`.
    /// Nothing is learned, and nothing is lost but time, where that fails.
    pub fn learn(enter: impl FnOnce() -> bool) -> Option<Self> {
        let Ok((reader, writer)) = io::pipe() else { return Some(Self::default()) };
        // SAFETY: as for every fork of a zygote: this thread alone goes on in the child, and no other of the zygote's holds a lock while it idles.
        match unsafe { libc::fork() } {
            ..0 => Some(Self::default()),
            0 => {
                drop(reader);
                if !enter() {
                    // SAFETY: ends the child.
                    unsafe { libc::_exit(1) }
                }
                *SCOUT.lock().unwrap_or_else(PoisonError::into_inner) = Some(writer);
                None
            }
            child => {
                drop(writer);
                let told = hear(reader);
                // One that does not come back is not waited for.
                // SAFETY: our own child, not yet waited for.
                unsafe {
                    libc::kill(child, libc::SIGKILL);
                    libc::waitpid(child, std::ptr::null_mut(), 0);
                }
                Some(Self::decode(&told).unwrap_or_default())
            }
        }
    }

    /// Copies what comes in the order of addresses between so many and so many bytes of the pages that are written.
    fn copy(&self, part: Range<usize>) {
        let mut before = 0;
        for range in &self.written {
            let skipped = part.start.saturating_sub(before).min(range.len());
            let wanted = part.end.saturating_sub(before).min(range.len());
            before += range.len();
            if skipped < wanted {
                // A range that is there no more changes nothing.
                // SAFETY: as if each page were read, and written with what it holds.
                unsafe { libc::madvise((range.start + skipped) as *mut c_void, wanted - skipped, libc::MADV_POPULATE_WRITE) };
            }
        }
    }

    /// In the zygote, once: keeps this for its sandboxes.
    pub fn keep(self) {
        let _ = LEARNED.set(self);
    }

    /// In the zygote, once: makes a fork copy the page tables of the code that a run needs, and of nothing else.
    pub fn hand_on_code(&self) {
        let (Ok(pagemap), Ok(memory), Ok(mappings)) =
            (File::open("/proc/self/pagemap"), File::options().write(true).open("/proc/self/mem"), mappings::private())
        else {
            return;
        };
        for mapping in mappings.iter().filter(|mapping| mapping.of_file && mapping.readable && !mapping.writable) {
            let mut is_as_mapped = true;
            let read = for_each_page(&pagemap, mapping, |_, page| is_as_mapped &= !page.is_anonymous());
            // What relocation has written stays; a fork copies its tables anyway.
            if read.is_ok() && is_as_mapped && !self.code.is_empty() {
                copied_by_forks(mapping, &memory);
            }
        }
        for range in &self.code {
            // SAFETY: as if each page were read.
            unsafe { libc::madvise(range.start as *mut c_void, range.len(), libc::MADV_POPULATE_READ) };
        }
    }
}

/// In a sandbox that is about to be parked: copies pages that its program will write, in one go.
pub fn copy_before_parked() {
    if let Some(touched) = LEARNED.get() {
        touched.copy(0..MOST_PARKED_BYTES);
    }
}

/// In a sandbox that is woken: copies the others. Each by itself, when it is written, would cost several times as much.
pub fn copy_rest() {
    if let Some(touched) = LEARNED.get() {
        touched.copy(MOST_PARKED_BYTES..MOST_BYTES);
    }
}

/// In the scout: the way back to its zygote.
static SCOUT: Mutex<Option<PipeWriter>> = Mutex::new(None);

/// How long a scout may take. Emulated machines need most of it.
const SCOUT_TIME_MS: i32 = 20_000;

/// Called when a sandbox's process is about to end by itself: if it is the scout, and the run was a success, tells what it has touched.
pub fn tell(exit_code: i32) {
    let scout = SCOUT.try_lock().ok().and_then(|mut scout| scout.take());
    if let Some(mut zygote) = scout.filter(|_| exit_code == 0) {
        let _ = Touched::since_fork().and_then(|touched| zygote.write_all(&touched.encode()));
    }
}

/// All that the scout tells, which it does at once.
fn hear(mut scout: PipeReader) -> Vec<u8> {
    let mut told = Vec::new();
    let mut waiting = libc::pollfd { fd: scout.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: one valid entry.
    if unsafe { libc::poll(&raw mut waiting, 1, SCOUT_TIME_MS) } == 1 {
        let _ = scout.read_to_end(&mut told);
    }
    told
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

    /// What a scout touches that does this and ends with what it gives.
    fn scout(run: impl FnOnce() -> i32) -> Touched {
        Touched::learn(|| true).unwrap_or_else(|| {
            let code = run();
            tell(code);
            // SAFETY: ends the child.
            unsafe { libc::_exit(code) }
        })
    }

    #[test]
    fn a_child_tells_which_pages_it_wrote() {
        let page_bytes = page_bytes();
        // SAFETY: a new mapping of this process's own.
        let memory = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                4 * page_bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_POPULATE,
                -1,
                0,
            )
        };
        assert_ne!(memory, libc::MAP_FAILED);
        // SAFETY: four pages are mapped and writable.
        let write = |page: usize| unsafe { memory.cast::<u8>().add(page * page_bytes).write_volatile(1) };
        (0..4).for_each(write);
        let touched = scout(|| {
            write(1);
            write(3);
            0
        });
        let is_written = |page: usize| {
            let address = memory as usize + page * page_bytes;
            touched.written.iter().any(|range| range.contains(&address))
        };
        assert_eq!([0, 1, 2, 3].map(is_written), [false, true, false, true]);
        let own_code = super::page_bytes as *const () as usize;
        assert!(touched.code.iter().any(|range| range.contains(&own_code)));
    }

    #[test]
    fn nothing_is_learned_of_a_scout_that_fails() {
        for touched in [scout(|| 1), Touched::learn(|| false).unwrap()] {
            assert!(touched.written.is_empty() && touched.code.is_empty());
        }
    }

    #[test]
    fn code_that_is_mapped_anew_still_runs() {
        // In a child, so that no other test runs in what is taken away.
        let touched = scout(|| {
            scout(|| 0).hand_on_code();
            i32::from(std::env::current_dir().is_err())
        });
        assert!(!touched.code.is_empty());
    }

    #[test]
    fn a_part_of_the_pages_is_copied_in_order() {
        let page_bytes = page_bytes();
        // SAFETY: a new mapping of this process's own.
        let memory = unsafe {
            let access = libc::PROT_READ | libc::PROT_WRITE;
            libc::mmap(std::ptr::null_mut(), 6 * page_bytes, access, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0)
        } as usize;
        let range = |pages: Range<usize>| memory + pages.start * page_bytes..memory + pages.end * page_bytes;
        let touched = Touched { written: vec![range(0..2), range(3..6)], code: Vec::new() };
        touched.copy(page_bytes..4 * page_bytes);
        let mapping = Mapping { range: range(0..6), readable: true, writable: true, of_file: false };
        let mut own = Vec::new();
        for_each_page(&File::open("/proc/self/pagemap").unwrap(), &mapping, |_, page| own.push(page.is_present())).unwrap();
        assert_eq!(own, [false, true, false, true, true, false]);
    }
}
