//! A running server: the engine of one data directory behind HTTP.
//!
//! Owns the order of starting and stopping. Start: take the directory, bind, say where, answer 503 while the log is
//! replayed, then serve. Stop goes with the data: connections end, the last epoch is flushed, the log closes.

mod address;
mod waiting;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use serving_layer::http::{Admit, Entrance, HttpState, Metrics, router, serve};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use weir::engine::Lock;
use weir::{Engine, EngineComponents, EngineSettings};

pub(crate) use address::{AddressFile, bind};

/// A stopping server gives its connections five seconds (HTTP) and the flush this long, so that it ends within ten.
const FLUSH_TIME: Duration = Duration::from_secs(3);

/// A server that takes requests.
#[derive(Debug)]
pub(crate) struct Server {
    /// The engine behind it.
    pub(crate) engine: Engine,
    /// Where it listens.
    pub(crate) url: String,
    ready: Arc<AtomicBool>,
    http: JoinHandle<()>,
    stop: oneshot::Sender<()>,
}

impl Server {
    /// Opens a data directory and serves it to those admitted. Until the log is replayed, whoever asks is told to wait.
    pub(crate) async fn start(
        settings: EngineSettings,
        lock: Lock,
        entrance: Entrance,
        admit: Admit,
    ) -> anyhow::Result<Self> {
        let url = entrance.url().context("can't tell the bound address")?;
        // A task of its own: opening may keep its thread busy while requests come in.
        let opening = tokio::spawn(Engine::open_locked(lock, settings, EngineComponents::default()));
        let mut engine = tokio::select! {
            opened = opening => opened.context("opening the data directory panicked")??,
            never = waiting::answer(&entrance) => match never {},
        };
        let metrics = Metrics::new(&mut engine.registry);
        if let Some(tls) = &entrance.tls {
            tls.register(&mut engine.registry);
        }
        let registry = Arc::new(std::mem::take(&mut engine.registry));
        let ready = Arc::new(AtomicBool::new(true));
        let state = HttpState { serving: engine.serving.clone(), registry, ready: Arc::clone(&ready), metrics, admit };
        let (stop, stopped) = oneshot::channel::<()>();
        let http = tokio::spawn(serve(entrance, router(state), stopped));
        Ok(Self { engine, url, ready, http, stop })
    }

    /// Takes no more requests and makes what was acknowledged part of history.
    pub(crate) async fn stop(self) {
        self.ready.store(false, Ordering::Release);
        stop_http(self.http, self.stop).await;
        if let Err(error) = self.engine.close_within(FLUSH_TIME).await {
            tracing::warn!(error = format!("{error:#}"), "the last flush did not succeed; the log keeps its readings");
        }
    }

    /// Takes no more requests and leaves the data directory as it is.
    pub(crate) async fn leave(self) {
        stop_http(self.http, self.stop).await;
        self.engine.abandon().await;
    }
}

async fn stop_http(http: JoinHandle<()>, stop: oneshot::Sender<()>) {
    // Where it ended by itself nobody listens.
    let _ = stop.send(());
    if http.await.is_err() {
        tracing::error!("the HTTP server panicked");
    }
}
