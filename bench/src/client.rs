//! A plain HTTP/1.1 client: one connection, one request in flight, written by hand so that it costs little.
//!
//! Owns the framing of requests and answers. Does **not** own what is asked, retries or timing. Answers are taken with a
//! length, in chunks, or up to the end of the connection.

use std::io::{BufRead, BufReader, Read, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};

/// An answer that takes longer is an error.
const PATIENCE: Duration = Duration::from_secs(180);

/// A connection to the server.
#[derive(Debug)]
pub(crate) struct Client {
    stream: BufReader<TcpStream>,
}

/// An answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Response {
    /// Its status.
    pub(crate) status: u16,
    /// Seconds after which to try again.
    pub(crate) retry_after: Option<u64>,
    /// What it says.
    pub(crate) body: Vec<u8>,
}

/// How the body of an answer ends.
enum Framing {
    Length(usize),
    Chunks,
    Close,
}

/// A GET request.
pub(crate) fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: weir\r\nAccept: application/json\r\n\r\n").into_bytes()
}

/// A POST request.
pub(crate) fn post(path: &str, content_type: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: weir\r\nContent-Type: {content_type}\r\nContent-Length: {length}\r\n\r\n"
    );
    [head.as_bytes(), body].concat()
}

/// `text` as it may stand in a query string.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

impl Client {
    /// Connects.
    ///
    /// # Errors
    /// Nobody listens there.
    pub(crate) fn connect(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).with_context(|| format!("can't connect to {address}"))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self { stream: BufReader::with_capacity(64 << 10, stream) })
    }

    /// Sends a request and waits for the whole answer, whatever its status.
    ///
    /// # Errors
    /// The connection breaks, or what comes is not HTTP/1.1.
    pub(crate) fn send(&mut self, request: &[u8]) -> anyhow::Result<Response> {
        self.stream.get_mut().write_all(request).context("can't send a request")?;
        read_response(&mut self.stream).context("can't read an answer")
    }

    /// Like [`Self::send`], but any status that is not 2xx is an error, too.
    ///
    /// # Errors
    /// The connection breaks or the server refuses.
    pub(crate) fn expect(&mut self, request: &[u8]) -> anyhow::Result<Response> {
        let response = self.send(request)?;
        response.accepted(request)?;
        Ok(response)
    }

    /// The JSON that a GET request is answered with.
    ///
    /// # Errors
    /// The connection breaks, the server refuses, or it is not JSON.
    pub(crate) fn json(&mut self, path: &str) -> anyhow::Result<serde_json::Value> {
        let response = self.expect(&get(path))?;
        serde_json::from_slice(&response.body).with_context(|| format!("the answer to {path} is not JSON"))
    }
}

impl Response {
    /// Whether the request was taken.
    pub(crate) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// Makes a refusal an error that shows the request's first line.
    ///
    /// # Errors
    /// The status is not 2xx.
    pub(crate) fn accepted(&self, request: &[u8]) -> anyhow::Result<()> {
        let line = request.split(|byte| *byte == b'\r').next().unwrap_or_default();
        let said = &self.body[..self.body.len().min(400)];
        ensure!(
            self.is_success(),
            "{} was answered {}: {}",
            String::from_utf8_lossy(line),
            self.status,
            String::from_utf8_lossy(said)
        );
        Ok(())
    }
}

fn read_response(from: &mut impl BufRead) -> anyhow::Result<Response> {
    let line = read_line(from)?;
    let status = line.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok());
    let status: u16 = status.with_context(|| format!("{line:?} is no status line"))?;
    let (mut framing, mut retry_after) = (Framing::Close, None);
    loop {
        let line = read_line(from)?;
        let Some((name, value)) = line.split_once(':') else { break };
        match (name.to_ascii_lowercase().as_str(), value.trim()) {
            ("content-length", length) => framing = Framing::Length(length.parse().context("content-length")?),
            ("transfer-encoding", "chunked") => framing = Framing::Chunks,
            ("retry-after", seconds) => retry_after = seconds.parse().ok(),
            _ => {}
        }
    }
    let mut body = Vec::new();
    match framing {
        _ if status == 204 || status == 304 => {}
        Framing::Length(length) => read_exactly(from, length, &mut body)?,
        Framing::Chunks => read_chunks(from, &mut body)?,
        Framing::Close => drop(from.read_to_end(&mut body)?),
    }
    Ok(Response { status, retry_after, body })
}

fn read_chunks(from: &mut impl BufRead, body: &mut Vec<u8>) -> anyhow::Result<()> {
    loop {
        let line = read_line(from)?;
        let size = line.split(';').next().unwrap_or_default().trim();
        let size = usize::from_str_radix(size, 16).with_context(|| format!("{line:?} is no chunk size"))?;
        read_exactly(from, size, body)?;
        // Ends the chunk; after the last one there are no trailers that we asked for.
        read_line(from)?;
        if size == 0 {
            return Ok(());
        }
    }
}

fn read_exactly(from: &mut impl BufRead, length: usize, body: &mut Vec<u8>) -> anyhow::Result<()> {
    let got = from.take(length as u64).read_to_end(body)?;
    ensure!(got == length, "the connection ended in the middle of an answer");
    Ok(())
}

fn read_line(from: &mut impl BufRead) -> anyhow::Result<String> {
    let mut line = String::new();
    if from.read_line(&mut line)? == 0 {
        bail!("the server closed the connection");
    }
    line.truncate(line.trim_end().len());
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, status: u16, retry_after: Option<u64>, body: &str) {
        // One byte at a time: answers may be cut anywhere.
        let mut from = BufReader::with_capacity(1, text.as_bytes());
        let expected = Response { status, retry_after, body: body.into() };
        assert_eq!(read_response(&mut from).expect(text), expected);
    }

    #[test]
    fn answers_end_where_they_say() {
        check("HTTP/1.1 204 No Content\r\ndate: x\r\n\r\n", 204, None, "");
        check("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nabc", 200, None, "ab");
        check(
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\na\r\n0123456789\r\n0\r\n\r\n",
            200,
            None,
            "abc0123456789",
        );
        check("HTTP/1.1 429 Too Many\r\nretry-after: 3\r\ncontent-length: 0\r\n\r\n", 429, Some(3), "");
        check("HTTP/1.1 500 No\r\n\r\nuntil the end", 500, None, "until the end");
    }

    #[test]
    fn broken_answers_are_errors() {
        for text in ["", "junk\r\n\r\n", "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nab", "HTTP/1.1 200 OK\r\n"] {
            assert!(read_response(&mut text.as_bytes()).is_err(), "{text:?}");
        }
    }

    #[test]
    fn requests_are_whole() {
        assert_eq!(escape("a{b=\"c d\"}~"), "a%7Bb%3D%22c%20d%22%7D~");
        let request = String::from_utf8(post("/x", "text/plain", b"ab")).expect("ascii");
        assert!(request.starts_with("POST /x HTTP/1.1\r\n") && request.ends_with("Content-Length: 2\r\n\r\nab"));
    }

    #[test]
    fn refusals_name_the_request() {
        let refused = Response { status: 400, retry_after: None, body: b"why".to_vec() };
        let error = refused.accepted(&get("/x")).expect_err("400").to_string();
        assert_eq!(error, "GET /x HTTP/1.1 was answered 400: why");
    }
}
