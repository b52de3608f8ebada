//! Queries of runs. They use an index if possible. A text search examines one run after another, so
//! searches take turns among themselves and leave the other connections to everyone else.

use std::time::{Duration, Instant};

use belljar_protocol::{PageRequest, RunFilter, RunId, RunIdPrefix, RunPage, RunRecord, RunState};
use sqlx::{Acquire, QueryBuilder, Row, Sqlite, SqliteConnection};

use crate::actors::Submitter;
use crate::error::StoreError;
use crate::run_records::{COLUMNS, record, run_id};
use crate::store::Store;

/// The number of steps of `SQLite`'s virtual machine between checks whether a search has exceeded
/// its time. A run takes about thirty steps, however large it is.
const STEPS_BETWEEN_LOOKS: i32 = 100;

/// A query for a page of a project's runs.
struct RunQuery<'a> {
    project_id: &'a str,
    filter: &'a RunFilter,
    /// Only runs of this submitter.
    by: Option<Submitter>,
    /// Only runs older than this one.
    before: Option<RunId>,
    limit: u32,
}

/// The maximum time by which a run's id is later than its `created_at`: the clock may be set in
/// between.
const MAX_ID_LATER_MS: i64 = 3_600_000;

/// Returns a lower bound of all ids that were created at this time or later.
fn first_id_of(unix_ms: i64) -> String {
    // A UUIDv7 begins with 48 bits of milliseconds.
    format!("run_{:012x}", unix_ms.clamp(0, (1 << 48) - 1))
}

/// Returns at most one run more than the limit, of those in one state or in any.
async fn runs_in(
    connection: &mut SqliteConnection,
    wanted: &RunQuery<'_>,
    state: Option<RunState>,
) -> Result<Vec<RunRecord>, StoreError> {
    let &RunQuery { project_id, filter, ref by, .. } = wanted;
    let mut query = QueryBuilder::<Sqlite>::new("SELECT ");
    query.push(COLUMNS).push(" FROM ");
    // For every filter, runs are found in the order of their ids by an index, and no more than the
    // limit are read. With labels, it is the index of the first label, whose key ends with the run.
    // Otherwise it is the index of the project, or of the project and the state, the language or
    // the submitter. `CROSS JOIN` keeps the written order (sqlite.org/optoverview.html): in the
    // other order, a rare label would be looked for in a million runs.
    let mut labels = filter.labels.iter();
    let id = if let Some((name, value)) = labels.next() {
        query.push("run_labels AS labelled CROSS JOIN runs ON runs.id = labelled.run_id JOIN projects ON projects.id = runs.project_id");
        query
            .push(" WHERE labelled.project_id = ")
            .push_bind(project_id)
            .push(" AND labelled.name = ")
            .push_bind(name);
        query
            .push(" AND labelled.value = ")
            .push_bind(value)
            .push(" AND runs.project_id = labelled.project_id");
        "labelled.run_id"
    } else {
        query
            .push("runs JOIN projects ON projects.id = runs.project_id WHERE runs.project_id = ")
            .push_bind(project_id);
        "runs.id"
    };
    for (name, value) in labels {
        query.push(" AND EXISTS (SELECT 1 FROM run_labels WHERE run_labels.project_id = runs.project_id AND name = ").push_bind(name);
        query.push(" AND value = ").push_bind(value).push(" AND run_id = runs.id)");
    }
    if let Some(state) = state {
        query.push(" AND status = ").push_bind(state.name());
    }
    if let Some(language) = filter.language {
        // The expression of the index `runs_of_language`.
        query
            .push(" AND CASE WHEN json_valid(facts) THEN json_extract(facts, '$.language') END = ")
            .push_bind(language.name());
    }
    if let Some(by) = by {
        query.push(" AND submitted_by = ").push_bind(&by.name);
        if let Some(token) = &by.token {
            query.push(" AND json_extract(facts, '$.token') = ").push_bind(token);
        }
    }
    // An id begins with the time of its creation, which is just after the run's `created_at`.
    if let Some(since) = filter.since {
        query.push(" AND runs.created_at >= ").push_bind(since.unix_ms());
        query.push(format!(" AND {id} >= ")).push_bind(first_id_of(since.unix_ms()));
    }
    if let Some(until) = filter.until {
        query.push(" AND runs.created_at < ").push_bind(until.unix_ms());
        query
            .push(format!(" AND {id} < "))
            .push_bind(first_id_of(until.unix_ms().saturating_add(MAX_ID_LATER_MS)));
    }
    if let Some(text) = &filter.text {
        // The text as JSON encodes it: a line break in a program is `\n` there.
        let encoded = serde_json::to_string(text).unwrap_or_default();
        let encoded = encoded[1..encoded.len() - 1].to_owned();
        query
            .push(" AND (instr(lower(coalesce(comment, '')), lower(")
            .push_bind(text)
            .push(")) > 0");
        query
            .push(" OR EXISTS (SELECT 1 FROM run_submissions WHERE run_id = runs.id AND instr(lower(submission), lower(")
            .push_bind(encoded);
        query.push(")) > 0))");
    }
    if let Some(before) = &wanted.before {
        query.push(format!(" AND {id} < ")).push_bind(before.as_str());
    }
    query.push(format!(" ORDER BY {id} DESC LIMIT ")).push_bind(i64::from(wanted.limit) + 1);
    query.build().fetch_all(connection).await?.iter().map(record).collect()
}

/// Returns a page of runs. The states are queried one by one in one transaction, each by its index:
/// `SQLite` would sort several at once, or examine all runs.
async fn page(
    connection: &mut SqliteConnection,
    wanted: &RunQuery<'_>,
) -> Result<RunPage, StoreError> {
    let mut reading = connection.begin().await?;
    let mut runs = Vec::new();
    let states = &wanted.filter.states;
    if states.is_empty() {
        runs = runs_in(&mut reading, wanted, None).await?;
    }
    for (index, state) in states.iter().enumerate() {
        if !states[..index].contains(state) {
            runs.append(&mut runs_in(&mut reading, wanted, Some(*state)).await?);
        }
    }
    reading.rollback().await?;
    runs.sort_unstable_by(|one, other| other.id.as_str().cmp(one.id.as_str()));
    let has_more = runs.len() > wanted.limit as usize;
    runs.truncate(wanted.limit as usize);
    let next_cursor = runs.last().filter(|_| has_more).map(|last| last.id.to_string());
    Ok(RunPage { runs, next_cursor })
}

impl Store {
    /// Returns a page of a project's runs, the latest first. A text search may wait for
    /// `search_time`, and may take as long.
    pub async fn runs(
        &self,
        project_id: &str,
        filter: &RunFilter,
        request: &PageRequest,
        search_time: Duration,
    ) -> Result<RunPage, StoreError> {
        let before = request.cursor.as_ref().map(|cursor| cursor.parse::<RunId>()).transpose();
        let before = before.map_err(|_| StoreError::InvalidCursor)?;
        let by = match &filter.by {
            Some(by) => Some(self.submitter(project_id, by).await?),
            None => None,
        };
        let wanted = RunQuery { project_id, filter, by, before, limit: request.limit };
        if filter.text.is_some() {
            return self.search(&wanted, search_time).await;
        }
        page(&mut *self.readers.acquire().await?, &wanted).await
    }

    /// Returns ids of a project's runs that begin with a prefix, the latest first and no more than
    /// `limit`.
    pub async fn run_ids(
        &self,
        project_id: &str,
        prefix: &RunIdPrefix,
        limit: u32,
    ) -> Result<Vec<RunId>, StoreError> {
        // `g` follows every hexadecimal digit.
        let rows = sqlx::query(
            "SELECT id FROM runs WHERE project_id = $1 AND id >= $2 AND id < $2 || 'g' ORDER BY id DESC LIMIT $3",
        )
        .bind(project_id)
        .bind(prefix.as_str())
        .bind(i64::from(limit))
        .fetch_all(&self.readers)
        .await?;
        rows.iter().map(|row| run_id(row.try_get(0)?)).collect()
    }

    async fn search(
        &self,
        wanted: &RunQuery<'_>,
        search_time: Duration,
    ) -> Result<RunPage, StoreError> {
        let too_long = || StoreError::SearchTooLong(search_time.as_millis());
        let turn = async {
            let mut connection = self.searcher.acquire().await?;
            // A search whose caller has left continues until its time is over. Its thread is free
            // for this search by then.
            let end = Instant::now() + search_time;
            connection
                .lock_handle()
                .await?
                .set_progress_handler(STEPS_BETWEEN_LOOKS, move || Instant::now() < end);
            Ok::<_, StoreError>(connection)
        };
        let mut connection =
            tokio::time::timeout(search_time, turn).await.map_err(|_| too_long())??;
        let found = page(&mut connection, wanted).await;
        connection.lock_handle().await?.remove_progress_handler();
        match found {
            Err(StoreError::Database(error)) if is_interrupted(&error.0) => Err(too_long()),
            found => found,
        }
    }
}

/// Returns whether the error is `SQLITE_INTERRUPT` (rescode.html), which means that the progress
/// handler stopped the search.
fn is_interrupted(error: &sqlx::Error) -> bool {
    error
        .as_database_error()
        .and_then(sqlx::error::DatabaseError::code)
        .is_some_and(|code| code == "9")
}
