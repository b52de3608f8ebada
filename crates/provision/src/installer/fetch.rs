//! The sources of the installers' archives: uv's wheel from the Python indexes, pnpm's program from
//! the npm registry.

use std::path::Path;

use crate::credential::Login;
use crate::error::ProvisionError;
use crate::http::Client;
use crate::index::{PackageIndex, simple};
use crate::install::{self, Archive};
use crate::npm::Package;
use crate::pins;
use crate::progress::{Progress, Step};
use crate::provisioner::Provisioner;
use crate::tool::Build;
use crate::unpack::Format;

impl Provisioner {
    /// Downloads the npm package with the program of a pnpm for one processor. The package called
    /// `pnpm` does not contain it, but depends on all of these.
    pub(super) fn fetch_pnpm(
        &self,
        build: Build,
        into: &Path,
        progress: &mut dyn Progress,
    ) -> Result<Archive, ProvisionError> {
        let registry = &self.config.registry;
        let client = Client::new(&self.config, registry.ca_file())?;
        let package = Package {
            name: &format!("@pnpm/exe.linux-{}", build.arch.name()),
            version: build.version,
        };
        let archive = package.archive(
            &client,
            registry,
            Some(self.config.pnpm_release.integrity(build.arch)),
        )?;
        install::download(&client, archive, build, into, progress)
    }

    /// Downloads the wheel of a uv from the first index that has it: the default one, otherwise an
    /// additional one. The pinned hash makes them all equally good.
    pub(super) fn fetch_uv(
        &self,
        build: Build,
        into: &Path,
        progress: &mut dyn Progress,
    ) -> Result<Archive, ProvisionError> {
        let indexes = &self.config.python_index;
        let client = Client::new(&self.config, indexes.ca_file())?;
        let mut index = indexes.default_index();
        let mut further = indexes.extra_indexes().iter();
        loop {
            let fetched = self
                .wheel(&client, index, build)
                .and_then(|archive| install::download(&client, archive, build, into, progress));
            match (fetched, further.next()) {
                (Err(error), Some(next)) if error.is_unavailable() => {
                    progress.step(Step::FallingBack { why: &error.to_string() });
                    index = next;
                }
                (fetched, _) => return fetched,
            }
        }
    }

    /// Returns the wheel on an index. Its URL comes from the index's page of the project.
    fn wheel(
        &self,
        client: &Client,
        index: &PackageIndex,
        build: Build,
    ) -> Result<Archive, ProvisionError> {
        let url = index.project_url("uv");
        let page = client.page(&url, simple::ACCEPT, index.credential_for(&url).as_ref())?;
        let address = simple::address_of(&pins::uv_wheel(build.version, build.arch), &page)?;
        let (url, login) = Login::split(&address);
        let credential =
            login.and_then(|login| login.credential()).or_else(|| index.credential_for(&url));
        Ok(Archive {
            url,
            credential,
            integrity: self.config.uv_release.integrity(build.arch),
            format: Format::Wheel,
        })
    }
}
