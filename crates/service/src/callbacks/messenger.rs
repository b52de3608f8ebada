//! The client that sends callbacks. It only connects to public addresses, unless the operator
//! allows others: callers who may start runs must not be able to make the server send requests to
//! its own network.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use belljar_protocol::{RunId, Timestamp};
use reqwest::Client;

use super::addresses::{PublicResolver, check, is_allowed};
use super::budget::Budget;
use crate::access::signing::callback_signature;
use crate::error::ServiceError;

/// The maximum duration of one attempt.
const TRY_TIME: Duration = Duration::from_secs(10);

/// The sender of callbacks.
#[derive(Debug)]
pub(crate) struct Messenger {
    client: Client,
    allow_private: bool,
    budget: Mutex<Budget>,
}

impl Messenger {
    pub(crate) fn new(allow_private: bool) -> Result<Self, ServiceError> {
        let builder = Client::builder()
            .timeout(TRY_TIME)
            .no_proxy()
            // A redirect could lead to an address that is not allowed.
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("belljar/", env!("CARGO_PKG_VERSION")));
        let builder =
            if allow_private { builder } else { builder.dns_resolver(Arc::new(PublicResolver)) };
        let client = builder.build().map_err(|error| ServiceError::Home {
            what: "setting up callbacks".into(),
            error: std::io::Error::other(error),
        })?;
        Ok(Self { client, allow_private, budget: Mutex::default() })
    }

    /// Returns the limits on what callbacks may send.
    pub(crate) fn budget(&self) -> std::sync::MutexGuard<'_, Budget> {
        self.budget.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends a callback once. It fails unless the receiver answers 2xx.
    pub(crate) async fn send(
        &self,
        url: &str,
        run: &RunId,
        key: &str,
        body: Vec<u8>,
    ) -> Result<(), String> {
        let url = check(url).map_err(|error| error.to_string())?;
        // A literal address is not resolved.
        let literal =
            url.host_str().and_then(|host| host.trim_matches(['[', ']']).parse::<IpAddr>().ok());
        if literal.is_some_and(|address| !self.allow_private && !is_allowed(address)) {
            return Err("the address is not public, or belongs to this machine".to_owned());
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
            // The URL of a webhook is often its secret, so it must not be logged.
            .map_err(|error| error.without_url().to_string())?;
        if answer.status().is_success() {
            Ok(())
        } else {
            Err(format!("the receiver answered {}", answer.status()))
        }
    }
}
