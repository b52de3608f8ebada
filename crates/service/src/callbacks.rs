//! Callbacks: the end of a run, told by a signed `POST`, until it is taken or a day has passed. They go to public addresses only, unless the operator
//! says otherwise: who may start runs must not make the server speak to its own network.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use belljar_protocol::{RunId, RunRecord, Timestamp};
use belljar_store::DueCallback;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::{Client, Url};

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
/// How often it is looked whether a try is due.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Checks what can be checked of a callback's address by looking at it alone.
pub(crate) fn check(url: &str) -> Result<Url, ServiceError> {
    let wrong = |why: &str| ServiceError::invalid(format!("callback.url: {why}"));
    if url.len() > 2048 {
        return Err(wrong("at most 2,048 bytes"));
    }
    let url = Url::parse(url).map_err(|error| wrong(&error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(wrong("it begins with https:// or http://"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(wrong("it has no user and no password: they would be kept in the clear"));
    }
    if url.host_str().is_none_or(str::is_empty) {
        return Err(wrong("it names no host"));
    }
    Ok(url)
}

/// Whether an address is anybody's on the Internet: not loopback, private, link-local, shared, multicast, reserved, nor one of these mapped into IPv6.
pub(crate) fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let [a, b, c, _] = v4.octets();
            !(v4.is_loopback()
                || v4.is_private()
                || v4.is_link_local()
                || v4.is_multicast()
                || v4.is_broadcast()
                || v4.is_documentation()
                || a == 0
                || a >= 240
                || (a == 100 && (64..128).contains(&b))
                || (a == 192 && b == 0 && c == 0)
                || (a == 198 && (18..20).contains(&b)))
        }
        IpAddr::V6(v6) => {
            if let Some(v4) = v6.to_ipv4_mapped() {
                return is_public(IpAddr::V4(v4));
            }
            let segments = v6.segments();
            // Only 2000::/3 is given out (RFC 4291), less what carries an IPv4 address (6to4, Teredo) or is for documents.
            (segments[0] & 0xe000) == 0x2000
                && segments[0] != 0x2002
                && !(segments[0] == 0x2001 && (segments[1] < 0x200 || segments[1] == 0x0db8))
                && !(segments[0] == 0x3fff && segments[1] < 0x1000)
        }
    }
}

/// Resolves names, and keeps what is public of the answer.
struct PublicResolver;

impl Resolve for PublicResolver {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let public: Vec<SocketAddr> = found.filter(|address| is_public(address.ip())).collect();
            if public.is_empty() {
                return Err(format!("{} has no public address", name.as_str()).into());
            }
            Ok(Box::new(public.into_iter()) as Addrs)
        })
    }
}

/// Who makes the callbacks.
#[derive(Clone, Debug)]
pub(crate) struct Messenger {
    client: Client,
    allow_private: bool,
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
        Ok(Self { client, allow_private })
    }

    /// Tells the end of a run once. Whether it was taken.
    async fn tell(&self, url: &str, run: &RunId, key: &str, body: Vec<u8>) -> Result<(), String> {
        let url = check(url).map_err(|error| error.to_string())?;
        // An address that is written out is not resolved.
        let literal = url.host_str().and_then(|host| host.trim_matches(['[', ']']).parse::<IpAddr>().ok());
        if literal.is_some_and(|address| !self.allow_private && !is_public(address)) {
            return Err("its address is not public".to_owned());
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

impl Service {
    /// Makes callbacks for as long as the service lives.
    pub(crate) async fn make_callbacks(self, messenger: Messenger) {
        loop {
            tokio::select! {
                () = self.until_callbacks_are_due() => {}
                () = tokio::time::sleep(LOOK_EVERY) => {}
                () = self.until_closed() => return,
            }
            let due = match self.store().due_callbacks().await {
                Ok(due) => due,
                Err(error) => {
                    tracing::error!(%error, "callbacks could not be looked up");
                    continue;
                }
            };
            // Side by side: one that answers slowly holds up no other.
            futures::future::join_all(due.into_iter().map(|callback| self.make_callback(&messenger, callback))).await;
        }
    }

    async fn make_callback(&self, messenger: &Messenger, callback: DueCallback) {
        let told = match self.callback_body(&callback).await {
            Ok(body) => messenger.tell(&callback.url, &callback.run, &self.keys().callback_key(&callback.project_id), body).await,
            Err(error) => Err(error.to_string()),
        };
        let stored = match told {
            Ok(()) => {
                metrics::called_back("taken");
                self.store().drop_callback(callback.run.clone()).await
            }
            Err(why) if callback.tries + 1 >= MOST_TRIES => {
                metrics::called_back("given_up");
                tracing::warn!(run = %callback.run, why, "a callback was given up");
                self.store().drop_callback(callback.run.clone()).await
            }
            Err(why) => {
                metrics::called_back("failed");
                tracing::info!(run = %callback.run, why, tries = callback.tries + 1, "a callback failed");
                let pause = FIRST_PAUSE_MS.saturating_mul(1 << callback.tries.min(20));
                self.store().postpone_callback(callback.run.clone(), Timestamp::now().plus_ms(pause)).await
            }
        };
        if let Err(error) = stored {
            tracing::error!(run = %callback.run, %error, "a callback could not be noted");
        }
    }

    async fn callback_body(&self, callback: &DueCallback) -> Result<Vec<u8>, ServiceError> {
        let record = self.store().run(&callback.project_id, &callback.run).await?;
        let outcome = self.store().run_outcome(&callback.run).await?.map(Box::new);
        serde_json::to_vec(&RunRecord { outcome, ..record }).map_err(ServiceError::invalid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_ones_own_network_are_not_public() {
        for text in [
            "127.0.0.1",
            "127.9.9.9",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "224.0.0.1",
            "255.255.255.255",
            "240.0.0.1",
            "192.0.0.1",
            "198.18.0.1",
            "::1",
            "::",
            "fe80::1",
            "fc00::1",
            "fd00:ec2::254",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "64:ff9b::7f00:1",
            "2002:7f00:1::",
            "2001::1",
            "ff02::1",
            "2001:db8::1",
            "::127.0.0.1",
        ] {
            assert!(!is_public(text.parse().unwrap()), "{text}");
        }
        for text in ["93.184.216.34", "8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8"] {
            assert!(is_public(text.parse().unwrap()), "{text}");
        }
    }

    #[test]
    fn addresses_that_keep_secrets_or_speak_no_http_are_refused() {
        for url in ["ftp://a/", "file:///etc/passwd", "https://user:secret@a/", "https://", "nonsense", "http://"] {
            assert!(check(url).is_err(), "{url}");
        }
        assert!(check("https://example.com/done?x=1").is_ok());
    }
}
