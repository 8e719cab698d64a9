//! What can go wrong with history, by what a caller can do about it.

/// An error of the batch layer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request can't be carried out as it stands; the reason is meant for whoever asked.
    #[error("{0}")]
    Refused(String),
    /// Nothing of this name exists.
    #[error("{0} does not exist")]
    NotFound(String),
    /// Stored bytes are not what was written; never answered from.
    #[error("{what} is corrupt: {reason}")]
    Corrupt {
        /// Path or table.
        what: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The store, the catalog or the disk failed; trying again may help.
    #[error("{what}: {source}")]
    Unavailable {
        /// What was attempted.
        what: String,
        /// The cause.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The work was cancelled.
    #[error("cancelled")]
    Cancelled,
}

impl Error {
    /// An [`Error::Unavailable`] for this attempt.
    pub fn unavailable(what: impl Into<String>, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Unavailable { what: what.into(), source: source.into() }
    }

    /// An [`Error::Corrupt`] of this thing for this reason.
    pub fn corrupt(what: impl Into<String>, reason: impl ToString) -> Self {
        Self::Corrupt { what: what.into(), reason: reason.to_string() }
    }
}

impl From<schemas::Error> for Error {
    fn from(error: schemas::Error) -> Self {
        match error {
            schemas::Error::Invalid(reason) => Self::Refused(reason),
            schemas::Error::Corrupt { what, reason } => Self::Corrupt { what, reason },
        }
    }
}

/// A result whose error is [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;
