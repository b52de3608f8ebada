//! Which memory a run touches. A fork shares its zygote's memory until it touches it, and most of the time from a fork to an outcome went into some 450
//! page faults, the same ones in every sandbox. So a zygote has one child rehearse a run, learns from it, and gives its sandboxes what they will touch:
//! the pages that they will write as copies made in one go, before they are parked; the code that they will run as tables copied by the fork itself.

use std::ffi::c_void;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::PathBuf;

/// Each page that a sandbox is given is memory that it holds while it is parked.
const MOST_PAGES: usize = 512;

/// What a run touched, as ranges of addresses.
#[derive(Debug, Default)]
pub struct Touched {
    written: Vec<Range<usize>>,
    code: Vec<Range<usize>>,
}

/// One mapping of this process that a fork inherits.
struct Mapping {
    range: Range<usize>,
    writable: bool,
    executable: bool,
    file: Option<MappedFile>,
}

/// What a mapping shows.
struct MappedFile {
    path: PathBuf,
    inode: u64,
    offset: i64,
}

/// A page as `/proc/self/pagemap` has it (the kernel's documentation, "pagemap").
#[derive(Clone, Copy)]
struct Page(u64);

impl Page {
    fn is_present(self) -> bool {
        self.0 >> 63 & 1 == 1
    }

    /// Not a file's, nor shared: this process's own copy, or one that it shares with its parent until either writes.
    fn is_anonymous(self) -> bool {
        self.is_present() && self.0 >> 61 & 1 == 0
    }

    /// In a child: it has written the page since the fork.
    fn is_own(self) -> bool {
        self.is_anonymous() && self.0 >> 56 & 1 == 1
    }
}

fn page_bytes() -> usize {
    // SAFETY: asks for a number.
    unsafe { libc::sysconf(libc::_SC_PAGESIZE) as usize }
}

/// The private mappings of memory and of files.
fn mappings() -> io::Result<Vec<Mapping>> {
    let maps = fs::read_to_string("/proc/self/maps")?;
    Ok(maps.lines().filter_map(mapping).collect())
}

fn mapping(line: &str) -> Option<Mapping> {
    let mut fields = line.split_ascii_whitespace();
    let (start, end) = fields.next()?.split_once('-')?;
    let range = usize::from_str_radix(start, 16).ok()?..usize::from_str_radix(end, 16).ok()?;
    let access = fields.next()?;
    let offset = i64::from_str_radix(fields.next()?, 16).ok()?;
    let inode = fields.nth(1)?.parse().ok()?;
    // The rest of the line, where there is one: a name may hold spaces.
    let name = line.find(['/', '[']).map_or("", |start| &line[start..]);
    // The kernel's own ([vdso] and its kin) are nobody's to touch.
    let is_wanted = access.starts_with('r') && access.ends_with('p') && !name.starts_with("[v");
    let file = (inode != 0).then(|| MappedFile { path: name.into(), inode, offset });
    is_wanted.then(|| Mapping { range, writable: access.contains('w'), executable: access.contains('x'), file })
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
        for mapping in mappings()? {
            let Self { written, code } = &mut touched;
            for_each_page(&pagemap, &mapping, |address, page| {
                if mapping.writable && page.is_own() {
                    add(written, address);
                } else if !mapping.writable && mapping.file.is_some() && page.is_present() {
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

    /// In the zygote, once: forks a child that calls `rehearse`, and learns what that touched. Nothing is learned, and nothing is lost but time, where
    /// that fails.
    pub fn learn(rehearse: impl FnOnce() -> bool) -> Self {
        let Ok((mut reader, writer)) = io::pipe() else { return Self::default() };
        // SAFETY: the caller has one thread.
        match unsafe { libc::fork() } {
            ..0 => Self::default(),
            0 => {
                drop(reader);
                let told = rehearse() && Self::since_fork().and_then(|touched| (&writer).write_all(&touched.encode())).is_ok();
                // SAFETY: ends the child.
                unsafe { libc::_exit(i32::from(!told)) }
            }
            child => {
                drop(writer);
                let mut told = Vec::new();
                let _ = reader.read_to_end(&mut told);
                let mut status = 0;
                // SAFETY: our own child, and a writable result.
                let reaped = unsafe { libc::waitpid(child, &raw mut status, 0) };
                if reaped == child && status == 0 { Self::decode(&told).unwrap_or_default() } else { Self::default() }
            }
        }
    }

    /// In a sandbox: copies the pages that the program is going to write, in one go.
    pub fn copy(&self) {
        let mut left = MOST_PAGES * page_bytes();
        for range in &self.written {
            left = match left.checked_sub(range.len()) {
                Some(left) => left,
                None => return,
            };
            // A range that is there no more changes nothing.
            // SAFETY: as if each page were read, and written with what it holds.
            unsafe { libc::madvise(range.start as *mut c_void, range.len(), libc::MADV_POPULATE_WRITE) };
        }
    }

    /// In the zygote, once: makes a fork copy the page tables of the code that a run needs, and of nothing else.
    pub fn hand_on_code(&self) -> io::Result<()> {
        let pagemap = File::open("/proc/self/pagemap")?;
        for mapping in mappings()?.into_iter().filter(|mapping| !mapping.writable) {
            let mut is_as_mapped = true;
            for_each_page(&pagemap, &mapping, |_, page| is_as_mapped &= !page.is_anonymous())?;
            // What relocation has written stays; a fork copies its tables anyway. This code must not be taken from under itself.
            if is_as_mapped && !mapping.range.contains(&(copied_by_forks as *const () as usize)) {
                copied_by_forks(&mapping)?;
            }
        }
        for range in &self.code {
            // SAFETY: as if each page were read.
            unsafe { libc::madvise(range.start as *mut c_void, range.len(), libc::MADV_POPULATE_READ) };
        }
        Ok(())
    }
}

/// A fork copies the page tables of a file's mapping only if some page of it was ever written (`vma_needs_copy` in the kernel's mm/memory.c). So one
/// byte is written as it was, into a page that is never writable and executable at once.
///
/// The file is mapped anew for it: without the tables that boot has filled and no run needs, and without a reservation, which being writable would cost
/// every fork. An error means that the page could not be made executable again.
fn copied_by_forks(mapping: &Mapping) -> io::Result<()> {
    let Some(mapped) = &mapping.file else { return Ok(()) };
    let Ok(file) = File::open(&mapped.path) else { return Ok(()) };
    if file.metadata().map_or(true, |metadata| metadata.ino() != mapped.inode) {
        return Ok(());
    }
    let start = mapping.range.start as *mut u8;
    let page = mapping.range.start..mapping.range.start + page_bytes();
    if page.contains(&(libc::mprotect as *const () as usize)) {
        return Ok(());
    }
    let access = libc::PROT_READ | if mapping.executable { libc::PROT_EXEC } else { 0 };
    let flags = libc::MAP_PRIVATE | libc::MAP_FIXED | libc::MAP_NORESERVE;
    // SAFETY: the same part of the same file where it is already, of which nothing was changed; in one step for whoever runs in it.
    let mapped = unsafe { libc::mmap(start.cast(), mapping.range.len(), access, flags, file.as_raw_fd(), mapped.offset) };
    let protect = |protection: i32| {
        // SAFETY: the first page of the mapping, which gets back the access that it had.
        if unsafe { libc::mprotect(start.cast(), page_bytes(), protection) } == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    };
    if mapped == libc::MAP_FAILED || protect(libc::PROT_READ | libc::PROT_WRITE).is_err() {
        return Ok(());
    }
    // SAFETY: the page is mapped and, for now, writable; the byte stays what it is.
    unsafe { start.write_volatile(start.read_volatile()) };
    protect(access)
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let touched = Touched::learn(|| {
            write(1);
            write(3);
            true
        });
        let is_written = |page: usize| {
            let address = memory as usize + page * page_bytes;
            touched.written.iter().any(|range| range.contains(&address))
        };
        assert_eq!([0, 1, 2, 3].map(is_written), [false, true, false, true]);
        let own_code = mapping as *const () as usize;
        assert!(touched.code.iter().any(|range| range.contains(&own_code)));
    }

    #[test]
    fn nothing_is_learned_of_a_child_that_fails() {
        let touched = Touched::learn(|| false);
        assert!(touched.written.is_empty() && touched.code.is_empty());
    }

    #[test]
    fn code_that_is_mapped_anew_still_runs() {
        // In a child, which has one thread, as a zygote has.
        let touched = Touched::learn(|| Touched::learn(|| true).hand_on_code().is_ok() && std::env::current_dir().is_ok());
        assert!(!touched.code.is_empty());
    }

    #[test]
    fn only_private_mappings_are_looked_at() {
        assert!(mapping("7f00-7f10 rw-s 00000000 00:01 5 /dev/zero").is_none());
        assert!(mapping("7f00-7f10 ---p 00000000 00:00 0").is_none());
        assert!(mapping("7f00-7f10 r-xp 00000000 00:00 0 [vdso]").is_none());
        let code = mapping("400000-746000 r-xp 0000a000 fe:00 1001 /usr/bin/a name with spaces").unwrap();
        assert_eq!((code.range, code.writable, code.executable), (0x40_0000..0x74_6000, false, true));
        let file = code.file.unwrap();
        assert_eq!((file.path.to_str(), file.inode, file.offset), (Some("/usr/bin/a name with spaces"), 1001, 0xa000));
    }
}
