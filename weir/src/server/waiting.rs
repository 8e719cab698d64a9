//! Answers while the log is replayed: alive, but not ready.
//!
//! Owns just enough HTTP to tell that. Each connection gets one answer and is closed, so that none is left over when
//! the real server takes the listener.

use std::convert::Infallible;
use std::time::Duration;

use serving_layer::http::Entrance;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::timeout;

/// The head of a request must arrive within this time and this many bytes.
const HEAD_TIME: Duration = Duration::from_secs(5);
const HEAD_BYTES: usize = 16 << 10;
/// How much and how long is read of what follows: a sender that still writes would not see the answer.
const REST_TIME: Duration = Duration::from_secs(2);
const REST_BYTES: u64 = 64 << 20;

const HEALTHY: &str = r#"{"name":"weir","status":"pass","message":"alive; the log is being replayed"}"#;
const NOT_READY: &str = r#"{"type":"about:blank","title":"Service Unavailable","status":503,"detail":"the log is being replayed; try again soon"}"#;

/// Answers all who come, until dropped.
pub(super) async fn answer(Entrance { listener, tls }: &Entrance) -> Infallible {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => match tls.clone() {
                None => drop(tokio::spawn(answer_one(stream))),
                Some(tls) => drop(tokio::spawn(async move {
                    if let Some(stream) = tls.greet(stream, Some(peer.ip())).await {
                        answer_one(stream).await;
                    }
                })),
            },
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

async fn answer_one(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    let Ok(Some(head)) = timeout(HEAD_TIME, read_head(&mut stream)).await else { return };
    // A peer that has gone needs no answer.
    if stream.write_all(response(&head).as_bytes()).await.is_ok() && stream.shutdown().await.is_ok() {
        let rest = &mut stream.take(REST_BYTES);
        let _ = timeout(REST_TIME, tokio::io::copy(rest, &mut tokio::io::sink())).await;
    }
}

async fn read_head(stream: &mut (impl AsyncRead + Unpin)) -> Option<Vec<u8>> {
    let mut head = Vec::with_capacity(1024);
    while head.len() < HEAD_BYTES {
        if stream.read_buf(&mut head).await.ok()? == 0 {
            return None;
        }
        if head.windows(4).any(|end| end == b"\r\n\r\n") {
            return Some(head);
        }
    }
    None
}

fn response(head: &[u8]) -> String {
    let mut words = head.split(|b| *b == b' ');
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let (status, kind, body) = if path == b"/health" {
        ("200 OK", "application/json", HEALTHY)
    } else {
        ("503 Service Unavailable", "application/problem+json", NOT_READY)
    };
    let body_length = body.len();
    let body = if method == b"HEAD" { "" } else { body };
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {body_length}\r\nretry-after: 1\r\nconnection: close\r\n\r\n{body}"
    )
}

#[cfg(test)]
mod tests {
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn alive_but_not_ready() {
        for (head, starts, ends) in [
            ("GET /ready HTTP/1.1\r\n\r\n", "HTTP/1.1 503", NOT_READY),
            ("POST /v1/readings HTTP/1.1\r\n\r\n", "HTTP/1.1 503", NOT_READY),
            ("GET /health HTTP/1.1\r\n\r\n", "HTTP/1.1 200", HEALTHY),
            ("HEAD /ready HTTP/1.1\r\n\r\n", "HTTP/1.1 503", "\r\n\r\n"),
            ("nonsense", "HTTP/1.1 503", NOT_READY),
        ] {
            let text = response(head.as_bytes());
            assert!(text.starts_with(starts) && text.ends_with(ends), "{text}");
        }
    }

    #[tokio::test]
    async fn whoever_asks_is_told_to_wait() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let entrance = Entrance { listener, tls: None };
        let task = tokio::spawn(async move { answer(&entrance).await });
        let mut stream = TcpStream::connect(address).await.expect("listens");
        stream.write_all(b"GET /v1/status HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("open");
        let mut text = String::new();
        stream.read_to_string(&mut text).await.expect("an answer");
        assert!(text.contains("retry-after: 1") && text.ends_with(NOT_READY), "{text}");
        task.abort();
    }
}
