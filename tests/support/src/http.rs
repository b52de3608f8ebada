//! HTTP for tests: requests, answers, and the requests that a test's own server receives.

use std::io::{BufRead, BufReader, Read, Write};
use std::sync::LazyLock;

use serde_json::Value;

/// A response of a server.
#[derive(Debug)]
pub struct Answer {
    /// Status code, or 0 if there was no complete status line.
    pub status: u16,
    /// The headers in the order in which they were received.
    pub headers: Vec<(String, String)>,
    /// The body without the framing of chunks.
    pub body: Vec<u8>,
}

impl Answer {
    /// Returns the body as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// Returns the body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Returns the first header of this name.
    pub fn header(&self, name: &str) -> Option<&str> {
        header(&self.headers, name)
    }

    /// Asserts the status and returns the body as JSON, or null if it is something else.
    #[track_caller]
    pub fn is(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text());
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    /// Asserts that this is a problem document with this status and kind, and that its detail or
    /// its hint contains these words.
    #[track_caller]
    pub fn is_problem(&self, status: u16, kind: &str, words: &str) {
        let problem = self.is(status);
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        assert_eq!(problem["type"], format!("urn:belljar:problem:{kind}"), "{problem}");
        assert_eq!(problem["status"], status, "{problem}");
        let contains =
            |field: &str| problem[field].as_str().is_some_and(|text| text.contains(words));
        assert!(contains("detail") || contains("hint"), "no `{words}` in {problem}");
    }
}

/// A request to be sent.
pub struct Request {
    method: String,
    url: String,
    headers: Vec<(String, String)>,
    token: Option<String>,
    body: Option<Vec<u8>>,
}

static AGENT: LazyLock<ureq::Agent> = LazyLock::new(|| {
    ureq::Agent::config_builder()
        .http_status_as_error(false)
        .allow_non_standard_methods(true)
        .max_redirects(0)
        .proxy(None)
        .build()
        .new_agent()
});

impl Request {
    /// Returns a request without headers and body.
    pub fn new(method: &str, url: &str) -> Self {
        Self {
            method: method.to_owned(),
            url: url.to_owned(),
            headers: Vec::new(),
            token: None,
            body: None,
        }
    }

    /// Adds a header.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sets the bearer token.
    pub fn token(mut self, token: &str) -> Self {
        self.token = Some(token.to_owned());
        self
    }

    /// Removes the bearer token.
    pub fn no_token(mut self) -> Self {
        self.token = None;
        self
    }

    /// Sets a body of JSON, with its type.
    pub fn json(self, body: Value) -> Self {
        self.header("Content-Type", "application/json").body(body.to_string())
    }

    /// Sets the body.
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = Some(body.into());
        self
    }

    /// Sends the request and returns the whole answer.
    pub fn send(self) -> Answer {
        let mut response = self.response();
        let headers = response
            .headers()
            .iter()
            .map(|(name, value)| {
                (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned())
            })
            .collect();
        let status = response.status().as_u16();
        let mut body = Vec::new();
        response.body_mut().as_reader().read_to_end(&mut body).unwrap();
        Answer { status, headers, body }
    }

    /// Sends the request and returns the lines of the answer as they come.
    pub fn lines(self) -> impl Iterator<Item = String> + use<> {
        let response = self.response();
        assert_eq!(response.status(), 200);
        BufReader::new(response.into_body().into_reader()).lines().map_while(Result::ok)
    }

    fn response(self) -> ureq::http::Response<ureq::Body> {
        let mut request =
            ureq::http::Request::builder().method(self.method.as_str()).uri(self.url.as_str());
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        if let Some(token) = &self.token {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        match self.body {
            Some(body) => AGENT.run(request.body(body).unwrap()).unwrap(),
            None => AGENT.run(request.body(()).unwrap()).unwrap(),
        }
    }
}

/// Reads an answer until its connection ends.
pub fn read_answer(stream: &mut impl Read) -> Answer {
    let mut bytes = Vec::new();
    // A reset connection ends the answer too.
    let _ = stream.read_to_end(&mut bytes);
    parse_answer(&bytes)
}

/// Parses an answer that was received in whole or in part.
pub fn parse_answer(bytes: &[u8]) -> Answer {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").unwrap_or(bytes.len());
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let mut lines = head.lines();
    let status = lines
        .next()
        .and_then(|line| line.split(' ').nth(1))
        .and_then(|code| code.parse().ok())
        .unwrap_or(0);
    let headers: Vec<_> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let body = bytes.get(end + 4..).unwrap_or_default();
    let body = if header(&headers, "transfer-encoding") == Some("chunked") {
        join_chunks(body)
    } else {
        body.to_vec()
    };
    Answer { status, headers, body }
}

fn join_chunks(mut bytes: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some(end) = bytes.windows(2).position(|two| two == b"\r\n") {
        let Ok(size) = usize::from_str_radix(&String::from_utf8_lossy(&bytes[..end]), 16) else {
            break;
        };
        if size == 0 {
            break;
        }
        body.extend_from_slice(&bytes[end + 2..end + 2 + size]);
        bytes = &bytes[end + 4 + size..];
    }
    body
}

/// A request that a test's own server has received.
#[derive(Clone, Debug)]
pub struct ReceivedRequest {
    /// Method, such as `GET`.
    pub method: String,
    /// Target of the request, as it was sent.
    pub path: String,
    /// The headers in the order in which they were received.
    pub headers: Vec<(String, String)>,
    /// The body, if the request said how long it is.
    pub body: Vec<u8>,
}

impl ReceivedRequest {
    /// Returns the first header of this name.
    pub fn header(&self, name: &str) -> Option<&str> {
        header(&self.headers, name)
    }
}

/// Reads the next request of a connection, or returns `None` if the connection ends before it is
/// complete.
pub fn read_request(connection: &mut impl BufRead) -> Option<ReceivedRequest> {
    let mut lines = connection.by_ref().lines().map_while(Result::ok);
    let first = lines.next()?;
    let mut words = first.split(' ');
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = Vec::new();
    loop {
        let line = lines.next()?;
        let Some((name, value)) = line.split_once(':') else { break };
        headers.push((name.to_owned(), value.trim().to_owned()));
    }
    let length = header(&headers, "content-length").map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    connection.read_exact(&mut body).ok()?;
    Some(ReceivedRequest { method, path, headers, body })
}

/// Answers a request with a status, such as `204 No Content`, and an empty body, and announces the
/// end of the connection.
pub fn answer_empty(connection: &mut impl Write, status: &str) {
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    connection.write_all(head.as_bytes()).unwrap();
}

fn header<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    let found = headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
    found.map(|(_, value)| value.as_str())
}
