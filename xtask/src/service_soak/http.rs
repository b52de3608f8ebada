//! A minimal HTTP client for the soak. Each request has a connection of its own, so a dying server
//! interrupts one request per connection.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

/// Read and write timeout: longer than any run of the soak takes.
const ANSWER_TIME: Duration = Duration::from_mins(1);

/// A complete response.
pub struct Answer {
    pub status: u16,
    pub headers: String,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).chars().take(500).collect()
    }
}

/// An HTTP request.
pub struct Request<'a> {
    pub method: &'a str,
    pub path: &'a str,
    /// Header lines, each with its `\r\n`.
    pub headers: String,
    pub body: &'a [u8],
}

/// Sends a request over TCP and waits for the complete response. After an error, it is unknown
/// whether the server has processed the request.
pub fn ask(address: &str, request: &Request) -> io::Result<Answer> {
    whole(open(address, request)?)
}

/// Sends a GET request over the Unix socket of a home.
pub fn ask_operator(home: &Path, path: &str) -> io::Result<Answer> {
    let mut stream = UnixStream::connect(home.join("server.sock"))?;
    stream.set_read_timeout(Some(ANSWER_TIME))?;
    send(&mut stream, &Request { method: "GET", path, headers: String::new(), body: b"" })?;
    whole(BufReader::new(Box::new(stream)))
}

/// Sends a request, and returns the status and the lines of the body as they arrive.
pub fn lines(
    address: &str,
    request: &Request,
) -> io::Result<(u16, impl Iterator<Item = String> + use<>)> {
    let mut reader = open(address, request)?;
    let (status, headers) = head(&mut reader)?;
    let body: Box<dyn Read> = if is_chunked(&headers) {
        Box::new(Chunks { reader, left: 0, is_over: false })
    } else {
        Box::new(reader)
    };
    Ok((status, BufReader::new(body).lines().map_while(Result::ok)))
}

type Stream = BufReader<Box<dyn Read>>;

fn open(address: &str, request: &Request) -> io::Result<Stream> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(ANSWER_TIME))?;
    stream.set_write_timeout(Some(ANSWER_TIME))?;
    send(&mut stream, request)?;
    Ok(BufReader::new(Box::new(stream)))
}

fn send(stream: &mut impl Write, request: &Request) -> io::Result<()> {
    let Request { method, path, headers, body } = request;
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: soak\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n"
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(body)
}

fn head(reader: &mut Stream) -> io::Result<(u16, String)> {
    let (mut headers, mut line) = (String::new(), String::new());
    loop {
        line.clear();
        if reader.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if line == "\r\n" {
            break;
        }
        headers.push_str(&line.to_ascii_lowercase());
    }
    let status = headers
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok())
        .ok_or(io::ErrorKind::InvalidData)?;
    Ok((status, headers))
}

fn is_chunked(headers: &str) -> bool {
    headers.lines().any(|line| line == "transfer-encoding: chunked")
}

fn whole(mut reader: Stream) -> io::Result<Answer> {
    let (status, headers) = head(&mut reader)?;
    let mut body = Vec::new();
    if is_chunked(&headers) {
        Chunks { reader, left: 0, is_over: false }.read_to_end(&mut body)?;
    } else {
        let length = headers
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "))
            .map(str::parse::<u64>);
        let length = length.unwrap_or(Ok(0)).map_err(|_| io::ErrorKind::InvalidData)?;
        if reader.take(length).read_to_end(&mut body)? as u64 != length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(Answer { status, headers, body })
}

/// A chunked body. Reading fails if the body is truncated.
struct Chunks {
    reader: Stream,
    left: u64,
    is_over: bool,
}

impl Read for Chunks {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.is_over {
            return Ok(0);
        }
        if self.left == 0 {
            let mut line = String::new();
            self.reader.read_line(&mut line)?;
            self.left =
                u64::from_str_radix(line.trim(), 16).map_err(|_| io::ErrorKind::UnexpectedEof)?;
            if self.left == 0 {
                self.is_over = true;
                return Ok(0);
            }
        }
        let most = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let read = self.reader.read(&mut buffer[..most])?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.left -= read as u64;
        if self.left == 0 {
            let mut line = String::new();
            self.reader.read_line(&mut line)?;
        }
        Ok(read)
    }
}
