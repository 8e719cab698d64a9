//! HTTP: the doors of the server.
//!
//! Owns routes, the form of requests and answers, statuses (`error` decides them in one place), limits on what
//! is taken in, and the serving of connections. Does **not** own what is asked for: readings go to the speed layer,
//! questions to `query` and `sql`, jobs to the batch layer's catalog.
//!
//! ```text
//! connection ─► server, tls ─► metrics, cors, access, panics, compression ─► route ─► params, body ─► admission ─► Serving
//!                                                                └──► Problem (problem+json) or an answer, streamed
//! ```

mod access;
mod admission;
mod answer_text;
mod audit;
mod body;
mod buffers;
mod calibration;
mod cors;
mod encode;
mod error;
mod generations;
mod influx;
mod influx_v3;
mod ingest;
mod job_events;
mod jobs;
mod metrics;
mod openapi;
mod operations;
mod params;
mod prometheus;
mod query;
mod readings;
mod realtime;
mod reconciliation;
mod schedules;
mod series;
mod server;
mod sql;
mod status;
mod stream;
mod tls;

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::middleware::from_fn_with_state;
use batch_layer::access::Scope;
use prometheus_client::registry::Registry;
use tokio::sync::Semaphore;
use tower_http::CompressionLevel;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{DefaultPredicate, NotForContentType, Predicate as _};
use utoipa::OpenApi as _;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub use access::Admit;
pub use cors::Cors;
pub use metrics::Metrics;
pub use server::{Entrance, serve};
pub use tls::{Tls, TlsFiles};

use self::access::{Access, Need, Routes};
use self::body::Room;
use crate::serving::Serving;

/// Bytes of bodies that may be in memory before they are decoded, of all requests together.
const BODIES_BYTES: usize = 512 << 20;
/// So many wait for each that runs.
const WAITING: usize = 4;
/// Most followers of jobs; each asks the catalog again and again.
const FOLLOWERS: usize = 64;

/// What the routes work with.
#[derive(Debug, Clone)]
pub struct HttpState {
    /// The serving layer.
    pub serving: Serving,
    /// All counters, for `/metrics`.
    pub registry: Arc<Registry>,
    /// Whether the log is replayed and requests are welcome, for `/ready`.
    pub ready: Arc<AtomicBool>,
    /// The counters of HTTP.
    pub metrics: Metrics,
    /// Who is let in.
    pub admit: Admit,
}

/// What the routes share.
#[derive(Debug)]
struct App {
    serving: Serving,
    registry: Arc<Registry>,
    ready: Arc<AtomicBool>,
    metrics: Metrics,
    access: Access,
    /// One permit for each query that runs.
    queries: Arc<Semaphore>,
    /// One permit for each query that waits for its turn.
    waiting: Semaphore,
    /// One permit for each SQL statement that waits for its turn.
    waiting_statements: Semaphore,
    bodies: Room,
    /// One permit for each large body being decoded: what it decodes to is many times larger.
    decoders: Arc<Semaphore>,
    /// One permit for each follower of a job.
    followers: Arc<Semaphore>,
    /// How much was refused or turned away, by reason, for `/v1/status`.
    shed: Mutex<BTreeMap<&'static str, u64>>,
}

impl App {
    fn new(state: HttpState) -> Self {
        let queries = state.serving.settings.queries_at_once.max(1);
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let (catalog, clock) = (state.serving.batch.catalog().clone(), Arc::clone(&state.serving.clock));
        Self {
            access: Access::new(state.admit, catalog, clock),
            waiting_statements: Semaphore::new(state.serving.settings.sql_at_once.max(1) * WAITING),
            serving: state.serving,
            registry: state.registry,
            ready: state.ready,
            metrics: state.metrics,
            queries: Arc::new(Semaphore::new(queries)),
            waiting: Semaphore::new(queries * WAITING),
            bodies: Room::new(BODIES_BYTES),
            decoders: Arc::new(Semaphore::new((2 * cores).max(4))),
            followers: Arc::new(Semaphore::new(FOLLOWERS)),
            shed: Mutex::default(),
        }
    }
}

/// The routes of the server.
pub fn router(state: HttpState) -> Router {
    let app = Arc::new(App::new(state));
    let (router, _) = routes().split_for_parts();
    let compressible = DefaultPredicate::new().and(NotForContentType::const_new("application/vnd.apache"));
    router
        .fallback(error::not_found)
        .method_not_allowed_fallback(error::not_allowed)
        .layer(CompressionLayer::new().quality(CompressionLevel::Fastest).compress_when(compressible))
        .layer(CatchPanicLayer::custom(error::panicked))
        .layer(from_fn_with_state(Arc::clone(&app), access::identify))
        .layer(from_fn_with_state(Arc::clone(&app), cors::share))
        .layer(from_fn_with_state(Arc::clone(&app), metrics::observe))
        .with_state(app)
}

fn routes() -> OpenApiRouter<Arc<App>> {
    let routes = Routes::new(OpenApiRouter::with_openapi(openapi::Description::openapi()));
    own_routes(batch_routes(data_routes(routes))).into_router()
}

/// Readings in, answers out.
fn data_routes(routes: Routes) -> Routes {
    let (write, read) = (Need::Within(Scope::Write), Need::Within(Scope::Read));
    routes
        .add(write, routes!(readings::write))
        .add(write, routes!(influx::write_v1))
        .add(write, routes!(influx::write_v2))
        .add(write, routes!(influx_v3::write_v3))
        .add(write, routes!(influx::ping_v1))
        .add(write, routes!(influx::ping_v2))
        .add(read, routes!(query::query))
        .add(read, routes!(query::explain))
        .add(read, routes!(realtime::realtime))
        .add(read, routes!(series::metrics))
        .add(read, routes!(series::series))
        .add(Need::Scope(Scope::Read), routes!(sql::sql))
}

/// Work on history.
fn batch_routes(routes: Routes) -> Routes {
    let (batch, read) = (Need::Scope(Scope::Batch), Need::Scope(Scope::Read));
    routes
        .add(read, routes!(jobs::list))
        .add(batch, routes!(jobs::create))
        .add(read, routes!(jobs::show))
        .add(batch, routes!(jobs::cancel))
        .add(read, routes!(job_events::follow))
        .add(read, routes!(schedules::list))
        .add(read, routes!(schedules::show))
        .add(batch, routes!(schedules::put, schedules::delete))
        .add(read, routes!(generations::list))
        .add(batch, routes!(generations::revert))
        .add(read, routes!(reconciliation::list))
        .add(read, routes!(calibration::show))
}

/// How the server itself is.
fn own_routes(routes: Routes) -> Routes {
    let read = Need::Scope(Scope::Read);
    routes
        .add(read, routes!(status::status))
        .add(Need::Scope(Scope::Admin), routes!(audit::list))
        .add(Need::Within(Scope::Read), routes!(operations::index))
        .add(Need::Nothing, routes!(operations::health))
        .add(Need::Nothing, routes!(operations::ready))
        .add(read, routes!(operations::metrics))
        .add(Need::Within(Scope::Read), routes!(openapi::show))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_description_names_every_route() {
        let (_, api) = routes().split_for_parts();
        let api: serde_json::Value = serde_json::from_str(&api.to_json().expect("json")).expect("json");
        assert_eq!(api["openapi"].as_str().map(|v| &v[..3]), Some("3.1"));
        let paths = api["paths"].as_object().expect("paths");
        for (path, methods) in [
            ("/v1/readings", "post"),
            ("/api/v2/write", "post"),
            ("/api/v3/write_lp", "post"),
            ("/write", "post"),
            ("/v1/query", "get"),
            ("/v1/explain", "get"),
            ("/v1/realtime", "get"),
            ("/v1/metrics", "get"),
            ("/v1/series", "get"),
            ("/v1/sql", "post"),
            ("/v1/jobs", "get post"),
            ("/v1/jobs/{id}", "get delete"),
            ("/v1/jobs/{id}/events", "get"),
            ("/v1/schedules", "get"),
            ("/v1/schedules/{name}", "get put delete"),
            ("/v1/generations", "get"),
            ("/v1/generations/{generation}/revert", "post"),
            ("/v1/reconciliation", "get"),
            ("/v1/calibration", "get"),
            ("/v1/status", "get"),
            ("/", "get"),
            ("/health", "get"),
            ("/ready", "get"),
            ("/metrics", "get"),
            ("/v1/audit", "get"),
            ("/openapi.json", "get"),
        ] {
            for method in methods.split(' ') {
                assert!(paths[path].get(method).is_some(), "{method} {path}");
            }
        }
    }

    #[test]
    fn every_named_part_of_the_description_exists() {
        let (_, api) = routes().split_for_parts();
        let text = api.to_json().expect("json");
        let api: serde_json::Value = serde_json::from_str(&text).expect("json");
        for name in text.split("\"#/components/schemas/").skip(1).filter_map(|rest| rest.split('"').next()) {
            assert!(api["components"]["schemas"].get(name).is_some(), "{name}");
        }
    }
}
