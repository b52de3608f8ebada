//! What the supervisor and a zygote say to each other. Both are trusted; the shapes are fixed so that the zygote needs no parser.

/// Most bytes of a packet on the zygote channel.
const PACKET_BYTES: usize = 64;

/// "Fork a sandbox." Comes with its descriptors: control channel, standard input, output and error, then the mounts of what is granted to it, then
/// those of the control groups that it enters by writing `0` to each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ForkOrder {
    /// The supervisor's number for the sandbox, for the reports about it.
    pub sandbox: u64,
    /// The uid and gid, inside the zygote's user namespace, that it gets.
    pub uid: u32,
    /// Bytes of its writable file systems together.
    pub disk_bytes: u64,
    /// Files and folders in them.
    pub files: u64,
    /// Open descriptors per process.
    pub open_files: u64,
    /// The back-stop on CPU time, whole seconds.
    pub cpu_seconds: u64,
    /// Its memory limit, which it is told when it asks how much the machine has. The control group enforces it.
    pub memory_bytes: u64,
    /// Whether it may start programs.
    pub exec: bool,
    /// Whether it has a network namespace of its own, with loopback.
    pub loopback: bool,
    /// Mounts of grants that come with it: one for each point of the zygote's [`crate::BootFacts`], or none where the zygote has them already.
    pub grants: u8,
}

/// The step of a fork that failed in the zygote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum FailedStep {
    /// Making a new PID namespace.
    PidNamespace = 1,
    /// The fork itself.
    Fork = 2,
    /// Getting a descriptor for the child.
    PidFd = 3,
    /// Making a network namespace for it.
    NetworkNamespace = 4,
}

/// How a sandbox's first process ended, as its parent, the zygote, was told by the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExitReport {
    /// The supervisor's number for the sandbox.
    pub sandbox: u64,
    /// The status as `wait4` gave it.
    pub wait_status: i32,
    /// CPU time in user space of it and all it waited for, microseconds.
    pub user_us: u64,
    /// CPU time in the kernel, likewise.
    pub system_us: u64,
    /// Its largest resident set, bytes.
    pub peak_resident_bytes: u64,
}

/// What a zygote reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ZygoteReport {
    /// Booted, and waiting for orders.
    Booted {
        /// Whether it knows from its scout what its sandboxes will touch. They only start slower where it does not.
        has_learned: bool,
    },
    /// Must not be forked because of what modules have left behind that it has imported ahead. Ends.
    NotToBeForked {
        /// What they do, for people, padded with zeros.
        why: [u8; Self::WHY_BYTES],
    },
    /// A sandbox was forked. Comes with its pidfd.
    Forked {
        /// Which.
        sandbox: u64,
    },
    /// A sandbox could not be forked.
    ForkFailed {
        /// Which.
        sandbox: u64,
        /// Where.
        step: u8,
        /// Why.
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
    /// Bytes that every encoded message fits in.
    pub const MOST_BYTES: usize = PACKET_BYTES;

    /// The packet.
    pub fn encode(self) -> Vec<u8> {
        let writer = Writer::new()
            .put(&self.sandbox.to_le_bytes())
            .put(&self.uid.to_le_bytes())
            .put(&self.disk_bytes.to_le_bytes())
            .put(&self.files.to_le_bytes())
            .put(&self.open_files.to_le_bytes())
            .put(&self.cpu_seconds.to_le_bytes())
            .put(&self.memory_bytes.to_le_bytes())
            .put(&[u8::from(self.exec), u8::from(self.loopback), self.grants]);
        writer.bytes[..writer.length].to_vec()
    }

    /// Reads a packet.
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
            exec: reader.u8()? != 0,
            loopback: reader.u8()? != 0,
            grants: reader.u8()?,
        };
        reader.finished()?;
        Some(order)
    }
}

impl ZygoteReport {
    /// Bytes that every encoded message fits in.
    pub const MOST_BYTES: usize = PACKET_BYTES;
    /// As long as a reason may be.
    pub const WHY_BYTES: usize = 48;

    /// The packet.
    pub fn encode(self) -> Vec<u8> {
        let writer = match self {
            Self::Booted { has_learned } => Writer::new().put(&[1, u8::from(has_learned)]),
            Self::NotToBeForked { why } => Writer::new().put(&[5]).put(&why),
            Self::Forked { sandbox } => Writer::new().put(&[2]).put(&sandbox.to_le_bytes()),
            Self::ForkFailed { sandbox, step, errno } => {
                Writer::new().put(&[3]).put(&sandbox.to_le_bytes()).put(&[step]).put(&errno.to_le_bytes())
            }
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

    /// Reads a packet.
    pub fn decode(packet: &[u8]) -> Option<Self> {
        let mut reader = Reader(packet);
        let report = match reader.u8()? {
            1 => Self::Booted { has_learned: reader.u8()? != 0 },
            2 => Self::Forked { sandbox: reader.u64()? },
            3 => Self::ForkFailed { sandbox: reader.u64()?, step: reader.u8()?, errno: reader.i32()? },
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

    proptest! {
        #[test]
        fn orders_are_read_as_they_were_written(sandbox: u64, uid: u32, disk_bytes: u64, files: u64, open_files: u64, cpu_seconds: u64, memory_bytes: u64, exec: bool, loopback: bool, grants: u8) {
            let order = ForkOrder { sandbox, uid, disk_bytes, files, open_files, cpu_seconds, memory_bytes, exec, loopback, grants };
            prop_assert_eq!(ForkOrder::decode(&order.encode()), Some(order));
        }

        #[test]
        fn reports_are_read_as_they_were_written(sandbox: u64, wait_status: i32, user_us: u64, system_us: u64, peak_resident_bytes: u64, step: u8, errno: i32) {
            for report in [
                ZygoteReport::Booted { has_learned: true },
                ZygoteReport::NotToBeForked { why: [b'x'; ZygoteReport::WHY_BYTES] },
                ZygoteReport::Forked { sandbox },
                ZygoteReport::ForkFailed { sandbox, step, errno },
                ZygoteReport::Exited(ExitReport { sandbox, wait_status, user_us, system_us, peak_resident_bytes }),
            ] {
                prop_assert_eq!(ZygoteReport::decode(&report.encode()), Some(report));
            }
        }

        #[test]
        fn no_packet_makes_the_readers_panic(packet in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = ForkOrder::decode(&packet);
            let _ = ZygoteReport::decode(&packet);
        }
    }
}
