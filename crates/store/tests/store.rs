//! The store from outside: databases of earlier schemas, changes that fail, and the chain of the
//! audit trail.

use std::path::Path;
use std::time::Duration;

use belljar_protocol::{
    AuditFilter, AuditVerification, Durability, Explain as _, ObjectName, Outcome, PageRequest,
    ProjectRecord, ProjectSettings, RunError, RunFilter, RunId, RunState, SandboxInfo, Scope,
    Status, StorageQuota, Timestamp, TokenRecord, UsageFilter, UsageGroup,
};
use belljar_store::{
    EventLines, FinishedRun, NewAuditEntry, NewObject, NewRun, RunLock, Store, StoreError, Token,
    TokenHash,
};
use sqlx::Connection;

/// The time of a text search, which no test of this file makes.
const SEARCH_TIME: Duration = Duration::ZERO;

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
    let mut connection =
        sqlx::SqliteConnection::connect(&format!("sqlite:{}?mode=rwc", path.display()))
            .await
            .unwrap();
    sqlx::raw_sql(include_str!("schema-1.sql")).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();

    let store = store(folder.path()).await;
    let project = store.project_named("default").await.unwrap();
    let runs = store
        .runs(
            &project.id,
            &RunFilter { labels: [("team".into(), "a".into())].into(), ..RunFilter::default() },
            &PageRequest::first(10),
            SEARCH_TIME,
        )
        .await
        .unwrap();
    assert_eq!(runs.runs[0].status, RunState::Ended(Status::Succeeded));
    // Runs of before are found by the name of their token.
    let token = &store.tokens(&project.id).await.unwrap()[0];
    assert_eq!(runs.runs[0].token_name.as_ref(), Some(&token.name));
    let by_name = RunFilter { by: Some(token.name.clone()), ..RunFilter::default() };
    let found = store.runs(&project.id, &by_name, &PageRequest::first(10), SEARCH_TIME).await;
    assert_eq!(found.unwrap().runs.len(), 1);
    let by_token = UsageFilter { group: UsageGroup::Token, ..UsageFilter::default() };
    for filter in [UsageFilter::default(), by_token] {
        let days = store.usage("default", &filter).await.unwrap().days;
        assert!(days.iter().all(|day| day.token.is_none()) && !days.is_empty(), "{days:?}");
    }
    let outcome = store.run_outcome(&runs.runs[0].id).await.unwrap().unwrap();
    assert_eq!(outcome.value.unwrap().get(), "42");
    assert_eq!(store.run_events(&runs.runs[0].id, 0).await.unwrap()[0].lines.lines().count(), 4);
    assert_eq!(
        store
            .run_of_key(&project.id, "k")
            .await
            .unwrap()
            .map(|(id, _)| id)
            .is_some_and(|id| id == runs.runs[0].id),
        !is_a_day_old(&runs.runs[0])
    );
    assert_eq!(
        store.objects(&project.id, "in/", &PageRequest::first(10)).await.unwrap().objects[0]
            .size_bytes,
        3
    );
    // Existing data counts from now on: the object, and the run with its history.
    let usage = store.usage("default", &UsageFilter::default()).await.unwrap();
    let stored = store.stored_events(&runs.runs[0].id, 0).await.unwrap();
    let events: u64 = stored.iter().map(|piece| piece.lines.len() as u64).sum();
    assert_eq!(
        (usage.storage[0].objects, usage.storage[0].artifacts, usage.storage[0].storage_bytes),
        (1, 0, 3)
    );
    assert!((events + 1024..events + 8192).contains(&usage.storage[0].history_bytes), "{usage:?}");
    // Old history is removed like new history. The short outcome stays.
    store.trim_history(&project.id, 2048).await.unwrap();
    let record = store.run(&project.id, &runs.runs[0].id).await;
    if let Ok(record) = record {
        assert!(record.history_dropped_at.is_some());
        assert!(store.run_outcome(&record.id).await.unwrap().unwrap().value.is_none());
    }
    assert!(store.history_bytes(&project.id).await.unwrap() <= 2048);
    assert_eq!(store.tokens(&project.id).await.unwrap().len(), 1);
    assert!(matches!(
        store.verify_audit().await.unwrap(),
        AuditVerification::Intact { entries: 5.., .. }
    ));
    store.close().await;
}

/// Returns whether the run is older than idempotency keys are kept, which is a day.
fn is_a_day_old(run: &belljar_protocol::RunRecord) -> bool {
    run.created_at.plus_ms(24 * 3600 * 1000) < belljar_protocol::Timestamp::now()
}

#[tokio::test]
async fn a_newer_schema_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    store(folder.path()).await.close().await;
    let path = folder.path().join("belljar.db");
    let mut connection =
        sqlx::SqliteConnection::connect(&format!("sqlite:{}", path.display())).await.unwrap();
    sqlx::raw_sql(
        "INSERT INTO _sqlx_migrations VALUES (9999, 'later', '2030-01-01', true, x'00', 0)",
    )
    .execute(&mut connection)
    .await
    .unwrap();
    connection.close().await.unwrap();
    let error = Store::open(&path, Durability::Process).await.unwrap_err();
    assert!(matches!(error, StoreError::Migrate(_)), "{error}");
    assert!(error.hint().unwrap().contains("newer"), "{error:?}");
}

#[tokio::test]
async fn a_change_that_fails_takes_nothing_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path()).await;
    let names = ["a", "b", "a", "c"].map(|name| {
        store.create_project(name.parse().unwrap(), ProjectSettings::default(), entry(name))
    });
    let [a, b, again, c] = futures(names).await;
    assert!(a.is_ok() && b.is_ok() && c.is_ok());
    assert!(matches!(again, Err(StoreError::Exists { .. })));
    let all = AuditFilter { all: true, ..AuditFilter::default() };
    let entries = store.audit("", &all, &PageRequest::first(10)).await.unwrap().entries;
    assert_eq!(
        entries.iter().map(|entry| entry.target.as_str()).collect::<Vec<_>>(),
        ["a", "b", "c"]
    );
    assert!(matches!(
        store.verify_audit().await.unwrap(),
        AuditVerification::Intact { entries: 3, .. }
    ));
    store.close().await;
}

/// Awaits all futures at once, so that their changes can share a transaction.
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
        if done.iter().all(Option::is_some) {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    })
    .await;
    done.map(|value| value.expect("all are done"))
}

#[tokio::test]
async fn a_content_is_doomed_with_the_last_that_refers_to_it() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path()).await;
    let project = store
        .create_project("p".parse().unwrap(), ProjectSettings::default(), entry("p"))
        .await
        .unwrap()
        .id;
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
    store
        .put_object(project.clone(), object("a", "first", 10), quota, None, Some(entry("a")))
        .await
        .unwrap();
    store.copy_object(project.clone(), name("a"), name("b"), quota, entry("b")).await.unwrap();
    let refused = store
        .put_object(project.clone(), object("c", "second", 6), quota, None, Some(entry("c")))
        .await;
    assert!(matches!(refused, Err(StoreError::Quota { used_bytes: 20, .. })));
    store
        .put_object(project.clone(), object("a", "second", 5), quota, None, Some(entry("a")))
        .await
        .unwrap();
    assert_eq!(store.doomed_blobs(0).await.unwrap(), Vec::<String>::new());
    store.delete_object(project.clone(), name("b"), Some(entry("b"))).await.unwrap();
    assert_eq!(store.doomed_blobs(0).await.unwrap(), ["first"]);
    assert_eq!(store.storage_bytes(&project).await.unwrap(), 5);
    store.forget_blobs(vec!["first".into()]).await.unwrap();
    assert!(!store.knows_blob("first").await.unwrap() && store.knows_blob("second").await.unwrap());
    store.close().await;
}

#[tokio::test]
async fn only_one_upload_takes_over_the_room_of_what_it_replaces() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path()).await;
    let project = store
        .create_project("p".parse().unwrap(), ProjectSettings::default(), entry("p"))
        .await
        .unwrap()
        .id;
    let quota = StorageQuota { bytes: Some(100), objects: 10 };
    let name = ObjectName::try_from("a").unwrap();
    let object = |blob: &str| NewObject {
        name: name.clone(),
        size_bytes: 80,
        content_type: "a/b".into(),
        md5: "m".into(),
        sha256: "s".into(),
        metadata: [].into(),
        blob: blob.into(),
        only_new: false,
    };
    store.put_object(project.clone(), object("first"), quota, None, None).await.unwrap();
    let one = store.reserve_object(&project, quota, &name, Some(100)).await.unwrap();
    let other = store.reserve_object(&project, quota, &name, Some(1)).await;
    assert!(
        matches!(other, Err(StoreError::Quota { used_bytes: 100, asked_bytes: 1, .. })),
        "{other:?}"
    );
    // After the upload, the next one can replace the object in the same way.
    store.put_object(project.clone(), object("second"), quota, Some(one), None).await.unwrap();
    let next = store.reserve_object(&project, quota, &name, Some(100)).await.unwrap();
    drop(next);
    assert!(
        store
            .reserve_object(&project, quota, &ObjectName::try_from("b").unwrap(), Some(21))
            .await
            .is_err()
    );
    assert!(
        store
            .reserve_object(&project, quota, &ObjectName::try_from("b").unwrap(), Some(20))
            .await
            .is_ok()
    );
    // Deleted bytes are available at once, even to an upload that began before.
    let mut begun = store
        .reserve_object(&project, quota, &ObjectName::try_from("b").unwrap(), None)
        .await
        .unwrap();
    store.delete_object(project.clone(), name.clone(), None).await.unwrap();
    begun.add(100).unwrap();
    store.close().await;
}

#[tokio::test]
async fn tokens_of_a_project_are_bounded_and_those_that_work_no_more_make_room() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path()).await;
    let project = store
        .create_project("p".parse().unwrap(), ProjectSettings::default(), entry("p"))
        .await
        .unwrap()
        .id;
    let token = |n: u32| Token {
        record: TokenRecord {
            id: format!("tok_{n:0>6}"),
            name: "t".into(),
            hint: "bjr_".into(),
            scopes: vec![Scope::Run],
            created_at: Timestamp::now(),
            expires_at: None,
            last_used_at: None,
            revoked_at: None,
        },
        project_id: project.clone(),
        hash: TokenHash::of(&n.to_string()),
    };
    for n in 0..1000 {
        store.create_token(token(n), entry("t")).await.unwrap();
    }
    let refused = store.create_token(token(1000), entry("t")).await;
    assert!(matches!(refused, Err(StoreError::TokenQuota(1000))), "{refused:?}");
    store.revoke_token(project.clone(), "tok_000500".into(), entry("t")).await.unwrap();
    store.create_token(token(1000), entry("t")).await.unwrap();
    assert_eq!(store.count_tokens().await.unwrap(), 1000);
    assert!(
        store.token(&TokenHash::of("500")).await.unwrap().is_none()
            && store.token(&TokenHash::of("0")).await.unwrap().is_some()
    );
    store.close().await;
}

/// Accepts a run and ends it with a lock file.
async fn finished_run(
    store: &Store,
    project: &ProjectRecord,
    lock: Option<RunLock>,
    text: &str,
) -> RunId {
    let id = RunId::new();
    let record = serde_json::json!({
        "id": id, "project": project.name, "status": "running", "language": "python", "runtime": null, "entry": "main.py", "code_sha256": "e3b0",
        "created_at": Timestamp::now(), "started_at": null, "finished_at": null, "labels": {}, "comment": null, "priority": "interactive",
        "attempt": 1, "attempts": 1, "rerun_of": null, "token": "tok_1", "usage": null, "policy": {}, "limits": {}
    });
    let new = NewRun {
        record: serde_json::from_value(record).unwrap(),
        project_id: project.id.clone(),
        sealed_variables: None,
        submission: "{}".into(),
        callback_url: None,
        key: None,
        history_quota_bytes: u64::MAX >> 1,
        audit: entry("run"),
    };
    store.accept_run(new).await.stored().await.unwrap();
    let outcome = Outcome::without_run(
        id.clone(),
        SandboxInfo::none_yet("python@3.11".into()),
        Status::Failed,
        RunError::default(),
    );
    let run = FinishedRun {
        id: id.clone(),
        project_id: project.id.clone(),
        attempt: 1,
        logs_from: None,
        events: EventLines { seq: 0, lines: format!("{text}\n") },
        last_seq: 1,
        last_timestamp: Timestamp::now(),
        artifacts: Vec::new(),
        reservation: None,
        quota: StorageQuota { bytes: None, objects: 10 },
        history_quota_bytes: u64::MAX >> 1,
        lock,
        started_at: None,
        token: "tok_1".into(),
        audit: entry("run"),
    };
    assert!(!store.end_run(run, &outcome).await.unwrap());
    id
}

#[tokio::test]
async fn a_lock_counts_once_and_goes_with_the_last_run_that_has_it() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path()).await;
    let project = |name: &str| {
        store.create_project(name.parse().unwrap(), ProjectSettings::default(), entry("p"))
    };
    let (a, b) = (project("a").await.unwrap(), project("b").await.unwrap());
    let lock = || {
        Some(RunLock { sha256: "l".into(), file_name: "uv.lock".into(), text: "x".repeat(50_000) })
    };
    let used = async |project: &ProjectRecord| store.history_bytes(&project.id).await.unwrap();
    let first = finished_run(&store, &a, lock(), "").await;
    let with_one = used(&a).await;
    assert!((50_000..55_000).contains(&with_one), "{with_one}");
    let second = finished_run(&store, &a, lock(), "").await;
    assert_eq!(used(&a).await, 2 * (with_one - 50_000) + 50_000, "the same lock, once");
    let other = finished_run(&store, &b, lock(), "").await;
    assert_eq!(used(&b).await, with_one, "another project pays for it as well");
    store.delete_run(a.id.clone(), first, entry("run")).await.unwrap();
    assert_eq!(used(&a).await, with_one);
    store.delete_run(a.id.clone(), second, entry("run")).await.unwrap();
    assert_eq!(used(&a).await, 0);
    assert!(store.run_lock(&other).await.unwrap().is_some());
    store.delete_project(b, entry("p")).await.unwrap();
    assert!(store.run_lock(&other).await.unwrap().is_none());
    store.close().await;
    let mut connection = sqlx::SqliteConnection::connect(&format!(
        "sqlite:{}",
        folder.path().join("belljar.db").display()
    ))
    .await
    .unwrap();
    let locks: i64 =
        sqlx::query_scalar("SELECT COUNT(*) FROM locks").fetch_one(&mut connection).await.unwrap();
    assert_eq!(locks, 0);
}

#[tokio::test]
async fn what_is_counted_is_what_is_stored() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path()).await;
    let project = store
        .create_project("p".parse().unwrap(), ProjectSettings::default(), entry("p"))
        .await
        .unwrap();
    for n in 0..10 {
        finished_run(&store, &project, None, &"x".repeat(n * 1000)).await;
    }
    store.trim_history(&project.id, 40_000).await.unwrap();
    let used = store.history_bytes(&project.id).await.unwrap();
    assert!((20_000..=40_000).contains(&used), "{used}");
    store.close().await;
    let mut connection = sqlx::SqliteConnection::connect(&format!(
        "sqlite:{}",
        folder.path().join("belljar.db").display()
    ))
    .await
    .unwrap();
    // The same sum as in the migration that counts existing data.
    let recounted: i64 = sqlx::query_scalar(
        "SELECT SUM(1024 + 2 * octet_length(facts) + COALESCE(octet_length(comment), 0) \
         + COALESCE((SELECT octet_length(submission) FROM run_submissions WHERE run_id = runs.id), 0) \
         + COALESCE((SELECT octet_length(outcome) + COALESCE(octet_length(value), 0) FROM run_outcomes WHERE run_id = runs.id), 0) \
         + COALESCE((SELECT SUM(octet_length(lines)) FROM run_events WHERE run_id = runs.id), 0)) FROM runs",
    )
    .fetch_one(&mut connection)
    .await
    .unwrap();
    assert_eq!(recounted as u64, used);
    let dropped: i64 = sqlx::query_scalar(
        "SELECT SUM(history_bytes) FROM runs WHERE history_dropped_at IS NOT NULL",
    )
    .fetch_one(&mut connection)
    .await
    .unwrap();
    let counted: i64 = sqlx::query_scalar("SELECT dropped_bytes FROM projects")
        .fetch_one(&mut connection)
        .await
        .unwrap();
    assert_eq!(dropped, counted);
}

#[tokio::test]
async fn a_database_from_before_quotas_keeps_its_content_and_is_counted() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("belljar.db");
    let mut connection =
        sqlx::SqliteConnection::connect(&format!("sqlite:{}?mode=rwc", path.display()))
            .await
            .unwrap();
    sqlx::raw_sql(include_str!("schema-4.sql")).execute(&mut connection).await.unwrap();
    let stored: String = sqlx::query_scalar(
        "SELECT lines FROM run_events WHERE lines LIKE '%shown%' AND lines LIKE '%finished%'",
    )
    .fetch_one(&mut connection)
    .await
    .unwrap();
    connection.close().await.unwrap();

    let store = store(folder.path()).await;
    let project = store.project_named("default").await.unwrap();
    let runs = store
        .runs(&project.id, &RunFilter::default(), &PageRequest::first(10), SEARCH_TIME)
        .await
        .unwrap()
        .runs;
    let (retried, first) = (&runs[0], &runs[1]);
    // The result is the same as before, although the outcome is stored twice there.
    let outcome = store.run_outcome(&first.id).await.unwrap().unwrap();
    assert_eq!(outcome.value.as_ref().unwrap().get(), r#"{"total":41.5}"#);
    assert_eq!((outcome.logs.len(), outcome.results.len(), outcome.artifacts.len()), (2, 1, 1));
    let events: String = store
        .run_events(&first.id, 0)
        .await
        .unwrap()
        .into_iter()
        .map(|piece| piece.lines)
        .collect();
    assert!(events.ends_with(&stored) && stored.contains("\"outcome\":{"), "{events}");
    let logs = store.run_outcome(&retried.id).await.unwrap().unwrap().logs;
    assert_eq!(logs.iter().map(|entry| entry.message.as_str()).collect::<Vec<_>>(), ["attempt"]);
    // The history, the artifact, and the object with its metadata are counted.
    let usage = &store.usage("default", &UsageFilter::default()).await.unwrap().storage[0];
    assert_eq!(
        (usage.objects, usage.artifacts, usage.storage_bytes),
        (1, 1, 3 + 3 + r#"{"a":"one"}"#.len() as u64)
    );
    let before = usage.history_bytes;
    // Runs that an older build ended and this one deletes release everything that they counted for.
    store.delete_run(project.id.clone(), retried.id.clone(), entry("run")).await.unwrap();
    assert!(store.history_bytes(&project.id).await.unwrap() < before);
    store.delete_run(project.id.clone(), first.id.clone(), entry("run")).await.unwrap();
    store
        .delete_object(project.id.clone(), ObjectName::try_from("in/x").unwrap(), None)
        .await
        .unwrap();
    let usage = &store.usage("default", &UsageFilter::default()).await.unwrap().storage[0];
    assert_eq!(
        (usage.objects, usage.artifacts, usage.storage_bytes, usage.history_bytes),
        (0, 0, 0, 0)
    );
    store.close().await;
}
