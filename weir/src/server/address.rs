//! Where a server listens: the check of who could reach it, and the file that tells its address.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use batch_layer::catalog::Catalog;
use serving_layer::http::{Cors, Entrance, Tls};
use tokio::net::TcpListener;
use url::{Host, Url};
use weir::Settings;

/// The file in the data directory that holds the address while a server runs.
const FILE: &str = "weir.addr";

/// Binds the address of the settings, with the certificates of the settings.
pub(crate) async fn bind(settings: &Settings) -> anyhow::Result<Entrance> {
    let tls = settings.tls.files()?.map(Tls::open).transpose()?.map(Arc::new);
    let text = &settings.listen;
    let found = tokio::net::lookup_host(text).await.with_context(|| format!("can't find the address {text}"))?;
    let addresses: Vec<SocketAddr> = found.collect();
    let has_tokens = has_tokens(settings).await?;
    if !has_tokens && settings.tls.client_ca.is_some() {
        tracing::warn!("without a token every certificate of tls_client_ca may do everything: `weir token create`");
    }
    if !has_tokens && settings.engine.serving.cors == Cors::Any {
        tracing::warn!("without a token any page that somebody here opens may send and ask: name cors_origins");
    }
    if !addresses.iter().all(|address| address.ip().is_loopback()) {
        // Whoever must show a certificate is asked who they are.
        let asks = has_tokens || settings.tls.client_ca.is_some();
        anyhow::ensure!(asks || settings.insecure, refusal(text));
        if has_tokens && tls.is_none() {
            tracing::warn!(listen = text, "tokens and readings can be read on the network: set tls_cert and tls_key");
        }
    }
    let bound = TcpListener::bind(addresses.as_slice()).await;
    Ok(Entrance { listener: bound.with_context(|| format!("can't listen on {text}"))?, tls })
}

/// Whether the data directory has tokens, so that whoever comes is asked for one.
async fn has_tokens(settings: &Settings) -> anyhow::Result<bool> {
    let path = settings.engine.batch.dir.join("catalog.db");
    if !path.exists() {
        return Ok(false);
    }
    let catalog = Catalog::open(&path).await?;
    let tokens = catalog.tokens().await;
    catalog.close().await;
    Ok(!tokens?.is_empty())
}

/// Why an address that others can reach is not listened on.
fn refusal(text: &str) -> String {
    format!(
        "refusing to listen on {text}: without a token anyone who reaches it could read and write; make one with \
         `weir token create`, ask for certificates with --tls-client-ca, use a loopback address such as 127.0.0.1, or \
         --insecure where the network is trusted"
    )
}

/// The file that tells the address; removed when dropped.
#[derive(Debug)]
pub(crate) struct AddressFile(PathBuf);

impl AddressFile {
    /// Writes it; the data directory must have been taken before.
    pub(crate) fn write(data_dir: &Path, entrance: &Entrance) -> anyhow::Result<Self> {
        let url = entrance.url().context("can't tell the bound address")?;
        let path = data_dir.join(FILE);
        // Written beside and renamed, so that nobody reads half an address.
        let draft = data_dir.join("weir.addr.new");
        let written = std::fs::write(&draft, format!("{url}\n")).and_then(|()| std::fs::rename(&draft, &path));
        written.with_context(|| format!("can't write {}", path.display()))?;
        Ok(Self(path))
    }

    /// The address that the server of a data directory told; `None` where there is no file.
    pub(crate) fn read(data_dir: &Path) -> Option<Url> {
        let url: Url = std::fs::read_to_string(data_dir.join(FILE)).ok()?.trim().parse().ok()?;
        Some(reachable(url))
    }
}

impl Drop for AddressFile {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.0) {
            tracing::warn!(%error, path = %self.0.display(), "can't remove the file that tells the address");
        }
    }
}

/// An address under which this machine reaches a server that listens on all of its addresses.
fn reachable(mut url: Url) -> Url {
    let local = match url.host() {
        Some(Host::Ipv4(ip)) if ip.is_unspecified() => Some(Ipv4Addr::LOCALHOST.into()),
        Some(Host::Ipv6(ip)) if ip.is_unspecified() => Some(Ipv6Addr::LOCALHOST.into()),
        _ => None,
    };
    // A URL that has an address can have another.
    let _ = local.map(|local| url.set_ip_host(local));
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_loopback_is_safe_without_a_token() {
        let dir = tempfile::tempdir().expect("a directory");
        let settings = |listen: &str, insecure: bool| {
            let mut settings = Settings { listen: listen.to_owned(), insecure, ..Settings::default() };
            settings.engine.batch.dir = dir.path().to_owned();
            settings
        };
        let bound = async |listen: &str, insecure: bool| bind(&settings(listen, insecure)).await.is_ok();
        for (listen, insecure, good) in [
            ("127.0.0.1:0", false, true),
            ("127.9.9.9:0", false, true),
            ("[::1]:0", false, true),
            ("0.0.0.0:0", false, false),
            ("[::]:0", false, false),
            ("0.0.0.0:0", true, true),
        ] {
            assert_eq!(bound(listen, insecure).await, good, "{listen} {insecure}");
        }
        let catalog = Catalog::open(&dir.path().join("catalog.db")).await.expect("opens");
        assert!(!bound("0.0.0.0:0", false).await, "a catalog without tokens");
        let now = schemas::ArrivalTime(0);
        let (scopes, limits) = (vec![batch_layer::access::Scope::Read], schemas::limits::Limits::default());
        let new = batch_layer::access::NewToken { name: "t".to_owned(), scopes, limits, expires_at: None };
        catalog.create_token("a test", new, now).await.expect("made");
        assert!(bound("0.0.0.0:0", false).await);
        catalog.close().await;
        let mut halved = settings("127.0.0.1:0", false);
        halved.tls.cert = Some("cert.pem".into());
        assert!(bind(&halved).await.expect_err("no key").to_string().contains("tls_key"));
    }

    #[tokio::test]
    async fn the_address_is_told_while_the_file_lives() {
        let dir = tempfile::tempdir().expect("a directory");
        assert_eq!(AddressFile::read(dir.path()), None);
        let listener = TcpListener::bind("0.0.0.0:0").await.expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let file = AddressFile::write(dir.path(), &Entrance { listener, tls: None }).expect("written");
        let expected = format!("http://127.0.0.1:{port}/");
        assert_eq!(AddressFile::read(dir.path()).map(String::from), Some(expected));
        drop(file);
        assert_eq!(AddressFile::read(dir.path()), None);
    }
}
