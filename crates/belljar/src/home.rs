//! Where a home is: the folder of a server's database, objects, keys and socket.

use std::env;
use std::path::PathBuf;

/// `$BELLJAR_HOME`; else for root `/var/lib/belljar`; else `belljar` in `$XDG_DATA_HOME`, which is `~/.local/share` by default.
pub fn home() -> anyhow::Result<PathBuf> {
    let set = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(home) = set("BELLJAR_HOME") {
        return Ok(home);
    }
    if rustix::process::geteuid().is_root() {
        return Ok(PathBuf::from("/var/lib/belljar"));
    }
    let data = set("XDG_DATA_HOME").filter(|path| path.is_absolute()).or_else(|| set("HOME").map(|home| home.join(".local/share")));
    data.map(|data| data.join("belljar")).ok_or_else(|| anyhow::anyhow!("there is no home: HOME is not set; set BELLJAR_HOME to a folder"))
}

/// The server's own socket in a home.
pub fn socket() -> anyhow::Result<PathBuf> {
    Ok(home()?.join("server.sock"))
}
