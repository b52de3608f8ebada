//! Clients that use the server while it is killed repeatedly, and record what it acknowledged.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};

use super::http::{self, Answer, Request};
use super::random::Random;

/// Number of names of objects that are replaced.
const NAMES: u64 = 24;
/// Maximum size of an object.
const MAX_OBJECT_BYTES: u64 = 6 << 20;
/// Pause after a failed request: the server is most likely dead.
const PAUSE: Duration = Duration::from_millis(50);
/// Maximum requests with one idempotency key. The server is never down for as long as they take.
const MAX_TRIES: usize = 600;

/// Event numbers of a run that was interrupted by the server's death continue at the next multiple
/// of this.
const RESERVED_TOGETHER: u64 = 10_000;

/// Maximum times that watching a finished run may fail to deliver its end.
const MAX_IN_VAIN: u32 = 5;

/// Facts about a run that the server reported to a client. They must hold forever.
#[derive(Clone, Debug, Default)]
pub struct Promise {
    /// Status and value of the outcome, once reported.
    pub outcome: Option<(String, Value)>,
    /// Maximum number of attempts.
    pub attempts: u64,
    /// The value that the program returns.
    pub value: u64,
}

/// The latest versions of an object. Each name has one writer, whose version numbers increase.
#[derive(Clone, Copy, Debug, Default)]
pub struct Versions {
    pub begun: u64,
    pub stored: u64,
}

/// Numbers of requests, by kind and result.
#[derive(Debug, Default)]
pub struct Counts {
    pub submitted: AtomicU64,
    pub unanswered: AtomicU64,
    pub repeated_by_key: AtomicU64,
    pub uploads: AtomicU64,
    pub downloads: AtomicU64,
    pub broken_off: AtomicU64,
    pub watched: AtomicU64,
    pub resumed: AtomicU64,
    pub turned_away: AtomicU64,
}

/// State that all clients share.
pub struct World {
    pub address: String,
    pub token: String,
    pub stop: AtomicBool,
    pub runs: Mutex<BTreeMap<String, Promise>>,
    pub objects: Vec<Mutex<Versions>>,
    /// Accepted runs that no client watches yet.
    pub to_watch: Mutex<Vec<String>>,
    pub wrong: Mutex<Vec<String>>,
    pub counts: Counts,
    next_value: AtomicU64,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl World {
    pub fn new(address: String, token: String) -> Self {
        Self {
            address,
            token,
            stop: AtomicBool::new(false),
            runs: Mutex::default(),
            objects: (0..NAMES).map(|_| Mutex::default()).collect(),
            to_watch: Mutex::default(),
            wrong: Mutex::default(),
            counts: Counts::default(),
            next_value: AtomicU64::new(1),
        }
    }

    fn is_over(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    /// Records a violation.
    pub fn wrong(&self, what: String) {
        eprintln!("WRONG: {what}");
        locked(&self.wrong).push(what);
    }

    pub fn ask(
        &self,
        method: &str,
        path: &str,
        headers: &str,
        body: &[u8],
    ) -> std::io::Result<Answer> {
        http::ask(&self.address, &Request { method, path, headers: self.headers(headers), body })
    }

    fn headers(&self, more: &str) -> String {
        format!("Authorization: Bearer {}\r\nContent-Type: application/json\r\n{more}", self.token)
    }

    /// Records what the server reported about a run. Contradicting an earlier report is a
    /// violation.
    fn promised(&self, id: &str, attempts: u64, value: u64, outcome: Option<(String, Value)>) {
        let mut runs = locked(&self.runs);
        let promise =
            runs.entry(id.to_owned()).or_insert_with(|| Promise { outcome: None, attempts, value });
        let contradiction = match (&promise.outcome, &outcome) {
            (Some(before), Some(now)) if before != now => {
                Some(format!("{id} ended as {before:?} and as {now:?}"))
            }
            _ if promise.value != value => {
                Some(format!("{id} was returned for two different submissions"))
            }
            _ => None,
        };
        if outcome.is_some() {
            promise.outcome = outcome;
        }
        drop(runs);
        if let Some(contradiction) = contradiction {
            self.wrong(contradiction);
        }
    }
}

/// Returns the status and the value of an outcome.
pub fn end_of(outcome: &Value) -> (String, Value) {
    (outcome["status"].as_str().unwrap_or_default().to_owned(), outcome["value"].clone())
}

/// Returns the language and the code of a program that leaves a mark under its run's id when it
/// begins, works for up to 1500 ms and returns `value`.
fn program(random: &mut Random, value: u64) -> (&'static str, String) {
    let ms = [0, 0, 5, 50, 400, 1500][random.below(6) as usize];
    if random.below(2) == 0 {
        let code = format!(
            "const {{randomUUID}} = require('crypto');
            await belljar.storage.upload(`marks/${{belljar.run.id}}/${{randomUUID()}}`, 'x');
            console.log('begun'); await new Promise((r) => setTimeout(r, {ms})); console.log('done'); {value}"
        );
        return ("javascript", code);
    }
    let code = format!(
        "import belljar, time, uuid, os
belljar.storage.upload(f'marks/{{belljar.run.id}}/{{uuid.uuid4()}}', 'x')
print('begun')
time.sleep({ms} / 1000)
os.makedirs('outputs', exist_ok=True)
open('outputs/value.txt', 'w').write('{value}')
{value}"
    );
    ("python", code)
}

/// Submits runs that wait for the outcome, return at once or stream, with and without keys.
pub fn submit_runs(world: &World, mut random: Random) {
    while !world.is_over() {
        let value = world.next_value.fetch_add(1, Ordering::Relaxed);
        let (language, code) = program(&mut random, value);
        let attempts = if random.below(3) == 0 { 3 } else { 1 };
        let mut submission = json!({"language": language, "code": code, "labels": {"soak": (value % 5).to_string()}});
        if attempts > 1 {
            submission["retry"] = json!({"attempts": attempts, "backoff_ms": 20});
        }
        let key = (random.below(2) == 0).then(|| format!("key-{value}"));
        let way = random.below(3);
        if way == 0 {
            submission["wait"] = json!(true);
        }
        let mut headers = key.map_or_else(String::new, |key| format!("Idempotency-Key: {key}\r\n"));
        let has_key = !headers.is_empty();
        if way == 2 {
            headers.push_str("Accept: text/event-stream\r\n");
        }
        let body = submission.to_string();
        world.counts.submitted.fetch_add(1, Ordering::Relaxed);
        // With a key, the request is repeated until there is an answer, and sometimes once more.
        // Without a key, a client that gets no answer knows nothing about the run.
        let mut left = if has_key { MAX_TRIES } else { 1 };
        while left > 0 {
            left -= 1;
            let answered = match way {
                2 => stream(world, &headers, body.as_bytes(), attempts, value),
                _ => submit(world, &headers, body.as_bytes(), attempts, value),
            };
            if answered && has_key && left > 1 && random.below(4) == 0 {
                left = 1;
            } else if answered {
                left = 0;
            } else {
                if left == 0 || world.is_over() {
                    world.counts.unanswered.fetch_add(1, Ordering::Relaxed);
                    break;
                }
                std::thread::sleep(PAUSE);
            }
        }
        if !has_key {
            std::thread::sleep(Duration::from_millis(random.below(30)));
        }
    }
}

/// Submits a run. Returns whether the response identified it.
fn submit(world: &World, headers: &str, body: &[u8], attempts: u64, value: u64) -> bool {
    let Ok(answer) = world.ask("POST", "/v1/runs", headers, body) else { return false };
    if answer.headers.contains("idempotency-replayed: true") {
        world.counts.repeated_by_key.fetch_add(1, Ordering::Relaxed);
    }
    let json = answer.json();
    match (answer.status, json["id"].as_str()) {
        (200, Some(id)) => world.promised(id, attempts, value, Some(end_of(&json))),
        (202, Some(id)) => {
            world.promised(id, attempts, value, None);
            locked(&world.to_watch).push(id.to_owned());
        }
        (429 | 503, _) => {
            world.counts.turned_away.fetch_add(1, Ordering::Relaxed);
            return false;
        }
        _ => {
            world.wrong(format!("a submission got {}: {}", answer.status, answer.text()));
            return false;
        }
    }
    true
}

/// Submits a run and reads its events as the response: the first event has the run's id, the last
/// one its outcome. Returns whether the response identified the run.
fn stream(world: &World, headers: &str, body: &[u8], attempts: u64, value: u64) -> bool {
    let request =
        Request { method: "POST", path: "/v1/runs", headers: world.headers(headers), body };
    let Ok((status, lines)) = http::lines(&world.address, &request) else { return false };
    if status != 200 {
        if status != 429 && status != 503 {
            world.wrong(format!("a streamed submission got {status}"));
        }
        return false;
    }
    let mut id = None;
    for event in
        lines.filter_map(|line| serde_json::from_str::<Value>(line.strip_prefix("data: ")?).ok())
    {
        match event["type"].as_str() {
            Some("queued") => id = event["id"].as_str().map(str::to_owned),
            Some("finished") => {
                let outcome = &event["outcome"];
                world.promised(
                    outcome["id"].as_str().unwrap_or_default(),
                    attempts,
                    value,
                    Some(end_of(outcome)),
                );
                return true;
            }
            _ => {}
        }
        if let Some(id) = &id {
            world.promised(id, attempts, value, None);
        }
    }
    if let Some(id) = &id {
        locked(&world.to_watch).push(id.clone());
    }
    id.is_some()
}

/// Watches accepted runs to their end, across deaths of the server.
pub fn watch_runs(world: &World, mut random: Random) {
    while !world.is_over() {
        let waiting = locked(&world.to_watch).len() as u64;
        if waiting == 0 {
            std::thread::sleep(PAUSE);
            continue;
        }
        let id = locked(&world.to_watch).swap_remove(random.below(waiting) as usize);
        watch(world, &id);
    }
}

fn watch(world: &World, id: &str) {
    let (mut last, mut in_vain) = (None::<u64>, 0);
    while !world.is_over() {
        let is_over = world
            .ask("GET", &format!("/v1/runs/{id}"), "", b"")
            .is_ok_and(|answer| !answer.json()["finished_at"].is_null());
        let resume = last.map_or_else(String::new, |last| format!("Last-Event-ID: {last}\r\n"));
        let headers = world.headers(&format!("Accept: application/x-ndjson\r\n{resume}"));
        let path = format!("/v1/runs/{id}/events");
        let request = Request { method: "GET", path: &path, headers, body: b"" };
        let Ok((status, lines)) = http::lines(&world.address, &request) else {
            std::thread::sleep(PAUSE);
            continue;
        };
        if status != 200 {
            return world.wrong(format!("watching {id}, which was accepted, got {status}"));
        }
        for event in lines.filter_map(|line| serde_json::from_str::<Value>(&line).ok()) {
            let seq = event["seq"].as_u64().unwrap_or_default();
            // Events that were sent but not stored when the server died are lost. Their numbers are
            // not used again.
            let expected = last.map_or(0, |last| last + 1);
            let continues_after_death = seq > expected && seq.is_multiple_of(RESERVED_TOGETHER);
            if seq != expected && !continues_after_death {
                return world
                    .wrong(format!("watching {id}: event {seq} came where {expected} was due"));
            }
            last = Some(seq);
            if event["type"] == "finished" {
                let (attempts, value) = locked(&world.runs)
                    .get(id)
                    .map(|promise| (promise.attempts, promise.value))
                    .unwrap_or_default();
                world.promised(id, attempts, value, Some(end_of(&event["outcome"])));
                world.counts.watched.fetch_add(1, Ordering::Relaxed);
                return;
            }
        }
        world.counts.resumed.fetch_add(1, Ordering::Relaxed);
        // A single failure may be due to the death of the server.
        in_vain = if is_over { in_vain + 1 } else { 0 };
        if in_vain == MAX_IN_VAIN {
            return world
                .wrong(format!("watching {id} after event {last:?} never delivers its end"));
        }
        std::thread::sleep(PAUSE);
    }
}

/// The content of a version of an object. It begins with the object's name and version, from which
/// the rest can be computed.
fn content(name: u64, version: u64) -> Vec<u8> {
    let mut random = Random::new(name << 32 | version);
    let length = match random.below(4) {
        0 => random.below(200),
        1 => random.below(100_000),
        2 => random.below(1 << 20),
        _ => random.below(MAX_OBJECT_BYTES),
    };
    let mut bytes = format!("{name} {version} ").into_bytes();
    while (bytes.len() as u64) < length {
        bytes.extend_from_slice(&random.number().to_le_bytes());
    }
    bytes
}

/// Uploads new versions of the objects in `names` until the soak is over.
pub fn upload_objects(world: &World, mut random: Random, names: std::ops::Range<u64>) {
    while !world.is_over() {
        let name = names.start + random.below(names.end - names.start);
        let version = {
            let mut versions = locked(&world.objects[name as usize]);
            versions.begun += 1;
            versions.begun
        };
        let content = content(name, version);
        let checksum = if random.below(2) == 0 {
            String::new()
        } else {
            format!("Belljar-SHA256: {}\r\n", sha256(&content))
        };
        match world.ask("PUT", &format!("/v1/objects/kept/{name}"), &checksum, &content) {
            Ok(answer) if answer.status == 200 => {
                let mut versions = locked(&world.objects[name as usize]);
                versions.stored = version;
                drop(versions);
                world.counts.uploads.fetch_add(1, Ordering::Relaxed);
                if answer.json()["sha256"] != sha256(&content) {
                    world.wrong(format!(
                        "the checksum reported for kept/{name}, version {version}, is wrong"
                    ));
                }
            }
            Ok(answer) if answer.status == 503 => std::thread::sleep(PAUSE),
            Ok(answer) => {
                world.wrong(format!("an upload got {}: {}", answer.status, answer.text()));
            }
            Err(_) => {
                world.counts.broken_off.fetch_add(1, Ordering::Relaxed);
                std::thread::sleep(PAUSE);
            }
        }
        std::thread::sleep(Duration::from_millis(random.below(20)));
    }
}

/// Downloads objects while other clients replace them.
pub fn download_objects(world: &World, mut random: Random) {
    while !world.is_over() {
        if !download(world, random.below(NAMES)) {
            world.counts.broken_off.fetch_add(1, Ordering::Relaxed);
            std::thread::sleep(PAUSE);
        }
        std::thread::sleep(Duration::from_millis(random.below(10)));
    }
}

/// Downloads an object, and verifies that it is complete and no older than the last acknowledged
/// version. Returns false if the server did not answer, or answered 503.
pub fn download(world: &World, name: u64) -> bool {
    let before = *locked(&world.objects[name as usize]);
    let Ok(answer) = world.ask("GET", &format!("/v1/objects/kept/{name}"), "", b"") else {
        return false;
    };
    let after = *locked(&world.objects[name as usize]);
    if answer.status == 503 {
        return false;
    }
    if answer.status == 404 && before.stored == 0 {
        return true;
    }
    if answer.status != 200 {
        world.wrong(format!(
            "kept/{name}, whose version {} was stored, got {}: {}",
            before.stored,
            answer.status,
            answer.text()
        ));
        return true;
    }
    let start: String = answer.body.iter().take(40).map(|byte| char::from(*byte)).collect();
    let mut words = start.split(' ').map(str::parse::<u64>);
    let version = match (words.next(), words.next()) {
        (Some(Ok(named)), Some(Ok(version))) if named == name => version,
        _ => return wrong_content(world, name, "does not begin with its name and version"),
    };
    if answer.body != content(name, version) {
        return wrong_content(
            world,
            name,
            &format!("begins as version {version}, but does not continue as it"),
        );
    }
    if version < before.stored || version > after.begun {
        return wrong_content(
            world,
            name,
            &format!(
                "is version {version}, although {} was stored before and {} is the last begun",
                before.stored, after.begun
            ),
        );
    }
    world.counts.downloads.fetch_add(1, Ordering::Relaxed);
    true
}

fn wrong_content(world: &World, name: u64, why: &str) -> bool {
    world.wrong(format!("kept/{name} {why}"));
    true
}

fn sha256(bytes: &[u8]) -> String {
    use sha2::{Digest, Sha256};
    format!("{:x}", Sha256::digest(bytes))
}

/// Number of names of objects.
pub const fn names() -> u64 {
    NAMES
}
