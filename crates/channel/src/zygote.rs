//! The messages between the supervisor and a zygote. Both are trusted. The formats have fixed
//! lengths, so that the zygote needs no parser.

use belljar_access::{Exec, Network};

/// The maximum length of a packet on the zygote channel, in bytes.
const PACKET_BYTES: usize = 64;

/// An order to fork a sandbox. It comes with descriptors: control channel, standard input, output
/// and error, then the mounts of its grants, then the files of the control groups that the sandbox
/// joins by writing `0` to each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ForkOrder {
    /// Number of the sandbox, which the reports about it repeat.
    pub sandbox: u64,
    /// The sandbox's uid and gid inside the zygote's user namespace.
    pub uid: u32,
    /// Maximum bytes of its writable file systems together.
    pub disk_bytes: u64,
    /// Maximum number of files and folders in its writable file systems.
    pub files: u64,
    /// Maximum number of open descriptors per process.
    pub open_files: u64,
    /// The kernel's own limit on CPU time, whole seconds. It is a backstop: the supervisor's limit
    /// is lower.
    pub cpu_seconds: u64,
    /// Memory limit of the sandbox, which it sees as the memory of the machine. The control group
    /// enforces it.
    pub memory_bytes: u64,
    /// The sandbox's right to start programs.
    pub exec: Exec,
    /// The network of the sandbox.
    pub network: Network,
    /// Number of mounts of grants that come with the order: one for each of the `points` in the
    /// zygote's [`crate::BootFacts`], or none if the zygote has them already.
    pub grants: u8,
}

/// The step of a fork that failed in the zygote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum FailedStep {
    /// Creating a PID namespace.
    PidNamespace = 1,
    /// The `fork` itself.
    Fork = 2,
    /// Opening a pidfd of the child.
    PidFd = 3,
    /// Creating a network namespace.
    NetworkNamespace = 4,
}

/// The end of a sandbox's first process, as the kernel reports it to its parent, the zygote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExitReport {
    /// Number of the sandbox.
    pub sandbox: u64,
    /// Status as `wait4` returned it.
    pub wait_status: i32,
    /// CPU time in user space of the process and all children that it waited for, microseconds.
    pub user_us: u64,
    /// CPU time in the kernel of the process and all children that it waited for, microseconds.
    pub system_us: u64,
    /// Peak resident set of the process, bytes.
    pub peak_resident_bytes: u64,
}

/// A report of a zygote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ZygoteReport {
    /// The zygote has booted and waits for orders.
    Booted {
        /// True if the zygote knows from its scout which memory its sandboxes will touch. Otherwise
        /// they start more slowly.
        has_learned: bool,
    },
    /// The zygote must not be forked, because of the effects of modules that it has preloaded. It
    /// exits.
    NotToBeForked {
        /// Human-readable effect of the modules, padded with zeros.
        why: [u8; Self::WHY_BYTES],
    },
    /// A sandbox was forked. The report comes with its pidfd.
    Forked {
        /// Number of the sandbox.
        sandbox: u64,
    },
    /// A sandbox could not be forked.
    ForkFailed {
        /// Number of the sandbox.
        sandbox: u64,
        /// Number of the failed step, a [`FailedStep`].
        step: u8,
        /// The errno of the failed system call.
        errno: i32,
    },
    /// A sandbox ended and was reaped.
    Exited(ExitReport),
}

struct Writer {
    bytes: [u8; PACKET_BYTES],
    length: usize,
}

impl Writer {
    fn new() -> Self {
        Self { bytes: [0; PACKET_BYTES], length: 0 }
    }

    fn put(mut self, part: &[u8]) -> Self {
        self.bytes[self.length..self.length + part.len()].copy_from_slice(part);
        self.length += part.len();
        self
    }
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*head)
    }

    fn u8(&mut self) -> Option<u8> {
        self.take::<1>().map(|[b]| b)
    }

    /// Reads a boolean. Any other byte than 0 and 1 is no message of ours.
    fn flag(&mut self) -> Option<bool> {
        match self.u8()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }

    /// Reads a right to start programs. Any other byte than 0 and 1 is no message of ours.
    fn exec(&mut self) -> Option<Exec> {
        let byte = self.u8()?;
        Exec::ALL.into_iter().find(|exec| *exec as u8 == byte)
    }

    /// Reads a network. Any other byte than 0, 1 and 2 is no message of ours.
    fn network(&mut self) -> Option<Network> {
        let byte = self.u8()?;
        Network::ALL.into_iter().find(|network| *network as u8 == byte)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }

    fn i32(&mut self) -> Option<i32> {
        self.take().map(i32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }

    fn finished(&self) -> Option<()> {
        self.0.is_empty().then_some(())
    }
}

impl ForkOrder {
    /// The maximum length of an encoded message, in bytes.
    pub const MAX_BYTES: usize = PACKET_BYTES;

    /// Returns the encoded packet.
    pub fn encode(self) -> Vec<u8> {
        let writer = Writer::new()
            .put(&self.sandbox.to_le_bytes())
            .put(&self.uid.to_le_bytes())
            .put(&self.disk_bytes.to_le_bytes())
            .put(&self.files.to_le_bytes())
            .put(&self.open_files.to_le_bytes())
            .put(&self.cpu_seconds.to_le_bytes())
            .put(&self.memory_bytes.to_le_bytes())
            .put(&[self.exec as u8, self.network as u8, self.grants]);
        writer.bytes[..writer.length].to_vec()
    }

    /// Decodes a packet.
    pub fn decode(packet: &[u8]) -> Option<Self> {
        let mut reader = Reader(packet);
        let order = Self {
            sandbox: reader.u64()?,
            uid: reader.u32()?,
            disk_bytes: reader.u64()?,
            files: reader.u64()?,
            open_files: reader.u64()?,
            cpu_seconds: reader.u64()?,
            memory_bytes: reader.u64()?,
            exec: reader.exec()?,
            network: reader.network()?,
            grants: reader.u8()?,
        };
        reader.finished()?;
        Some(order)
    }
}

impl ZygoteReport {
    /// The maximum length of an encoded message, in bytes.
    pub const MAX_BYTES: usize = PACKET_BYTES;
    /// The maximum length of a reason, in bytes.
    pub const WHY_BYTES: usize = 48;

    /// Returns the encoded packet.
    pub fn encode(self) -> Vec<u8> {
        let writer = match self {
            Self::Booted { has_learned } => Writer::new().put(&[1, u8::from(has_learned)]),
            Self::NotToBeForked { why } => Writer::new().put(&[5]).put(&why),
            Self::Forked { sandbox } => Writer::new().put(&[2]).put(&sandbox.to_le_bytes()),
            Self::ForkFailed { sandbox, step, errno } => Writer::new()
                .put(&[3])
                .put(&sandbox.to_le_bytes())
                .put(&[step])
                .put(&errno.to_le_bytes()),
            Self::Exited(exit) => Writer::new()
                .put(&[4])
                .put(&exit.sandbox.to_le_bytes())
                .put(&exit.wait_status.to_le_bytes())
                .put(&exit.user_us.to_le_bytes())
                .put(&exit.system_us.to_le_bytes())
                .put(&exit.peak_resident_bytes.to_le_bytes()),
        };
        writer.bytes[..writer.length].to_vec()
    }

    /// Decodes a packet.
    pub fn decode(packet: &[u8]) -> Option<Self> {
        let mut reader = Reader(packet);
        let report = match reader.u8()? {
            1 => Self::Booted { has_learned: reader.flag()? },
            2 => Self::Forked { sandbox: reader.u64()? },
            3 => Self::ForkFailed {
                sandbox: reader.u64()?,
                step: reader.u8()?,
                errno: reader.i32()?,
            },
            4 => Self::Exited(ExitReport {
                sandbox: reader.u64()?,
                wait_status: reader.i32()?,
                user_us: reader.u64()?,
                system_us: reader.u64()?,
                peak_resident_bytes: reader.u64()?,
            }),
            5 => Self::NotToBeForked { why: reader.take()? },
            _ => return None,
        };
        reader.finished()?;
        Some(report)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_flag_is_nought_or_one_and_an_enum_has_no_unknown_values() {
        let booted = ZygoteReport::Booted { has_learned: true };
        assert_eq!(ZygoteReport::decode(&[1, 1]), Some(booted));
        assert_eq!(ZygoteReport::decode(&[1, 128]), None);
        let order = ForkOrder {
            sandbox: 1,
            uid: 2,
            disk_bytes: 3,
            files: 4,
            open_files: 5,
            cpu_seconds: 6,
            memory_bytes: 7,
            exec: Exec::Denied,
            network: Network::None,
            grants: 255,
        };
        let (exec_at, network_at) = (order.encode().len() - 3, order.encode().len() - 2);
        for byte in 0..=u8::MAX {
            let mut packet = order.encode();
            packet[exec_at] = byte;
            let exec = match byte {
                0 => Some(Exec::Denied),
                1 => Some(Exec::Granted),
                _ => None,
            };
            assert_eq!(ForkOrder::decode(&packet).map(|order| order.exec), exec, "{byte}");
            let mut packet = order.encode();
            packet[network_at] = byte;
            let network = match byte {
                0 => Some(Network::None),
                1 => Some(Network::Loopback),
                2 => Some(Network::Granted),
                _ => None,
            };
            assert_eq!(ForkOrder::decode(&packet).map(|order| order.network), network, "{byte}");
        }
    }

    proptest! {
        #[test]
        fn orders_are_read_as_they_were_written(
            sandbox: u64,
            uid: u32,
            disk_bytes: u64,
            files: u64,
            open_files: u64,
            cpu_seconds: u64,
            memory_bytes: u64,
            exec in proptest::sample::select(&Exec::ALL[..]),
            network in proptest::sample::select(&Network::ALL[..]),
            grants: u8,
        ) {
            let order = ForkOrder {
                sandbox,
                uid,
                disk_bytes,
                files,
                open_files,
                cpu_seconds,
                memory_bytes,
                exec,
                network,
                grants,
            };
            prop_assert_eq!(ForkOrder::decode(&order.encode()), Some(order));
        }

        #[test]
        fn reports_are_read_as_they_were_written(
            sandbox: u64,
            wait_status: i32,
            user_us: u64,
            system_us: u64,
            peak_resident_bytes: u64,
            step: u8,
            errno: i32,
        ) {
            let exit =
                ExitReport { sandbox, wait_status, user_us, system_us, peak_resident_bytes };
            for report in [
                ZygoteReport::Booted { has_learned: true },
                ZygoteReport::NotToBeForked { why: [b'x'; ZygoteReport::WHY_BYTES] },
                ZygoteReport::Forked { sandbox },
                ZygoteReport::ForkFailed { sandbox, step, errno },
                ZygoteReport::Exited(exit),
            ] {
                prop_assert_eq!(ZygoteReport::decode(&report.encode()), Some(report));
            }
        }

        #[test]
        fn no_packet_makes_the_readers_panic(
            packet in proptest::collection::vec(any::<u8>(), 0..80),
        ) {
            let _ = ForkOrder::decode(&packet);
            let _ = ZygoteReport::decode(&packet);
        }
    }
}
