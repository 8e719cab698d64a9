//! The settings of TLS, which make sense only together.

use std::path::PathBuf;

use serving_layer::http::TlsFiles;

use super::Error;

/// Where certificates and the key lie, as they were written down.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsSettings {
    /// The certificates that the server shows.
    pub cert: Option<PathBuf>,
    /// The private key of the first.
    pub key: Option<PathBuf>,
    /// Who must have signed the certificates of clients.
    pub client_ca: Option<PathBuf>,
}

impl TlsSettings {
    /// The files of a server that speaks TLS; `None`: it does not.
    ///
    /// # Errors
    /// One of them is missing.
    pub fn files(&self) -> Result<Option<TlsFiles>, Error> {
        match (self.cert.clone(), self.key.clone(), self.client_ca.clone()) {
            (Some(cert), Some(key), client_ca) => Ok(Some(TlsFiles { cert, key, client_ca })),
            (None, None, None) => Ok(None),
            (Some(_), None, _) => Err(Error("tls_cert is set, but tls_key is not: TLS needs both".to_owned())),
            (None, Some(_), _) => Err(Error("tls_key is set, but tls_cert is not: TLS needs both".to_owned())),
            (None, None, Some(_)) => Err(Error(
                "tls_client_ca is set, but tls_cert and tls_key are not: without TLS nobody shows one".into(),
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tls_is_whole_or_not_at_all() {
        for (given, expected) in [
            ("", "none"),
            ("ck", "some"),
            ("cka", "some"),
            ("c", "tls_key"),
            ("k", "tls_cert"),
            ("a", "tls_cert"),
            ("ca", "tls_key"),
        ] {
            let path = |letter: char| given.contains(letter).then(|| PathBuf::from("x.pem"));
            let settings = TlsSettings { cert: path('c'), key: path('k'), client_ca: path('a') };
            let told = match settings.files() {
                Ok(Some(_)) => "some".to_owned(),
                Ok(None) => "none".to_owned(),
                Err(error) => error.to_string(),
            };
            assert!(told.contains(expected), "{given}: {told}");
        }
    }
}
