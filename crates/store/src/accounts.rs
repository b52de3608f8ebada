//! Storage of projects in one account each: what is stored, and what is on its way there. Both are checked and changed under one lock, so that
//! no upload is let in by bytes that another one is about to take. What is stored is taken over from each commit, in the order of commits.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use belljar_protocol::{ObjectName, StorageQuota};
use sqlx::{Row, SqliteConnection};

use crate::Store;
use crate::error::StoreError;
use crate::objects::charged_bytes;

/// Bytes and files of a project, counted as its quota counts them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stored {
    /// Bytes of objects, with their metadata, and of artifacts.
    pub bytes: u64,
    /// Objects and artifacts.
    pub objects: u64,
}

/// Storage as the database has it. Read in the transaction that changes it.
pub(crate) async fn stored(connection: &mut SqliteConnection, project_id: &str) -> Result<Stored, StoreError> {
    let row = sqlx::query("SELECT storage_bytes, objects FROM projects WHERE id = $1")
        .bind(project_id)
        .fetch_optional(connection)
        .await?
        .ok_or_else(|| StoreError::not_found("project", project_id))?;
    Ok(Stored { bytes: row.try_get::<i64, _>(0)? as u64, objects: row.try_get::<i64, _>(1)? as u64 })
}

/// The accounts of all projects that were asked for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Accounts(Arc<Mutex<HashMap<String, Account>>>);

#[derive(Debug, Default)]
struct Account {
    stored: Stored,
    reserved: Stored,
    /// Names that a reservation replaces: the room that one takes over is there for one of them only.
    replaced: HashSet<ObjectName>,
    /// Bytes that those names had when their reservations began. They may have been deleted since, so that as much as is stored now is
    /// promised at the most.
    replaced_bytes: u64,
}

impl Account {
    /// Promises the room of an object to the reservation that replaces it. Whether it is still there to be promised.
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

    fn has(&self, project_id: &str) -> bool {
        self.all().contains_key(project_id)
    }

    /// Opens an account that is not open yet.
    fn open(&self, project_id: String, stored: Stored) {
        self.all().entry(project_id).or_default().stored = stored;
    }

    /// Takes over what a commit has stored, and the end of the reservation that it was made under: in one step, so that nothing is counted
    /// twice and nothing not at all.
    pub(crate) fn settle(&self, project_id: &str, stored: Stored, mut reservation: Option<Reservation>) {
        let mut all = self.all();
        if let Some(account) = all.get_mut(project_id) {
            account.stored = stored;
            if let Some(reservation) = &mut reservation {
                reservation.end_in(account);
            }
        }
        // It takes the lock when it is dropped.
        drop(all);
        drop(reservation);
    }

    /// Closes the account of a project that is gone.
    pub(crate) fn close(&self, project_id: &str) {
        self.all().remove(project_id);
    }
}

/// Room for an upload, or for the files of a run. Given back when it is dropped.
#[derive(Debug)]
pub struct Reservation {
    accounts: Accounts,
    project_id: String,
    quota: StorageQuota,
    /// The object that is replaced, where its room is taken over, and its bytes.
    replaced: Option<(ObjectName, u64)>,
    /// What has arrived.
    arrived: u64,
    /// What is reserved: as announced, or as much as has arrived.
    bytes: u64,
    objects: u64,
}

impl Reservation {
    /// Counts bytes that arrived. Where they do not fit, everything is given back, at once: one that is refused holds up no other.
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
                // As one sees it who asks: without what is this one's own, or replaced by it.
                let others = used.saturating_sub(self.charged(self.bytes)).saturating_sub(self.replaced_bytes());
                Some(StoreError::Quota { quota_bytes: quota, used_bytes: others, asked_bytes: asked })
            }
            _ if objects > 0 && files.saturating_add(objects) > self.quota.objects => {
                Some(StoreError::ObjectQuota { quota: self.quota.objects, used: files, asked: objects })
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

    /// What a number of bytes adds to what is stored. What they replace is there until they have its name, and counts for all others.
    fn charged(&self, bytes: u64) -> u64 {
        bytes.saturating_sub(self.replaced_bytes())
    }

    /// Gives back all of it. A second time it does nothing.
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

impl Store {
    /// Reserves room for an object. Of one whose size is announced all of it, at once; of another as it arrives.
    pub async fn reserve_object(
        &self,
        project_id: &str,
        quota: StorageQuota,
        name: &ObjectName,
        announced_bytes: Option<u64>,
    ) -> Result<Reservation, StoreError> {
        self.open_account(project_id).await?;
        let before = match self.object(project_id, name).await {
            Ok(object) => Some(charged_bytes(&object.record)),
            Err(StoreError::NotFound { .. }) => None,
            Err(error) => return Err(error),
        };
        let mut reservation = self.no_reservation(project_id, quota);
        if let Some(bytes) = before {
            let mut all = self.accounts.all();
            if let Some(account) = all.get_mut(project_id)
                && account.promise(name, bytes)
            {
                reservation.replaced = Some((name.clone(), bytes));
            }
        }
        reservation.reserve(announced_bytes.unwrap_or(0), u64::from(before.is_none()))?;
        Ok(reservation)
    }

    /// Reserves room for files that a run left.
    pub async fn reserve_files(&self, project_id: &str, quota: StorageQuota, bytes: u64, files: u64) -> Result<Reservation, StoreError> {
        self.open_account(project_id).await?;
        let mut reservation = self.no_reservation(project_id, quota);
        reservation.reserve(bytes, files)?;
        Ok(reservation)
    }

    fn no_reservation(&self, project_id: &str, quota: StorageQuota) -> Reservation {
        let (accounts, project_id) = (self.accounts.clone(), project_id.to_owned());
        Reservation { accounts, project_id, quota, replaced: None, arrived: 0, bytes: 0, objects: 0 }
    }

    /// Opens a project's account with what the database has, in the order of commits: later ones find it open.
    async fn open_account(&self, project_id: &str) -> Result<(), StoreError> {
        if self.accounts.has(project_id) {
            return Ok(());
        }
        let (accounts, id, project_id) = (self.accounts.clone(), project_id.to_owned(), project_id.to_owned());
        self.writer
            .write_then(
                move |connection| Box::pin(async move { stored(connection, &project_id).await }),
                move |stored: &Stored| accounts.open(id, *stored),
            )
            .await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUOTA: StorageQuota = StorageQuota { bytes: Some(100), objects: 3 };

    fn account(bytes: u64, objects: u64) -> Accounts {
        let accounts = Accounts::default();
        accounts.open("a".into(), Stored { bytes, objects });
        accounts
    }

    fn begin(accounts: &Accounts, announced: u64, replaced: Option<u64>) -> Result<Reservation, StoreError> {
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
        let (mut first, mut second) = (begin(&accounts, 0, None).unwrap(), begin(&accounts, 0, None).unwrap());
        first.add(60).unwrap();
        second.add(35).unwrap();
        assert!(matches!(second.add(6), Err(StoreError::Quota { quota_bytes: 100, used_bytes: 60, asked_bytes: 41 })));
        // The refused one is still there, as while its answer is on its way.
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
        assert!(matches!(begin(&accounts, 11, None), Err(StoreError::Quota { used_bytes: 90, asked_bytes: 11, .. })));
        assert_eq!(reserved(&accounts), (80, 1));
        first.add(80).unwrap();
        assert_eq!(reserved(&accounts), (80, 1));
        // More than was announced is reserved as it arrives.
        first.add(10).unwrap();
        assert!(first.add(1).is_err());
        assert_eq!(reserved(&accounts), (0, 0));
    }

    #[test]
    fn a_commit_takes_over_from_its_reservation_in_one_step() {
        let accounts = account(0, 0);
        let (done, mut under_way) = (begin(&accounts, 50, None).unwrap(), begin(&accounts, 0, None).unwrap());
        accounts.settle("a", Stored { bytes: 50, objects: 1 }, Some(done));
        assert_eq!(reserved(&accounts), (0, 1));
        // One that began before sees it.
        assert!(matches!(under_way.add(51), Err(StoreError::Quota { used_bytes: 50, asked_bytes: 51, .. })));
    }

    #[test]
    fn objects_are_counted_as_bytes_are() {
        let accounts = account(0, 2);
        let third = begin(&accounts, 0, None).unwrap();
        assert!(matches!(begin(&accounts, 0, None), Err(StoreError::ObjectQuota { quota: 3, used: 3, asked: 1 })));
        drop(third);
        assert!(begin(&accounts, 0, None).is_ok());
    }

    #[test]
    fn what_is_deleted_while_it_is_replaced_makes_no_room_twice() {
        let name = |n: u32| ObjectName::try_from(format!("x{n}")).unwrap();
        let accounts = account(100, 1);
        let promise = |n| accounts.all().get_mut("a").unwrap().promise(&name(n), 100);
        assert!(promise(0) && !promise(0));
        // Deleted, and another object in its place: what was promised is still on its way.
        accounts.settle("a", Stored { bytes: 0, objects: 0 }, None);
        accounts.settle("a", Stored { bytes: 100, objects: 1 }, None);
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
        assert!(matches!(in_place.add(1), Err(StoreError::Quota { used_bytes: 50, asked_bytes: 51, .. })));
    }
}
