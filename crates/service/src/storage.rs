//! Objects, which are named files of a project.

mod artifacts;
pub(crate) mod run_calls;
mod signed_urls;
pub(crate) mod storage_calls;
pub(crate) mod storage_room;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use belljar_objects::{Content, Key, Objects, ObjectsError, PutError, StoredContent};
use belljar_protocol::{ObjectCopy, ObjectName, ObjectPage, ObjectRecord, PageRequest, Scope};
use belljar_store::{NewObject, Reservation, Store, StoreError};
use bytes::Bytes;
use futures::{Stream, StreamExt};
use serde_json::json;
use tokio::sync::Notify;

use self::run_calls::{CallRates, StorageCalls};
use crate::access::signing::Keys;
use crate::caller::Caller;
use crate::error::ServiceError;
use crate::metrics;

/// The maximum size of an object.
const MAX_OBJECT_BYTES: u64 = 5 << 40;
/// The maximum number of times that a reader may find the object replaced while it is being opened.
const MAX_REPLACED: u32 = 100;
/// The media type of an object that was uploaded without one.
const UNKNOWN_TYPE: &str = "application/octet-stream";

/// The hint for objects that are too large to be files of a run.
pub(crate) const DOWNLOAD_INSTEAD: &str = "let the program download it with belljar.storage";

/// The properties of an upload.
#[derive(Clone, Debug, Default)]
pub struct NewUpload {
    /// The media type. Default: `application/octet-stream`.
    pub content_type: Option<String>,
    /// Metadata of the object, at most 16 names and values.
    pub metadata: BTreeMap<String, String>,
    /// The expected MD5 in hexadecimal.
    pub md5: Option<String>,
    /// The expected SHA-256 in hexadecimal.
    pub sha256: Option<String>,
    /// The size, if it is known in advance.
    pub size_bytes: Option<u64>,
    /// Whether the upload fails if the object already exists.
    pub only_new: bool,
}

/// The error that ends an upload.
#[derive(Debug, thiserror::Error)]
enum NotTaken<E> {
    #[error("{0}")]
    Body(E),
    #[error("{0}")]
    Quota(StoreError),
}

/// The objects of all projects.
#[derive(Debug)]
pub struct Storage {
    store: Store,
    objects: Objects,
    keys: Keys,
    call_rates: CallRates,
    /// Notified when contents lost their last name.
    blobs_doomed: Arc<Notify>,
}

impl Storage {
    pub(crate) fn new(
        store: Store,
        objects: Objects,
        keys: Keys,
        blobs_doomed: Arc<Notify>,
    ) -> Self {
        Self { store, objects, keys, call_rates: CallRates::default(), blobs_doomed }
    }

    /// Notes that contents lost their last name, so that they are deleted soon.
    pub(crate) fn blobs_are_doomed(&self) {
        self.blobs_doomed.notify_one();
    }

    /// Stores an object. Readers see the previous one until this one is complete.
    pub async fn put<S, E>(
        &self,
        caller: &Caller,
        name: ObjectName,
        new: NewUpload,
        body: S,
    ) -> Result<ObjectRecord, ServiceError>
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
        let most = quota.bytes.unwrap_or(MAX_OBJECT_BYTES).min(MAX_OBJECT_BYTES);
        if new.size_bytes.is_some_and(|size| size > most) {
            return Err(too_large(most));
        }
        // This check is repeated when the object gets its name. Here it only saves an upload.
        if new.only_new && self.store.object(caller.project_id(), &name).await.is_ok() {
            return Err(ServiceError::Conflict(format!("the object `{name}` already exists")));
        }
        let key = Key::new(caller.project_id()).map_err(ServiceError::invalid)?;
        // The metadata are stored in the database together with the name.
        let metadata_bytes = belljar_store::metadata_bytes(&new.metadata);
        let announced = new.size_bytes.map(|size| size.saturating_add(metadata_bytes));
        let mut reservation =
            self.store.reserve_object(caller.project_id(), quota, &name, announced).await?;
        reservation.add(metadata_bytes)?;
        let body = body.map(|piece| {
            let piece = piece.map_err(NotTaken::Body)?;
            reservation.add(piece.len() as u64).map_err(NotTaken::Quota)?;
            Ok(piece)
        });
        let stored = self.objects.put(&key, body, most).await.map_err(|error| match error {
            PutError::Body(NotTaken::Body(error)) => ServiceError::Body(error.to_string()),
            PutError::Body(NotTaken::Quota(error)) => error.into(),
            PutError::TooLarge { .. } => too_large(most),
            PutError::Objects(error) => ServiceError::Objects(error),
        })?;
        let named = self.name_content(caller, name, new, stored, reservation, of_run).await;
        if named.is_err() {
            // Nothing refers to the content. If it cannot be deleted now, the sweep will find it.
            let _ = self.objects.delete(&key).await;
        }
        named
    }

    async fn name_content(
        &self,
        caller: &Caller,
        name: ObjectName,
        new: NewUpload,
        stored: StoredContent,
        reservation: Reservation,
        of_run: Option<&StorageCalls>,
    ) -> Result<ObjectRecord, ServiceError> {
        for (kind, expected, actual) in
            [("MD5", &new.md5, &stored.md5), ("SHA-256", &new.sha256, &stored.sha256)]
        {
            if let Some(expected) =
                expected.as_ref().filter(|expected| !expected.eq_ignore_ascii_case(actual))
            {
                return Err(ServiceError::Checksum {
                    kind,
                    expected: expected.clone(),
                    actual: actual.clone(),
                });
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
        let record = self
            .store
            .put_object(caller.project_id().to_owned(), object, quota, Some(reservation), audit)
            .await?;
        self.blobs_are_doomed();
        metrics::uploaded(record.size_bytes);
        Ok(record)
    }

    /// Returns the record of an object.
    pub async fn object(
        &self,
        caller: &Caller,
        name: &ObjectName,
    ) -> Result<ObjectRecord, ServiceError> {
        caller.must(Scope::Read)?;
        Ok(self.store.object(caller.project_id(), name).await?.record)
    }

    /// Returns an object's content, or the range of it that `range` returns for the object's
    /// record.
    pub async fn get(
        &self,
        caller: &Caller,
        name: &ObjectName,
        range: impl Fn(&ObjectRecord) -> Result<Option<Range<u64>>, ServiceError>,
    ) -> Result<(ObjectRecord, Option<Range<u64>>, Content), ServiceError> {
        caller.must(Scope::Read)?;
        self.open_object(caller, name, range).await
    }

    pub(crate) async fn open_object(
        &self,
        caller: &Caller,
        name: &ObjectName,
        range: impl Fn(&ObjectRecord) -> Result<Option<Range<u64>>, ServiceError>,
    ) -> Result<(ObjectRecord, Option<Range<u64>>, Content), ServiceError> {
        let mut tries = MAX_REPLACED;
        loop {
            let object = self.store.object(caller.project_id(), name).await?;
            let range = range(&object.record)?;
            match self.content(&object.blob, range.clone()).await {
                // The object was replaced and its content deleted between the two calls, so its
                // name has another content now, or none.
                Err(ServiceError::Objects(ObjectsError::NotFound(_))) if tries > 0 => tries -= 1,
                content => {
                    let content = content?;
                    metrics::downloaded(
                        range
                            .as_ref()
                            .map_or(object.record.size_bytes, |range| range.end - range.start),
                    );
                    return Ok((object.record, range, content));
                }
            }
        }
    }

    pub(crate) async fn content(
        &self,
        blob: &str,
        range: Option<Range<u64>>,
    ) -> Result<Content, ServiceError> {
        let key: Key = blob.parse().map_err(ServiceError::invalid)?;
        Ok(self.objects.get(&key, range).await?)
    }

    /// Returns the whole content of an object, for a file that a run starts with.
    pub(crate) async fn whole_object(
        &self,
        caller: &Caller,
        name: &str,
        most: u64,
    ) -> Result<Vec<u8>, ServiceError> {
        let name = ObjectName::try_from(name)?;
        let (record, _, mut content) = self.open_object(caller, &name, |_| Ok(None)).await?;
        if record.size_bytes > most {
            return Err(ServiceError::TooLarge {
                detail: format!(
                    "the object `{name}` has {} bytes, which exceeds the limit of {most} for the \
                     files of a run",
                    record.size_bytes
                ),
                hint: Some(DOWNLOAD_INSTEAD),
            });
        }
        let mut bytes = Vec::with_capacity(record.size_bytes as usize);
        while let Some(chunk) = content.next().await {
            bytes.extend_from_slice(&chunk?);
        }
        Ok(bytes)
    }

    /// Returns a page of the project's objects, by name.
    pub async fn list(
        &self,
        caller: &Caller,
        prefix: &str,
        page: &PageRequest,
    ) -> Result<ObjectPage, ServiceError> {
        caller.must(Scope::Read)?;
        Ok(self.store.objects(caller.project_id(), prefix, page).await?)
    }

    /// Deletes an object.
    pub async fn delete(&self, caller: &Caller, name: ObjectName) -> Result<(), ServiceError> {
        caller.must(Scope::Storage)?;
        self.remove_object(caller, name, None).await
    }

    pub(crate) async fn remove_object(
        &self,
        caller: &Caller,
        name: ObjectName,
        of_run: Option<&StorageCalls>,
    ) -> Result<(), ServiceError> {
        let audit = named(of_run).then(|| caller.did("object.delete", name.as_str(), json!({})));
        self.store.delete_object(caller.project_id().to_owned(), name, audit).await?;
        self.blobs_are_doomed();
        Ok(())
    }

    /// Copies an object to another name.
    pub async fn copy(
        &self,
        caller: &Caller,
        copy: ObjectCopy,
    ) -> Result<ObjectRecord, ServiceError> {
        caller.must(Scope::Storage)?;
        caller.must(Scope::Read)?;
        let audit = caller.did("object.copy", copy.to.as_str(), json!({"from": copy.from}));
        let quota = caller.project.settings.quotas.storage();
        let record = self
            .store
            .copy_object(caller.project_id().to_owned(), copy.from, copy.to, quota, audit)
            .await?;
        self.blobs_are_doomed();
        Ok(record)
    }
}

/// Returns whether a change of an object gets an entry of its own in the audit trail. Of the
/// changes that a run makes, only some do.
fn named(of_run: Option<&StorageCalls>) -> bool {
    of_run.is_none_or(StorageCalls::is_named)
}

fn too_large(max: u64) -> ServiceError {
    let reason = if max < MAX_OBJECT_BYTES { ", which is the project's storage quota" } else { "" };
    ServiceError::TooLarge {
        detail: format!("the object exceeds the maximum of {max} bytes{reason}"),
        hint: None,
    }
}

fn check(new: &NewUpload) -> Result<(), ServiceError> {
    let is_type = |text: &str| {
        text.len() <= 255
            && text.split_once('/').is_some_and(|(kind, rest)| !kind.is_empty() && !rest.is_empty())
            && text.bytes().all(|byte| (0x20..0x7f).contains(&byte))
    };
    if new.content_type.as_deref().is_some_and(|text| !is_type(text)) {
        return Err(ServiceError::invalid("content type: expected a media type such as text/csv"));
    }
    let plain = |text: &str| text.len() <= 1024 && !text.chars().any(char::is_control);
    if new.metadata.len() > 16
        || new.metadata.iter().any(|(name, value)| name.is_empty() || !plain(name) || !plain(value))
    {
        return Err(ServiceError::invalid(
            "metadata: expected at most 16 names and values of at most 1,024 bytes each, without \
             control characters",
        ));
    }
    for (checksum, digits) in [(&new.md5, 32), (&new.sha256, 64)] {
        if checksum.as_ref().is_some_and(|text| {
            text.len() != digits || !text.bytes().all(|byte| byte.is_ascii_hexdigit())
        }) {
            return Err(ServiceError::invalid(format!(
                "checksum: expected {digits} hexadecimal digits"
            )));
        }
    }
    Ok(())
}
