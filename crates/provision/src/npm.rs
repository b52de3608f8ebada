//! Packages of an npm registry: the URLs of their archives and the expected hashes.

use std::collections::HashMap;

use serde::Deserialize;

use crate::error::ProvisionError;
use crate::http::{self, Client};
use crate::install::Archive;
use crate::integrity::Integrity;
use crate::npmrc::Registry;
use crate::unpack::Format;
use crate::version::Version;

/// A version of a package.
pub(crate) struct Package<'a> {
    pub name: &'a str,
    pub version: Version,
}

impl Package<'_> {
    /// Returns the archive of the package. The URL comes from the registry's metadata, and so does
    /// the hash unless it is pinned.
    pub fn archive(
        &self,
        client: &Client,
        registry: &Registry,
        pinned: Option<Integrity>,
    ) -> Result<Archive, ProvisionError> {
        #[derive(Deserialize)]
        struct Document {
            versions: HashMap<String, serde_json::Value>,
        }
        #[derive(Deserialize)]
        struct Published {
            dist: Dist,
        }
        #[derive(Deserialize)]
        struct Dist {
            tarball: String,
            integrity: Option<String>,
        }

        let version = self.version;
        let url = registry.package_url(self.name);
        let refuse = |why: String| ProvisionError::Metadata { url: http::shown(&url), why };
        // The short form of the metadata, which every registry supports. The long form is ten times
        // as large.
        let accept = "application/vnd.npm.install-v1+json; q=1.0, application/json; q=0.8";
        let text = client.text(&url, accept, registry.credential_for(&url))?;
        let mut document: Document = serde_json::from_str(&text)
            .map_err(|error| refuse(format!("it is not npm's: {error}")))?;
        let published = document.versions.remove(&version.to_string()).ok_or_else(|| {
            ProvisionError::NotListed { url: http::shown(&url), what: format!("version {version}") }
        })?;
        let Published { dist } = serde_json::from_value(published)
            .map_err(|error| refuse(format!("version {version}: {error}")))?;
        let integrity = pinned
            .or_else(|| Integrity::parse(&dist.integrity?))
            .ok_or_else(|| refuse(format!("version {version} has no hash that can be trusted")))?;
        let url = registry.tarball_url(self.name, &dist.tarball);
        Ok(Archive {
            credential: registry.credential_for(&url).cloned(),
            url,
            integrity,
            format: Format::Package,
        })
    }
}
