//! Who asks, and whether they may.
//!
//! Owns finding out who asks, before any handler runs; the scope that each route needs (a route can't be added without
//! one: [`Routes`]), and which routes are open to tokens that are limited to some series; what those are told who may
//! not. Does not own tokens (batch layer).
//!
//! - ACC-2: once there is a token, nothing is answered without a valid one but the routes `/health` and `/ready`, not even
//!   whether a path exists.
//! - ACC-3: a token that was revoked is of no use half a second later; where tokens can't be read, nobody is let in.
//! - ACC-4: a limited token reaches only routes that say that they keep to the limits ([`Need::Within`], [`Within`]).
//! - ACC-5: what a browser sends for a page of another site changes nothing, unless that page has a token or its site is
//!   named (`cors_origins`).

mod guesses;
mod pages;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use axum::extract::{FromRequestParts, MatchedPath, Request, State};
use axum::http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use batch_layer::access::{Scope, Token, TokenHash};
use batch_layer::catalog::Catalog;
use schemas::limits::Limits;
use schemas::selector::Selector;
use schemas::time::clip;
use schemas::{ArrivalTime, Clock};
use tokio::time::Instant;
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouter};

pub(super) use self::guesses::Guesses;

use super::App;
use super::error::{Problem, Result};

/// Tokens are read anew after so long.
const KNOWN_FOR: Duration = Duration::from_millis(400);
/// No secret is longer.
const SECRET_MAX: usize = 512;
/// So many characters of a path are noted in the audit log.
const SUBJECT_MAX: usize = 512;
/// What a client is told that showed nothing valid.
const CHALLENGE: HeaderValue = HeaderValue::from_static("Bearer realm=\"weir\", Basic realm=\"weir\"");

/// Whom a server lets in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admit {
    /// Whoever has a token of the catalog; everybody, as long as none was ever made.
    Tokens,
    /// Whoever shows this one secret: the program that started the server for itself.
    Only(TokenHash),
}

/// The address of the other end of a connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer(pub(super) IpAddr);

/// What the certificate is called that the other end of a connection showed.
#[derive(Debug, Clone)]
pub(super) struct Shown(pub(super) Arc<str>);

/// Who asks.
#[derive(Debug, Clone)]
pub(super) enum Principal {
    /// Nobody was asked: there is no token.
    Anyone,
    /// The program that started the server.
    Owner,
    /// Whoever has this token.
    Token(Arc<Token>),
}

impl Principal {
    fn allows(&self, scope: Scope) -> bool {
        match self {
            Self::Anyone | Self::Owner => true,
            Self::Token(token) => token.allows(scope),
        }
    }

    /// The series that they are limited to; `None`: all.
    fn limits(&self) -> Option<&Arc<Limits>> {
        match self {
            Self::Anyone | Self::Owner => None,
            Self::Token(token) => token.limits.as_ref(),
        }
    }

    /// As the audit log names them.
    fn name(&self) -> String {
        match self {
            Self::Anyone => "anyone".to_owned(),
            Self::Owner => "command line".to_owned(),
            Self::Token(token) => format!("token {} {:?}", token.id, token.name),
        }
    }
}

/// Somebody who was let in, and where to.
#[derive(Debug, Clone)]
struct Guest {
    principal: Principal,
    shown: Option<Shown>,
    app: Arc<App>,
}

impl Guest {
    /// As the audit log names them. Whoever needs no token is who their certificate says.
    fn name(&self) -> String {
        match (&self.principal, &self.shown) {
            (principal, None) => principal.name(),
            (Principal::Anyone, Some(Shown(certificate))) => certificate.as_ref().to_owned(),
            (principal, Some(Shown(certificate))) => format!("{}, {certificate}", principal.name()),
        }
    }
}

/// What a route asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    /// Nothing, not even a token.
    Nothing,
    /// A token with this scope for all series.
    Scope(Scope),
    /// A token with this scope; the handler keeps to the series that it is limited to ([`Within`]), or tells nothing of any.
    Within(Scope),
}

/// The series that whoever asks is limited to.
#[derive(Debug, Clone)]
pub(super) struct Within(Option<Arc<Limits>>);

impl Within {
    /// What of a selection may be answered.
    pub(super) fn narrow(&self, selector: Selector) -> Selector {
        match &self.0 {
            Some(limits) => selector.within(Arc::clone(limits)),
            None => selector,
        }
    }

    /// The limits; `None`: there are none.
    pub(super) fn limits(&self) -> Option<&Arc<Limits>> {
        self.0.as_ref()
    }
}

impl<S: Sync> FromRequestParts<S> for Within {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self> {
        let guest = parts.extensions.get::<Guest>().ok_or_else(nobody)?;
        Ok(Self(guest.principal.limits().cloned()))
    }
}

/// Routes, none of which can be added without saying what it needs.
pub(super) struct Routes(OpenApiRouter<Arc<App>>);

impl Routes {
    pub(super) fn new(router: OpenApiRouter<Arc<App>>) -> Self {
        Self(router)
    }

    /// Adds routes that need this.
    pub(super) fn add(self, need: Need, routes: UtoipaMethodRouter<Arc<App>>) -> Self {
        let guard = from_fn(move |request: Request, next: Next| check(need, request, next));
        let (schemas, paths, methods) = routes;
        Self(self.0.routes((schemas, paths, methods.route_layer(guard))))
    }

    pub(super) fn into_router(self) -> OpenApiRouter<Arc<App>> {
        self.0
    }
}

/// Why somebody is not let in; a closed set, as it is counted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reason {
    NoToken,
    Malformed,
    Unknown,
    Expired,
    Revoked,
    Scope,
    Limits,
    Page,
    Name,
}

impl Reason {
    fn name(self) -> &'static str {
        match self {
            Self::NoToken => "no_token",
            Self::Malformed => "malformed",
            Self::Unknown => "unknown_token",
            Self::Expired => "expired_token",
            Self::Revoked => "revoked_token",
            Self::Scope => "scope",
            Self::Limits => "limits",
            Self::Page => "other_site",
            Self::Name => "host_name",
        }
    }
}

/// The tokens as they were read last.
#[derive(Debug, Default)]
struct Known {
    tokens: HashMap<TokenHash, Arc<Token>>,
    read_at: Option<Instant>,
}

/// Knows who may come in.
#[derive(Debug)]
pub(super) struct Access {
    admit: Admit,
    catalog: Catalog,
    clock: Arc<dyn Clock>,
    known: RwLock<Arc<Known>>,
    reading: tokio::sync::Mutex<()>,
    /// For how long what was read counts.
    known_for: Duration,
    guesses: Guesses,
}

impl Access {
    pub(super) fn new(admit: Admit, catalog: Catalog, clock: Arc<dyn Clock>) -> Self {
        Self {
            admit,
            catalog,
            clock,
            known: RwLock::default(),
            reading: tokio::sync::Mutex::default(),
            known_for: KNOWN_FOR,
            guesses: Guesses::default(),
        }
    }

    /// Who sent these headers.
    async fn principal(&self, headers: &HeaderMap) -> Result<std::result::Result<Principal, Reason>> {
        if let Admit::Only(hash) = self.admit {
            let owner = shown(headers).map(|shown| TokenHash::of(&shown) == hash);
            return Ok(match owner {
                Ok(true) => Ok(Principal::Owner),
                Ok(false) => Err(Reason::Unknown),
                Err(reason) => Err(reason),
            });
        }
        let known = self.known().await?;
        if known.tokens.is_empty() {
            return Ok(Ok(Principal::Anyone));
        }
        Ok(shown(headers).and_then(|shown| valid(&known, &TokenHash::of(&shown), self.clock.now())))
    }

    /// The tokens, read a moment ago at most.
    async fn known(&self) -> Result<Arc<Known>> {
        let fresh = |known: &Known| known.read_at.is_some_and(|at| at.elapsed() < self.known_for);
        let current = || Arc::clone(&self.known.read().unwrap_or_else(PoisonError::into_inner));
        let known = current();
        if fresh(&known) {
            return Ok(known);
        }
        // One reads, the others wait for what it found.
        let _one = self.reading.lock().await;
        let known = current();
        if fresh(&known) {
            return Ok(known);
        }
        let read_at = Some(Instant::now());
        let tokens = self.catalog.tokens().await?;
        let tokens = tokens.into_iter().map(|token| (token.hash, Arc::new(token))).collect();
        let known = Arc::new(Known { tokens, read_at });
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&known);
        Ok(known)
    }
}

fn valid(known: &Known, hash: &TokenHash, now: ArrivalTime) -> std::result::Result<Principal, Reason> {
    match known.tokens.get(hash) {
        None => Err(Reason::Unknown),
        Some(token) if token.revoked_at.is_some() => Err(Reason::Revoked),
        Some(token) if token.ended(now) => Err(Reason::Expired),
        Some(token) => Ok(Principal::Token(Arc::clone(token))),
    }
}

/// The secret that a client shows: as `Bearer`, as `Token` (InfluxDB), or as the password of `Basic`.
fn shown(headers: &HeaderMap) -> std::result::Result<String, Reason> {
    let mut all = headers.get_all(AUTHORIZATION).iter();
    let header = all.next().ok_or(Reason::NoToken)?;
    if all.next().is_some() {
        return Err(Reason::Malformed);
    }
    let text = header.to_str().map_err(|_| Reason::Malformed)?;
    let (scheme, rest) = text.trim().split_once(' ').ok_or(Reason::Malformed)?;
    let rest = rest.trim();
    let secret = if scheme.eq_ignore_ascii_case("bearer") || scheme.eq_ignore_ascii_case("token") {
        rest.to_owned()
    } else if scheme.eq_ignore_ascii_case("basic") {
        let pair = base64::engine::general_purpose::STANDARD.decode(rest).map_err(|_| Reason::Malformed)?;
        let pair = String::from_utf8(pair).map_err(|_| Reason::Malformed)?;
        pair.split_once(':').ok_or(Reason::Malformed)?.1.to_owned()
    } else {
        return Err(Reason::Malformed);
    };
    if secret.is_empty() || secret.len() > SECRET_MAX { Err(Reason::Malformed) } else { Ok(secret) }
}

/// Finds out who asks; without a valid token only routes that need none are reached.
pub(super) async fn identify(State(app): State<Arc<App>>, mut request: Request, next: Next) -> Response {
    // What the router matched, and no other reading of the path.
    let route = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
    if matches!(route, Some("/health" | "/ready")) {
        return next.run(request).await;
    }
    match app.access.principal(request.headers()).await {
        Ok(Ok(principal)) => {
            if let Some(reason) = unwilling(&app, &principal, &request) {
                return turn_away(&app, &request, reason).into_response();
            }
            let shown = request.extensions().get::<Shown>().cloned();
            request.extensions_mut().insert(Guest { principal, shown, app });
            next.run(request).await
        }
        Ok(Err(reason)) => turn_away(&app, &request, reason).into_response(),
        Err(problem) => problem.into_response(),
    }
}

/// Why a browser seems to ask this for somebody else's page.
fn unwilling(app: &App, principal: &Principal, request: &Request) -> Option<Reason> {
    let headers = request.headers();
    let local = request.extensions().get::<Peer>().is_some_and(|peer| peer.0.is_loopback());
    if matches!(principal, Principal::Anyone) && local && pages::is_rebound(headers) {
        return Some(Reason::Name);
    }
    let named = app.serving.settings.cors.allowed(headers).is_some();
    (!named && pages::is_foreign(request.method(), headers)).then_some(Reason::Page)
}

fn turn_away(app: &App, request: &Request, reason: Reason) -> Problem {
    app.metrics.refuse(reason.name());
    let peer = request.extensions().get::<Peer>().map(|peer| peer.0);
    if let Some(peer) = peer
        && !app.access.guesses.allows(peer, Instant::now())
    {
        return Problem::new(StatusCode::TOO_MANY_REQUESTS, "too many attempts without a valid token").retry_after(1);
    }
    let path = clip(request.uri().path());
    tracing::warn!(peer = ?peer, reason = reason.name(), path = ?path, "somebody was not let in");
    let forbidden = |detail: &str| Problem::new(StatusCode::FORBIDDEN, detail);
    let detail = match reason {
        Reason::Page => {
            return forbidden("a page of another site sent this: name its origin in cors_origins, or send a token");
        }
        Reason::Name => {
            return forbidden(
                "without a token this server is asked by its address or as localhost only, as other names may lead here from \
                 the pages of strangers; `weir token create` makes a token",
            );
        }
        Reason::NoToken => "this server asks for a token: send it as `Authorization: Bearer ...`",
        Reason::Malformed => "header Authorization: is none of `Bearer`, `Token` and `Basic` with a token",
        Reason::Expired => "the token has expired",
        Reason::Unknown | Reason::Revoked | Reason::Scope | Reason::Limits => "the token is not valid",
    };
    Problem::new(StatusCode::UNAUTHORIZED, detail).with(WWW_AUTHENTICATE, CHALLENGE)
}

/// Lets a request through to a route whose need is met; what changes something is noted in the audit log first.
async fn check(need: Need, request: Request, next: Next) -> Response {
    let (scope, narrows) = match need {
        Need::Nothing => return next.run(request).await,
        Need::Scope(scope) => (scope, false),
        Need::Within(scope) => (scope, true),
    };
    let Some(guest) = request.extensions().get::<Guest>() else { return nobody().into_response() };
    let Guest { principal, app, .. } = guest;
    if !principal.allows(scope) {
        app.metrics.refuse(Reason::Scope.name());
        let detail = format!("this token does not allow to {}: scope {:?} is missing", verb(scope), scope.name());
        return Problem::new(StatusCode::FORBIDDEN, detail).into_response();
    }
    if let Some(limits) = principal.limits().filter(|_| !narrows) {
        app.metrics.refuse(Reason::Limits.name());
        let detail = format!("this token is limited to {limits}; here all series would be told or changed");
        return Problem::new(StatusCode::FORBIDDEN, detail).into_response();
    }
    if changes(scope, request.method()) {
        let guest = Guest::clone(guest);
        // A body can't be lent to what waits.
        let (parts, body) = request.into_parts();
        if let Err(problem) = note(&guest, &parts).await {
            return problem.into_response();
        }
        return next.run(Request::from_parts(parts, body)).await;
    }
    next.run(request).await
}

/// Whoever was not identified has no business here, whichever way the request came.
fn nobody() -> Problem {
    Problem::new(StatusCode::UNAUTHORIZED, "nobody was identified")
}

fn verb(scope: Scope) -> &'static str {
    match scope {
        Scope::Write => "send readings",
        Scope::Read => "ask",
        Scope::Batch => "work on history",
        Scope::Rules => "change rules",
        Scope::Admin => "administer",
    }
}

/// Whether a request may change what is noted in the audit log. Readings are in the log of readings.
fn changes(scope: Scope, method: &Method) -> bool {
    !matches!(scope, Scope::Write | Scope::Read) && !matches!(*method, Method::GET | Method::HEAD)
}

async fn note(guest: &Guest, request: &Parts) -> Result<()> {
    let target = request.uri.path_and_query().map_or("", |path| path.as_str());
    let subject: String = target.chars().take(SUBJECT_MAX).collect();
    let (serving, method) = (&guest.app.serving, request.method.as_str());
    serving.batch.catalog().add_audit(serving.clock.now(), &guest.name(), method, &subject).await?;
    Ok(())
}

#[cfg(test)]
mod tests;
