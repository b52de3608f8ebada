//! Finds or fetches a program as the environment configures it, and prints the steps on stderr and
//! the program's path on stdout. The argument is `uv`, `pnpm`, or a version of Node such as `24`.
//! The tests kill this example in the middle of a download.

use std::path::PathBuf;

use belljar_protocol::Explain as _;
use belljar_provision::{
    Installer, NodeRequest, NodeRuntime, ProvisionConfig, ProvisionError, Provisioner, Step,
};

fn main() {
    if let Err(error) = run() {
        eprintln!("error: {error}");
        if let Some(hint) = error.hint() {
            eprintln!("hint: {hint}");
        }
        std::process::exit(1);
    }
}

fn run() -> Result<(), ProvisionError> {
    let provisioner = Provisioner::new(ProvisionConfig::from_env()?)?;
    let mut tenths = 0;
    let mut tell = |step: Step<'_>| match step {
        Step::Downloading { bytes, total: Some(total), .. } => {
            let now = bytes * 10 / total.max(1);
            if now != tenths {
                eprintln!("downloading: {bytes} of {total} bytes");
            }
            tenths = now;
        }
        Step::Downloading { .. } => {}
        other => eprintln!("{other:?}"),
    };
    let program = match std::env::args().nth(1).as_deref() {
        Some("uv") => print_installer("uv", provisioner.uv(&mut tell)?),
        Some("pnpm") => print_installer("pnpm", provisioner.pnpm(&mut tell)?),
        version => {
            let request: NodeRequest = version.map_or(Ok(NodeRequest::default()), str::parse)?;
            print_node(provisioner.node(&request, &mut tell)?)
        }
    };
    println!("{}", program.display());
    Ok(())
}

fn print_node(node: NodeRuntime) -> PathBuf {
    eprintln!("node {} ({:?}), identity {}", node.version, node.source, node.identity);
    node.executable
}

fn print_installer(name: &str, installer: Installer) -> PathBuf {
    eprintln!(
        "{name} {} ({:?}), identity {}",
        installer.version, installer.source, installer.identity
    );
    installer.program
}
