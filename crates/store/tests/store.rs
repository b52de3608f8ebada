//! The store from outside: schemas of before, changes that fail, the chain of the audit trail.

use std::path::Path;

use belljar_protocol::{ObjectName, ProjectSettings, RunState, Status, StorageQuota};
use belljar_store::{AuditFilter, AuditVerdict, Durability, NewAuditEntry, NewObject, RunFilter, Store, StoreError};
use sqlx::Connection;

fn entry(target: &str) -> NewAuditEntry {
    NewAuditEntry {
        project: None,
        actor: "test".into(),
        source: None,
        action: "test.do",
        target: target.into(),
        details: serde_json::json!({"n": 1}),
    }
}

async fn store(folder: &Path) -> Store {
    Store::open(&folder.join("belljar.db"), Durability::Process).await.unwrap()
}

#[tokio::test]
async fn a_database_of_the_first_schema_opens_with_all_that_is_in_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("belljar.db");
    let mut connection = sqlx::SqliteConnection::connect(&format!("sqlite:{}?mode=rwc", path.display())).await.unwrap();
    sqlx::raw_sql(include_str!("schema-1.sql")).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();

    let store = store(folder.path()).await;
    let project = store.project_named("default").await.unwrap();
    let runs = store
        .runs(&project.id, &RunFilter { limit: 10, labels: [("team".into(), "a".into())].into(), ..RunFilter::default() })
        .await
        .unwrap();
    assert_eq!(runs.runs[0].status, RunState::Ended(Status::Succeeded));
    let outcome = store.run_outcome(&runs.runs[0].id).await.unwrap().unwrap();
    assert_eq!(outcome.value.unwrap().get(), "42");
    assert_eq!(store.run_events(&runs.runs[0].id, 0).await.unwrap()[0].lines.lines().count(), 4);
    assert_eq!(
        store.run_of_key(&project.id, "k").await.unwrap().map(|(id, _)| id).is_some_and(|id| id == runs.runs[0].id),
        !is_a_day_old(&runs.runs[0])
    );
    assert_eq!(store.objects(&project.id, "in/", None, 10).await.unwrap().objects[0].size_bytes, 3);
    // What is there counts from now on: the run with all that is stored of it, and the object.
    let usage = store.usage(Some("default"), None, None).await.unwrap();
    let stored = store.stored_events(&runs.runs[0].id, 0).await.unwrap();
    let events: u64 = stored.iter().map(|piece| piece.lines.len() as u64).sum();
    assert_eq!((usage.storage[0].objects, usage.storage[0].artifacts, usage.storage[0].storage_bytes), (1, 0, 3));
    assert!((events + 1024..events + 8192).contains(&usage.storage[0].history_bytes), "{usage:?}");
    // And is dropped as what comes after: the outcome stays.
    store.trim_history(&project.id, 2048).await.unwrap();
    let record = store.run(&project.id, &runs.runs[0].id).await;
    if let Ok(record) = record {
        assert!(record.history_dropped_at.is_some());
        assert!(store.run_outcome(&record.id).await.unwrap().unwrap().value.is_none());
    }
    assert!(store.history_bytes(&project.id).await.unwrap() <= 2048);
    assert_eq!(store.tokens(&project.id).await.unwrap().len(), 1);
    assert!(matches!(store.verify_audit().await.unwrap(), AuditVerdict::Intact { entries: 5.., .. }));
    store.close().await;
}

/// Keys are remembered for a day.
fn is_a_day_old(run: &belljar_protocol::RunRecord) -> bool {
    run.created_at.plus_ms(24 * 3600 * 1000) < belljar_protocol::Timestamp::now()
}

#[tokio::test]
async fn a_newer_schema_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    store(folder.path()).await.close().await;
    let path = folder.path().join("belljar.db");
    let mut connection = sqlx::SqliteConnection::connect(&format!("sqlite:{}", path.display())).await.unwrap();
    sqlx::raw_sql("INSERT INTO _sqlx_migrations VALUES (9999, 'later', '2030-01-01', true, x'00', 0)")
        .execute(&mut connection)
        .await
        .unwrap();
    connection.close().await.unwrap();
    let error = Store::open(&path, Durability::Process).await.unwrap_err();
    assert!(matches!(error, StoreError::Migrate(_)), "{error}");
    assert!(error.to_string().contains("newer"), "{error}");
}

#[tokio::test]
async fn a_change_that_fails_takes_nothing_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path()).await;
    let names = ["a", "b", "a", "c"].map(|name| store.create_project(name.parse().unwrap(), ProjectSettings::default(), entry(name)));
    let [a, b, again, c] = futures(names).await;
    assert!(a.is_ok() && b.is_ok() && c.is_ok());
    assert!(matches!(again, Err(StoreError::Exists { .. })));
    let entries = store.audit(&AuditFilter { limit: 10, ..AuditFilter::default() }).await.unwrap().entries;
    assert_eq!(entries.iter().map(|entry| entry.target.as_str()).collect::<Vec<_>>(), ["a", "b", "c"]);
    assert!(matches!(store.verify_audit().await.unwrap(), AuditVerdict::Intact { entries: 3, .. }));
    store.close().await;
}

/// All at once, so that they may come into one transaction.
async fn futures<T, F: Future<Output = T>, const N: usize>(all: [F; N]) -> [T; N] {
    let mut all = all.map(Box::pin);
    let mut done = [const { None }; N];
    std::future::poll_fn(|context| {
        for (future, done) in all.iter_mut().zip(&mut done) {
            if done.is_none()
                && let std::task::Poll::Ready(value) = future.as_mut().poll(context)
            {
                *done = Some(value);
            }
        }
        if done.iter().all(Option::is_some) { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    done.map(|value| value.expect("all are done"))
}

#[tokio::test]
async fn a_content_is_doomed_with_the_last_that_refers_to_it() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path()).await;
    let project = store.create_project("p".parse().unwrap(), ProjectSettings::default(), entry("p")).await.unwrap().id;
    let quota = StorageQuota { bytes: Some(25), objects: 10 };
    let name = |name: &str| ObjectName::try_from(name).unwrap();
    let object = |at: &str, blob: &str, size_bytes| NewObject {
        name: name(at),
        size_bytes,
        content_type: "a/b".into(),
        md5: "m".into(),
        sha256: "s".into(),
        metadata: [].into(),
        blob: blob.into(),
        only_new: false,
    };
    store.put_object(project.clone(), object("a", "first", 10), quota, None, Some(entry("a"))).await.unwrap();
    store.copy_object(project.clone(), name("a"), name("b"), quota, entry("b")).await.unwrap();
    let refused = store.put_object(project.clone(), object("c", "second", 6), quota, None, Some(entry("c"))).await;
    assert!(matches!(refused, Err(StoreError::Quota { used_bytes: 20, .. })));
    store.put_object(project.clone(), object("a", "second", 5), quota, None, Some(entry("a"))).await.unwrap();
    assert_eq!(store.doomed_blobs(0).await.unwrap(), Vec::<String>::new());
    store.delete_object(project.clone(), name("b"), Some(entry("b"))).await.unwrap();
    assert_eq!(store.doomed_blobs(0).await.unwrap(), ["first"]);
    assert_eq!(store.storage_bytes(&project).await.unwrap(), 5);
    store.forget_blobs(vec!["first".into()]).await.unwrap();
    assert!(!store.knows_blob("first").await.unwrap() && store.knows_blob("second").await.unwrap());
    store.close().await;
}
