//! The server that is killed and started again, always in the same home and on the same port.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, WaitOptions};

use super::http::{self, Request};

/// What the kernel takes to end all that a server had, at most, on a machine that is busy.
const GONE_WITHIN: Duration = Duration::from_secs(5);

/// A home, and the server in it, if it is alive.
pub struct Server {
    binary: PathBuf,
    pub home: PathBuf,
    temporary: PathBuf,
    pub address: String,
    pub token: String,
    process: Option<Child>,
    /// All that were ever started.
    pub pids: Vec<u32>,
    /// Control groups of others' servers, which may have died under the same pids.
    groups_before: Vec<String>,
}

impl Server {
    /// Makes a home in `folder`, and starts the first server in it.
    pub fn first(binary: PathBuf, folder: &Path) -> Result<Self> {
        // Whoever is orphaned by the death of a server is this process's from then on, and can be counted.
        rustix::process::set_child_subreaper(rustix::process::Pid::from_raw(1)).context("cannot become the parent of orphans")?;
        let (home, temporary) = (folder.join("home"), folder.join("tmp"));
        fs::create_dir(&home)?;
        fs::create_dir(&temporary)?;
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string();
        let groups_before = groups(Path::new("/sys/fs/cgroup"), "belljar-");
        let mut server = Self { binary, home, temporary, address, token: String::new(), process: None, pids: Vec::new(), groups_before };
        server.start()?;
        Ok(server)
    }

    /// Starts it, and waits until it answers. How long that took.
    pub fn start(&mut self) -> Result<Duration> {
        let started = Instant::now();
        let log = fs::File::options().create(true).append(true).open(self.home.with_file_name("server.log"))?;
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
            bail!("the server did not start; its log is {}", self.home.with_file_name("server.log").display());
        }
        while self.token.is_empty() {
            line.clear();
            if out.read_line(&mut line)? == 0 {
                bail!("the first start gave no token");
            }
            line.split_whitespace().find(|word| word.starts_with("bjr_")).unwrap_or_default().clone_into(&mut self.token);
        }
        // It says nothing more; what it would say goes nowhere.
        std::thread::spawn(move || std::io::copy(&mut out, &mut std::io::sink()));
        let ready = http::ask(&self.address, &Request { method: "GET", path: "/readyz", headers: String::new(), body: b"" })?;
        if ready.status != 200 {
            bail!("it is not ready: {}", ready.text());
        }
        Ok(started.elapsed())
    }

    /// Kills it, and waits until all that it had started is gone. How long that took.
    pub fn kill(&mut self) -> Result<Duration> {
        let Some(mut process) = self.process.take() else { return Ok(Duration::ZERO) };
        process.kill()?;
        let killed = Instant::now();
        process.wait()?;
        Self::until_gone(killed)
    }

    /// Asks it to stop, and waits until it and all that it had started is gone.
    pub fn stop(&mut self) -> Result<Duration> {
        let Some(mut process) = self.process.take() else { return Ok(Duration::ZERO) };
        let pid = Pid::from_raw(process.id() as i32).context("a process id")?;
        rustix::process::kill_process(pid, Signal::TERM)?;
        let status = process.wait()?;
        if !status.success() {
            bail!("asked to stop, it ended with {status}");
        }
        Self::until_gone(Instant::now())
    }

    fn until_gone(since: Instant) -> Result<Duration> {
        loop {
            match rustix::process::wait(WaitOptions::NOHANG) {
                Err(rustix::io::Errno::CHILD) => return Ok(since.elapsed()),
                Ok(Some(_)) => {}
                _ if since.elapsed() > GONE_WITHIN => bail!("processes of a server that is gone run on: {}", children().join(", ")),
                _ => std::thread::sleep(Duration::from_millis(2)),
            }
        }
    }

    /// Resident memory of the server's own process.
    pub fn resident_bytes(&self) -> u64 {
        let Some(process) = &self.process else { return 0 };
        let status = fs::read_to_string(format!("/proc/{}/status", process.id())).unwrap_or_default();
        let kilobytes = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        kilobytes.unwrap_or(0) * 1024
    }

    /// What is left in the world of all servers that there were: control groups, mounts, temporary files.
    pub fn left_over(&self, mounts_before: usize) -> Vec<String> {
        let mut left: Vec<String> =
            self.pids.iter().flat_map(|pid| groups(Path::new("/sys/fs/cgroup"), &format!("belljar-{pid}-"))).collect();
        left.retain(|group| !self.groups_before.contains(group));
        if mounts() > mounts_before {
            left.push(format!("{} mounts", mounts() - mounts_before));
        }
        left.extend(files(&self.temporary).into_iter().map(|path| path.display().to_string()));
        left.extend(files(&self.home.join("objects/.staging")).into_iter().map(|path| path.display().to_string()));
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

/// All files in a folder and its folders.
pub fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) { found.extend(files(&entry.path())) } else { found.push(entry.path()) }
    }
    found
}

fn groups(folder: &Path, prefix: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
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
    fs::read_dir("/proc").into_iter().flatten().flatten().filter_map(|entry| name(&entry.file_name().to_string_lossy())).collect()
}
