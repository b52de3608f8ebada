//! Reading short files whose content the kernel generates: those of procfs and of control groups.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

/// The size of a read. A shorter file is returned completely by the first one.
const BUFFER_BYTES: usize = 4096;

/// Reads a text that the kernel generates. `fs::read_to_string` queries the size, which such a file
/// does not have, reads in growing pieces and reads again to find the end: four to ten system calls
/// instead of one, for some ten files in every run. Do not use it for lists (`maps`,
/// `cgroup.procs`): the kernel may return their records in reads that are shorter than the buffer
/// before the end.
pub fn read_kernel_file(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut buffer = [0; BUFFER_BYTES];
    let mut bytes = Vec::new();
    loop {
        let length = match file.read(&mut buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            length => length?,
        };
        bytes.extend_from_slice(&buffer[..length]);
        if length < BUFFER_BYTES {
            return String::from_utf8(bytes)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_the_kernel_is_read_whole() {
        let path = Path::new("/proc/self/cgroup");
        assert_eq!(read_kernel_file(path).unwrap(), std::fs::read_to_string(path).unwrap());
        assert!(read_kernel_file(Path::new("/proc/self/none")).is_err());
    }

    #[test]
    fn a_file_of_several_buffers_is_read_whole() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let text = "0123456789".repeat(1000);
        std::fs::write(file.path(), &text).unwrap();
        assert_eq!(read_kernel_file(file.path()).unwrap(), text);
    }
}
