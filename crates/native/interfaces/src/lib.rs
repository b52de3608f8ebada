//! Replacements for `getifaddrs(3)` and `if_nameindex(3)`. The C library lists network interfaces
//! by netlink, which a sandbox does not have: unread netlink messages are kernel memory that no
//! control group counts. These functions use `ioctl(2)` (netdevice(7)) and
//! `/proc/self/net/if_inet6`.
//!
//! The runtime and its extension modules have them from the native library, which is preloaded.
//! Programs that a program starts have them from this library, which the dynamic linker preloads
//! into each of them (`/etc/ld.so.preload`). Programs that are linked statically, or ask netlink
//! themselves, find no interfaces.

use std::ffi::{CStr, c_char, c_int, c_uint};
use std::fs;
use std::io;
use std::mem;
use std::net::Ipv6Addr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr;

/// The highest interface index that is queried. The network namespace of a sandbox is new, and its
/// interfaces are numbered from 1.
const LAST_INDEX: c_int = 255;
/// The maximum number of IPv4 addresses that are listed.
const MAX_ADDRESSES: usize = 256;

type Name = [c_char; libc::IFNAMSIZ];

#[derive(Clone, Copy)]
struct Interface {
    index: c_int,
    name: Name,
    flags: c_uint,
    /// Type of the hardware (`ARPHRD_*`) and its address.
    hardware: (u16, [u8; 6]),
}

/// Opens a socket for the `ioctl` calls. If INET sockets are refused, a local one serves: it
/// answers everything except IPv4 addresses, of which there are none in that case.
fn socket() -> io::Result<OwnedFd> {
    let mut fd = -1;
    for family in [libc::AF_INET, libc::AF_UNIX] {
        // SAFETY: no pointers.
        fd = unsafe { libc::socket(family, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
        if fd >= 0 {
            break;
        }
    }
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just returned this descriptor to us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn request_about(name: Name) -> libc::ifreq {
    // SAFETY: all-zero is a valid `ifreq`.
    let mut request: libc::ifreq = unsafe { mem::zeroed() };
    request.ifr_name = name;
    request
}

/// Queries the kernel about one interface. The result is written to `request`.
fn ask(socket: &OwnedFd, question: libc::Ioctl, request: &mut libc::ifreq) -> Option<()> {
    // SAFETY: every request used in this file reads and writes one `ifreq`.
    (unsafe { libc::ioctl(socket.as_raw_fd(), question, ptr::from_mut(request)) } == 0)
        .then_some(())
}

fn interfaces(socket: &OwnedFd) -> Vec<Interface> {
    (1..=LAST_INDEX).filter_map(|index| interface(socket, index)).collect()
}

fn interface(socket: &OwnedFd, index: c_int) -> Option<Interface> {
    let mut request = request_about([0; libc::IFNAMSIZ]);
    request.ifr_ifru.ifru_ifindex = index;
    ask(socket, libc::SIOCGIFNAME, &mut request)?;
    let name = request.ifr_name;
    let mut request = request_about(name);
    ask(socket, libc::SIOCGIFFLAGS, &mut request)?;
    // SAFETY: the kernel has written the flags.
    let flags = c_uint::from(unsafe { request.ifr_ifru.ifru_flags }.cast_unsigned());
    let mut request = request_about(name);
    ask(socket, libc::SIOCGIFHWADDR, &mut request)?;
    // SAFETY: the kernel has written the hardware's address.
    let hardware = unsafe { request.ifr_ifru.ifru_hwaddr };
    let mut address = [0; 6];
    address.iter_mut().zip(hardware.sa_data).for_each(|(to, from)| [*to] = from.to_ne_bytes());
    Some(Interface { index, name, flags, hardware: (hardware.sa_family, address) })
}

/// Returns the IPv4 addresses, each with the name of its interface, which may be an alias.
fn addresses(socket: &OwnedFd) -> Vec<(Name, libc::sockaddr)> {
    #[repr(C)]
    struct Configuration {
        bytes: c_int,
        requests: *mut libc::ifreq,
    }
    let mut requests = vec![request_about([0; libc::IFNAMSIZ]); MAX_ADDRESSES];
    let size = size_of::<libc::ifreq>();
    let mut list =
        Configuration { bytes: (requests.len() * size) as c_int, requests: requests.as_mut_ptr() };
    // SAFETY: SIOCGIFCONF writes at most `bytes` bytes to the requests, and the written number back
    // to the list.
    if unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFCONF, &raw mut list) } != 0 {
        return Vec::new();
    }
    requests.truncate(list.bytes as usize / size);
    // SAFETY: the kernel has written the addresses of the remaining requests.
    requests
        .into_iter()
        .map(|request| (request.ifr_name, unsafe { request.ifr_ifru.ifru_addr }))
        .collect()
}

/// Returns the netmask or the broadcast address that belongs to an address of an interface.
fn related(
    socket: &OwnedFd,
    question: libc::Ioctl,
    name: Name,
    address: libc::sockaddr,
) -> Option<libc::sockaddr> {
    let mut request = request_about(name);
    request.ifr_ifru.ifru_addr = address;
    ask(socket, question, &mut request)?;
    // SAFETY: the kernel has written an address.
    Some(unsafe { request.ifr_ifru.ifru_addr })
}

/// Parses one line of `/proc/self/net/if_inet6`: address, index, length of the prefix, scope and
/// flags, all in hexadecimal, and the name. Returns the index, the address and the prefix length.
fn parse_inet6(line: &str) -> Option<(c_int, Ipv6Addr, u32)> {
    let mut fields = line.split_ascii_whitespace();
    let address = u128::from_str_radix(fields.next()?, 16).ok()?;
    let index = u32::from_str_radix(fields.next()?, 16).ok()?;
    let prefix = u32::from_str_radix(fields.next()?, 16).ok()?;
    Some((index.cast_signed(), Ipv6Addr::from(address), prefix.min(128)))
}

/// One `ifaddrs` with the memory that it points to. The `ifaddrs` is the first field, so that a
/// pointer to it is a pointer to the record.
#[repr(C)]
struct Record {
    entry: libc::ifaddrs,
    name: Name,
    address: libc::sockaddr_storage,
    netmask: libc::sockaddr_storage,
    broadcast: libc::sockaddr_storage,
}

impl Record {
    fn about(name: Name, flags: c_uint) -> Self {
        // SAFETY: all-zero is valid: null pointers and addresses of no family.
        let mut record: Self = unsafe { mem::zeroed() };
        record.name = name;
        record.entry.ifa_flags = flags;
        record
    }
}

/// Writes an address of any family to storage for the largest.
fn store<T: Copy>(place: &mut libc::sockaddr_storage, address: T) {
    const { assert!(size_of::<T>() <= size_of::<libc::sockaddr_storage>()) }
    // SAFETY: the place is large enough, and aligned for every kind of address.
    unsafe { ptr::from_mut(place).cast::<T>().write(address) };
}

fn inet6(address: Ipv6Addr, scope: u32) -> libc::sockaddr_in6 {
    libc::sockaddr_in6 {
        sin6_family: libc::AF_INET6 as libc::sa_family_t,
        sin6_port: 0,
        sin6_flowinfo: 0,
        sin6_addr: libc::in6_addr { s6_addr: address.octets() },
        sin6_scope_id: scope,
    }
}

/// Returns the records in the order of the C library: hardware, IPv4, IPv6.
fn records() -> io::Result<Vec<Record>> {
    let socket = socket()?;
    let interfaces = interfaces(&socket);
    let flags_of = |name: &Name| {
        interfaces
            .iter()
            .find(|one| base_of(&one.name).eq(base_of(name)))
            .map_or(0, |one| one.flags)
    };
    let mut records = Vec::new();
    for one in &interfaces {
        let mut record = Record::about(one.name, one.flags);
        // SAFETY: all-zero is a valid address.
        let mut address: libc::sockaddr_ll = unsafe { mem::zeroed() };
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_ifindex = one.index;
        address.sll_hatype = one.hardware.0;
        address.sll_halen = 6;
        address.sll_addr[..6].copy_from_slice(&one.hardware.1);
        store(&mut record.address, address);
        records.push(record);
    }
    for (name, address) in addresses(&socket) {
        let mut record = Record::about(name, flags_of(&name));
        store(&mut record.address, address);
        if let Some(netmask) = related(&socket, libc::SIOCGIFNETMASK, name, address) {
            store(&mut record.netmask, netmask);
        }
        if record.entry.ifa_flags & libc::IFF_BROADCAST as c_uint != 0
            && let Some(broadcast) = related(&socket, libc::SIOCGIFBRDADDR, name, address)
        {
            store(&mut record.broadcast, broadcast);
        }
        records.push(record);
    }
    let text = fs::read_to_string("/proc/self/net/if_inet6").unwrap_or_default();
    for (index, address, prefix) in text.lines().filter_map(parse_inet6) {
        let Some(one) = interfaces.iter().find(|one| one.index == index) else { continue };
        let mut record = Record::about(one.name, one.flags);
        let scope = if address.is_unicast_link_local() { index.cast_unsigned() } else { 0 };
        store(&mut record.address, inet6(address, scope));
        let netmask = Ipv6Addr::from(u128::MAX.checked_shl(128 - prefix).unwrap_or(0));
        store(&mut record.netmask, inet6(netmask, 0));
        records.push(record);
    }
    Ok(records)
}

/// Returns the name of an interface without the suffix of an alias, such as `eth0:1`.
fn base_of(name: &Name) -> impl Iterator<Item = u8> {
    name.iter().flat_map(|byte| byte.to_ne_bytes()).take_while(|byte| ![0, b':'].contains(byte))
}

/// Moves the records to one block allocated by the C library, as a linked list. Returns null if
/// there are none.
fn linked(records: Vec<Record>) -> io::Result<*mut libc::ifaddrs> {
    if records.is_empty() {
        return Ok(ptr::null_mut());
    }
    let count = records.len();
    // SAFETY: both numbers are small.
    let block = unsafe { libc::calloc(count, size_of::<Record>()) }.cast::<Record>();
    if block.is_null() {
        return Err(io::Error::from_raw_os_error(libc::ENOMEM));
    }
    let pointer = |place: *mut libc::sockaddr_storage| {
        // SAFETY: the place is within the block, and has been written.
        if i32::from(unsafe { (*place).ss_family }) == libc::AF_UNSPEC {
            ptr::null_mut()
        } else {
            place.cast::<libc::sockaddr>()
        }
    };
    for (number, record) in records.into_iter().enumerate() {
        // SAFETY: the block, aligned for any type, holds `count` records; pointers into it stay
        // valid until it is freed as one.
        unsafe {
            let at = block.add(number);
            at.write(record);
            (*at).entry.ifa_name = (&raw mut (*at).name).cast();
            (*at).entry.ifa_addr = pointer(&raw mut (*at).address);
            (*at).entry.ifa_netmask = pointer(&raw mut (*at).netmask);
            (*at).entry.ifa_ifu = pointer(&raw mut (*at).broadcast);
            (*at).entry.ifa_next =
                if number + 1 < count { block.add(number + 1).cast() } else { ptr::null_mut() };
        }
    }
    Ok(block.cast())
}

fn set_errno(error: &io::Error) {
    // SAFETY: the errno of the calling thread.
    unsafe { *libc::__errno_location() = error.raw_os_error().unwrap_or(libc::EIO) };
}

/// Replaces getifaddrs(3): lists the interfaces and their addresses.
///
/// # Safety
/// `list` is writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn getifaddrs(list: *mut *mut libc::ifaddrs) -> c_int {
    match records().and_then(linked) {
        Ok(first) => {
            // SAFETY: the caller's promise.
            unsafe { list.write(first) };
            0
        }
        Err(error) => {
            set_errno(&error);
            -1
        }
    }
}

/// Frees a list of [`getifaddrs`].
///
/// # Safety
/// `list` came from there, or is null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn freeifaddrs(list: *mut libc::ifaddrs) {
    // SAFETY: the list is one block that begins with its first entry; null is allowed.
    unsafe { libc::free(list.cast()) };
}

/// Replaces `if_nameindex(3)`: returns the names and indexes of the interfaces. The last entry is
/// zero.
#[unsafe(no_mangle)]
pub extern "C" fn if_nameindex() -> *mut libc::if_nameindex {
    let interfaces = match socket() {
        Ok(socket) => interfaces(&socket),
        Err(error) => {
            set_errno(&error);
            return ptr::null_mut();
        }
    };
    // SAFETY: both numbers are small.
    let block = unsafe { libc::calloc(interfaces.len() + 1, size_of::<libc::if_nameindex>()) }
        .cast::<libc::if_nameindex>();
    for (number, one) in interfaces.iter().enumerate().take_while(|_| !block.is_null()) {
        // SAFETY: the block has an entry for each; the kernel ends names with a zero.
        unsafe {
            let name = libc::strdup(CStr::from_ptr(one.name.as_ptr()).as_ptr());
            if name.is_null() {
                // The entries written so far are followed by a zero.
                break;
            }
            block
                .add(number)
                .write(libc::if_nameindex { if_index: one.index.cast_unsigned(), if_name: name });
        }
    }
    block
}

/// Frees a list of [`if_nameindex`].
///
/// # Safety
/// `list` came from there, or is null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn if_freenameindex(list: *mut libc::if_nameindex) {
    let mut at = list;
    // SAFETY: the list ends with an entry without a name; the C library allocated the names and the
    // list.
    unsafe {
        while !at.is_null() && !(*at).if_name.is_null() {
            libc::free((*at).if_name.cast());
            at = at.add(1);
        }
        libc::free(list.cast());
    }
}
