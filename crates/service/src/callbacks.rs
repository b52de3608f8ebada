//! Callbacks: the end of a run, told by a signed `POST`, until it is taken or a day has passed. They go to public addresses only, unless the operator
//! says otherwise: who may start runs must not make the server speak to its own network, nor flood somebody else's (`callback_budget`). Those of one receiver
//! wait for one another, and for nobody else.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use belljar_protocol::{Outcome, Policy, RunId, RunRecord, Timestamp};
use belljar_store::DueCallback;
use reqwest::{Client, Url};
use serde::Serialize;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::addresses::{PublicResolver, check, is_allowed};
use crate::callback_budget::{Budget, Spent};
use crate::error::ServiceError;
use crate::metrics;
use crate::service::Service;
use crate::signing::callback_signature;

/// How long one try may take.
const TRY_TIME: Duration = Duration::from_secs(10);
/// The pauses between tries double from here.
const FIRST_PAUSE_MS: u64 = 1000;
/// Tries; with doubled pauses, the last comes after about 18 hours.
const MOST_TRIES: u32 = 17;
/// Tries to a host that has never answered 2xx since the server started; the last comes after about an hour.
const MOST_UNPROVEN_TRIES: u32 = 12;
/// The longest body. What of an outcome has no bound of its own is left out of a longer one, for the receiver to fetch.
const MAX_BODY_BYTES: usize = 256 << 10;
/// Outcomes may be large, and are in memory while a body is made of them: one at a time.
static MAKING_BODY: Semaphore = Semaphore::const_new(1);
/// How often it is looked whether a try is due.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Tries at one time, to one host and in all.
const MOST_TO_HOST: usize = 8;
const MOST_AT_ONCE: usize = 256;
/// Of those that are due, how many are taken up, to one host and in all. The others are looked at again later, so that those behind them have their turn.
const MOST_TAKEN_TO_HOST: usize = 128;
const MOST_TAKEN: usize = 1024;
const PUT_OFF_MS: u64 = 2000;

/// Who makes the callbacks.
#[derive(Clone, Debug)]
pub(crate) struct Messenger {
    client: Client,
    allow_private: bool,
    budget: Arc<Mutex<Budget>>,
}

impl Messenger {
    pub(crate) fn new(allow_private: bool) -> Result<Self, ServiceError> {
        let builder = Client::builder()
            .timeout(TRY_TIME)
            .no_proxy()
            // A redirect could lead where the address itself may not.
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("belljar/", env!("CARGO_PKG_VERSION")));
        let builder = if allow_private { builder } else { builder.dns_resolver(Arc::new(PublicResolver)) };
        let client = builder
            .build()
            .map_err(|error| ServiceError::Home { what: "setting up callbacks".into(), error: std::io::Error::other(error) })?;
        Ok(Self { client, allow_private, budget: Arc::default() })
    }

    fn budget(&self) -> std::sync::MutexGuard<'_, Budget> {
        self.budget.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the end of a run once. Whether it was taken.
    async fn tell(&self, url: &str, run: &RunId, key: &str, body: Vec<u8>) -> Result<(), String> {
        let url = check(url).map_err(|error| error.to_string())?;
        // An address that is written out is not resolved.
        let literal = url.host_str().and_then(|host| host.trim_matches(['[', ']']).parse::<IpAddr>().ok());
        if literal.is_some_and(|address| !self.allow_private && !is_allowed(address)) {
            return Err("its address is not public, or this machine's own".to_owned());
        }
        let timestamp_s = Timestamp::now().unix_ms() / 1000;
        let signature = callback_signature(key, timestamp_s, &body);
        let answer = self
            .client
            .post(url)
            .header("Content-Type", "application/json")
            .header("Belljar-Run", run.as_str())
            .header("Belljar-Signature", format!("t={timestamp_s},v1={signature}"))
            .body(body)
            .send()
            .await
            // The address of a webhook is often its secret: it is in no log.
            .map_err(|error| error.without_url().to_string())?;
        if answer.status().is_success() { Ok(()) } else { Err(format!("it answered {}", answer.status())) }
    }
}

/// Callbacks that were taken up: being tried, or about to be.
#[derive(Debug)]
struct Taken {
    runs: HashSet<RunId>,
    hosts: HashMap<String, OfHost>,
    at_once: Arc<Semaphore>,
}

#[derive(Debug)]
struct OfHost {
    taken: usize,
    at_once: Arc<Semaphore>,
}

/// Whether a callback is to be tried now.
enum Take {
    /// It is, once this allows it.
    Taken(Arc<Semaphore>),
    /// It was before.
    IsTaken,
    /// There are too many, in all or to its host.
    TooMany,
}

impl Default for Taken {
    fn default() -> Self {
        Self { runs: HashSet::new(), hosts: HashMap::new(), at_once: Arc::new(Semaphore::new(MOST_AT_ONCE)) }
    }
}

impl Taken {
    fn take(&mut self, run: &RunId, host: &str) -> Take {
        if self.runs.contains(run) {
            return Take::IsTaken;
        }
        let of_host = self.hosts.get(host).map_or(0, |of_host| of_host.taken);
        if self.runs.len() >= MOST_TAKEN || of_host >= MOST_TAKEN_TO_HOST {
            return Take::TooMany;
        }
        self.runs.insert(run.clone());
        let of_host =
            self.hosts.entry(host.to_owned()).or_insert_with(|| OfHost { taken: 0, at_once: Arc::new(Semaphore::new(MOST_TO_HOST)) });
        of_host.taken += 1;
        Take::Taken(Arc::clone(&of_host.at_once))
    }

    fn give_back(&mut self, run: &RunId, host: &str) {
        self.runs.remove(run);
        if let Some(of_host) = self.hosts.get_mut(host) {
            of_host.taken -= 1;
            if of_host.taken == 0 {
                self.hosts.remove(host);
            }
        }
    }
}

/// Whose an address is. One that cannot be read fails when it is tried.
fn host(url: &str) -> String {
    Url::parse(url).ok().and_then(|url| url.host_str().map(str::to_owned)).unwrap_or_default()
}

impl Service {
    /// Makes callbacks for as long as the service lives.
    pub(crate) async fn make_callbacks(self, messenger: Messenger) {
        let (mut taken, mut tries, mut of_tries) = (Taken::default(), JoinSet::new(), HashMap::<_, (RunId, String)>::new());
        let mut look = tokio::time::interval(LOOK_EVERY);
        loop {
            tokio::select! {
                () = self.until_callbacks_are_due() => {}
                _ = look.tick() => {}
                // Given back here and nowhere else: what is found to be due below was taken before, or is not being tried.
                Some(tried) = tries.join_next_with_id() => {
                    let id = tried.map_or_else(|panicked| panicked.id(), |(id, ())| id);
                    if let Some((run, host)) = of_tries.remove(&id) {
                        taken.give_back(&run, &host);
                    }
                    continue;
                }
                () = self.until_closed() => return,
            }
            let due = match self.store().due_callbacks(MOST_TAKEN + MOST_TAKEN_TO_HOST).await {
                Ok(due) => due,
                Err(error) => {
                    tracing::error!(%error, "callbacks could not be looked up");
                    continue;
                }
            };
            let mut put_off = Vec::new();
            for callback in due {
                let host = host(&callback.url);
                match taken.take(&callback.run, &host) {
                    Take::Taken(of_host) => {
                        let (service, messenger, at_once) = (self.clone(), messenger.clone(), Arc::clone(&taken.at_once));
                        let run = callback.run.clone();
                        let task = tries.spawn(async move {
                            // Neither is ever closed.
                            let _of_host = of_host.acquire().await;
                            let _of_all = at_once.acquire().await;
                            service.make_callback(&messenger, callback).await;
                        });
                        of_tries.insert(task.id(), (run, host));
                    }
                    Take::IsTaken => {}
                    Take::TooMany => put_off.push(callback.run),
                }
            }
            if !put_off.is_empty()
                && let Err(error) = self.store().put_off_callbacks(put_off, Timestamp::now().plus_ms(PUT_OFF_MS)).await
            {
                tracing::error!(%error, "callbacks could not be put off");
            }
        }
    }

    async fn make_callback(&self, messenger: &Messenger, callback: DueCallback) {
        let host = host(&callback.url);
        let mut wait = Duration::ZERO;
        let told = match self.callback_body(&callback).await {
            Ok(body) => match messenger.budget().charge(&callback.project_id, &host, body.len() as u64, Instant::now()) {
                Ok(()) => Ok(body),
                Err(Spent(until)) => {
                    wait = until;
                    Err("its project or its host was sent as much as it may be within an hour".to_owned())
                }
            },
            Err(error) => Err(error.to_string()),
        };
        let told = match told {
            Ok(body) => messenger.tell(&callback.url, &callback.run, &self.keys().callback_key(&callback.project_id), body).await,
            Err(why) => Err(why),
        };
        let most_tries = if messenger.budget().is_proven(&host) { MOST_TRIES } else { MOST_UNPROVEN_TRIES };
        let stored = match told {
            Ok(()) => {
                messenger.budget().prove(&host, Instant::now());
                metrics::called_back("taken");
                self.store().drop_callback(callback.run.clone()).await
            }
            Err(why) if callback.tries + 1 >= most_tries => {
                metrics::called_back("given_up");
                tracing::warn!(run = %callback.run, why, "a callback was given up");
                self.store().drop_callback(callback.run.clone()).await
            }
            Err(why) => {
                metrics::called_back("failed");
                tracing::info!(run = %callback.run, why, tries = callback.tries + 1, "a callback failed");
                let pause = FIRST_PAUSE_MS.saturating_mul(1 << callback.tries.min(20)).max(wait.as_millis() as u64);
                self.store().postpone_callback(callback.run.clone(), Timestamp::now().plus_ms(pause)).await
            }
        };
        if let Err(error) = stored {
            tracing::error!(run = %callback.run, %error, "a callback could not be noted");
        }
    }

    async fn callback_body(&self, callback: &DueCallback) -> Result<Vec<u8>, ServiceError> {
        let record = self.store().run(&callback.project_id, &callback.run).await?;
        // It is never closed.
        let _making = MAKING_BODY.acquire().await;
        let outcome = self.store().run_outcome(&callback.run).await?;
        body(record, outcome).map_err(ServiceError::invalid)
    }
}

/// What a receiver is told: the record, and that something of its outcome was left out.
#[derive(Serialize)]
struct Told {
    #[serde(flatten)]
    record: RunRecord,
    #[serde(skip_serializing_if = "Option::is_none")]
    truncated: Option<Truncated>,
}

#[derive(Serialize)]
struct Truncated {
    /// Members of the outcome that are not here, or members of the record.
    left_out: &'static [&'static str],
    /// Where all of it is, on this server.
    path: String,
}

/// The body of a callback, at most [`MAX_BODY_BYTES`]: with the whole outcome, else without its parts that have no bound, else
/// without it and the policy.
fn body(record: RunRecord, outcome: Option<Outcome>) -> serde_json::Result<Vec<u8>> {
    let path = format!("/v1/runs/{}", record.id);
    let mut told = Told { record: RunRecord { outcome: outcome.map(Box::new), ..record }, truncated: None };
    let whole = serde_json::to_vec(&told)?;
    if whole.len() <= MAX_BODY_BYTES {
        return Ok(whole);
    }
    if let Some(outcome) = &mut told.record.outcome {
        (outcome.value, outcome.logs, outcome.results) = (None, Vec::new(), Vec::new());
    }
    told.truncated = Some(Truncated { left_out: &["value", "logs", "results"], path: path.clone() });
    let most = serde_json::to_vec(&told)?;
    if most.len() <= MAX_BODY_BYTES {
        return Ok(most);
    }
    // What is left is bounded, but for the variables and paths of the policy.
    (told.record.outcome, told.record.policy) = (None, Policy::default());
    told.truncated = Some(Truncated { left_out: &["outcome", "policy"], path });
    serde_json::to_vec(&told)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> RunRecord {
        serde_json::from_str(
            r#"{"id": "run_019a", "project": "default", "status": "succeeded", "language": "python", "runtime": null, "entry": "main.py",
            "code_sha256": "e3b0", "created_at": "2026-01-02T03:04:05.678Z", "started_at": null, "finished_at": null, "labels": {},
            "comment": null, "priority": "interactive", "attempt": 1, "attempts": 1, "rerun_of": null, "token": "tok_019a", "usage": null,
            "policy": {}, "limits": {}}"#,
        )
        .unwrap()
    }

    fn outcome(value: &str, error: &str) -> Outcome {
        let json = serde_json::json!({
            "id": "run_019a", "status": "succeeded", "value": value, "error": {"name": "E", "message": error}, "logs": [], "results": [], "artifacts": [],
            "usage": {"wall_ms": 1, "cpu_user_ms": 1, "cpu_system_ms": 1, "peak_memory_bytes": 1, "output_bytes": 1, "processes": 1},
            "sandbox": {"runtime": "python@3.11", "start": "fork", "environment": null, "degraded": []}
        });
        serde_json::from_str(&json.to_string()).unwrap()
    }

    #[test]
    fn a_body_is_bounded_and_says_what_it_lacks() {
        let long = "x".repeat(MAX_BODY_BYTES);
        let mut wordy = record();
        wordy.policy.env.insert("LONG".into(), long.clone());
        for (record, outcome, left_out) in [
            (record(), outcome("short", "short"), serde_json::json!(null)),
            (record(), outcome(&long, "short"), serde_json::json!(["value", "logs", "results"])),
            (record(), outcome("short", &long), serde_json::json!(["outcome", "policy"])),
            (wordy, outcome("short", "short"), serde_json::json!(["outcome", "policy"])),
        ] {
            let body = body(record, Some(outcome)).unwrap();
            assert!(body.len() <= MAX_BODY_BYTES, "{}", body.len());
            let told: serde_json::Value = serde_json::from_slice(&body).unwrap();
            assert_eq!((&told["id"], &told["truncated"]["left_out"]), (&"run_019a".into(), &left_out));
            assert!(left_out.is_null() || told["truncated"]["path"] == "/v1/runs/run_019a");
            assert!(serde_json::from_slice::<RunRecord>(&body).is_ok(), "a receiver reads it as a record either way");
        }
    }

    #[test]
    fn one_host_does_not_take_the_place_of_all() {
        let (mut taken, runs): (_, Vec<_>) = (Taken::default(), (0..=MOST_TAKEN_TO_HOST).map(|_| RunId::new()).collect());
        let slow = host("https://slow.example/a?b");
        assert_eq!(runs.iter().filter(|run| matches!(taken.take(run, &slow), Take::Taken(_))).count(), MOST_TAKEN_TO_HOST);
        assert!(matches!(taken.take(&runs[0], &slow), Take::IsTaken));
        let last = runs.last().unwrap();
        assert!(matches!(taken.take(last, &slow), Take::TooMany));
        assert!(matches!(taken.take(last, &host("https://quick.example:8443/")), Take::Taken(_)));
        taken.give_back(&runs[0], &slow);
        assert!(matches!(taken.take(&runs[0], &slow), Take::Taken(_)));
    }
}
