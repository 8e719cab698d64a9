//! What can be wrong with a value that came from outside.

/// A value that was refused, with the reason in words meant for the sender.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The text is not what the place asks for.
    #[error("{0}")]
    Invalid(String),
    /// Stored bytes do not decode to the value that they should hold.
    #[error("corrupt {what}: {reason}")]
    Corrupt {
        /// Which stored thing.
        what: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl Error {
    /// An [`Error::Invalid`] with this reason.
    pub fn invalid(reason: impl Into<String>) -> Self {
        Self::Invalid(reason.into())
    }

    /// An [`Error::Corrupt`] of this thing for this reason.
    pub fn corrupt(what: impl Into<String>, reason: impl ToString) -> Self {
        Self::Corrupt { what: what.into(), reason: reason.to_string() }
    }
}

/// A result whose error is [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;
