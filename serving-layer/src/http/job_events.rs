//! `GET /v1/jobs/{id}/events`: a job's progress while it happens.
//!
//! Owns the stream of server-sent events: the job as it is, each time it changed, until it has ended or the server
//! stops (so that followers don't hold up its end).

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse as _, Response};
use batch_layer::catalog::JobRow;
use futures::{Stream, StreamExt as _, stream};
use tokio::sync::OwnedSemaphorePermit;

use super::App;
use super::error::{ProblemBody, Result};
use super::jobs::job_id;
use super::openapi::Job;

/// How often the catalog is asked.
const PAUSE: Duration = Duration::from_millis(200);
/// How often a quiet stream shows that it lives, and so learns that nobody listens.
const ALIVE: Duration = Duration::from_secs(10);

/// Follows a job: an event with the job each time that it changed, until it has ended.
#[utoipa::path(
    get,
    path = "/v1/jobs/{id}/events",
    tag = "batch",
    params(("id" = i64, Path, description = "Its number")),
    responses(
        (status = 200, description = "Events whose data is the job", body = Job, content_type = "text/event-stream"),
        (status = "default", description = "No events", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(super) async fn follow(State(app): State<Arc<App>>, path: Result<Path<String>, PathRejection>) -> Result<Response> {
    let id = job_id(path)?;
    let permit = app.admit_follower()?;
    let first = app.serving.batch.catalog().job(id).await?;
    let events = events(app, permit, first);
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(ALIVE)).into_response())
}

/// What a follower has seen.
struct Follower {
    app: Arc<App>,
    /// The job as shown last.
    shown: JobRow,
    /// Whether the server was ready; one that is not any more is stopping.
    was_ready: bool,
    _permit: OwnedSemaphorePermit,
}

impl Follower {
    /// The job when it has changed; `None` where nothing more will come.
    async fn change(&mut self) -> Option<JobRow> {
        while !self.shown.state.finished() && self.was_ready == self.app.ready.load(Ordering::Acquire) {
            tokio::time::sleep(PAUSE).await;
            let job = self.app.serving.batch.catalog().job(self.shown.id).await;
            let job = job.inspect_err(|error| tracing::warn!(%error, "can't follow a job any more")).ok()?;
            if job != self.shown {
                self.shown = job.clone();
                return Some(job);
            }
        }
        None
    }
}

fn events(app: Arc<App>, permit: OwnedSemaphorePermit, first: JobRow) -> impl Stream<Item = Result<Event, Infallible>> {
    let was_ready = app.ready.load(Ordering::Acquire);
    let follower = Follower { app, shown: first.clone(), was_ready, _permit: permit };
    let changes = stream::unfold(follower, async |mut follower| {
        let job = follower.change().await?;
        Some((job, follower))
    });
    stream::once(std::future::ready(first)).chain(changes).map(|job| Ok(event(&job)))
}

fn event(job: &JobRow) -> Event {
    Event::default().json_data(job).expect("a job is plain data")
}
