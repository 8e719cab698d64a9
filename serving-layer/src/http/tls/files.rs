//! The files of TLS: certificates and a key, in PEM.
//!
//! Owns reading them and what must stand in them. Nothing of the key is ever told.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use tokio_rustls::rustls::{Error as TlsError, RootCertStore, ServerConfig};

use crate::error::{Error, Result};

/// No such file is longer, bytes.
const FILE_BYTES: u64 = 1 << 20;
/// What is spoken inside.
const PROTOCOL: &[u8] = b"http/1.1";

/// Where certificates and the key lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificates that the server shows, its own first.
    pub cert: PathBuf,
    /// The private key of the first.
    pub key: PathBuf,
    /// Who must have signed the certificates of clients; `None`: clients are asked for none.
    pub client_ca: Option<PathBuf>,
}

impl TlsFiles {
    /// Warns where others on this machine can read the key.
    #[cfg(unix)]
    pub(super) fn warn_of_open_key(&self) {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = std::fs::metadata(&self.key).map_or(0, |metadata| metadata.permissions().mode());
        if mode & 0o077 != 0 {
            let mode = format!("{:o}", mode & 0o777);
            tracing::warn!(key = %self.key.display(), mode, "others can read the private key: it should have mode 600");
        }
    }

    /// Other systems have other ways to say who may read.
    #[cfg(not(unix))]
    pub(super) fn warn_of_open_key(&self) {}
}

/// What the files held. It is never shown: one of them is a key.
#[derive(PartialEq, Eq)]
pub(super) struct Contents {
    cert: Vec<u8>,
    key: Vec<u8>,
    client_ca: Option<Vec<u8>>,
}

impl Contents {
    /// Reads all files.
    pub(super) fn read(files: &TlsFiles) -> Result<Self> {
        Ok(Self {
            cert: read(&files.cert)?,
            key: read(&files.key)?,
            client_ca: files.client_ca.as_deref().map(read).transpose()?,
        })
    }

    /// How to shake hands with them.
    pub(super) fn config(&self, files: &TlsFiles) -> Result<ServerConfig> {
        let chain = certificates(&self.cert, &files.cert)?;
        // Why it can't be read is not told: the reason could quote it.
        let key = PrivateKeyDer::from_pem_slice(&self.key).map_err(|_| bad(&files.key, "no private key in PEM"))?;
        let provider = Arc::new(ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider));
        let builder = builder.with_safe_default_protocol_versions().map_err(|e| bad(&files.cert, e))?;
        let builder = match (&self.client_ca, &files.client_ca) {
            (Some(pem), Some(path)) => {
                let roots = Arc::new(roots(pem, path)?);
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider);
                builder.with_client_cert_verifier(verifier.build().map_err(|e: VerifierBuilderError| bad(path, e))?)
            }
            _ => builder.with_no_client_auth(),
        };
        let mut config = builder.with_single_cert(chain, key).map_err(|error| match error {
            TlsError::InconsistentKeys(_) => {
                bad(&files.key, format!("not the private key of the certificate in {}", files.cert.display()))
            }
            error => bad(&files.cert, error),
        })?;
        config.alpn_protocols = vec![PROTOCOL.to_vec()];
        Ok(config)
    }
}

fn read(path: &Path) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(FILE_BYTES + 1).read_to_end(&mut bytes));
    match read {
        Ok(n) if n as u64 <= FILE_BYTES => Ok(bytes),
        Ok(_) => Err(bad(path, format!("longer than {FILE_BYTES} bytes"))),
        Err(error) => Err(unreadable(path, &error)),
    }
}

fn unreadable(path: &Path, error: &io::Error) -> Error {
    Error::Invalid(format!("can't read {}: {error}", path.display()))
}

fn bad(path: &Path, why: impl std::fmt::Display) -> Error {
    Error::Invalid(format!("{} can't be used for TLS: {why}", path.display()))
}

fn certificates(pem: &[u8], path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let found: std::result::Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match found {
        Ok(found) if found.is_empty() => Err(bad(path, "no certificate in PEM")),
        Ok(found) => Ok(found),
        Err(_) => Err(bad(path, "a certificate in it is no PEM")),
    }
}

fn roots(pem: &[u8], path: &Path) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(pem, path)? {
        roots.add(certificate).map_err(|error| bad(path, error))?;
    }
    Ok(roots)
}
