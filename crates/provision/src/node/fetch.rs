//! The sources of Node's archives: a mirror of its distribution, if one is configured, otherwise
//! npm's packages.

use std::path::Path;

use crate::error::ProvisionError;
use crate::http::{self, Client};
use crate::install::{self, Archive};
use crate::integrity::Integrity;
use crate::npm::Package;
use crate::pins;
use crate::progress::{Progress, Step};
use crate::provisioner::Provisioner;
use crate::tool::Build;
use crate::unpack::Format;

impl Provisioner {
    /// Downloads the archive of a Node from the first source that has it.
    pub(super) fn fetch_node(
        &self,
        build: Build,
        into: &Path,
        progress: &mut dyn Progress,
    ) -> Result<Archive, ProvisionError> {
        let registry = &self.config.registry;
        let client = Client::new(&self.config, registry.ca_file())?;
        if let Some(mirror) = &self.config.node_mirror {
            let fetched = mirror_archive(&client, mirror, build)
                .and_then(|archive| install::download(&client, archive, build, into, progress));
            match fetched {
                Err(error) if error.is_unavailable() => {
                    progress.step(Step::FallingBack { why: &error.to_string() });
                }
                other => return other,
            }
        }
        let package =
            Package { name: &format!("node-linux-{}", build.arch.name()), version: build.version };
        let archive =
            package.archive(&client, registry, pins::integrity(build.version, build.arch))?;
        install::download(&client, archive, build, into, progress)
    }
}

/// Returns the archive of a version on a mirror of Node's distribution, with its published
/// checksum.
fn mirror_archive(client: &Client, mirror: &str, build: Build) -> Result<Archive, ProvisionError> {
    let version = build.version;
    let folder = format!("{}/v{version}", mirror.trim_end_matches('/'));
    let file_name = format!("node-v{version}-linux-{}.tar.gz", build.arch.name());
    let url = format!("{folder}/SHASUMS256.txt");
    let sums = client.text(&url, "text/plain, */*", None)?;
    let integrity =
        Integrity::from_shasums(&sums, &file_name).ok_or_else(|| ProvisionError::Metadata {
            url: http::shown(&url),
            why: format!("it does not list {file_name}"),
        })?;
    Ok(Archive {
        url: format!("{folder}/{file_name}"),
        credential: None,
        integrity,
        format: Format::Distribution,
    })
}
