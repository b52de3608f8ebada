//! Finds or fetches a Node as the environment says, tells the steps on stderr and the program's path on stdout. Takes a version, such as `24`.
//! Also what the tests kill in the middle of a download.

use belljar_provision::{NodeRequest, ProvisionConfig, Provisioner, Step};

fn main() {
    if let Err(error) = run() {
        eprintln!("error: {error}");
        eprintln!("hint: {}", error.hint());
        std::process::exit(1);
    }
}

fn run() -> Result<(), belljar_provision::ProvisionError> {
    let request: NodeRequest = std::env::args().nth(1).map_or(Ok(NodeRequest::default()), |text| text.parse())?;
    let provisioner = Provisioner::new(ProvisionConfig::from_env()?)?;
    let mut tenths = 0;
    let node = provisioner.node(&request, &mut |step: Step<'_>| match step {
        Step::Downloading { bytes, total: Some(total), .. } => {
            let now = bytes * 10 / total.max(1);
            if now != tenths {
                eprintln!("downloading: {bytes} of {total} bytes");
            }
            tenths = now;
        }
        Step::Downloading { .. } => {}
        other => eprintln!("{other:?}"),
    })?;
    eprintln!("node {} ({:?}), identity {}", node.version, node.source, node.identity);
    println!("{}", node.executable.display());
    Ok(())
}
