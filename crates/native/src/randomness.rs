//! OpenSSL's random generator after a fork. OpenSSL detects a fork by the process id, but every
//! sandbox is process 1 of its own namespace: without help, all forks of a zygote would draw the
//! same keys. A generator that can be called is reseeded here. A copy that is linked into another
//! library under no exported name reseeds itself (`fork_identity`).

use std::ffi::{CStr, CString, c_char, c_int, c_void};

use belljar_jail::{SetupError, Step};

type RandPoll = unsafe extern "C" fn() -> c_int;

/// Returns every `RAND_poll` in the process: Node's own, that of Python's `ssl`, or none. Called in
/// the zygote.
pub fn generators() -> Vec<RandPoll> {
    let mut found: Vec<RandPoll> = Vec::new();
    let mut add = |address: *mut c_void| {
        if address.is_null() {
            return;
        }
        // SAFETY: `RAND_poll` has been `int RAND_poll(void)` in every OpenSSL and its forks.
        let function = unsafe { std::mem::transmute::<*mut c_void, RandPoll>(address) };
        if !found.iter().any(|known| *known as usize == function as usize) {
            found.push(function);
        }
    };
    add(crate::symbols::find(c"RAND_poll").unwrap_or(std::ptr::null_mut()));
    for object in loaded_objects() {
        // SAFETY: the name is NUL-terminated, and with RTLD_NOLOAD nothing is loaded or run.
        let handle = unsafe { libc::dlopen(object.as_ptr(), libc::RTLD_NOLOAD | libc::RTLD_LAZY) };
        if !handle.is_null() {
            // SAFETY: a live handle and a NUL-terminated name.
            add(unsafe { libc::dlsym(handle, c"RAND_poll".as_ptr()) });
        }
    }
    found
}

fn loaded_objects() -> Vec<CString> {
    unsafe extern "C" fn collect(
        info: *mut libc::dl_phdr_info,
        _size: usize,
        names: *mut c_void,
    ) -> c_int {
        // SAFETY: the linker passes a valid description, and `names` is the vector below.
        let (name, names) = unsafe { ((*info).dlpi_name, &mut *names.cast::<Vec<CString>>()) };
        if !name.is_null() {
            // SAFETY: a NUL-terminated name that lives for the call.
            let name = unsafe { CStr::from_ptr(name.cast::<c_char>()) };
            // Only OpenSSL itself, because a lookup in any other object would also find the
            // function in the objects that it depends on.
            if name.to_bytes().windows(9).any(|part| part == b"libcrypto") {
                names.push(name.to_owned());
            }
        }
        0
    }
    let mut names: Vec<CString> = Vec::new();
    // SAFETY: the callback keeps to its contract, and the vector outlives the call.
    unsafe { libc::dl_iterate_phdr(Some(collect), (&raw mut names).cast()) };
    names
}

/// Adds new entropy from the kernel to each generator.
pub fn reseed(generators: &[RandPoll]) -> Result<(), SetupError> {
    for generator in generators {
        // SAFETY: no arguments. The function takes OpenSSL's own locks, which glibc's fork handlers
        // have left usable.
        if unsafe { generator() } != 1 {
            return Err(SetupError { step: Step::Randomness, errno: libc::EIO });
        }
    }
    Ok(())
}

/// Returns random bytes from the kernel.
pub fn bytes(length: usize) -> std::io::Result<Vec<u8>> {
    let mut buffer = vec![0_u8; length];
    let mut filled = 0;
    while filled < length {
        // SAFETY: the rest of the buffer is writable for the given length.
        let got =
            unsafe { libc::getrandom(buffer[filled..].as_mut_ptr().cast(), length - filled, 0) };
        match usize::try_from(got) {
            Ok(got) => filled += got,
            Err(_) if std::io::Error::last_os_error().kind() == std::io::ErrorKind::Interrupted => {
            }
            Err(_) => return Err(std::io::Error::last_os_error()),
        }
    }
    Ok(buffer)
}

/// Returns a random number from the kernel.
pub fn number() -> std::io::Result<u32> {
    let bytes = bytes(size_of::<u32>())?;
    Ok(bytes.iter().fold(0, |number, byte| number << 8 | u32::from(*byte)))
}
