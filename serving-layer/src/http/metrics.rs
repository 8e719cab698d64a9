//! Counters of HTTP: one struct of handles, passed in; and the layer that counts every request.

use std::sync::Arc;

use axum::extract::{MatchedPath, Request, State};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::Response;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use tokio::time::Instant;

use super::App;

/// What is counted apart: the template of a route, never an address.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RequestLabels {
    /// The method, or `other`.
    pub method: &'static str,
    /// The template, or `none` where no route matched.
    pub route: String,
    /// The class of the status, such as `2xx`.
    pub status: &'static str,
}

/// The template of a route.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RouteLabel {
    /// The template.
    pub route: String,
}

/// What was turned away.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ShedLabel {
    /// `queries`, `bodies` or `followers`.
    pub what: &'static str,
}

/// Why somebody was not let in.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RefusedLabel {
    /// A word of a closed set.
    pub reason: &'static str,
}

/// Handles of all counters.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// Requests answered.
    pub requests: Family<RequestLabels, Counter>,
    /// Seconds until the head of an answer, by route.
    pub seconds: Family<RouteLabel, Histogram>,
    /// Requests turned away because too much was going on.
    pub turned_away: Family<ShedLabel, Counter>,
    /// Requests refused for want of a token or a scope.
    pub refused: Family<RefusedLabel, Counter>,
}

impl Metrics {
    /// Registers all counters.
    pub fn new(registry: &mut Registry) -> Self {
        let metrics = Self {
            requests: Family::default(),
            // 1 ms to 32 s: the longest query ends at 30 s.
            seconds: Family::new_with_constructor(|| Histogram::new(exponential_buckets(0.001, 2.0, 16))),
            turned_away: Family::default(),
            refused: Family::default(),
        };
        let http = registry.sub_registry_with_prefix("weir_http");
        http.register("requests", "Requests answered, by method, route and class of status", metrics.requests.clone());
        http.register("request_seconds", "Time until the head of an answer, by route", metrics.seconds.clone());
        http.register("turned_away", "Requests turned away under overload", metrics.turned_away.clone());
        http.register("refused", "Requests refused for want of a token or a scope", metrics.refused.clone());
        metrics
    }

    /// Counts somebody who was not let in.
    pub(super) fn refuse(&self, reason: &'static str) {
        self.refused.get_or_create(&RefusedLabel { reason }).inc();
    }
}

/// Counts a request and times it.
pub(super) async fn observe(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let route = request.extensions().get::<MatchedPath>().map_or("none", MatchedPath::as_str).to_owned();
    let method = method_label(request.method());
    let response = next.run(request).await;
    let seconds = started.elapsed().as_secs_f64();
    app.metrics.seconds.get_or_create(&RouteLabel { route: route.clone() }).observe(seconds);
    let labels = RequestLabels { method, route, status: status_class(response.status().as_u16()) };
    app.metrics.requests.get_or_create(&labels).inc();
    response
}

fn method_label(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "DELETE" => "DELETE",
        _ => "other",
    }
}

fn status_class(status: u16) -> &'static str {
    match status / 100 {
        2 => "2xx",
        3 => "3xx",
        4 => "4xx",
        5 => "5xx",
        _ => "1xx",
    }
}
