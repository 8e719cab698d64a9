//! Connections.
//!
//! Owns accepting, the limits on how long a peer may keep us waiting, and the end of it all. Does not own routes, nor
//! what is spoken under HTTP (tls).
//! axum's own `serve` has no time-out for headers, and hyper has none for a peer that does not read; both are here.

use std::io;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::Sleep;
use tower::Service;

use super::access::{Peer, Shown};
use super::tls::Tls;

/// Most connections at once; more wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 10_000;
/// The head of a request must have arrived this long after the connection was ready for it.
const HEAD_TIME: Duration = Duration::from_secs(10);
/// A peer that takes nothing of an answer for this long is left.
const STALL_TIME: Duration = Duration::from_secs(30);
/// Requests in flight get this long at a shutdown.
const SHUTDOWN_TIME: Duration = Duration::from_secs(5);
/// How long to wait where no connection can be accepted (too many open files).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Where connections come in.
#[derive(Debug)]
pub struct Entrance {
    /// A bound address.
    pub listener: TcpListener,
    /// What is spoken under HTTP; `None`: nothing.
    pub tls: Option<Arc<Tls>>,
}

impl Entrance {
    /// The address as a URL.
    ///
    /// # Errors
    /// The system can't tell it.
    pub fn url(&self) -> io::Result<String> {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        Ok(format!("{scheme}://{}", self.listener.local_addr()?))
    }
}

/// Serves connections until `shutdown` completes; then requests in flight may end, for five seconds at most.
pub async fn serve(Entrance { listener, tls }: Entrance, router: Router, shutdown: impl Future) {
    let graceful = GracefulShutdown::new();
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let (open, closed) = watch::channel(());
    let (alive, killed) = watch::channel(());
    // Ends when dropped.
    let mut following = JoinSet::new();
    tls.clone().map(|tls| following.spawn(tls.follow()));
    let mut shutdown = pin!(shutdown);
    loop {
        let (stream, slot) = tokio::select! {
            biased;
            _ = &mut shutdown => break,
            accepted = accept(&listener, &slots) => accepted,
        };
        let peer = stream.peer_addr().ok().map(|address| address.ip());
        let stream = Patient { io: stream, patience: STALL_TIME, stalled: None };
        let visit = Visit { router: router.clone(), peer, watcher: graceful.watcher(), killed: killed.clone(), slot };
        match tls.clone() {
            None => drop(tokio::spawn(visit.run(stream, None))),
            Some(tls) => drop(tokio::spawn(visit.greet(tls, stream, closed.clone()))),
        }
    }
    drop((listener, open));
    if tokio::time::timeout(SHUTDOWN_TIME, graceful.shutdown()).await.is_err() {
        tracing::warn!("some requests did not end in time; their connections are closed");
    }
    drop(alive);
}

/// A connection's place in the server.
struct Visit {
    router: Router,
    peer: Option<IpAddr>,
    watcher: Watcher,
    killed: watch::Receiver<()>,
    slot: OwnedSemaphorePermit,
}

impl Visit {
    /// Shakes hands and runs the connection, unless the server closes before.
    async fn greet(self, tls: Arc<Tls>, stream: Patient<TcpStream>, mut closed: watch::Receiver<()>) {
        let stream = tokio::select! {
            stream = tls.greet(stream, self.peer) => stream,
            // Nothing is ever sent: this ends when the sender is dropped.
            _ = closed.changed() => None,
        };
        if let Some(stream) = stream {
            let shown = Tls::name_of(&stream).map(|name| Shown(name.into()));
            self.run(stream, shown).await;
        }
    }

    /// Runs the connection to its end, or until the server ends.
    async fn run(self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, shown: Option<Shown>) {
        let Self { router, peer, watcher, mut killed, slot: _slot } = self;
        let service = TowerToHyperService::new(Introduced { router, peer: peer.map(Peer), shown });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIME)
            .keep_alive(true)
            .serve_connection(TokioIo::new(stream), service);
        tokio::select! {
            result = watcher.watch(connection) => if let Err(error) = result {
                tracing::debug!(%error, "a connection ended early");
            },
            // As above.
            _ = killed.changed() => {}
        }
    }
}

/// Routes that are told who is at the other end.
#[derive(Clone)]
struct Introduced {
    router: Router,
    peer: Option<Peer>,
    shown: Option<Shown>,
}

impl Service<Request<Incoming>> for Introduced {
    type Response = <Router as Service<Request<Incoming>>>::Response;
    type Error = <Router as Service<Request<Incoming>>>::Error;
    type Future = <Router as Service<Request<Incoming>>>::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Service::<Request<Incoming>>::poll_ready(&mut self.router, cx)
    }

    fn call(&mut self, mut request: Request<Incoming>) -> Self::Future {
        if let Some(peer) = self.peer {
            request.extensions_mut().insert(peer);
        }
        if let Some(shown) = self.shown.clone() {
            request.extensions_mut().insert(shown);
        }
        self.router.call(request)
    }
}

async fn accept(listener: &TcpListener, slots: &Arc<Semaphore>) -> (TcpStream, OwnedSemaphorePermit) {
    let slot = Arc::clone(slots).acquire_owned().await.expect("the semaphore is never closed");
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                // Without it small answers wait for the peer's delayed acknowledgement; failing costs only time.
                let _ = stream.set_nodelay(true);
                return (stream, slot);
            }
            Err(error) if of_the_peer(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "can't accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Whether only that connection failed, not the listener.
fn of_the_peer(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

/// A stream whose writes fail when the peer takes nothing for too long.
struct Patient<S> {
    io: S,
    patience: Duration,
    stalled: Option<Pin<Box<Sleep>>>,
}

impl<S> Patient<S> {
    fn watch<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let timer = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(self.patience)));
        match timer.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(cx, buf);
        self.watch(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        self.watch(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.io).poll_flush(cx);
        self.watch(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn a_peer_that_reads_nothing_is_left() {
        let (near, _far) = tokio::io::duplex(10);
        let mut patient = Patient { io: near, patience: Duration::from_millis(20), stalled: None };
        let error = patient.write_all(&[0; 100]).await.expect_err("nobody reads");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn answers_until_told_to_stop() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let (stop, stopped) = oneshot::channel::<()>();
        let router = Router::new().route("/x", get(async || "yes"));
        let server = tokio::spawn(serve(Entrance { listener, tls: None }, router, stopped));
        let mut stream = TcpStream::connect(address).await.expect("listens");
        stream.write_all(b"GET /x HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("open");
        let mut answer = [0; 1024];
        let n = stream.read(&mut answer).await.expect("answers");
        assert!(String::from_utf8_lossy(&answer[..n]).starts_with("HTTP/1.1 200 OK"));
        stop.send(()).expect("serves");
        server.await.expect("ends");
        assert_eq!(stream.read(&mut answer).await.expect("closed in order"), 0);
        assert!(TcpStream::connect(address).await.is_err());
    }
}
