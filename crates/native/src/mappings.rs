//! The memory mappings of this process, from `/proc/self/maps`.

use std::fs;
use std::io;
use std::ops::Range;

/// A private mapping. A fork gets a copy of it.
pub struct Mapping {
    pub range: Range<usize>,
    pub readable: bool,
    pub writable: bool,
    pub of_file: bool,
}

/// Returns the private mappings of memory and of files.
pub fn private() -> io::Result<Vec<Mapping>> {
    let maps = fs::read_to_string("/proc/self/maps")?;
    Ok(maps.lines().filter_map(mapping).collect())
}

fn mapping(line: &str) -> Option<Mapping> {
    let mut fields = line.split_ascii_whitespace();
    let (start, end) = fields.next()?.split_once('-')?;
    let range = usize::from_str_radix(start, 16).ok()?..usize::from_str_radix(end, 16).ok()?;
    let access = fields.next()?;
    let inode = fields.nth(2)?;
    // The kernel's own mappings ([vdso] and similar) must not be touched.
    let is_kernels = fields.next().is_some_and(|name| name.starts_with("[v"));
    let (readable, writable) = (access.starts_with('r'), access.contains('w'));
    (access.ends_with('p') && !is_kernels).then(|| Mapping {
        range,
        readable,
        writable,
        of_file: inode != "0",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_private_mappings_are_listed() {
        assert!(mapping("7f00-7f10 rw-s 00000000 00:01 5 /dev/zero").is_none());
        assert!(mapping("7f00-7f10 r-xp 00000000 00:00 0 [vdso]").is_none());
        assert!(!mapping("7f00-7f10 ---p 00000000 00:00 0").unwrap().readable);
        let code = mapping("400000-746000 r-xp 0000a000 fe:00 1001 /usr/bin/node").unwrap();
        assert_eq!(
            (code.range, code.readable, code.writable, code.of_file),
            (0x40_0000..0x74_6000, true, false, true)
        );
        let heap = mapping("7f00-7f10 rw-p 00000000 00:00 0 [heap]").unwrap();
        assert!(heap.writable && !heap.of_file);
    }
}
