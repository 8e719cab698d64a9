//! An S3 bucket as a store: attempts are bounded in number and time, and each one that fails is counted by its reason.
//!
//! Owns how often a request is tried. Does not own what a put without an answer means (history), nor who is let in:
//! credentials, region, endpoint and the time of one attempt (`AWS_TIMEOUT`, 30 s) come from the usual `AWS_*` variables.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http_body::{Body, Frame};
use object_store::aws::AmazonS3Builder;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpResponseBody, HttpService,
    ReqwestConnector,
};
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{BackoffConfig, ClientOptions, RetryConfig};
use url::Url;

use super::Store;
use crate::error::{Error, Result};
use crate::metrics::StoreFaults;

/// A request is tried so often, and not again after this time: whoever waits shall hear of it while it still matters.
const RETRIES: usize = 6;
const RETRY_TIME: Duration = Duration::from_secs(60);
/// The first pause between attempts, and the longest; in between each is up to twice the one before, at random.
const PAUSE: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(3);

/// Opens the bucket that `url` names, as the environment says.
pub(super) fn open(url: &str, faults: &StoreFaults) -> Result<Store> {
    build(AmazonS3Builder::from_env(), url, faults)
}

/// Opens the bucket that `url` names, where `builder` says it is.
pub(super) fn build(builder: AmazonS3Builder, url: &str, faults: &StoreFaults) -> Result<Store> {
    let parsed = Url::parse(url).map_err(|e| Error::Refused(format!("{url:?} is not a URL: {e}")))?;
    let bucket = parsed.host_str().filter(|b| !b.is_empty());
    let bucket = bucket.ok_or_else(|| Error::Refused(format!("{url:?} names no bucket")))?;
    let prefix = Path::from_url_path(parsed.path()).map_err(|e| Error::Refused(format!("prefix of {url:?}: {e}")))?;
    let backoff = BackoffConfig { init_backoff: PAUSE, max_backoff: PAUSE_MAX, base: 2.0 };
    let store = builder
        .with_bucket_name(bucket)
        .with_retry(RetryConfig { backoff, max_retries: RETRIES, retry_timeout: RETRY_TIME })
        .with_http_connector(Connector(faults.clone()))
        .build()
        .map_err(|e| Error::unavailable(format!("open s3 bucket {bucket}"), e))?;
    Ok(if prefix.as_ref().is_empty() { Arc::new(store) } else { Arc::new(PrefixStore::new(store, prefix)) })
}

/// Makes clients that count what goes wrong.
#[derive(Debug)]
struct Connector(StoreFaults);

impl HttpConnector for Connector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let inner = ReqwestConnector::default().connect(options)?;
        Ok(HttpClient::new(Counting { inner, faults: self.0.clone() }))
    }
}

#[derive(Debug)]
struct Counting {
    inner: HttpClient,
    faults: StoreFaults,
}

#[async_trait]
impl HttpService for Counting {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let answered = self.inner.execute(request).await.inspect_err(|e| self.faults.count(failed(e)))?;
        if let Some(reason) = refused(answered.status().as_u16()) {
            self.faults.count(reason);
        }
        Ok(answered.map(|body| HttpResponseBody::new(CountingBody { body, faults: self.faults.clone() })))
    }
}

/// An answer's body, which may still break off.
struct CountingBody {
    body: HttpResponseBody,
    faults: StoreFaults,
}

impl Body for CountingBody {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if let Poll::Ready(Some(Err(error))) = &polled {
            self.faults.count(failed(error));
        }
        polled
    }
}

/// Why there is no answer, or only a part of one.
fn failed(error: &HttpError) -> &'static str {
    match error.kind() {
        HttpErrorKind::Connect => "connect",
        HttpErrorKind::Timeout => "timeout",
        HttpErrorKind::Request | HttpErrorKind::Interrupted => "interrupted",
        HttpErrorKind::Decode => "short_answer",
        _ => "unknown",
    }
}

/// Why the store says no; `None` where it does not, or where its no is an answer (there is nothing, there is something).
fn refused(status: u16) -> Option<&'static str> {
    match status {
        429 | 503 => Some("slow_down"),
        500.. => Some("server_error"),
        401 | 403 => Some("forbidden"),
        304 | 404 | 409 | 412 => None,
        400.. => Some("bad_request"),
        _ => None,
    }
}
