//! Where a home is: the folder of a server's database, objects, keys and socket.

use std::env;
use std::path::{Path, PathBuf};

use belljar_engine::Protected;

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

/// What no run of this user's may be granted: its home, which has everybody's runs, tokens and keys, the logins that `belljar login` keeps, and
/// the configuration, which may have logins too. The
/// cache is the engine's own to protect.
pub fn protected() -> Vec<Protected> {
    let logins = crate::profile::path().ok().and_then(|path| path.parent().map(Path::to_owned));
    let home = home().ok().map(|path| Protected { what: "the server's home", path });
    let configuration = env::var_os("BELLJAR_CONFIG").filter(|value| !value.is_empty()).map(PathBuf::from);
    let mut protected = vec![Protected { what: "belljar's configuration", path: "/etc/belljar".into() }];
    protected.extend(home);
    protected.extend(logins.map(|path| Protected { what: "the folder of belljar's logins", path }));
    protected.extend(configuration.map(|path| Protected { what: "belljar's configuration", path }));
    protected
}

/// The server's own socket in a home.
pub fn socket() -> anyhow::Result<PathBuf> {
    Ok(home()?.join("server.sock"))
}
