//! The way to a server: the one that was named, the one that runs on the data directory, or one of our own for as long
//! as the question takes. All questions go over HTTP, so there is one way to ask.

use anyhow::Context as _;
use batch_layer::access::Secret;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::{Client, RequestBuilder, Response};
use serving_layer::http::{Admit, Entrance};
use tokio::net::TcpListener;
use url::Url;
use weir::engine::Lock;
use weir::{EngineSettings, Settings};

use crate::flags::Place;
use crate::server::{AddressFile, Server};
use crate::trust::Trust;

/// Where questions go.
#[derive(Debug)]
pub(crate) struct Door {
    http: Client,
    base: Url,
    /// What is shown to be let in, a header's value.
    shown: Option<HeaderValue>,
    own: Option<Server>,
}

/// The variable with the token that a server asks for: a flag could be seen in the list of processes.
const TOKEN_VARIABLE: &str = "WEIR_TOKEN";

/// Who answers for a data directory.
#[derive(Debug)]
pub(crate) enum Owner {
    /// A server at this address.
    Server(Url),
    /// Nobody else: it is ours now.
    Us(Lock),
}

impl Owner {
    /// Finds the server that was named or runs on the data directory; takes the directory where there is none.
    pub(crate) fn find(place: &Place, settings: &EngineSettings) -> anyhow::Result<Self> {
        if let Some(url) = &place.url {
            return Ok(Self::Server(url.clone()));
        }
        let dir = &settings.data_dir;
        if !Lock::is_held(dir) {
            return Lock::take(dir).map(Self::Us);
        }
        let url = AddressFile::read(dir);
        let url =
            url.with_context(|| format!("{} is in use by a weir process that takes no requests", dir.display()))?;
        Ok(Self::Server(url))
    }
}

impl Door {
    /// The way to whoever answers. A server of our own does background work only where `works` says so.
    pub(crate) async fn open(place: &Place, settings: Settings, works: bool) -> anyhow::Result<Self> {
        let dir = &settings.engine.data_dir;
        let there = place.url.is_some() || dir.join("LOCK").exists();
        anyhow::ensure!(
            there,
            "there is no data directory {}: start one with `weir serve` or `weir import`, or name a server with --url",
            dir.display()
        );
        match Owner::find(place, &settings.engine)? {
            Owner::Server(base) => Self::to(base, &place.trust),
            Owner::Us(lock) => {
                let listener = TcpListener::bind("127.0.0.1:0").await.context("can't listen on 127.0.0.1")?;
                // Others on this machine could ask it, too, were it not for a secret that only we know.
                let secret = Secret::new()?;
                let admit = Admit::Only(secret.hash());
                let mut server = Server::start(settings.engine, lock, Entrance { listener, tls: None }, admit).await?;
                if works {
                    server.engine.start();
                }
                let door = Self::to(server.url.parse()?, &Trust::default())?;
                Ok(Self { own: Some(server), shown: Some(bearer(secret.reveal())?), ..door })
            }
        }
    }

    /// The way to a server that runs at this address.
    pub(crate) fn to(mut base: Url, trust: &Trust) -> anyhow::Result<Self> {
        let known = matches!(base.scheme(), "http" | "https");
        anyhow::ensure!(known, "{base} is not an address like http://127.0.0.1:9347");
        if !base.path().ends_with('/') {
            base.set_path(&format!("{}/", base.path()));
        }
        let local = match base.host() {
            Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
            Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
            Some(url::Host::Domain(name)) => name == "localhost",
            None => false,
        };
        // A proxy does not reach what only this machine reaches.
        let builder = if local { Client::builder().no_proxy() } else { Client::builder() };
        let shown = std::env::var(TOKEN_VARIABLE).ok().filter(|token| !token.is_empty());
        let shown = shown.map(|token| bearer(token.trim())).transpose()?;
        // What is shown to one server is for no other.
        let builder = trust.apply(builder.redirect(reqwest::redirect::Policy::none()))?;
        Ok(Self { http: builder.build().context("can't make an HTTP client")?, base, shown, own: None })
    }

    /// Whether the server is our own and ends with us.
    pub(crate) fn is_own(&self) -> bool {
        self.own.is_some()
    }

    /// Asks with parameters.
    pub(crate) async fn get(&self, path: &str, parameters: &[(&str, &str)]) -> anyhow::Result<Response> {
        self.ask(self.http.get(self.url(path)?).query(parameters)).await
    }

    /// Asks with a JSON document.
    pub(crate) async fn post(&self, path: &str, body: &serde_json::Value) -> anyhow::Result<Response> {
        self.ask(self.http.post(self.url(path)?).json(body)).await
    }

    /// Sends bytes and returns the answer, whatever its status.
    pub(crate) async fn send(&self, path: &str, media_type: &str, body: bytes::Bytes) -> anyhow::Result<Response> {
        let request = self.http.post(self.url(path)?).header(CONTENT_TYPE, media_type).body(body);
        self.introduced(request).send().await.with_context(|| format!("can't reach {}", self.base))
    }

    /// Ends a server of our own.
    pub(crate) async fn close(self) {
        if let Some(server) = self.own {
            server.leave().await;
        }
    }

    fn url(&self, path: &str) -> anyhow::Result<Url> {
        self.base.join(path.trim_start_matches('/')).with_context(|| format!("{} is no address", self.base))
    }

    /// The request with what is shown to be let in.
    fn introduced(&self, request: RequestBuilder) -> RequestBuilder {
        match &self.shown {
            Some(shown) => request.header(AUTHORIZATION, shown.clone()),
            None => request,
        }
    }

    async fn ask(&self, request: RequestBuilder) -> anyhow::Result<Response> {
        let response = self.introduced(request).send().await.with_context(|| format!("can't reach {}", self.base))?;
        if response.status().is_success() { Ok(response) } else { Err(refusal(response).await) }
    }
}

/// The header that shows a token; it is never logged.
fn bearer(token: &str) -> anyhow::Result<HeaderValue> {
    let mut value =
        HeaderValue::from_str(&format!("Bearer {token}")).with_context(|| format!("{TOKEN_VARIABLE} is no token"))?;
    value.set_sensitive(true);
    Ok(value)
}

/// Why the server said no, in its words.
pub(crate) async fn refusal(response: Response) -> anyhow::Error {
    let status = response.status();
    if status == reqwest::StatusCode::UNAUTHORIZED {
        return anyhow::anyhow!("the server asks for a token: put a valid one into the variable {TOKEN_VARIABLE}");
    }
    let text = response.text().await.unwrap_or_default();
    let problem: Option<serde_json::Value> = serde_json::from_str(&text).ok();
    let detail = problem.as_ref().and_then(|problem| problem["detail"].as_str());
    match detail {
        Some(detail) => anyhow::anyhow!("{detail}"),
        None => anyhow::anyhow!("the server answered {status}: {}", schemas::time::clip(text.trim())),
    }
}

/// An instant as the server reads it: a plain date means its midnight, UTC.
pub(crate) fn instant(text: &str) -> String {
    let is_date = text.len() == 10
        && text.bytes().enumerate().all(|(i, b)| if matches!(i, 4 | 7) { b == b'-' } else { b.is_ascii_digit() });
    if is_date { format!("{text}T00:00:00Z") } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_mean_midnight() {
        for (text, expected) in [
            ("2024-01-31", "2024-01-31T00:00:00Z"),
            ("now-1h", "now-1h"),
            ("1700000000", "1700000000"),
            ("2024-01-31T01:00:00Z", "2024-01-31T01:00:00Z"),
        ] {
            assert_eq!(instant(text), expected);
        }
    }

    #[test]
    fn paths_follow_the_base() {
        for (base, path, expected) in [
            ("http://127.0.0.1:9347", "/v1/sql", "http://127.0.0.1:9347/v1/sql"),
            ("http://host/weir", "/v1/sql", "http://host/weir/v1/sql"),
        ] {
            let door = Door::to(base.parse().expect(base), &Trust::default()).expect("an address");
            assert_eq!(door.url(path).expect("joined").as_str(), expected);
        }
        assert!(Door::to("ftp://x".parse().expect("a URL"), &Trust::default()).is_err());
    }
}
