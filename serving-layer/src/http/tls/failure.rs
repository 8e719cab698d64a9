//! What a handshake fails of: a closed set, as it is counted by.

use std::io;

use tokio_rustls::rustls::Error;

/// Why a handshake failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    /// It was not over in time.
    TooSlow,
    /// The peer closed the connection.
    Closed,
    /// The peer does not speak TLS, plain HTTP for example.
    NotTls,
    /// The peer speaks no version, cipher or protocol that is spoken here.
    Incompatible,
    /// The peer shows no certificate, although one is asked for.
    NoCertificate,
    /// The peer's certificate is not signed by who it should be, has expired, or is otherwise of no use.
    BadCertificate,
    /// The peer does not want to go on: it does not trust our certificate, for example.
    Alert,
    /// Anything else.
    Other,
}

impl Failure {
    /// What an error of a handshake means.
    pub(super) fn of(error: &io::Error) -> Self {
        let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) else {
            return Self::Closed;
        };
        match tls {
            Error::InvalidMessage(_) | Error::InappropriateMessage { .. } => Self::NotTls,
            Error::PeerIncompatible(_) | Error::NoApplicationProtocol => Self::Incompatible,
            Error::NoCertificatesPresented => Self::NoCertificate,
            Error::InvalidCertificate(_) => Self::BadCertificate,
            Error::AlertReceived(_) => Self::Alert,
            _ => Self::Other,
        }
    }

    /// The word it is counted by.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::TooSlow => "too_slow",
            Self::Closed => "closed",
            Self::NotTls => "not_tls",
            Self::Incompatible => "incompatible",
            Self::NoCertificate => "no_certificate",
            Self::BadCertificate => "bad_certificate",
            Self::Alert => "alert",
            Self::Other => "other",
        }
    }

    /// Whether somebody was turned away for who they are.
    pub(super) fn is_refusal(self) -> bool {
        matches!(self, Self::NoCertificate | Self::BadCertificate)
    }
}

#[cfg(test)]
mod tests {
    use tokio_rustls::rustls::{CertificateError, InvalidMessage};

    use super::*;

    #[test]
    fn each_error_has_its_reason() {
        for (error, expected) in [
            (Error::InvalidMessage(InvalidMessage::InvalidContentType), Failure::NotTls),
            (Error::NoCertificatesPresented, Failure::NoCertificate),
            (Error::InvalidCertificate(CertificateError::UnknownIssuer), Failure::BadCertificate),
            (Error::NoApplicationProtocol, Failure::Incompatible),
            (Error::DecryptError, Failure::Other),
        ] {
            assert_eq!(Failure::of(&io::Error::new(io::ErrorKind::InvalidData, error)), expected);
        }
        assert_eq!(Failure::of(&io::ErrorKind::UnexpectedEof.into()), Failure::Closed);
    }
}
