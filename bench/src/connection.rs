//! A connection to a server of any kind: bytes out, a whole answer in.
//!
//! Owns which protocol a server speaks and what is sent again. Does **not** own the protocols (`client`, `session`).

use std::net::SocketAddr;
use std::thread::sleep;
use std::time::Duration;

use anyhow::bail;

use crate::client::Client;
use crate::session::Session;

/// A request that the server was too busy for is sent again, so many times at most.
const TRIES_MAX: usize = 100;

/// A running server: where requests go, and whose time is counted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Target {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// Its process; its children count as well.
    pub(crate) pid: u32,
    /// What it speaks.
    pub(crate) protocol: Protocol,
}

/// What a server speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// HTTP/1.1.
    Http,
    /// PostgreSQL's.
    Postgres,
}

/// A connection, with one request in flight.
#[derive(Debug)]
pub(crate) enum Connection {
    /// HTTP/1.1.
    Http(Client),
    /// PostgreSQL's.
    Postgres(Session),
}

impl Target {
    /// A new connection.
    ///
    /// # Errors
    /// The server does not accept.
    pub(crate) fn connect(&self) -> anyhow::Result<Connection> {
        Ok(match self.protocol {
            Protocol::Http => Connection::Http(Client::connect(self.address)?),
            Protocol::Postgres => Connection::Postgres(Session::connect(self.address)?),
        })
    }
}

impl Connection {
    /// Sends a request until it is taken; returns how many times it was sent again.
    ///
    /// # Errors
    /// The server refuses it, or keeps being too busy.
    pub(crate) fn send(&mut self, request: &[u8]) -> anyhow::Result<usize> {
        let client = match self {
            Self::Http(client) => client,
            Self::Postgres(session) => return session.exchange(request).map(|_| 0),
        };
        for again in 0..TRIES_MAX {
            let response = client.send(request)?;
            if !matches!(response.status, 429 | 503) {
                return response.accepted(request).map(|()| again);
            }
            sleep(Duration::from_secs(response.retry_after.unwrap_or(1)));
        }
        bail!("the server was too busy {TRIES_MAX} times in a row")
    }

    /// Sends a question; returns the answer: a body, or a line per row.
    ///
    /// # Errors
    /// The server refuses it.
    pub(crate) fn ask(&mut self, question: &[u8]) -> anyhow::Result<Vec<u8>> {
        match self {
            Self::Http(client) => Ok(client.expect(question)?.body),
            Self::Postgres(session) => session.exchange(question),
        }
    }
}
