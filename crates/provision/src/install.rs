//! Downloads, verifies and installs programs, and checks that installed ones have not changed.
//!
//! An installation is created in the staging area under a lock, and renamed to its place when it is
//! complete and known to run. So no process ever sees a partial one, even if processes are killed.
//! The source of an archive is not decided here.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::cache::{self, FileStamp, SCHEMA};
use crate::error::ProvisionError;
use crate::http::{self, Client, Credential};
use crate::integrity::{Identity, Integrity};
use crate::interpreter;
use crate::progress::{Progress, Step};
use crate::provisioner::{Provisioner, Source};
use crate::tool::Build;
use crate::unpack::{self, Format};
use crate::version::Version;

/// A complete and intact installation.
pub(crate) struct Installation {
    /// Canonical path of the program.
    pub program: PathBuf,
    /// Hash of the program.
    pub identity: Identity,
    pub source: Source,
}

/// An archive to fetch, and its expected hash.
pub(crate) struct Archive {
    pub url: String,
    pub credential: Option<Credential>,
    pub integrity: Integrity,
    pub format: Format,
}

/// The record of an installed program, stored next to it.
#[derive(Serialize, Deserialize)]
struct Manifest {
    schema: u32,
    version: Version,
    /// URL that it was fetched from, without credentials.
    origin: String,
    /// Hash of the archive.
    integrity: String,
    /// Hash of the program.
    identity: Identity,
    /// State of the program's file when it was last hashed.
    stamp: FileStamp,
}

/// The state of a build in the cache.
enum Installed {
    Absent,
    Intact(Identity),
    Tampered(&'static str),
}

impl Provisioner {
    /// Returns the installation of a build, if it exists and is intact.
    pub(crate) fn cached(&self, build: Build) -> Option<Installation> {
        let place = self.place(build);
        match installed(&place, build) {
            Installed::Intact(identity) => {
                installation(&place, build, identity, Source::Cache).ok()
            }
            Installed::Absent | Installed::Tampered(_) => None,
        }
    }

    /// Installs the archive that `fetch` downloads, unless another process does so first. `wanted`
    /// and `passed_over` are for the error if fetching is disabled: the requested program, and the
    /// ones that were found instead.
    pub(crate) fn install(
        &self,
        build: Build,
        wanted: String,
        passed_over: Vec<String>,
        progress: &mut dyn Progress,
        fetch: impl FnOnce(&Path, &mut dyn Progress) -> Result<Archive, ProvisionError>,
    ) -> Result<Installation, ProvisionError> {
        let place = self.place(build);
        if self.config.offline {
            return Err(match installed(&place, build) {
                Installed::Tampered(why) => {
                    ProvisionError::Tampered { path: place, why: why.to_owned() }
                }
                _ => ProvisionError::Offline { what: build.tool.name(), wanted, passed_over },
            });
        }
        let kind = build.tool.name();
        let staging = self.cache.stage(&format!("{kind}-{}", build.folder_name()), progress)?;
        let writing =
            |source| ProvisionError::Cache { action: "write", path: place.clone(), source };
        match installed(&place, build) {
            Installed::Intact(identity) => {
                return installation(&place, build, identity, Source::Cache);
            }
            Installed::Tampered(why) => {
                progress.step(Step::Discarding { path: &place, why });
                fs::rename(&place, staging.path().join("discarded")).map_err(writing)?;
            }
            Installed::Absent => {}
        }

        let downloaded = staging.path().join("archive");
        let archive = fetch(&downloaded, progress)?;
        progress.step(Step::Unpacking);
        let finished = staging.path().join("finished");
        fs::create_dir(&finished).map_err(writing)?;
        unpack::unpack(
            &downloaded,
            archive.format,
            &build.kept(),
            &finished,
            self.config.bounds.unpacked_bytes,
        )
        .map_err(|why| build.refused(why))?;
        let program = finished.join(build.tool.program());
        prove_that_it_runs(&program, build)?;
        let identity = Identity::of_file(&program).map_err(writing)?;
        let manifest = Manifest {
            schema: SCHEMA,
            version: build.version,
            origin: http::shown(&archive.url),
            integrity: archive.integrity.to_string(),
            identity: identity.clone(),
            stamp: FileStamp::of(&program).map_err(writing)?,
        };
        write_manifest(&finished, &manifest).map_err(writing)?;
        let place = self.cache.publish(&finished, kind, &build.folder_name())?;
        installation(&place, build, identity, Source::Fetched)
    }

    fn place(&self, build: Build) -> PathBuf {
        self.cache.installed(build.tool.name(), &build.folder_name())
    }
}

/// Streams an archive into a file, hashes it on the way, and checks the hash.
pub(crate) fn download(
    client: &Client,
    archive: Archive,
    build: Build,
    into: &Path,
    progress: &mut dyn Progress,
) -> Result<Archive, ProvisionError> {
    let writing = |source| ProvisionError::Cache { action: "write", path: into.to_owned(), source };
    let mut file = File::create(into).map_err(writing)?;
    let mut hasher = archive.integrity.hasher();
    let mut bytes = 0;
    client.archive(&archive.url, archive.credential.as_ref(), &mut |chunk, total| {
        if chunk.is_empty() {
            http::restart(&mut file).map_err(writing)?;
            hasher = archive.integrity.hasher();
            bytes = 0;
        }
        file.write_all(chunk).map_err(writing)?;
        hasher.update(chunk);
        bytes += chunk.len() as u64;
        progress.step(Step::Downloading {
            what: build.tool.name(),
            version: build.version,
            bytes,
            total,
        });
        Ok(())
    })?;
    progress.step(Step::Verifying);
    match archive.integrity.check(&hasher.finish()) {
        Ok(()) => Ok(archive),
        Err(actual) => Err(ProvisionError::WrongHash {
            url: http::shown(&archive.url),
            expected: archive.integrity.to_string(),
            actual,
        }),
    }
}

/// Checks that a program runs. A genuine one can still be built for another C library, which is
/// better detected now than at every start.
fn prove_that_it_runs(program: &Path, build: Build) -> Result<(), ProvisionError> {
    let answer =
        interpreter::ask(program, &["--version"]).map_err(|why| build.does_not_run(why))?;
    let answer = String::from_utf8_lossy(&answer);
    if build.tool.version_in(&answer) == Some(build.version) {
        return Ok(());
    }
    let said: String = answer.trim().chars().take(100).collect();
    Err(build.does_not_run(format!("it says that it is {said:?}")))
}

/// Checks an installation. This costs one small read and one `stat`, unless the state of the
/// program's file has changed: then it is hashed again, because a cache that was copied or restored
/// from a backup is still valid.
fn installed(place: &Path, build: Build) -> Installed {
    if fs::symlink_metadata(place).is_err() {
        return Installed::Absent;
    }
    let program = place.join(build.tool.program());
    let manifest = fs::read(place.join("manifest.json"))
        .ok()
        .and_then(|text| serde_json::from_slice::<Manifest>(&text).ok());
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
    // If this fails, the next start hashes the program again, which is slow but correct.
    let _ = write_manifest(place, &manifest);
    Installed::Intact(manifest.identity)
}

fn write_manifest(place: &Path, manifest: &Manifest) -> std::io::Result<()> {
    cache::replace(&place.join("manifest.json"), &serde_json::to_vec_pretty(manifest)?)
}

fn installation(
    place: &Path,
    build: Build,
    identity: Identity,
    source: Source,
) -> Result<Installation, ProvisionError> {
    let path = place.join(build.tool.program());
    let program = fs::canonicalize(&path).map_err(|source| ProvisionError::Cache {
        action: "read",
        path,
        source,
    })?;
    Ok(Installation { program, identity, source })
}
