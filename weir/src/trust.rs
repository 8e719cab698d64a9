//! Which servers the command line trusts when it speaks TLS, and who it says it is.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use reqwest::{Certificate, ClientBuilder, Identity};

/// Files of certificates, in PEM.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct Trust {
    /// Trust an https server whose certificate is signed by one of this file, instead of those that the system trusts
    #[arg(long, env = "WEIR_CA", value_name = "FILE")]
    ca: Option<PathBuf>,
    /// The certificate to show to an https server that asks for one
    #[arg(long, env = "WEIR_CLIENT_CERT", value_name = "FILE", requires = "client_key")]
    client_cert: Option<PathBuf>,
    /// Its private key
    #[arg(long, env = "WEIR_CLIENT_KEY", value_name = "FILE", requires = "client_cert")]
    client_key: Option<PathBuf>,
}

impl Trust {
    /// A client that trusts accordingly.
    pub(crate) fn apply(&self, mut client: ClientBuilder) -> anyhow::Result<ClientBuilder> {
        if let Some(ca) = &self.ca {
            let found = Certificate::from_pem_bundle(&read(ca)?).unwrap_or_default();
            anyhow::ensure!(!found.is_empty(), "{} holds no certificates in PEM", ca.display());
            client = found.into_iter().fold(client.tls_built_in_root_certs(false), ClientBuilder::add_root_certificate);
        }
        if let (Some(cert), Some(key)) = (&self.client_cert, &self.client_key) {
            let pem = [read(cert)?, read(key)?].concat();
            // The cause is not told: it could quote the key.
            let identity = Identity::from_pem(&pem).ok();
            let files = || format!("{} and {} are no certificate and key in PEM", cert.display(), key.display());
            client = client.identity(identity.with_context(files)?);
        }
        Ok(client)
    }
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("can't read {}", path.display()))
}
