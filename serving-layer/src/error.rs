//! What can go wrong with an answer, by what the asker can do about it.

/// An error of the serving layer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request can't be answered as it stands; the reason is meant for the asker.
    #[error("{0}")]
    Invalid(String),
    /// Nothing of this name exists.
    #[error("{0} does not exist")]
    NotFound(String),
    /// The answer would take more than the limits allow.
    #[error("{0}")]
    TooLarge(String),
    /// A point is less certain than the asker accepts.
    #[error("{0}")]
    BelowConfidence(String),
    /// It took longer than allowed.
    #[error("the query took longer than {0} s")]
    Timeout(u64),
    /// Too much is waiting; try again after this many seconds.
    #[error("{reason}")]
    Overloaded {
        /// What is full.
        reason: String,
        /// When to try again.
        retry_after_s: u64,
    },
    /// The disk has no room for more; the reason is meant for the asker.
    #[error("{0}")]
    Full(String),
    /// Stored bytes are not what was written: nothing is answered from them. What is damaged is logged, not told.
    #[error("{0}")]
    Corrupt(String),
    /// The server can't do it now (store, disk, log); the cause is logged, not told.
    #[error("{0}")]
    Unavailable(String),
}

impl From<schemas::Error> for Error {
    fn from(error: schemas::Error) -> Self {
        match error {
            schemas::Error::Invalid(reason) => Self::Invalid(reason),
            corrupt @ schemas::Error::Corrupt { .. } => Self::Corrupt(corrupt.to_string()),
        }
    }
}

impl From<batch_layer::Error> for Error {
    fn from(error: batch_layer::Error) -> Self {
        match error {
            batch_layer::Error::Refused(reason) => Self::Invalid(reason),
            batch_layer::Error::NotFound(what) => Self::NotFound(what),
            corrupt @ batch_layer::Error::Corrupt { .. } => Self::Corrupt(corrupt.to_string()),
            other => Self::Unavailable(other.to_string()),
        }
    }
}

impl From<speed_layer::Error> for Error {
    fn from(error: speed_layer::Error) -> Self {
        match error {
            speed_layer::Error::Invalid(schemas::Error::Invalid(reason)) => Self::Invalid(reason),
            corrupt @ (speed_layer::Error::Invalid(_) | speed_layer::Error::Corrupt { .. }) => {
                Self::Corrupt(corrupt.to_string())
            }
            speed_layer::Error::Overloaded { reason, retry_after_s } => {
                Self::Overloaded { reason: reason.to_owned(), retry_after_s }
            }
            full @ speed_layer::Error::Full => Self::Full(full.to_string()),
            other => Self::Unavailable(other.to_string()),
        }
    }
}

/// A result whose error is [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;
