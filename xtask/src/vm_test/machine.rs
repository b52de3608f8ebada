//! The virtual machine: QEMU with KVM where that works, and with emulation otherwise.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{FdFlags, fcntl_setfd};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::cache::{Cache, Scratch};
use super::initramfs::Initramfs;
use super::kernel::Kernel;

/// Host programs that this file runs, each with its Debian package.
pub const PROGRAMS: [(&str, &str); 1] = [("qemu-system-x86_64", "qemu-system-x86")];

/// Time limit for the KVM probe. A kernel that boots with KVM at all needs much less.
const KVM_PROBE_LIMIT: Duration = Duration::from_secs(10);

/// The implementation of the guest's processor.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Acceleration {
    /// Virtualisation by the host's processor.
    Kvm,
    /// Emulation in QEMU.
    Emulation,
}

impl Acceleration {
    /// The name for messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kvm => "KVM",
            Self::Emulation => "emulated",
        }
    }

    fn arguments(self) -> [&'static str; 4] {
        match self {
            Self::Kvm => ["-accel", "kvm", "-cpu", "host"],
            // QEMU 7.2 spoils the flags after a cmpxchg16b, on which 6.12 panics while it boots;
            // la57 only makes page walks longer.
            Self::Emulation => ["-accel", "tcg,thread=multi", "-cpu", "max,-cx16,-la57"],
        }
    }

    /// Selects KVM if a guest with `kernel` boots under it: nested in another virtual machine, the
    /// guest may hang. The result is cached in `cache` until the host reboots.
    pub fn probe(
        kernel: &Kernel,
        busybox: &Path,
        cache: &Cache,
        scratch: &Scratch,
    ) -> Result<Self> {
        if File::options().read(true).write(true).open("/dev/kvm").is_err() {
            return Ok(Self::Emulation);
        }
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id")
            .context("cannot tell one boot of this host from another")?;
        let remembered = cache.path("kvm-probe");
        match fs::read_to_string(&remembered).unwrap_or_default().strip_prefix(boot.trim()) {
            Some(" works") => return Ok(Self::Kvm),
            Some(" fails") => return Ok(Self::Emulation),
            _ => eprintln!("vm-test: trying KVM"),
        }
        let mut initramfs = Initramfs::new();
        initramfs.executable("bin/busybox", &fs::read(busybox)?);
        initramfs.executable("init", b"#!/bin/busybox sh\n/bin/busybox reboot -f\n");
        let initrd = scratch.path("initrd");
        fs::write(&initrd, initramfs.finish())?;
        let machine = Machine {
            kernel,
            initrd: &initrd,
            root_image: None,
            console: &scratch.path("console"),
            acceleration: Self::Kvm,
        };
        let mut qemu =
            machine.command().stderr(Stdio::null()).spawn().context("cannot run QEMU")?;
        let works = finishes_within(&qemu, KVM_PROBE_LIMIT)? && qemu.wait()?.success();
        if !works {
            // It may have ended by itself in the meantime.
            let _ = qemu.kill();
            qemu.wait()?;
        }
        let (acceleration, word) =
            if works { (Self::Kvm, "works") } else { (Self::Emulation, "fails") };
        fs::write(&remembered, format!("{} {word}", boot.trim()))?;
        Ok(acceleration)
    }
}

/// A machine that is ready to boot.
pub struct Machine<'a> {
    pub kernel: &'a Kernel,
    pub initrd: &'a Path,
    /// The first disk, read-only.
    pub root_image: Option<&'a Path>,
    /// File for the kernel's messages.
    pub console: &'a Path,
    pub acceleration: Acceleration,
}

/// Result of a boot.
pub enum End {
    /// Exit status of the command; 128 plus the number of the signal that killed it.
    Command(u8),
    /// The guest stopped before the command had ended.
    Died,
    TimedOut,
}

impl Machine<'_> {
    /// Boots, streams the output of the guest's command to this process's own, and waits for the
    /// guest to power off.
    pub fn run(&self, limit: Duration) -> Result<End> {
        let mut qemu = self.command();
        qemu.args(["-device", "virtio-serial-pci"]);
        let stdout = Port::add("stdout", &mut qemu)?;
        let stderr = Port::add("stderr", &mut qemu)?;
        let status = Port::add("status", &mut qemu)?;
        let mut child = qemu.spawn().context("cannot run QEMU")?;
        // Every spawn after this one would inherit the writing ends, and the readers would wait for
        // it.
        let stdout = stdout.read(|port| copy(port, io::stdout()));
        let stderr = stderr.read(|port| copy(port, io::stderr()));
        let status = status.read(|port| {
            let mut text = String::new();
            port.read_to_string(&mut text).map(|_| text)
        });

        let in_time = finishes_within(&child, limit)?;
        if !in_time {
            child.kill()?;
        }
        let exit = child.wait()?;
        join(stdout)?;
        join(stderr)?;
        let status = join(status)?;
        if !in_time {
            return Ok(End::TimedOut);
        }
        if !exit.success() {
            bail!("QEMU failed: {exit}");
        }
        Ok(status.trim().parse().map_or(End::Died, End::Command))
    }

    fn command(&self) -> Command {
        // Through setpriv, so that the machine never outlives this process, however that ends.
        let mut qemu = Command::new("setpriv");
        qemu.args(["--pdeathsig", "KILL", PROGRAMS[0].0]);
        qemu.args([
            "-nodefaults",
            "-no-user-config",
            "-no-reboot",
            "-display",
            "none",
            "-machine",
            "pc",
            "-smp",
            "2",
            "-m",
            "3G",
        ]);
        qemu.args(self.acceleration.arguments());
        qemu.arg("-kernel").arg(&self.kernel.image).arg("-initrd").arg(self.initrd);
        // Emulated on a busy machine, the timer is late for the check of its wiring, and the kernel
        // panics. A panic or an oops ends the guest at once: `-no-reboot` turns the restart into an
        // exit.
        qemu.args([
            "-append",
            "console=ttyS0 loglevel=5 cgroup_no_v1=all panic=-1 oops=panic no_timer_check",
        ]);
        qemu.arg("-serial").arg(format!("file:{}", self.console.display()));
        if let Some(image) = self.root_image {
            qemu.arg("-drive")
                .arg(format!("if=none,id=root,format=raw,readonly=on,file={}", image.display()));
            qemu.args(["-device", "virtio-blk-pci,drive=root"]);
        }
        qemu.stdin(Stdio::null()).stdout(Stdio::null());
        qemu
    }
}

/// A one-way virtio port out of the guest, which arrives in a pipe.
struct Port {
    reader: io::PipeReader,
    writer: io::PipeWriter,
}

impl Port {
    fn add(name: &str, qemu: &mut Command) -> Result<Self> {
        let (reader, writer) = io::pipe()?;
        // To be inherited by QEMU under the same number.
        fcntl_setfd(&writer, FdFlags::empty())?;
        let number = writer.as_raw_fd();
        qemu.arg("-add-fd").arg(format!("fd={number},set={number}"));
        // Appending, as QEMU would otherwise truncate what it opens, and a pipe cannot be.
        qemu.arg("-chardev").arg(format!("file,id={name},path=/dev/fdset/{number},append=on"));
        qemu.arg("-device").arg(format!("virtserialport,chardev={name},name={name}"));
        Ok(Self { reader, writer })
    }

    /// Reads on a thread until QEMU has ended.
    fn read<T: Send + 'static>(
        self,
        read: impl FnOnce(&mut io::PipeReader) -> io::Result<T> + Send + 'static,
    ) -> JoinHandle<io::Result<T>> {
        drop(self.writer);
        let mut reader = self.reader;
        thread::spawn(move || read(&mut reader))
    }
}

/// Copies data as it arrives, even if `to` is line-buffered.
fn copy(from: &mut impl Read, mut to: impl Write) -> io::Result<()> {
    let mut buffer = [0; 16 * 1024];
    loop {
        let length = from.read(&mut buffer)?;
        if length == 0 {
            return Ok(());
        }
        to.write_all(&buffer[..length])?;
        to.flush()?;
    }
}

fn join<T>(reader: JoinHandle<io::Result<T>>) -> Result<T> {
    reader.join().expect("a reader does not panic").context("cannot pass on the guest's output")
}

fn finishes_within(child: &Child, limit: Duration) -> Result<bool> {
    let process = pidfd_open(Pid::from_child(child), PidfdFlags::empty())?;
    let deadline = Instant::now() + limit;
    loop {
        let left = Timespec::try_from(deadline.saturating_duration_since(Instant::now()))?;
        match poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&left)) {
            Ok(ready) => return Ok(ready == 1),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error).context("cannot wait for QEMU"),
        }
    }
}
