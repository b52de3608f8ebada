//! Objects: named files of a project.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;

use belljar_engine::ArtifactFile;
use belljar_objects::{Content, Key, ObjectsError, PutError, Stored};
use belljar_protocol::{ObjectCopy, ObjectName, ObjectPage, ObjectRecord, Scope, SignedMethod, SignedUrl, SignedUrlRequest, Timestamp};
use belljar_store::{NewObject, Reservation, StoreError};
use bytes::Bytes;
use futures::{Stream, StreamExt};
use serde_json::json;

use crate::caller::Caller;
use crate::calls::StorageCalls;
use crate::error::ServiceError;
use crate::metrics;
use crate::service::Service;
use crate::signing::SignedAccess;

/// The largest object.
const MOST_OBJECT_BYTES: u64 = 5 << 40;
/// The longest that a signed address works.
const MOST_SIGNED_MS: u64 = 7 * 24 * 3600 * 1000;
/// How often a reader may find that an object was replaced while it was being opened.
const MOST_REPLACED: u32 = 100;
/// Of an object about which nobody said what it is.
const UNKNOWN_TYPE: &str = "application/octet-stream";

/// What is uploaded.
#[derive(Clone, Debug, Default)]
pub struct NewUpload {
    /// Media type.
    pub content_type: Option<String>,
    /// What the uploader says of it.
    pub metadata: BTreeMap<String, String>,
    /// What its MD5 must be, hexadecimal.
    pub md5: Option<String>,
    /// What its SHA-256 must be, hexadecimal.
    pub sha256: Option<String>,
    /// Its size, where it is known ahead.
    pub size_bytes: Option<u64>,
    /// Whether it must not replace another.
    pub only_new: bool,
}

/// Why a piece of an upload was not taken.
#[derive(Debug, thiserror::Error)]
enum NotTaken<E> {
    #[error("{0}")]
    Body(E),
    #[error("{0}")]
    Quota(StoreError),
}

/// Content on its way out.
#[derive(Debug)]
pub struct Download {
    /// The bytes.
    pub content: Content,
}

impl Service {
    /// Stores an object. Readers see the one before until this one is whole.
    pub async fn put_object<S, E>(&self, caller: &Caller, name: ObjectName, new: NewUpload, body: S) -> Result<ObjectRecord, ServiceError>
    where
        S: Stream<Item = Result<Bytes, E>> + Send,
        E: std::error::Error + Send + Sync + 'static,
    {
        caller.must(Scope::Storage)?;
        self.store_object(caller, name, new, body, None).await
    }

    pub(crate) async fn store_object<S, E>(
        &self,
        caller: &Caller,
        name: ObjectName,
        new: NewUpload,
        body: S,
        of_run: Option<&StorageCalls>,
    ) -> Result<ObjectRecord, ServiceError>
    where
        S: Stream<Item = Result<Bytes, E>> + Send,
        E: std::error::Error + Send + Sync + 'static,
    {
        check(&new)?;
        let quota = caller.project.settings.quotas.storage();
        let most = quota.bytes.unwrap_or(MOST_OBJECT_BYTES).min(MOST_OBJECT_BYTES);
        if new.size_bytes.is_some_and(|size| size > most) {
            return Err(too_large(most));
        }
        // Again when it is named: this only spares an upload.
        if new.only_new && self.store().object(caller.project_id(), &name).await.is_ok() {
            return Err(ServiceError::Conflict(format!("there is an object `{name}` already")));
        }
        let key = Key::new(caller.project_id()).map_err(ServiceError::invalid)?;
        // Its metadata are in the database, and are there as soon as it has its name.
        let metadata_bytes = belljar_store::metadata_bytes(&new.metadata);
        let announced = new.size_bytes.map(|size| size.saturating_add(metadata_bytes));
        let mut reservation = self.store().reserve_object(caller.project_id(), quota, &name, announced).await?;
        reservation.add(metadata_bytes)?;
        let body = body.map(|piece| {
            let piece = piece.map_err(NotTaken::Body)?;
            reservation.add(piece.len() as u64).map_err(NotTaken::Quota)?;
            Ok(piece)
        });
        let stored = self.objects().put(&key, body, most).await.map_err(|error| match error {
            PutError::Body(NotTaken::Body(error)) => ServiceError::Body(error.to_string()),
            PutError::Body(NotTaken::Quota(error)) => error.into(),
            PutError::TooLarge { .. } => too_large(most),
            PutError::Objects(error) => ServiceError::Objects(error),
        })?;
        let named = self.name_content(caller, name, new, stored, reservation, of_run).await;
        if named.is_err() {
            // Nothing refers to it: what cannot be deleted now is found by the sweep.
            let _ = self.objects().delete(&key).await;
        }
        named
    }

    async fn name_content(
        &self,
        caller: &Caller,
        name: ObjectName,
        new: NewUpload,
        stored: Stored,
        reservation: Reservation,
        of_run: Option<&StorageCalls>,
    ) -> Result<ObjectRecord, ServiceError> {
        for (kind, expected, actual) in [("MD5", &new.md5, &stored.md5), ("SHA-256", &new.sha256, &stored.sha256)] {
            if let Some(expected) = expected.as_ref().filter(|expected| !expected.eq_ignore_ascii_case(actual)) {
                return Err(ServiceError::Checksum { kind, expected: expected.clone(), actual: actual.clone() });
            }
        }
        let details = json!({"size_bytes": stored.size_bytes, "sha256": stored.sha256});
        let audit = named(of_run).then(|| caller.did("object.put", name.as_str(), details));
        let object = NewObject {
            name,
            size_bytes: stored.size_bytes,
            content_type: new.content_type.unwrap_or_else(|| UNKNOWN_TYPE.to_owned()),
            md5: stored.md5,
            sha256: stored.sha256,
            metadata: new.metadata,
            blob: stored.key.to_string(),
            only_new: new.only_new,
        };
        let quota = caller.project.settings.quotas.storage();
        let record = self.store().put_object(caller.project_id().to_owned(), object, quota, Some(reservation), audit).await?;
        self.blobs_are_doomed();
        metrics::uploaded(record.size_bytes);
        Ok(record)
    }

    /// What is known of an object.
    pub async fn object(&self, caller: &Caller, name: &ObjectName) -> Result<ObjectRecord, ServiceError> {
        caller.must(Scope::Read)?;
        Ok(self.store().object(caller.project_id(), name).await?.record)
    }

    /// An object's content, or the range of it that `range` returns for the object's record.
    pub async fn get_object(
        &self,
        caller: &Caller,
        name: &ObjectName,
        range: impl Fn(&ObjectRecord) -> Result<Option<Range<u64>>, ServiceError>,
    ) -> Result<(ObjectRecord, Option<Range<u64>>, Download), ServiceError> {
        caller.must(Scope::Read)?;
        self.open_object(caller, name, range).await
    }

    pub(crate) async fn open_object(
        &self,
        caller: &Caller,
        name: &ObjectName,
        range: impl Fn(&ObjectRecord) -> Result<Option<Range<u64>>, ServiceError>,
    ) -> Result<(ObjectRecord, Option<Range<u64>>, Download), ServiceError> {
        let mut tries = MOST_REPLACED;
        loop {
            let object = self.store().object(caller.project_id(), name).await?;
            let range = range(&object.record)?;
            match self.content(&object.blob, range.clone()).await {
                // It was replaced, and its content deleted, between the two: the name has another content by now, or none.
                Err(ServiceError::Objects(ObjectsError::NotFound(_))) if tries > 0 => tries -= 1,
                download => {
                    let download = download?;
                    metrics::downloaded(range.as_ref().map_or(object.record.size_bytes, |range| range.end - range.start));
                    return Ok((object.record, range, download));
                }
            }
        }
    }

    pub(crate) async fn content(&self, blob: &str, range: Option<Range<u64>>) -> Result<Download, ServiceError> {
        let key: Key = blob.parse().map_err(ServiceError::invalid)?;
        Ok(Download { content: self.objects().get(&key, range).await? })
    }

    /// All of an object in memory, for a file that a run starts with.
    pub(crate) async fn whole_object(&self, caller: &Caller, name: &str, most: u64) -> Result<Vec<u8>, ServiceError> {
        let name = ObjectName::try_from(name)?;
        let (record, _, mut download) = self.open_object(caller, &name, |_| Ok(None)).await?;
        if record.size_bytes > most {
            return Err(ServiceError::TooLarge(format!(
                "the object {name} has {} bytes; a run can start with files of {most}: let the program download it with belljar.storage",
                record.size_bytes
            )));
        }
        let mut bytes = Vec::with_capacity(record.size_bytes as usize);
        while let Some(chunk) = download.content.next().await {
            bytes.extend_from_slice(&chunk?);
        }
        Ok(bytes)
    }

    /// Objects by name.
    pub async fn objects_of(&self, caller: &Caller, prefix: &str, cursor: Option<&str>, limit: u32) -> Result<ObjectPage, ServiceError> {
        caller.must(Scope::Read)?;
        Ok(self.store().objects(caller.project_id(), prefix, cursor, limit).await?)
    }

    /// Takes an object away.
    pub async fn delete_object(&self, caller: &Caller, name: ObjectName) -> Result<(), ServiceError> {
        caller.must(Scope::Storage)?;
        self.remove_object(caller, name, None).await
    }

    pub(crate) async fn remove_object(&self, caller: &Caller, name: ObjectName, of_run: Option<&StorageCalls>) -> Result<(), ServiceError> {
        let audit = named(of_run).then(|| caller.did("object.delete", name.as_str(), json!({})));
        self.store().delete_object(caller.project_id().to_owned(), name, audit).await?;
        self.blobs_are_doomed();
        Ok(())
    }

    /// Gives an object a second name.
    pub async fn copy_object(&self, caller: &Caller, copy: ObjectCopy) -> Result<ObjectRecord, ServiceError> {
        caller.must(Scope::Storage)?;
        caller.must(Scope::Read)?;
        let audit = caller.did("object.copy", copy.to.as_str(), json!({"from": copy.from}));
        let quota = caller.project.settings.quotas.storage();
        let record = self.store().copy_object(caller.project_id().to_owned(), copy.from, copy.to, quota, audit).await?;
        self.blobs_are_doomed();
        Ok(record)
    }

    /// An address that works without a token, for a while.
    pub async fn sign_url(&self, caller: &Caller, request: SignedUrlRequest) -> Result<SignedUrl, ServiceError> {
        caller.must(Scope::Storage)?;
        if request.method == SignedMethod::Get {
            // Nobody signs what they may not do themselves.
            caller.must(Scope::Read)?;
        }
        if request.expires_in_ms == 0 || request.expires_in_ms > MOST_SIGNED_MS {
            return Err(ServiceError::invalid(format!("expires_in_ms: 1 to {MOST_SIGNED_MS}, seven days")));
        }
        let expires_at = Timestamp::now().plus_ms(request.expires_in_ms);
        let access = SignedAccess { project_id: caller.project_id().to_owned(), name: request.name, method: request.method, expires_at };
        let signature = self.keys().sign(&access);
        let audit = caller.did("object.sign", access.name.as_str(), json!({"method": access.method, "expires_at": expires_at}));
        self.store().record_audit(audit).await?;
        let url = format!(
            "/v1/objects/{}?project={}&method={}&expires={}&signature={signature}",
            escape(access.name.as_str()),
            access.project_id,
            access.method.name(),
            expires_at.unix_ms(),
        );
        Ok(SignedUrl { url, expires_at })
    }

    /// Who a signed address stands for: a caller that may do this one thing.
    pub async fn signed_caller(&self, access: &SignedAccess, signature: &str, source: Option<String>) -> Result<Caller, ServiceError> {
        if !self.keys().is_signed(access, signature) || access.expires_at <= Timestamp::now() {
            return Err(ServiceError::BadSignature);
        }
        let scope = match access.method {
            SignedMethod::Get => Scope::Read,
            SignedMethod::Put => Scope::Storage,
        };
        let project = self.project_of_id(&access.project_id).await.map_err(|_| ServiceError::BadSignature)?;
        let caller =
            Caller { project, actor: "signed-url".to_owned(), scopes: [scope].into(), source, expires_at: Some(access.expires_at) };
        self.within_rate(&caller)?;
        Ok(caller)
    }

    /// Keeps a file that a run left.
    pub(crate) async fn keep_file(&self, project_id: &str, caller: &Caller, file: ArtifactFile) -> Result<String, ServiceError> {
        let key = Key::new(project_id).map_err(ServiceError::invalid)?;
        let most = caller.project.settings.quotas.storage_bytes.unwrap_or(MOST_OBJECT_BYTES);
        let body = tokio_util::io::ReaderStream::with_capacity(tokio::fs::File::from_std(file.file), 256 << 10);
        let stored = self.objects().put(&key, body, most).await.map_err(|error| match error {
            PutError::Body::<io::Error>(error) => ServiceError::Body(error.to_string()),
            PutError::TooLarge { .. } => too_large(most),
            PutError::Objects(error) => ServiceError::Objects(error),
        })?;
        Ok(stored.key.to_string())
    }
}

/// Whether a change of an object has an entry of its own in the audit trail: of those that a run makes only some do.
fn named(of_run: Option<&StorageCalls>) -> bool {
    of_run.is_none_or(StorageCalls::is_named)
}

fn too_large(most: u64) -> ServiceError {
    let why = if most < MOST_OBJECT_BYTES { ": that is the project's storage quota" } else { "" };
    ServiceError::TooLarge(format!("an object can have {most} bytes here{why}"))
}

fn check(new: &NewUpload) -> Result<(), ServiceError> {
    let is_type = |text: &str| {
        text.len() <= 255
            && text.split_once('/').is_some_and(|(kind, rest)| !kind.is_empty() && !rest.is_empty())
            && text.bytes().all(|byte| (0x20..0x7f).contains(&byte))
    };
    if new.content_type.as_deref().is_some_and(|text| !is_type(text)) {
        return Err(ServiceError::invalid("content type: it is not a media type such as text/csv"));
    }
    let plain = |text: &str| text.len() <= 1024 && !text.chars().any(char::is_control);
    if new.metadata.len() > 16 || new.metadata.iter().any(|(name, value)| name.is_empty() || !plain(name) || !plain(value)) {
        return Err(ServiceError::invalid("metadata: at most 16 names and values, each at most 1,024 bytes, no control characters"));
    }
    for (checksum, digits) in [(&new.md5, 32), (&new.sha256, 64)] {
        if checksum.as_ref().is_some_and(|text| text.len() != digits || !text.bytes().all(|byte| byte.is_ascii_hexdigit())) {
            return Err(ServiceError::invalid(format!("checksum: it is not {digits} hexadecimal digits")));
        }
    }
    Ok(())
}

/// A name as it stands in the path of an address: `/` stays, what is not unreserved (RFC 3986, 2.3) is escaped.
fn escape(name: &str) -> String {
    let mut escaped = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            escaped.push(byte as char);
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}
