//! The server that is killed and restarted, always with the same home and port.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, WaitOptions};

use super::http::{self, Request};

/// Time limit for the kernel to end all processes of a killed server on a busy machine.
const GONE_WITHIN: Duration = Duration::from_secs(5);

/// A home, and its server if one is running.
pub struct Server {
    binary: PathBuf,
    pub home: PathBuf,
    temporary: PathBuf,
    pub address: String,
    pub token: String,
    process: Option<Child>,
    /// Process ids of all servers started so far.
    pub pids: Vec<u32>,
    /// Control groups that existed before: earlier servers may have had the same pids.
    groups_before: Vec<String>,
}

impl Server {
    /// Creates a home in `folder` and starts the first server in it.
    pub fn first(binary: PathBuf, folder: &Path) -> Result<Self> {
        // Processes that a dying server leaves behind become children of this process, so that it
        // can wait for them.
        rustix::process::set_child_subreaper(rustix::process::Pid::from_raw(1))
            .context("cannot become the parent of orphans")?;
        let (home, temporary) = (folder.join("home"), folder.join("tmp"));
        fs::create_dir(&home)?;
        fs::create_dir(&temporary)?;
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string();
        let groups_before = groups(Path::new("/sys/fs/cgroup"), "belljar-");
        let mut server = Self {
            binary,
            home,
            temporary,
            address,
            token: String::new(),
            process: None,
            pids: Vec::new(),
            groups_before,
        };
        server.start()?;
        Ok(server)
    }

    /// Starts the server, waits until it is ready, and returns the time that this took.
    pub fn start(&mut self) -> Result<Duration> {
        let started = Instant::now();
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(self.home.with_file_name("server.log"))?;
        let mut process = Command::new(&self.binary)
            .args(["serve", "--listen", &self.address])
            .env("BELLJAR_HOME", &self.home)
            .env("BELLJAR_LOG", "warn")
            .env("TMPDIR", &self.temporary)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .context("cannot start the server")?;
        self.pids.push(process.id());
        let mut out = BufReader::new(process.stdout.take().context("no output")?);
        self.process = Some(process);
        let mut line = String::new();
        if out.read_line(&mut line)? == 0 {
            bail!(
                "the server did not start; its log is {}",
                self.home.with_file_name("server.log").display()
            );
        }
        while self.token.is_empty() {
            line.clear();
            if out.read_line(&mut line)? == 0 {
                bail!("the first start printed no token");
            }
            line.split_whitespace()
                .find(|word| word.starts_with("bjr_"))
                .unwrap_or_default()
                .clone_into(&mut self.token);
        }
        // Discard any further output.
        std::thread::spawn(move || std::io::copy(&mut out, &mut std::io::sink()));
        let ready = http::ask(
            &self.address,
            &Request { method: "GET", path: "/readyz", headers: String::new(), body: b"" },
        )?;
        if ready.status != 200 {
            bail!("the server is not ready: {}", ready.text());
        }
        Ok(started.elapsed())
    }

    /// Kills the server, waits until all its processes have ended, and returns the time that this
    /// took.
    pub fn kill(&mut self) -> Result<Duration> {
        let Some(mut process) = self.process.take() else { return Ok(Duration::ZERO) };
        process.kill()?;
        let killed = Instant::now();
        process.wait()?;
        Self::until_gone(killed)
    }

    /// Stops the server with SIGTERM, and waits until all its processes have ended.
    pub fn stop(&mut self) -> Result<Duration> {
        let Some(mut process) = self.process.take() else { return Ok(Duration::ZERO) };
        let pid = Pid::from_raw(process.id() as i32).context("a process id")?;
        rustix::process::kill_process(pid, Signal::TERM)?;
        let status = process.wait()?;
        if !status.success() {
            bail!("the server ended with {status} after SIGTERM");
        }
        Self::until_gone(Instant::now())
    }

    fn until_gone(since: Instant) -> Result<Duration> {
        loop {
            match rustix::process::wait(WaitOptions::NOHANG) {
                Err(rustix::io::Errno::CHILD) => return Ok(since.elapsed()),
                Ok(Some(_)) => {}
                _ if since.elapsed() > GONE_WITHIN => {
                    bail!("processes of a dead server still run: {}", children().join(", "))
                }
                _ => std::thread::sleep(Duration::from_millis(2)),
            }
        }
    }

    /// Resident memory of the server process, in bytes; 0 if no server is running.
    pub fn resident_bytes(&self) -> u64 {
        let Some(process) = &self.process else { return 0 };
        let status =
            fs::read_to_string(format!("/proc/{}/status", process.id())).unwrap_or_default();
        let kilobytes = status.lines().find_map(|line| {
            line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok()
        });
        kilobytes.unwrap_or(0) * 1024
    }

    /// Lists the control groups, mounts and temporary files that any of the servers left behind.
    pub fn left_over(&self, mounts_before: usize) -> Vec<String> {
        let mut left: Vec<String> = self
            .pids
            .iter()
            .flat_map(|pid| groups(Path::new("/sys/fs/cgroup"), &format!("belljar-{pid}-")))
            .collect();
        left.retain(|group| !self.groups_before.contains(group));
        if mounts() > mounts_before {
            left.push(format!("{} mounts", mounts() - mounts_before));
        }
        left.extend(files(&self.temporary).into_iter().map(|path| path.display().to_string()));
        left.extend(
            files(&self.home.join("objects/.staging"))
                .into_iter()
                .map(|path| path.display().to_string()),
        );
        left
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}

pub fn mounts() -> usize {
    fs::read_to_string("/proc/self/mountinfo").unwrap_or_default().lines().count()
}

/// All files beneath a folder.
pub fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            found.extend(files(&entry.path()));
        } else {
            found.push(entry.path());
        }
    }
    found
}

fn groups(folder: &Path, prefix: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
    {
        if entry.file_name().to_string_lossy().starts_with(prefix) {
            found.push(entry.path().display().to_string());
        }
        found.extend(groups(&entry.path(), prefix));
    }
    found
}

fn children() -> Vec<String> {
    let own = std::process::id().to_string();
    let name = |pid: &str| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (name, rest) = stat.rsplit_once(')')?;
        (rest.split_whitespace().nth(1) == Some(own.as_str())).then(|| format!("{name})"))
    };
    fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| name(&entry.file_name().to_string_lossy()))
        .collect()
}
