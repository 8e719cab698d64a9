//! Who may start now.
//!
//! Owns the wait for a turn, the refusal where too many wait, and the tally of what was refused. Does not own the limits (settings) or what runs then.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use axum::http::StatusCode;
use tokio::sync::OwnedSemaphorePermit;

use super::App;
use super::error::{Problem, Result};
use super::metrics::ShedLabel;
use crate::error::Error;

/// A query waits no longer than this for its turn.
const QUERY_WAIT: Duration = Duration::from_secs(2);
/// A large body waits no longer than this to be decoded.
const DECODE_WAIT: Duration = Duration::from_secs(10);

impl App {
    /// Counts readings that were not taken.
    pub(super) fn refuse(&self, reason: &'static str, readings: u64) {
        self.serving.speed.metrics().refuse(reason, readings);
        self.tally(reason, readings);
    }

    /// Counts a request that was turned away because too much was going on.
    fn turn_away(&self, what: &'static str) {
        self.metrics.turned_away.get_or_create(&ShedLabel { what }).inc();
        self.tally(what, 1);
    }

    fn tally(&self, reason: &'static str, n: u64) {
        if n > 0 {
            *self.shed.lock().unwrap_or_else(PoisonError::into_inner).entry(reason).or_default() += n;
        }
    }

    /// How much was refused or turned away since the start, by reason.
    pub(super) fn shed_counts(&self) -> BTreeMap<&'static str, u64> {
        self.shed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits for the turn of a query; the query may run as long as the permit lives.
    pub(super) async fn admit_query(&self) -> Result<OwnedSemaphorePermit> {
        if let Ok(permit) = Arc::clone(&self.queries).try_acquire_owned() {
            return Ok(permit);
        }
        if let Ok(_place) = self.waiting.try_acquire()
            && let Ok(Ok(permit)) = tokio::time::timeout(QUERY_WAIT, Arc::clone(&self.queries).acquire_owned()).await
        {
            return Ok(permit);
        }
        self.turn_away("queries");
        Err(Problem::new(StatusCode::TOO_MANY_REQUESTS, "too many queries are running").retry_after(1))
    }

    /// Waits for the turn of an SQL statement, which has the turn of a query.
    pub(super) async fn admit_statement(&self) -> Result<OwnedSemaphorePermit> {
        let place = Arc::clone(&self.serving.statements.places).acquire_owned();
        match tokio::time::timeout(QUERY_WAIT, place).await {
            Ok(Ok(place)) => Ok(place),
            _ => {
                self.turn_away("statements");
                Err(Problem::new(StatusCode::TOO_MANY_REQUESTS, "too many SQL statements are running").retry_after(1))
            }
        }
    }

    /// Waits for the turn of a large body.
    pub(super) async fn admit_decoder(&self) -> Result<OwnedSemaphorePermit> {
        match tokio::time::timeout(DECODE_WAIT, Arc::clone(&self.decoders).acquire_owned()).await {
            Ok(Ok(permit)) => Ok(permit),
            _ => {
                self.turn_away("bodies");
                Err(Problem::overloaded("too many bodies are being decoded", 1))
            }
        }
    }

    /// Takes a place among those who follow a job.
    pub(super) fn admit_follower(&self) -> Result<OwnedSemaphorePermit> {
        Arc::clone(&self.followers).try_acquire_owned().map_err(|_| {
            self.turn_away("followers");
            Problem::new(StatusCode::TOO_MANY_REQUESTS, "too many follow jobs").retry_after(5)
        })
    }

    /// What comes of `work`, unless it takes longer than a query may.
    pub(super) async fn within_timeout<T, E: Into<Problem>>(
        &self,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T> {
        let limit = self.serving.settings.query_timeout;
        match tokio::time::timeout(limit, work).await {
            Ok(result) => result.map_err(Into::into),
            Err(_) => Err(Error::Timeout(limit.as_secs()).into()),
        }
    }

    /// Does work that may take long without stopping other requests.
    pub(super) async fn apart<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
        tokio::task::spawn_blocking(work).await.map_err(|error| {
            tracing::error!(%error, "work apart from a request ended early");
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "a defect of this server; its log says more")
        })
    }
}
