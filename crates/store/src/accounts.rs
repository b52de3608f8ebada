//! Accounts of the projects' storage: the stored bytes, and those reserved by uploads in progress.
//! Both are checked and changed under one lock, so that two uploads cannot use the same free bytes.
//! Stored bytes are updated with each commit, in the order of commits.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use belljar_protocol::{ObjectName, StorageQuota};
use sqlx::{Row, SqliteConnection};

use crate::error::StoreError;

/// Bytes and files of a project, as its quota counts them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct StorageTotals {
    /// Bytes of objects including their metadata, and of artifacts.
    pub(crate) bytes: u64,
    /// Number of objects and artifacts.
    pub(crate) objects: u64,
}

/// Returns the storage of a project from the database, within the transaction that changes it.
pub(crate) async fn stored(
    connection: &mut SqliteConnection,
    project_id: &str,
) -> Result<StorageTotals, StoreError> {
    let row = sqlx::query("SELECT storage_bytes, objects FROM projects WHERE id = $1")
        .bind(project_id)
        .fetch_optional(connection)
        .await?
        .ok_or_else(|| StoreError::not_found("project", project_id))?;
    Ok(StorageTotals {
        bytes: row.try_get::<i64, _>(0)? as u64,
        objects: row.try_get::<i64, _>(1)? as u64,
    })
}

/// Fails if `more` exceeds the quota together with what is stored.
pub(crate) fn check_quota(
    has: StorageTotals,
    more: StorageTotals,
    quota: StorageQuota,
) -> Result<(), StoreError> {
    if let Some(quota_bytes) =
        quota.bytes.filter(|quota| more.bytes > 0 && has.bytes.saturating_add(more.bytes) > *quota)
    {
        return Err(StoreError::Quota {
            quota_bytes,
            used_bytes: has.bytes,
            asked_bytes: more.bytes,
        });
    }
    if more.objects > 0 && has.objects.saturating_add(more.objects) > quota.objects {
        return Err(StoreError::ObjectQuota {
            quota: quota.objects,
            used: has.objects,
            asked: more.objects,
        });
    }
    Ok(())
}

/// The state of a project after a change that removed objects, runs or history.
#[derive(Debug)]
pub(crate) struct Trimmed {
    /// Storage that the project uses, without the artifacts of deleted runs.
    pub(crate) stored: StorageTotals,
    /// Whether more has to be removed than one change may.
    pub(crate) is_over: bool,
}

impl Trimmed {
    /// Reads the storage of a project after a change that left no history to remove.
    pub(crate) async fn read(
        connection: &mut SqliteConnection,
        project_id: &str,
    ) -> Result<Self, StoreError> {
        Ok(Self { stored: stored(connection, project_id).await?, is_over: false })
    }
}

/// The accounts of all projects that have been used.
#[derive(Clone, Debug, Default)]
pub(crate) struct Accounts(Arc<Mutex<HashMap<String, Account>>>);

#[derive(Debug, Default)]
struct Account {
    stored: StorageTotals,
    reserved: StorageTotals,
    /// Names that reservations replace. Only one reservation can take over the bytes of a name.
    replaced: HashSet<ObjectName>,
    /// Bytes that those names had when their reservations began. The objects may have been deleted
    /// since, so at most the bytes that are stored now can be taken over.
    replaced_bytes: u64,
}

impl Account {
    /// Lets a reservation take over the bytes of the object that it replaces. Returns whether the
    /// bytes are still available.
    fn promise(&mut self, name: &ObjectName, bytes: u64) -> bool {
        let promised = self.replaced_bytes.saturating_add(bytes);
        let has_room = promised <= self.stored.bytes && self.replaced.insert(name.clone());
        if has_room {
            self.replaced_bytes = promised;
        }
        has_room
    }

    fn take_back(&mut self, name: &ObjectName, bytes: u64) {
        self.replaced.remove(name);
        self.replaced_bytes = self.replaced_bytes.saturating_sub(bytes);
    }
}

impl Accounts {
    fn all(&self) -> MutexGuard<'_, HashMap<String, Account>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns whether an account is open.
    pub(crate) fn has(&self, project_id: &str) -> bool {
        self.all().contains_key(project_id)
    }

    /// Opens an account that is not open yet.
    pub(crate) fn open(&self, project_id: String, stored: StorageTotals) {
        self.all().entry(project_id).or_default().stored = stored;
    }

    /// Reserves storage for an object in an open account: all of an announced size at once,
    /// otherwise as the bytes arrive. `replaced_bytes` is the charge of the object that has the
    /// name now.
    pub(crate) fn reserve_object(
        &self,
        project_id: &str,
        quota: StorageQuota,
        name: &ObjectName,
        replaced_bytes: Option<u64>,
        announced_bytes: Option<u64>,
    ) -> Result<Reservation, StoreError> {
        let mut reservation = self.empty_reservation(project_id, quota);
        if let Some(bytes) = replaced_bytes {
            let mut all = self.all();
            if let Some(account) = all.get_mut(project_id)
                && account.promise(name, bytes)
            {
                reservation.replaced = Some((name.clone(), bytes));
            }
        }
        reservation.reserve(announced_bytes.unwrap_or(0), u64::from(replaced_bytes.is_none()))?;
        Ok(reservation)
    }

    /// Reserves storage for files of a known size in an open account.
    pub(crate) fn reserve_files(
        &self,
        project_id: &str,
        quota: StorageQuota,
        bytes: u64,
        files: u64,
    ) -> Result<Reservation, StoreError> {
        let mut reservation = self.empty_reservation(project_id, quota);
        reservation.reserve(bytes, files)?;
        Ok(reservation)
    }

    fn empty_reservation(&self, project_id: &str, quota: StorageQuota) -> Reservation {
        Reservation {
            accounts: self.clone(),
            project_id: project_id.to_owned(),
            quota,
            replaced: None,
            arrived: 0,
            bytes: 0,
            objects: 0,
        }
    }

    /// Updates an account after a commit and ends the commit's reservation in one step, so that
    /// every byte is counted exactly once.
    pub(crate) fn settle(
        &self,
        project_id: &str,
        stored: StorageTotals,
        mut reservation: Option<Reservation>,
    ) {
        let mut all = self.all();
        if let Some(account) = all.get_mut(project_id) {
            account.stored = stored;
            if let Some(reservation) = &mut reservation {
                reservation.end_in(account);
            }
        }
        // Dropping the reservation takes the lock.
        drop(all);
        drop(reservation);
    }

    /// Closes the account of a deleted project.
    pub(crate) fn close(&self, project_id: &str) {
        self.all().remove(project_id);
    }
}

/// Reserved storage for an upload or for the files of a run. It is released when it is dropped.
#[derive(Debug)]
pub struct Reservation {
    accounts: Accounts,
    project_id: String,
    quota: StorageQuota,
    /// The replaced object and its bytes, if the reservation takes them over.
    replaced: Option<(ObjectName, u64)>,
    /// Number of bytes that have arrived.
    arrived: u64,
    /// Number of reserved bytes: the announced size, or as many as have arrived.
    bytes: u64,
    objects: u64,
}

impl Reservation {
    /// Counts bytes that have arrived. If they do not fit, the whole reservation is released
    /// immediately, so that a refused upload does not block others.
    pub fn add(&mut self, bytes: u64) -> Result<(), StoreError> {
        self.arrived = self.arrived.saturating_add(bytes);
        let more = self.arrived.saturating_sub(self.bytes);
        if more == 0 { Ok(()) } else { self.reserve(more, 0) }
    }

    fn reserve(&mut self, bytes: u64, objects: u64) -> Result<(), StoreError> {
        let accounts = self.accounts.clone();
        let mut all = accounts.all();
        let account = all.entry(self.project_id.clone()).or_default();
        let asked = self.bytes.saturating_add(bytes);
        let added = self.charged(asked) - self.charged(self.bytes);
        let used = account.stored.bytes.saturating_add(account.reserved.bytes);
        let files = account.stored.objects.saturating_add(account.reserved.objects);
        let refused = match self.quota.bytes {
            Some(quota) if added > 0 && used.saturating_add(added) > quota => {
                // This is the view of this upload: it excludes the upload's own bytes and those
                // that it replaces.
                let others = used
                    .saturating_sub(self.charged(self.bytes))
                    .saturating_sub(self.replaced_bytes());
                Some(StoreError::Quota {
                    quota_bytes: quota,
                    used_bytes: others,
                    asked_bytes: asked,
                })
            }
            _ if objects > 0 && files.saturating_add(objects) > self.quota.objects => {
                Some(StoreError::ObjectQuota {
                    quota: self.quota.objects,
                    used: files,
                    asked: objects,
                })
            }
            _ => None,
        };
        if let Some(error) = refused {
            self.end_in(account);
            return Err(error);
        }
        account.reserved.bytes = account.reserved.bytes.saturating_add(added);
        account.reserved.objects += objects;
        (self.bytes, self.objects) = (asked, self.objects + objects);
        Ok(())
    }

    fn replaced_bytes(&self) -> u64 {
        self.replaced.as_ref().map_or(0, |(_, bytes)| *bytes)
    }

    /// Returns how much a number of bytes adds to the storage. The bytes that they replace exist
    /// until the new object has the name, and count for all other uploads.
    fn charged(&self, bytes: u64) -> u64 {
        bytes.saturating_sub(self.replaced_bytes())
    }

    /// Releases the whole reservation. Further calls have no effect.
    fn end_in(&mut self, account: &mut Account) {
        account.reserved.bytes = account.reserved.bytes.saturating_sub(self.charged(self.bytes));
        account.reserved.objects = account.reserved.objects.saturating_sub(self.objects);
        if let Some((name, bytes)) = self.replaced.take() {
            account.take_back(&name, bytes);
        }
        (self.bytes, self.objects) = (0, 0);
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if let Some(account) = self.accounts.clone().all().get_mut(&self.project_id) {
            self.end_in(account);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUOTA: StorageQuota = StorageQuota { bytes: Some(100), objects: 3 };

    fn account(bytes: u64, objects: u64) -> Accounts {
        let accounts = Accounts::default();
        accounts.open("a".into(), StorageTotals { bytes, objects });
        accounts
    }

    fn begin(
        accounts: &Accounts,
        announced: u64,
        replaced: Option<u64>,
    ) -> Result<Reservation, StoreError> {
        let mut reservation = Reservation {
            accounts: accounts.clone(),
            project_id: "a".into(),
            quota: QUOTA,
            replaced: replaced.map(|bytes| ("x".to_owned().try_into().unwrap(), bytes)),
            arrived: 0,
            bytes: 0,
            objects: 0,
        };
        reservation.reserve(announced, u64::from(replaced.is_none()))?;
        Ok(reservation)
    }

    fn reserved(accounts: &Accounts) -> (u64, u64) {
        let all = accounts.all();
        (all["a"].reserved.bytes, all["a"].reserved.objects)
    }

    #[test]
    fn a_refused_upload_gives_back_what_it_reserved_and_refuses_no_other() {
        let accounts = account(0, 0);
        let (mut first, mut second) =
            (begin(&accounts, 0, None).unwrap(), begin(&accounts, 0, None).unwrap());
        first.add(60).unwrap();
        second.add(35).unwrap();
        assert!(matches!(
            second.add(6),
            Err(StoreError::Quota { quota_bytes: 100, used_bytes: 60, asked_bytes: 41 })
        ));
        // The refused upload still exists, as it does while its answer is being sent.
        assert_eq!(reserved(&accounts), (60, 1));
        first.add(40).unwrap();
        drop(second);
        assert_eq!(reserved(&accounts), (100, 1));
        drop(first);
        assert_eq!(reserved(&accounts), (0, 0));
    }

    #[test]
    fn what_is_announced_is_reserved_before_it_arrives() {
        let accounts = account(10, 1);
        let mut first = begin(&accounts, 80, None).unwrap();
        assert!(matches!(
            begin(&accounts, 11, None),
            Err(StoreError::Quota { used_bytes: 90, asked_bytes: 11, .. })
        ));
        assert_eq!(reserved(&accounts), (80, 1));
        first.add(80).unwrap();
        assert_eq!(reserved(&accounts), (80, 1));
        // Bytes beyond the announced size are reserved as they arrive.
        first.add(10).unwrap();
        assert!(first.add(1).is_err());
        assert_eq!(reserved(&accounts), (0, 0));
    }

    #[test]
    fn a_commit_takes_over_from_its_reservation_in_one_step() {
        let accounts = account(0, 0);
        let (done, mut under_way) =
            (begin(&accounts, 50, None).unwrap(), begin(&accounts, 0, None).unwrap());
        accounts.settle("a", StorageTotals { bytes: 50, objects: 1 }, Some(done));
        assert_eq!(reserved(&accounts), (0, 1));
        // An upload that began before is affected too.
        assert!(matches!(
            under_way.add(51),
            Err(StoreError::Quota { used_bytes: 50, asked_bytes: 51, .. })
        ));
    }

    #[test]
    fn objects_are_counted_as_bytes_are() {
        let accounts = account(0, 2);
        let third = begin(&accounts, 0, None).unwrap();
        assert!(matches!(
            begin(&accounts, 0, None),
            Err(StoreError::ObjectQuota { quota: 3, used: 3, asked: 1 })
        ));
        drop(third);
        assert!(begin(&accounts, 0, None).is_ok());
    }

    #[test]
    fn what_is_deleted_while_it_is_replaced_makes_no_room_twice() {
        let name = |n: u32| ObjectName::try_from(format!("x{n}")).unwrap();
        let accounts = account(100, 1);
        let promise = |n| accounts.all().get_mut("a").unwrap().promise(&name(n), 100);
        assert!(promise(0) && !promise(0));
        // The object was deleted and another one took its place. The bytes taken over are still
        // arriving.
        accounts.settle("a", StorageTotals { bytes: 0, objects: 0 }, None);
        accounts.settle("a", StorageTotals { bytes: 100, objects: 1 }, None);
        assert!(!promise(1));
        accounts.all().get_mut("a").unwrap().take_back(&name(0), 100);
        assert!(promise(1));
    }

    #[test]
    fn what_replaces_something_needs_no_more_room_than_it_has() {
        let accounts = account(90, 3);
        let mut in_place = begin(&accounts, 0, Some(40)).unwrap();
        in_place.add(50).unwrap();
        assert_eq!(reserved(&accounts), (10, 0));
        assert!(matches!(
            in_place.add(1),
            Err(StoreError::Quota { used_bytes: 50, asked_bytes: 51, .. })
        ));
    }
}
