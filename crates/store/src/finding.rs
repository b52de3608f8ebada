//! Finding runs. By an index where that can be; a search for a text looks at one run after another, so searches take turns among themselves and leave the
//! readers to everybody else.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use belljar_protocol::{RunId, RunPage, RunRecord, RunState, Timestamp};
use sqlx::{Acquire, QueryBuilder, Sqlite, SqliteConnection};

use crate::Store;
use crate::error::StoreError;
use crate::runs::{COLUMNS, record};

/// After so many steps of `SQLite`'s machine it is looked whether a search is over its time: a run takes some thirty, however large it is.
const STEPS_BETWEEN_LOOKS: i32 = 100;

/// Which runs are wanted.
#[derive(Clone, Debug, Default)]
pub struct RunFilter {
    /// In one of these states; any when empty.
    pub states: Vec<RunState>,
    /// With all of these labels.
    pub labels: BTreeMap<String, String>,
    /// Accepted not before.
    pub since: Option<Timestamp>,
    /// Accepted before.
    pub until: Option<Timestamp>,
    /// With this text in the comment or in what was submitted.
    pub text: Option<String>,
    /// How long a search for a text may wait, and how long it may take.
    pub search_time: Duration,
    /// Older than this run.
    pub before: Option<RunId>,
    /// At most so many.
    pub limit: u32,
}

/// What a run's id may be later than its `created_at`: the clock may be set in between.
const MOST_ID_LATER_MS: i64 = 3_600_000;

/// No id that was made at this moment or after is less.
fn first_id_of(unix_ms: i64) -> String {
    // A UUIDv7 begins with 48 bits of milliseconds.
    format!("run_{:012x}", unix_ms.clamp(0, (1 << 48) - 1))
}

/// At most one more than are wanted, of those in one state, or in any.
async fn runs_in(
    connection: &mut SqliteConnection,
    project_id: &str,
    filter: &RunFilter,
    state: Option<RunState>,
) -> Result<Vec<RunRecord>, StoreError> {
    let mut query = QueryBuilder::<Sqlite>::new("SELECT ");
    query.push(COLUMNS).push(" FROM ");
    // Whatever is asked for, runs are found in the order of their ids, by an index, and no more of them than are wanted: with a label by those of
    // the first, whose key ends with the run; else by the project's, or those of one state. `CROSS JOIN` keeps the order that is written
    // (sqlite.org/optoverview.html): the other way round a label that few have is looked for in a million runs.
    let mut labels = filter.labels.iter();
    let id = if let Some((name, value)) = labels.next() {
        query.push("run_labels AS labelled CROSS JOIN runs ON runs.id = labelled.run_id JOIN projects ON projects.id = runs.project_id");
        query.push(" WHERE labelled.project_id = ").push_bind(project_id).push(" AND labelled.name = ").push_bind(name);
        query.push(" AND labelled.value = ").push_bind(value).push(" AND runs.project_id = labelled.project_id");
        "labelled.run_id"
    } else {
        query.push("runs JOIN projects ON projects.id = runs.project_id WHERE runs.project_id = ").push_bind(project_id);
        "runs.id"
    };
    for (name, value) in labels {
        query.push(" AND EXISTS (SELECT 1 FROM run_labels WHERE run_labels.project_id = runs.project_id AND name = ").push_bind(name);
        query.push(" AND value = ").push_bind(value).push(" AND run_id = runs.id)");
    }
    if let Some(state) = state {
        query.push(" AND status = ").push_bind(state.name());
    }
    // An id begins with when it was made: just after the run's `created_at`.
    if let Some(since) = filter.since {
        query.push(" AND runs.created_at >= ").push_bind(since.unix_ms());
        query.push(format!(" AND {id} >= ")).push_bind(first_id_of(since.unix_ms()));
    }
    if let Some(until) = filter.until {
        query.push(" AND runs.created_at < ").push_bind(until.unix_ms());
        query.push(format!(" AND {id} < ")).push_bind(first_id_of(until.unix_ms().saturating_add(MOST_ID_LATER_MS)));
    }
    if let Some(text) = &filter.text {
        // As JSON has it: a line end in a program is `\n` there.
        let encoded = serde_json::to_string(text).unwrap_or_default();
        let encoded = encoded[1..encoded.len() - 1].to_owned();
        query.push(" AND (instr(lower(coalesce(comment, '')), lower(").push_bind(text).push(")) > 0");
        query
            .push(" OR EXISTS (SELECT 1 FROM run_submissions WHERE run_id = runs.id AND instr(lower(submission), lower(")
            .push_bind(encoded);
        query.push(")) > 0))");
    }
    if let Some(before) = &filter.before {
        query.push(format!(" AND {id} < ")).push_bind(before.as_str());
    }
    query.push(format!(" ORDER BY {id} DESC LIMIT ")).push_bind(i64::from(filter.limit) + 1);
    query.build().fetch_all(connection).await?.iter().map(record).collect()
}

/// One state after another, each by its index and all as of one moment: several at once would be sorted, or looked for among all runs.
async fn page(connection: &mut SqliteConnection, project_id: &str, filter: &RunFilter) -> Result<RunPage, StoreError> {
    let mut reading = connection.begin().await?;
    let mut runs = Vec::new();
    if filter.states.is_empty() {
        runs = runs_in(&mut reading, project_id, filter, None).await?;
    }
    for (index, state) in filter.states.iter().enumerate() {
        if !filter.states[..index].contains(state) {
            runs.append(&mut runs_in(&mut reading, project_id, filter, Some(*state)).await?);
        }
    }
    reading.rollback().await?;
    runs.sort_unstable_by(|one, other| other.id.as_str().cmp(one.id.as_str()));
    let has_more = runs.len() > filter.limit as usize;
    runs.truncate(filter.limit as usize);
    let next_cursor = runs.last().filter(|_| has_more).map(|last| last.id.to_string());
    Ok(RunPage { runs, next_cursor })
}

impl Store {
    /// Some runs of a project, the latest first.
    pub async fn runs(&self, project_id: &str, filter: &RunFilter) -> Result<RunPage, StoreError> {
        if filter.text.is_some() {
            return self.search(project_id, filter).await;
        }
        page(&mut *self.readers.acquire().await?, project_id, filter).await
    }

    async fn search(&self, project_id: &str, filter: &RunFilter) -> Result<RunPage, StoreError> {
        let too_long = || StoreError::SearchTooLong(filter.search_time.as_millis());
        let turn = async {
            let mut connection = self.searcher.acquire().await?;
            // A search whose asker has left runs on until its time is over. Its thread is free for this one by then.
            let end = Instant::now() + filter.search_time;
            connection.lock_handle().await?.set_progress_handler(STEPS_BETWEEN_LOOKS, move || Instant::now() < end);
            Ok::<_, StoreError>(connection)
        };
        let mut connection = tokio::time::timeout(filter.search_time, turn).await.map_err(|_| too_long())??;
        let found = page(&mut connection, project_id, filter).await;
        connection.lock_handle().await?.remove_progress_handler();
        match found {
            Err(StoreError::Database(error)) if is_interrupted(&error) => Err(too_long()),
            found => found,
        }
    }
}

/// `SQLITE_INTERRUPT` (rescode.html): the progress handler said that it is enough.
fn is_interrupted(error: &sqlx::Error) -> bool {
    error.as_database_error().and_then(sqlx::error::DatabaseError::code).is_some_and(|code| code == "9")
}
