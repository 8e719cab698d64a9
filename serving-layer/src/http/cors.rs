//! CORS: which other sites' pages may read answers in a browser. None, unless set.
//!
//! Owns the headers and the preflight, which browsers send without a token: it is answered here, before anybody is asked
//! who they are, and only to origins that were named; others meet what every stranger meets. (The layer of tower-http
//! answers every preflight.) Credentials are never allowed: a page shows its token in a header of its own.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use schemas::time::clip;
use url::Url;

use super::App;
use crate::error::{Error, Result};

/// What a page may send and read beside what every page may.
const METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, POST, PUT, DELETE");
const HEADERS: HeaderValue = HeaderValue::from_static("authorization, content-type, content-encoding");
const EXPOSED: HeaderValue = HeaderValue::from_static("retry-after, x-weir-skipped, x-weir-durability");
/// For so many seconds a browser need not ask again.
const MAX_AGE: HeaderValue = HeaderValue::from_static("600");

/// The origins whose pages may read answers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Cors {
    /// None.
    #[default]
    Off,
    /// All.
    Any,
    /// These, each as browsers write it.
    Origins(Vec<HeaderValue>),
}

impl Cors {
    /// What is answered to this origin; `None`: nothing.
    pub(super) fn allowed(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        let origin = headers.get(ORIGIN)?;
        match self {
            Self::Off => None,
            Self::Any => Some(HeaderValue::from_static("*")),
            Self::Origins(origins) => origins.contains(origin).then(|| origin.clone()),
        }
    }
}

impl std::str::FromStr for Cors {
    type Err = Error;

    /// From `*`, or origins with commas between them; nothing: none.
    fn from_str(text: &str) -> Result<Self> {
        match text.trim() {
            "" => Ok(Self::Off),
            "*" => Ok(Self::Any),
            list => list.split(',').map(|text| origin(text.trim())).collect::<Result<_>>().map(Self::Origins),
        }
    }
}

impl std::fmt::Display for Cors {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Off => Ok(()),
            Self::Any => f.write_str("*"),
            Self::Origins(origins) => {
                let texts: Vec<&str> = origins.iter().filter_map(|origin| origin.to_str().ok()).collect();
                f.write_str(&texts.join(","))
            }
        }
    }
}

/// Browsers compare origins letter by letter, so nothing but their own way to write one is taken.
fn origin(text: &str) -> Result<HeaderValue> {
    let bad = || Error::Invalid(format!("{:?} is no origin such as https://grafana.example.org", clip(text)));
    let url: Url = text.parse().map_err(|_| bad())?;
    let written = url.origin().ascii_serialization();
    if !matches!(url.scheme(), "http" | "https") || written != text || text.contains('*') {
        return Err(bad());
    }
    HeaderValue::from_str(&written).map_err(|_| bad())
}

/// Answers preflights of allowed origins, and lets their pages read all other answers.
pub(super) async fn share(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let cors = &app.serving.settings.cors;
    let allowed = cors.allowed(request.headers());
    let is_preflight =
        request.method() == Method::OPTIONS && request.headers().contains_key(ACCESS_CONTROL_REQUEST_METHOD);
    let mut response = match &allowed {
        Some(_) if is_preflight => preflight(),
        _ => next.run(request).await,
    };
    let headers = response.headers_mut();
    if let Some(origin) = allowed {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
    }
    if matches!(cors, Cors::Origins(_)) {
        // Or a cache would give one site's answer to another.
        headers.append(VARY, HeaderValue::from_static("origin"));
    }
    response
}

fn preflight() -> Response {
    let headers = [
        (ACCESS_CONTROL_ALLOW_METHODS, METHODS),
        (ACCESS_CONTROL_ALLOW_HEADERS, HEADERS),
        (ACCESS_CONTROL_MAX_AGE, MAX_AGE),
    ];
    (StatusCode::NO_CONTENT, headers).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_taken_as_browsers_write_them() {
        for text in ["", "*", "https://a.example", "http://localhost:3000,https://a.example"] {
            assert_eq!(text.parse::<Cors>().expect(text).to_string(), text);
        }
        for text in [
            "a.example",
            "https://a.example/",
            "https://A.example",
            "https://a.example:443",
            "https://a.example/x",
            "https://*.example",
            "null",
            "file:///x",
            "*,https://a.example",
            "https://a.example,",
            "https://me@a.example",
        ] {
            assert!(text.parse::<Cors>().is_err(), "{text}");
        }
    }

    #[test]
    fn only_those_named_are_answered() {
        let allowed = |cors: &str, origin: &'static str| {
            let headers = HeaderMap::from_iter([(ORIGIN, HeaderValue::from_static(origin))]);
            cors.parse::<Cors>().expect(cors).allowed(&headers)
        };
        assert_eq!(allowed("", "https://a.example"), None);
        assert_eq!(allowed("*", "https://a.example"), Some(HeaderValue::from_static("*")));
        assert_eq!(
            allowed("https://a.example", "https://a.example"),
            Some(HeaderValue::from_static("https://a.example"))
        );
        for other in ["https://b.example", "http://a.example", "https://a.example:8443", "https://a.example.b", "null"]
        {
            assert_eq!(allowed("https://a.example", other), None, "{other}");
        }
        assert_eq!(Cors::Any.allowed(&HeaderMap::new()), None);
    }
}
