//! Fetching, verifying and installing Node, and telling whether what is installed is still what was.
//!
//! An installation is made in the staging area under a lock and renamed into place when it is complete and known to run, so that no process
//! ever sees a part of one, whatever is killed when.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{NodeRuntime, prefix_of};
use crate::cache::{self, FileStamp, SCHEMA};
use crate::error::ProvisionError;
use crate::http::{self, Client};
use crate::integrity::{Identity, Integrity};
use crate::npmrc::Credential;
use crate::platform::Arch;
use crate::progress::{Progress, Step};
use crate::request::{NodeRequest, Version};
use crate::unpack::{self, Origin};
use crate::{Provisioner, Source, interpreter, pins};

/// Written beside an installed Node.
#[derive(Serialize, Deserialize)]
struct Manifest {
    schema: u32,
    version: Version,
    /// Where it was fetched from, without credentials.
    origin: String,
    /// What the archive hashed to.
    integrity: String,
    /// What `bin/node` hashes to.
    identity: Identity,
    /// What `bin/node` looked like when it was last hashed.
    stamp: FileStamp,
}

/// What the cache holds of a version.
enum Installed {
    Absent,
    Intact(Identity),
    Tampered(&'static str),
}

/// One archive to fetch, and what to expect of it.
struct Archive {
    url: String,
    integrity: Integrity,
    origin: Origin,
}

impl Provisioner {
    /// The installed Node of this version, if it is there and intact.
    pub(super) fn cached_node(&self, version: Version, arch: Arch) -> Option<NodeRuntime> {
        let place = self.node_place(version, arch);
        match installed(&place) {
            Installed::Intact(identity) => installed_node(version, &place, identity, Source::Cache).ok(),
            Installed::Absent | Installed::Tampered(_) => None,
        }
    }

    /// Fetches and installs the version that the request stands for, unless another process does so first.
    pub(super) fn install_node(
        &self,
        request: &NodeRequest,
        arch: Arch,
        passed_over: Vec<String>,
        progress: &mut dyn Progress,
    ) -> Result<NodeRuntime, ProvisionError> {
        let version = request.pinned();
        let place = self.node_place(version, arch);
        if self.config.offline {
            return Err(match installed(&place) {
                Installed::Tampered(why) => ProvisionError::Tampered { path: place, why: why.to_owned() },
                _ => ProvisionError::Offline { wanted: request.to_string(), passed_over },
            });
        }
        let name = folder_name(version, arch);
        let staging = self.cache.stage(&format!("node-{name}"), progress)?;
        let writing = |source| ProvisionError::Cache { action: "write", path: place.clone(), source };
        match installed(&place) {
            Installed::Intact(identity) => return installed_node(version, &place, identity, Source::Cache),
            Installed::Tampered(why) => {
                progress.step(Step::Discarding { path: &place, why });
                fs::rename(&place, staging.path().join("discarded")).map_err(writing)?;
            }
            Installed::Absent => {}
        }

        let downloaded = staging.path().join("archive.tar.gz");
        let archive = self.fetch_node(version, arch, &downloaded, progress)?;
        progress.step(Step::Unpacking);
        let finished = staging.path().join("finished");
        fs::create_dir(&finished).map_err(writing)?;
        unpack::unpack(&downloaded, &finished, archive.origin, self.config.bounds.unpacked_bytes)
            .map_err(|why| ProvisionError::Archive { version, why })?;
        let program = finished.join("bin/node");
        prove_that_it_runs(&program, version)?;
        let identity = Identity::of_file(&program).map_err(writing)?;
        let manifest = Manifest {
            schema: SCHEMA,
            version,
            origin: http::shown(&archive.url),
            integrity: archive.integrity.to_string(),
            identity: identity.clone(),
            stamp: FileStamp::of(&program).map_err(writing)?,
        };
        write_manifest(&finished, &manifest).map_err(writing)?;
        let place = self.cache.publish(&finished, "node", &name)?;
        installed_node(version, &place, identity, Source::Fetched)
    }

    fn node_place(&self, version: Version, arch: Arch) -> PathBuf {
        self.cache.installed("node", &folder_name(version, arch))
    }

    /// Downloads the archive of a version from the first source that has it.
    fn fetch_node(&self, version: Version, arch: Arch, into: &Path, progress: &mut dyn Progress) -> Result<Archive, ProvisionError> {
        let client = Client::new(&self.config)?;
        if let Some(mirror) = &self.config.node_mirror {
            let fetched = mirror_archive(&client, mirror, version, arch)
                .and_then(|archive| download(&client, archive, None, version, into, progress));
            match fetched {
                Err(error) if error.is_unavailable() => progress.step(Step::FallingBack { why: &error.to_string() }),
                other => return other,
            }
        }
        let archive = self.npm_archive(&client, version, arch)?;
        let credential = self.config.registry.credential_for(&archive.url);
        download(&client, archive, credential, version, into, progress)
    }

    /// The npm package of a version. Its address comes from the registry's metadata; its hash too, unless the version is pinned.
    fn npm_archive(&self, client: &Client, version: Version, arch: Arch) -> Result<Archive, ProvisionError> {
        #[derive(Deserialize)]
        struct Package {
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

        let registry = &self.config.registry;
        let url = registry.package_url(&format!("node-linux-{}", arch.name()));
        let refuse = |why: String| ProvisionError::Metadata { url: http::shown(&url), why };
        // The short form of the metadata, which every registry knows; the long one is ten times as large.
        let accept = "application/vnd.npm.install-v1+json; q=1.0, application/json; q=0.8";
        let text = client.text(&url, accept, registry.credential_for(&url))?;
        let mut package: Package = serde_json::from_str(&text).map_err(|error| refuse(format!("it is not npm's: {error}")))?;
        let published =
            package.versions.remove(&version.to_string()).ok_or_else(|| refuse(format!("it does not list version {version}")))?;
        let Published { dist } = serde_json::from_value(published).map_err(|error| refuse(format!("version {version}: {error}")))?;
        let integrity = pins::integrity(version, arch)
            .or_else(|| Integrity::parse(&dist.integrity?))
            .ok_or_else(|| refuse(format!("version {version} has no hash that can be trusted")))?;
        Ok(Archive { url: registry.tarball_url(&dist.tarball), integrity, origin: Origin::Npm })
    }
}

/// The archive of a version on a mirror of Node's distribution, with its published checksum.
fn mirror_archive(client: &Client, mirror: &str, version: Version, arch: Arch) -> Result<Archive, ProvisionError> {
    let folder = format!("{}/v{version}", mirror.trim_end_matches('/'));
    let file_name = format!("node-v{version}-linux-{}.tar.gz", arch.name());
    let url = format!("{folder}/SHASUMS256.txt");
    let sums = client.text(&url, "text/plain, */*", None)?;
    let integrity = Integrity::from_shasums(&sums, &file_name)
        .ok_or_else(|| ProvisionError::Metadata { url: http::shown(&url), why: format!("it does not list {file_name}") })?;
    Ok(Archive { url: format!("{folder}/{file_name}"), integrity, origin: Origin::Distribution })
}

/// Streams the archive into a file, hashing it on the way, and compares the hash.
fn download(
    client: &Client,
    archive: Archive,
    credential: Option<&Credential>,
    version: Version,
    into: &Path,
    progress: &mut dyn Progress,
) -> Result<Archive, ProvisionError> {
    let writing = |source| ProvisionError::Cache { action: "write", path: into.to_owned(), source };
    let mut file = File::create(into).map_err(writing)?;
    let mut hasher = archive.integrity.hasher();
    let mut bytes = 0;
    client.archive(&archive.url, credential, &mut |chunk, total| {
        if chunk.is_empty() {
            http::restart(&mut file).map_err(writing)?;
            hasher = archive.integrity.hasher();
            bytes = 0;
        }
        file.write_all(chunk).map_err(writing)?;
        hasher.update(chunk);
        bytes += chunk.len() as u64;
        progress.step(Step::Downloading { version, bytes, total });
        Ok(())
    })?;
    progress.step(Step::Verifying);
    match archive.integrity.check(&hasher.finish()) {
        Ok(()) => Ok(archive),
        Err(actual) => Err(ProvisionError::WrongHash { url: http::shown(&archive.url), expected: archive.integrity.to_string(), actual }),
    }
}

/// A genuine Node can still be one for another C library. Better found out now than at every start.
fn prove_that_it_runs(program: &Path, version: Version) -> Result<(), ProvisionError> {
    let fails = |why| ProvisionError::DoesNotRun { version, why };
    let answer = interpreter::ask(program, &["--version"]).map_err(fails)?;
    let answer = String::from_utf8_lossy(&answer);
    if answer.trim() == format!("v{version}") { Ok(()) } else { Err(fails(format!("it says that it is {:?}", answer.trim()))) }
}

fn folder_name(version: Version, arch: Arch) -> String {
    format!("{version}-{}", arch.name())
}

/// Looks at an installation. Costs one small read and one `stat`, unless the program's stamp has changed: then it is hashed again, since a
/// cache that was copied or restored from a backup is still good.
fn installed(place: &Path) -> Installed {
    if fs::symlink_metadata(place).is_err() {
        return Installed::Absent;
    }
    let program = place.join("bin/node");
    let manifest = fs::read(place.join("manifest.json")).ok().and_then(|text| serde_json::from_slice::<Manifest>(&text).ok());
    let Some(mut manifest) = manifest.filter(|manifest| manifest.schema == SCHEMA) else {
        return Installed::Tampered("its manifest is missing, or of another Belljar");
    };
    let Ok(stamp) = FileStamp::of(&program) else {
        return Installed::Tampered("its program is missing");
    };
    if stamp == manifest.stamp {
        return Installed::Intact(manifest.identity);
    }
    if Identity::of_file(&program).ok().as_ref() != Some(&manifest.identity) {
        return Installed::Tampered("its program is not the one that was installed");
    }
    manifest.stamp = stamp;
    // Where this fails the next start hashes again, which is slow but right.
    let _ = write_manifest(place, &manifest);
    Installed::Intact(manifest.identity)
}

fn write_manifest(place: &Path, manifest: &Manifest) -> std::io::Result<()> {
    cache::replace(&place.join("manifest.json"), &serde_json::to_vec_pretty(manifest)?)
}

fn installed_node(version: Version, place: &Path, identity: Identity, source: Source) -> Result<NodeRuntime, ProvisionError> {
    let program = place.join("bin/node");
    let executable = fs::canonicalize(&program).map_err(|source| ProvisionError::Cache { action: "read", path: program, source })?;
    Ok(NodeRuntime { version, prefix: prefix_of(&executable), executable, source, identity, library_mounts: Vec::new() })
}
