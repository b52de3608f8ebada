//! The connection to one server: its address, the credentials, and the retries of failed requests.

use std::fmt;
#[cfg(unix)]
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use belljar_protocol::{Problem, ProjectName};
use bytes::Bytes;
use reqwest::header::{AUTHORIZATION, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::{Method, RequestBuilder, Response, Url};
use rustls::RootCertStore;
use serde::de::DeserializeOwned;

use crate::error::ClientError;

/// Timeout of connecting.
const CONNECT_TIME: Duration = Duration::from_secs(10);
/// Timeout of an answer that is not a stream.
pub(crate) const ANSWER_TIME: Duration = Duration::from_mins(1);
/// Timeout of a stream without data. A server sends a sign of life every 15 seconds.
pub(crate) const SILENCE: Duration = Duration::from_secs(45);
/// Interval of TCP keepalive, which detects a peer that vanished without closing the connection.
const KEEPALIVE: Duration = Duration::from_secs(15);
/// Attempts of a request that is safe to repeat, and the pause after the first, which is tripled
/// after each further one.
const ATTEMPTS: u32 = 4;
const PAUSE: Duration = Duration::from_millis(100);
/// The header with the project in which the operator acts.
const PROJECT: HeaderName = HeaderName::from_static("belljar-project");

/// A client of one server. It is cheap to clone, and clones share their connections.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    to: Arc<Target>,
}

/// The server, and the credentials for it.
#[derive(Clone)]
struct Target {
    /// The URL to which paths are appended.
    base: String,
    /// The server as it is called in messages.
    shown: String,
    header: Option<(HeaderName, HeaderValue)>,
    is_remote: bool,
}

impl fmt::Debug for Client {
    /// Leaves out the token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("server", &self.to.shown).finish_non_exhaustive()
    }
}

impl Client {
    /// Returns a client of the server at a URL, which authenticates with a token. Nothing is sent
    /// yet.
    ///
    /// The URL may have a path, for a server behind a proxy. Certificates are checked against those
    /// of the system, or those that `SSL_CERT_FILE` and `SSL_CERT_DIR` name. Proxies are taken from
    /// `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY`; a loopback address is always reached directly.
    pub fn remote(url: &str, token: &str) -> Result<Self, ClientError> {
        let wrong = |why: &str| ClientError::Url {
            url: url.chars().filter(|c| !c.is_control()).take(200).collect(),
            why: why.to_owned(),
        };
        let parsed = Url::parse(url).map_err(|error| wrong(&error.to_string()))?;
        if !matches!(parsed.scheme(), "http" | "https") {
            return Err(wrong("the scheme is neither http:// nor https://"));
        }
        if !parsed.username().is_empty() || parsed.password().is_some() {
            return Err(wrong("it contains a user name or password"));
        }
        if parsed.query().is_some() || parsed.fragment().is_some() {
            return Err(wrong("it has a query or a fragment"));
        }
        let is_here = match parsed.host_str().unwrap_or_default() {
            "localhost" => true,
            host => host
                .trim_matches(['[', ']'])
                .parse::<std::net::IpAddr>()
                .is_ok_and(|address| address.is_loopback()),
        };
        let base = parsed.as_str().trim_end_matches('/').to_owned();
        if token.is_empty() {
            return Err(ClientError::Token);
        }
        let mut value =
            HeaderValue::from_str(&format!("Bearer {token}")).map_err(|_| ClientError::Token)?;
        value.set_sensitive(true);
        let http = builder(parsed.scheme() == "https")?;
        let http = if is_here { http.no_proxy() } else { http };
        let to = Target {
            shown: format!("the server at {base}"),
            base,
            header: Some((AUTHORIZATION, value)),
            is_remote: true,
        };
        Ok(Self { http: built(http)?, to: Arc::new(to) })
    }

    /// Returns a client of the server with this socket, which acts as the server's operator and
    /// needs no token. Nothing is sent yet.
    #[cfg(unix)]
    pub fn socket(path: &Path) -> Result<Self, ClientError> {
        let http = builder(false)?.no_proxy().unix_socket(path);
        let to = Target {
            base: "http://belljar".to_owned(),
            shown: format!("the server on {}", path.display()),
            header: None,
            is_remote: false,
        };
        Ok(Self { http: built(http)?, to: Arc::new(to) })
    }

    /// Returns the same client for another project than `default`. Only the operator can choose
    /// one: a token belongs to one project.
    #[must_use]
    pub fn in_project(mut self, project: &ProjectName) -> Self {
        if let Ok(value) = HeaderValue::from_str(project.as_str()) {
            Arc::make_mut(&mut self.to).header = Some((PROJECT, value));
        }
        self
    }

    /// Returns the URL of the server, or `None` for a socket.
    pub fn url(&self) -> Option<&str> {
        self.to.is_remote.then_some(self.to.base.as_str())
    }

    /// Returns the server as it is called in messages.
    pub(crate) fn server(&self) -> &str {
        &self.to.shown
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.to.base));
        match &self.to.header {
            Some((name, value)) => request.header(name, value),
            None => request,
        }
    }

    /// Sends a request once. An answer with an error status is an error.
    pub(crate) async fn send(&self, request: RequestBuilder) -> Result<Response, ClientError> {
        let response =
            request.send().await.map_err(|error| self.http_error(&error, ANSWER_TIME))?;
        if response.status().is_success() {
            Ok(response)
        } else {
            Err(self.refused(response).await)
        }
    }

    pub(crate) fn http_error(&self, error: &reqwest::Error, bound: Duration) -> ClientError {
        if error.is_timeout() && !error.is_connect() {
            return ClientError::Silent { server: self.to.shown.clone(), silence: bound };
        }
        if error.is_connect() && error.is_timeout() {
            let why = format!("no answer within {} s", CONNECT_TIME.as_secs());
            return ClientError::Unreachable { server: self.to.shown.clone(), why };
        }
        ClientError::of_http(&self.to.shown, error)
    }

    pub(crate) fn unexpected(&self, why: impl fmt::Display) -> ClientError {
        ClientError::Answer { server: self.to.shown.clone(), why: why.to_string() }
    }

    async fn refused(&self, response: Response) -> ClientError {
        let status = response.status();
        let retry_after = response
            .headers()
            .get(RETRY_AFTER)
            .and_then(|value| value.to_str().ok()?.parse().ok())
            .map(Duration::from_secs);
        let body = response.bytes().await.unwrap_or_default();
        if let Ok(problem) = serde_json::from_slice::<Problem>(&body) {
            return ClientError::Refused { problem: Box::new(problem), retry_after };
        }
        if matches!(status.as_u16(), 502..=504) {
            // A proxy reports that it cannot reach the server.
            return ClientError::Unreachable {
                server: self.to.shown.clone(),
                why: format!("the proxy in front of it answered {status}"),
            };
        }
        self.unexpected(status)
    }

    /// Reads the body of an answer as JSON.
    pub(crate) async fn json<T: DeserializeOwned>(
        &self,
        response: Response,
    ) -> Result<T, ClientError> {
        let body = response.bytes().await.map_err(|error| self.http_error(&error, ANSWER_TIME))?;
        self.parse(&body)
    }

    pub(crate) fn parse<T: DeserializeOwned>(&self, json: &[u8]) -> Result<T, ClientError> {
        serde_json::from_slice(json).map_err(|error| self.unexpected(error))
    }

    /// Makes an attempt that is safe to repeat, until it succeeds or fails in a way that another
    /// attempt cannot fix.
    pub(crate) async fn retry<T, F: Future<Output = Result<T, ClientError>>>(
        &self,
        attempt: impl Fn() -> F,
    ) -> Result<T, ClientError> {
        let mut pause = PAUSE;
        for _ in 1..ATTEMPTS {
            match attempt().await {
                Err(error) => match error.retry_delay(pause) {
                    Some(wait) => tokio::time::sleep(wait).await,
                    None => return Err(error),
                },
                done => return done,
            }
            pause *= 3;
        }
        attempt().await
    }

    /// Sends a GET request, with retries.
    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.retry(async || {
            let response = self.send(self.request(Method::GET, path).timeout(ANSWER_TIME)).await?;
            self.json(response).await
        })
        .await
    }

    /// Sends a request that changes something, without retries.
    pub(crate) async fn change<T: DeserializeOwned>(
        &self,
        request: RequestBuilder,
    ) -> Result<T, ClientError> {
        let response = self.send(request.timeout(ANSWER_TIME)).await?;
        self.json(response).await
    }

    /// Sends a DELETE request, without retries.
    pub(crate) async fn delete(&self, path: &str) -> Result<(), ClientError> {
        self.send(self.request(Method::DELETE, path)).await.map(drop)
    }

    /// Returns the next piece of a stream, or an error if none arrives within [`SILENCE`].
    pub(crate) async fn piece(&self, pieces: &mut Pieces) -> Result<Option<Bytes>, ClientError> {
        use futures::StreamExt;
        match tokio::time::timeout(SILENCE, pieces.next()).await {
            Err(_) => Err(ClientError::Silent { server: self.to.shown.clone(), silence: SILENCE }),
            Ok(piece) => piece.transpose().map_err(|error| self.http_error(&error, SILENCE)),
        }
    }
}

/// Returns a path with those parameters that have a value.
pub(crate) fn with_query<'a>(
    path: &str,
    parameters: impl IntoIterator<Item = (&'a str, Option<&'a str>)>,
) -> String {
    let mut query = form_urlencoded::Serializer::new(format!("{path}?"));
    for (name, value) in parameters {
        if let Some(value) = value {
            query.append_pair(name, value);
        }
    }
    query.finish()
}

/// The body of an answer, piece by piece.
pub(crate) type Pieces = futures::stream::BoxStream<'static, Result<Bytes, reqwest::Error>>;

pub(crate) fn pieces(response: Response) -> Pieces {
    Box::pin(response.bytes_stream())
}

/// Returns the common settings. Redirects are not followed, because the token must not reach
/// another server.
fn builder(tls: bool) -> Result<reqwest::ClientBuilder, ClientError> {
    Ok(reqwest::Client::builder()
        .user_agent(concat!("belljar-client/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT_TIME)
        .tcp_keepalive(KEEPALIVE)
        .redirect(reqwest::redirect::Policy::none())
        .tls_backend_preconfigured(trust(tls)?))
}

fn built(builder: reqwest::ClientBuilder) -> Result<reqwest::Client, ClientError> {
    builder.build().map_err(|error| ClientError::Certificates(error.to_string()))
}

/// Returns the settings of TLS with the trusted certificates. They are only loaded if they are
/// needed, because loading takes longer than a request over a socket.
fn trust(tls: bool) -> Result<rustls::ClientConfig, ClientError> {
    let mut roots = RootCertStore::empty();
    if tls {
        let found = rustls_native_certs::load_native_certs();
        let (added, _) = roots.add_parsable_certificates(found.certs);
        if added == 0 {
            let why = found
                .errors
                .first()
                .map_or_else(|| "none were found".to_owned(), ToString::to_string);
            return Err(ClientError::Certificates(why));
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config =
        rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    Ok(config
        .map_err(|error| ClientError::Certificates(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth())
}

#[cfg(test)]
mod tests {
    use belljar_protocol::Explain;

    use super::*;

    #[test]
    fn a_url_is_that_of_a_server() {
        for bad in
            ["", "belljar.example.com", "ftp://a", "http://user:pw@a", "http://a/?q=1", "unix:///a"]
        {
            assert!(matches!(Client::remote(bad, "bjr_a"), Err(ClientError::Url { .. })), "{bad}");
        }
        let client = Client::remote("http://127.0.0.1:8411/behind/", "bjr_a").unwrap();
        assert_eq!(client.url(), Some("http://127.0.0.1:8411/behind"));
    }

    #[test]
    fn a_token_is_not_printed_by_accident() {
        let client = Client::remote("http://127.0.0.1:8411", "bjr_very-secret").unwrap();
        assert!(!format!("{client:?}{:?}", client.request(Method::GET, "/")).contains("secret"));
        assert!(matches!(Client::remote("http://a", "bjr_\n"), Err(ClientError::Token)));
        assert!(matches!(Client::remote("http://a", ""), Err(ClientError::Token)));
    }

    #[tokio::test]
    async fn an_unreachable_server_is_reported_with_a_hint() {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let client = Client::remote(&format!("http://127.0.0.1:{port}"), "bjr_a").unwrap();
        let error = client.projects().await.unwrap_err();
        assert!(error.to_string().ends_with(": connection refused"), "{error}");
        assert!(error.hint().unwrap().contains("`belljar serve`"), "{error:?}");
    }
}
