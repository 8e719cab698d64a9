//! Who may start now.
//!
//! Owns the wait for a turn, the refusal where too many wait, and the tally of what was refused. Does not own the limits (settings) or what runs then.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use axum::http::StatusCode;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

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
        let Some(permit) = turn(&self.queries, &self.waiting, QUERY_WAIT).await else {
            self.turn_away("queries");
            return Err(Problem::new(StatusCode::TOO_MANY_REQUESTS, "too many queries are running").retry_after(1));
        };
        Ok(permit)
    }

    /// Waits for the turn of an SQL statement. It needs no turn of a query: statements that wait for one another must not
    /// keep metric queries waiting.
    pub(super) async fn admit_statement(&self) -> Result<OwnedSemaphorePermit> {
        let Some(place) = turn(&self.serving.statements.places, &self.waiting_statements, QUERY_WAIT).await else {
            self.turn_away("statements");
            let detail = "too many SQL statements are running";
            return Err(Problem::new(StatusCode::TOO_MANY_REQUESTS, detail).retry_after(1));
        };
        Ok(place)
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

/// A turn, at once or after a wait among a bounded number of others; `None`: neither is to be had.
async fn turn(turns: &Arc<Semaphore>, waiting: &Semaphore, longest: Duration) -> Option<OwnedSemaphorePermit> {
    if let Ok(permit) = Arc::clone(turns).try_acquire_owned() {
        return Some(permit);
    }
    let _place = waiting.try_acquire().ok()?;
    let permit = tokio::time::timeout(longest, Arc::clone(turns).acquire_owned()).await;
    permit.ok()?.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_waits_takes_no_turn_of_others_and_only_so_many_wait() {
        let (turns, waiting) = (Arc::new(Semaphore::new(1)), Semaphore::new(1));
        let turn = async |longest| turn(&turns, &waiting, Duration::from_secs(longest)).await;
        let first = turn(0).await.expect("free");
        let (second, third) = tokio::join!(turn(0), turn(0));
        assert!(second.is_none() && third.is_none(), "nobody went");
        let (second, third, ()) = tokio::join!(turn(3_600), turn(3_600), async { drop(first) });
        assert!(second.is_some(), "waited for its turn");
        assert!(third.is_none(), "one too many waited");
        assert_eq!(waiting.available_permits(), 1);
    }
}
