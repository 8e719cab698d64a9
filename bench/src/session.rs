//! PostgreSQL's protocol, as much of it as measuring takes: simple queries and COPY, trusted connections.
//!
//! Owns the framing of messages. Does **not** own SQL. Written by hand for the same reason as `client`: on a shared
//! machine a client that costs little is part of measuring.

use std::io::{BufReader, Read, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};

/// Version 3.0.
const PROTOCOL: u32 = 3 << 16;
/// An answer that takes longer is an error.
const PATIENCE: Duration = Duration::from_secs(600);
/// Fields of an error that are shown: its severity and its message.
const SHOWN: [u8; 2] = [b'S', b'M'];

/// A session as user and in database `postgres`.
#[derive(Debug)]
pub(crate) struct Session {
    stream: BufReader<TcpStream>,
}

/// The message of a simple query.
pub(crate) fn query(sql: &str) -> Vec<u8> {
    message(b'Q', &[sql.as_bytes(), b"\0"])
}

/// A COPY of these rows, whole: nothing of it waits for an answer, and it is a transaction of its own.
pub(crate) fn copy(table: &str, rows: &[u8]) -> Vec<u8> {
    let mut bytes = query(&format!("COPY {table} FROM STDIN"));
    bytes.extend(message(b'd', &[rows]));
    bytes.extend(message(b'c', &[]));
    bytes
}

fn message(kind: u8, parts: &[&[u8]]) -> Vec<u8> {
    let length = 4 + parts.iter().map(|part| part.len()).sum::<usize>();
    let mut bytes = Vec::with_capacity(1 + length);
    bytes.push(kind);
    bytes.extend((length as u32).to_be_bytes());
    parts.iter().for_each(|part| bytes.extend_from_slice(part));
    bytes
}

impl Session {
    /// Connects.
    ///
    /// # Errors
    /// The server is not ready, or wants a password.
    pub(crate) fn connect(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).with_context(|| format!("can't connect to {address}"))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut session = Self { stream: BufReader::with_capacity(64 << 10, stream) };
        let parameters = b"user\0postgres\0database\0postgres\0\0";
        let startup = [&(8 + parameters.len() as u32).to_be_bytes(), &PROTOCOL.to_be_bytes(), &parameters[..]].concat();
        session.exchange(&startup).context("can't open a session")?;
        Ok(session)
    }

    /// Sends messages and waits until the server is ready for the next; returns rows, a line each, with tabs between
    /// columns.
    ///
    /// # Errors
    /// The connection breaks, or the server tells an error.
    pub(crate) fn exchange(&mut self, messages: &[u8]) -> anyhow::Result<Vec<u8>> {
        self.stream.get_mut().write_all(messages).context("can't send a message")?;
        read_answer(&mut self.stream)
    }
}

fn read_answer(from: &mut impl Read) -> anyhow::Result<Vec<u8>> {
    let (mut rows, mut error, mut body) = (Vec::new(), None, Vec::new());
    loop {
        let mut head = [0; 5];
        from.read_exact(&mut head).context("the server closed the session")?;
        let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
        ensure!(length >= 4, "a message has no length");
        body.resize(length - 4, 0);
        from.read_exact(&mut body)?;
        match head[0] {
            b'D' => push_row(&mut rows, &body).context("a row is cut off")?,
            b'R' => ensure!(body == [0; 4], "the server wants a password"),
            // An error before the session is open ends it: no readiness follows.
            b'E' if error.is_none() => error = Some(error_text(&body)),
            b'Z' => match error {
                Some(error) => bail!(error),
                None => return Ok(rows),
            },
            _ => {}
        }
        if let Some(error) = error.as_ref().filter(|error| error.starts_with("FATAL")) {
            bail!(error.clone());
        }
    }
}

fn push_row(rows: &mut Vec<u8>, body: &[u8]) -> Option<()> {
    let (columns, mut rest) = body.split_first_chunk::<2>()?;
    for column in 0..u16::from_be_bytes(*columns) {
        if column > 0 {
            rows.push(b'\t');
        }
        let (length, after) = rest.split_first_chunk::<4>()?;
        // -1 is null.
        let length = usize::try_from(i32::from_be_bytes(*length)).unwrap_or(0);
        rows.extend_from_slice(after.get(..length)?);
        rest = &after[length..];
    }
    rows.push(b'\n');
    Some(())
}

fn error_text(body: &[u8]) -> String {
    let fields = body.split(|byte| *byte == 0).filter_map(|field| field.split_first());
    let shown = fields.filter(|(kind, _)| SHOWN.contains(kind)).map(|(_, text)| String::from_utf8_lossy(text));
    shown.collect::<Vec<_>>().join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(messages: &[Vec<u8>], expected: Result<&str, &str>) {
        let answer = read_answer(&mut messages.concat().as_slice()).map_err(|error| error.to_string());
        assert_eq!(answer, expected.map(|rows| rows.as_bytes().to_vec()).map_err(str::to_owned));
    }

    #[test]
    fn rows_are_lines() {
        let row = message(b'D', &[&[0, 2, 0, 0, 0, 1], b"7", &[255; 4]]);
        let ready = message(b'Z', &[b"I"]);
        check(&[message(b'T', &[b"any"]), row.clone(), row, ready], Ok("7\t\n7\t\n"));
    }

    #[test]
    fn errors_are_told() {
        let error = |severity: &[u8]| message(b'E', &[b"S", severity, b"\0C42\0Mno such table\0\0"]);
        let ready = message(b'Z', &[b"I"]);
        check(&[error(b"ERROR"), ready], Err("ERROR: no such table"));
        check(&[error(b"FATAL")], Err("FATAL: no such table"));
        check(&[], Err("the server closed the session"));
    }

    #[test]
    fn a_copy_is_three_messages() {
        assert_eq!(copy("t", b"1\n"), b"Q\0\0\0\x16COPY t FROM STDIN\0d\0\0\0\x061\nc\0\0\0\x04");
    }
}
