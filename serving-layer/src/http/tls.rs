//! TLS: the certificate that the server shows, and whether it asks for one (mTLS).
//!
//! Owns handshakes, what they fail of, and following the files when they change. Does not own what stands in the files
//! (`files`), connections (server), nor what those who come in may do (access).
//!
//! - TLS-1: a connection keeps the certificate that was good when it began; files that can't be used change nothing.
//! - TLS-2: a handshake ends within ten seconds and keeps nobody else waiting.

mod failure;
mod files;
mod name;

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::server::TlsStream;

pub use self::files::TlsFiles;

use self::failure::Failure;
use self::files::Contents;
use super::access::Guesses;
use crate::error::Result;

/// A handshake must be over this long after the connection was accepted.
const HANDSHAKE_TIME: Duration = Duration::from_secs(10);
/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A word of a closed set.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

/// What became of changed files.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: &'static str,
}

/// Greets connections with the certificate of the files as they are now.
pub struct Tls {
    files: TlsFiles,
    current: RwLock<Arc<ServerConfig>>,
    /// What the files held, or why they could not be read, when they were looked at last.
    seen: Mutex<std::result::Result<Contents, String>>,
    /// Keeps the log readable where somebody comes again and again.
    told: Guesses,
    failed: Family<ReasonLabel, Counter>,
    reloads: Family<OutcomeLabel, Counter>,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").field("files", &self.files).finish_non_exhaustive()
    }
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// One can't be read, or does not hold what it should; or the key is not that of the certificate.
    pub fn open(files: TlsFiles) -> Result<Self> {
        let contents = Contents::read(&files)?;
        let config = contents.config(&files)?;
        files.warn_of_open_key();
        Ok(Self {
            files,
            current: RwLock::new(Arc::new(config)),
            seen: Mutex::new(Ok(contents)),
            told: Guesses::default(),
            failed: Family::default(),
            reloads: Family::default(),
        })
    }

    /// Registers the counters.
    pub fn register(&self, registry: &mut Registry) {
        let tls = registry.sub_registry_with_prefix("weir_tls");
        tls.register("handshakes_failed", "TLS handshakes that failed, by reason", self.failed.clone());
        tls.register("reloads", "Changed files of the certificate, by what became of them", self.reloads.clone());
    }

    /// Shakes hands with somebody who connected; `None` where that fails.
    pub async fn greet<S>(&self, stream: S, peer: Option<IpAddr>) -> Option<TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let config = Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner));
        let failure = match timeout(HANDSHAKE_TIME, TlsAcceptor::from(config).accept(stream)).await {
            Ok(Ok(stream)) => return Some(stream),
            Ok(Err(error)) => Failure::of(&error),
            Err(_) => Failure::TooSlow,
        };
        self.failed.get_or_create(&ReasonLabel { reason: failure.name() }).inc();
        let told = failure.is_refusal() && peer.is_some_and(|peer| self.told.allows(peer, Instant::now()));
        if told {
            tracing::warn!(?peer, reason = failure.name(), "somebody was not let in");
        } else {
            tracing::debug!(?peer, reason = failure.name(), "a TLS handshake failed");
        }
        None
    }

    /// What the peer's certificate is called; `None` where it was asked for none.
    pub(super) fn name_of<S>(stream: &TlsStream<S>) -> Option<String> {
        let (_, session) = stream.get_ref();
        session.peer_certificates()?.first().map(|certificate| name::name(certificate))
    }

    /// Takes over what the files hold whenever they change, until dropped.
    pub(super) async fn follow(self: Arc<Self>) -> Infallible {
        let mut ticks = interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let tls = Arc::clone(&self);
            if tokio::task::spawn_blocking(move || tls.look()).await.is_err() {
                tracing::error!("looking at the files of the certificate panicked");
            }
        }
    }

    /// Looks whether the files changed, and takes over what can be used.
    fn look(&self) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let found = Contents::read(&self.files).map_err(|error| error.to_string());
        if found == *seen {
            return;
        }
        let config = match &found {
            Ok(contents) => contents.config(&self.files).map_err(|error| error.to_string()),
            Err(error) => Err(error.clone()),
        };
        *seen = found;
        let outcome = match config {
            Ok(config) => {
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(config);
                tracing::info!(cert = %self.files.cert.display(), "a new certificate is shown");
                self.files.warn_of_open_key();
                "loaded"
            }
            Err(error) => {
                tracing::warn!(error, "the files of the certificate can't be used; the one before is still shown");
                "refused"
            }
        };
        self.reloads.get_or_create(&OutcomeLabel { outcome }).inc();
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn what_is_missing_is_named() {
        let files = |client_ca: Option<&str>| TlsFiles {
            cert: "/nowhere/cert.pem".into(),
            key: "/nowhere/key.pem".into(),
            client_ca: client_ca.map(Into::into),
        };
        let error = Tls::open(files(None)).expect_err("no file").to_string();
        assert!(error.contains("/nowhere/cert.pem"), "{error}");
        assert!(Path::new("/").is_dir() && Tls::open(files(Some("/"))).is_err());
    }
}
