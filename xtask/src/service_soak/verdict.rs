//! Final verification of runs, objects, the audit trail and leftovers.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::clients::{World, download, end_of, names};
use super::http;
use super::server::Server;

/// Time limit for the remaining runs to end after the clients have stopped.
const SETTLE_TIME: Duration = Duration::from_mins(5);

/// Numbers of verified records.
#[derive(Debug, Default)]
pub struct Found {
    pub runs: usize,
    pub by_status: BTreeMap<String, usize>,
    pub marks: usize,
    pub begun_again: usize,
    pub audit_entries: u64,
    pub objects: usize,
}

/// Waits until no run is queued or running.
pub fn settle(world: &World) -> Result<()> {
    let end = Instant::now() + SETTLE_TIME;
    loop {
        let answer = world.ask("GET", "/v1/runs?status=queued&status=running&limit=1", "", b"")?;
        if answer.json()["runs"].as_array().is_some_and(Vec::is_empty) {
            return Ok(());
        }
        if Instant::now() > end {
            bail!("runs have not ended in time: {}", answer.text());
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Reads all pages of a list.
fn all(world: &World, path: &str, list: &str) -> Result<Vec<Value>> {
    let (mut found, mut cursor) = (Vec::new(), String::new());
    loop {
        let answer = world.ask("GET", &format!("{path}limit=1000{cursor}"), "", b"")?;
        if answer.status != 200 {
            bail!("{path} got {}: {}", answer.status, answer.text());
        }
        let mut page = answer.json();
        found.append(page[list].as_array_mut().context("a list")?);
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={}", next.replace('/', "%2F")),
            None => return Ok(found),
        }
    }
}

/// Verifies runs, objects and the audit trail, and reports violations to `world`.
pub fn verify(world: &World, server: &Server) -> Result<Found> {
    let mut found = Found::default();
    let records: BTreeMap<String, Value> = all(world, "/v1/runs?", "runs")?
        .into_iter()
        .map(|record| (record["id"].as_str().unwrap_or_default().to_owned(), record))
        .collect();
    found.runs = records.len();
    for record in records.values() {
        *found
            .by_status
            .entry(record["status"].as_str().unwrap_or_default().to_owned())
            .or_default() += 1;
    }

    // Each program leaves a mark when it begins. A run has at most one mark per attempt, and every
    // mark belongs to a known run.
    let mut marks: BTreeMap<String, u64> = BTreeMap::new();
    let objects = all(world, "/v1/objects?", "objects")?;
    for name in objects.iter().filter_map(|object| object["name"].as_str()?.strip_prefix("marks/"))
    {
        *marks.entry(name.split('/').next().unwrap_or_default().to_owned()).or_default() += 1;
    }
    found.marks = marks.len();
    for (id, count) in &marks {
        found.begun_again += usize::from(*count > 1);
        match records.get(id) {
            None => world.wrong(format!("{id} has run but has no record")),
            Some(record) if *count > record["attempt"].as_u64().unwrap_or(0) => {
                world.wrong(format!("{id} began {count} times in {} attempts", record["attempt"]));
            }
            Some(_) => {}
        }
    }

    // Everything that clients were promised about a run still holds.
    let promises = world.runs.lock().map_err(|_| anyhow::anyhow!("a client panicked"))?.clone();
    for (id, promise) in &promises {
        let Some(record) = records.get(id) else {
            world.wrong(format!("{id} was accepted but is lost"));
            continue;
        };
        let answer = world.ask("GET", &format!("/v1/runs/{id}"), "", b"")?;
        let (status, value) = end_of(&answer.json()["outcome"]);
        let attempt = record["attempt"].as_u64().unwrap_or(0);
        if attempt == 0 || attempt > promise.attempts {
            world.wrong(format!("{id} had {attempt} attempts of {}", promise.attempts));
        }
        match status.as_str() {
            "succeeded" if value != promise.value => {
                world.wrong(format!("{id} returned {value}, not {}", promise.value));
            }
            "succeeded" if !marks.contains_key(id) => {
                world.wrong(format!("{id} succeeded without having begun"));
            }
            "interrupted" if attempt < promise.attempts => {
                world.wrong(format!(
                    "{id} is interrupted after attempt {attempt} of {}",
                    promise.attempts
                ));
            }
            "succeeded" | "interrupted" => {}
            other => {
                world
                    .wrong(format!("{id} ended as {other}: {}", answer.json()["outcome"]["error"]));
            }
        }
        let end = (status, value);
        if promise.outcome.as_ref().is_some_and(|outcome| *outcome != end) {
            world.wrong(format!(
                "{id} was reported to have ended as {:?}, and is {} with {}",
                promise.outcome, end.0, end.1
            ));
        }
    }

    for name in 0..names() {
        if !download(world, name) {
            world.wrong(format!("kept/{name} cannot be downloaded from an idle server"));
        }
    }
    found.objects = objects.len();
    verify_audit(world, server, &records, &mut found)?;
    Ok(found)
}

/// Verifies that the audit trail is intact and contains one submission and one end of each run.
fn verify_audit(
    world: &World,
    server: &Server,
    records: &BTreeMap<String, Value>,
    found: &mut Found,
) -> Result<()> {
    let verdict = http::ask_operator(&server.home, "/v1/audit/verification")?.json();
    if verdict["verdict"] != "intact" {
        world.wrong(format!("the audit trail: {verdict}"));
    }
    found.audit_entries = verdict["entries"].as_u64().unwrap_or(0);
    for action in ["run.submit", "run.finish"] {
        let mut times: BTreeMap<String, usize> = BTreeMap::new();
        for entry in all(world, &format!("/v1/audit?action={action}&"), "entries")? {
            *times.entry(entry["target"].as_str().unwrap_or_default().to_owned()).or_default() += 1;
        }
        for id in records.keys().filter(|id| times.get(*id) != Some(&1)) {
            world.wrong(format!(
                "{action} of {id} is in the audit trail {} times",
                times.get(id).copied().unwrap_or(0)
            ));
        }
    }
    Ok(())
}

/// Returns the number of content files in the home, and the number that objects and artifacts refer
/// to.
pub fn contents(world: &World, server: &Server) -> Result<(usize, usize)> {
    let objects = all(world, "/v1/objects?", "objects")?.len();
    let mut artifacts = 0;
    for record in
        all(world, "/v1/runs?", "runs")?.iter().filter(|record| record["language"] == "python")
    {
        let id = record["id"].as_str().unwrap_or_default();
        artifacts +=
            world.ask("GET", &format!("/v1/runs/{id}/artifacts"), "", b"")?.json()["artifacts"]
                .as_array()
                .map_or(0, Vec::len);
    }
    Ok((super::server::files(&server.home.join("objects")).len(), objects + artifacts))
}
