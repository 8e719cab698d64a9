//! Tokens: the secret that a client shows, and what it allows.
//!
//! Owns the form of secrets, their hashes, scopes and what makes a token valid. Does not own where tokens are kept
//! (catalog), nor which request needs which scope (serving layer).
//!
//! - ACC-1: a secret is shown once, when it is made; what is kept is its SHA-256. It has 256 random bits, so that a hash
//!   can't be guessed back and comparing hashes tells nobody anything.

use std::fmt;
use std::sync::Arc;

use schemas::ArrivalTime;
use schemas::limits::Limits;
use sha2::{Digest as _, Sha256};

use crate::error::{Error, Result};

/// Every secret begins with it, so that scanners of code and logs recognise one.
const PREFIX: &str = "weir_";
/// Random bytes of a secret.
const SECRET_BYTES: usize = 32;
/// Hexadecimal digits of the checksum at its end, by which a scanner knows it from a lookalike.
const CHECK_DIGITS: usize = 8;

/// One thing that a token may allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// Send readings.
    Write,
    /// Ask for readings, views and the state of the server.
    Read,
    /// Start and cancel jobs, change schedules, revert generations.
    Batch,
    /// Change alert rules and patterns.
    Rules,
    /// Read the audit log; all of the others.
    Admin,
}

impl Scope {
    /// All there are.
    pub const ALL: [Self; 5] = [Self::Write, Self::Read, Self::Batch, Self::Rules, Self::Admin];

    /// Its name outside.
    pub fn name(self) -> &'static str {
        match self {
            Self::Write => "write",
            Self::Read => "read",
            Self::Batch => "batch",
            Self::Rules => "rules",
            Self::Admin => "admin",
        }
    }
}

impl std::str::FromStr for Scope {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let known = Self::ALL.into_iter().find(|scope| scope.name() == text);
        known.ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            Error::Refused(format!("{:?} is no scope: there are {names}", schemas::time::clip(text)))
        })
    }
}

/// What a client shows to be let in. It is never logged: `Debug` does not tell it.
pub struct Secret(String);

impl Secret {
    /// A new one.
    ///
    /// # Errors
    /// The system has no random numbers.
    pub fn new() -> Result<Self> {
        let mut bytes = [0; SECRET_BYTES];
        getrandom::fill(&mut bytes).map_err(|e| Error::unavailable("make a token", e))?;
        let body = hex(&bytes);
        Ok(Self(format!("{PREFIX}{body}{}", checksum(&body))))
    }

    /// The text, to be shown once.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// What is kept of it.
    pub fn hash(&self) -> TokenHash {
        TokenHash::of(&self.0)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// The SHA-256 of a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TokenHash([u8; 32]);

impl TokenHash {
    /// The hash of what a client showed, whatever it is.
    pub fn of(shown: &str) -> Self {
        Self(Sha256::digest(shown.as_bytes()).into())
    }

    /// As 64 hexadecimal digits.
    pub fn to_hex(self) -> String {
        hex(&self.0)
    }

    /// From 64 hexadecimal digits.
    pub(crate) fn from_hex(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        if text.len() != 64 || !text.is_ascii() {
            return None;
        }
        for (i, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * i..2 * i + 2], 16).ok()?;
        }
        Some(Self(bytes))
    }
}

/// What a token is to be like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewToken {
    /// What it is for.
    pub name: String,
    /// What it allows.
    pub scopes: Vec<Scope>,
    /// The series that it is good for.
    pub limits: Limits,
    /// From when on it is of no use; `None`: never.
    pub expires_at: Option<ArrivalTime>,
}

/// A token, as it is kept and listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// What it is called by in lists, in the audit log and to revoke it.
    pub id: String,
    /// What it is for, in the words of whoever made it.
    pub name: String,
    /// What is known of its secret.
    pub hash: TokenHash,
    /// What it allows; sorted, each once.
    pub scopes: Vec<Scope>,
    /// The series that it is good for; `None`: all.
    pub limits: Option<Arc<Limits>>,
    /// When it was made.
    pub created_at: ArrivalTime,
    /// From when on it is of no use; `None`: never.
    pub expires_at: Option<ArrivalTime>,
    /// When it was revoked, if it was.
    pub revoked_at: Option<ArrivalTime>,
}

impl Token {
    /// Whether it allows this; an admin's allows all.
    pub fn allows(&self, scope: Scope) -> bool {
        self.scopes.contains(&scope) || self.scopes.contains(&Scope::Admin)
    }

    /// Whether it was revoked, or has expired at this instant.
    pub fn ended(&self, now: ArrivalTime) -> bool {
        self.revoked_at.is_some() || self.expires_at.is_some_and(|end| end <= now)
    }
}

/// The checksum of a secret's random part.
fn checksum(body: &str) -> String {
    hex(&Sha256::digest(body.as_bytes())[..CHECK_DIGITS / 2])
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    use fmt::Write as _;
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a text takes all");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_differ_have_one_form_and_are_not_told_by_debug() {
        let (a, b) = (Secret::new().expect("random"), Secret::new().expect("random"));
        assert_ne!(a.reveal(), b.reveal());
        let body = a.reveal().strip_prefix("weir_").expect("the prefix");
        assert_eq!(body.len(), 2 * SECRET_BYTES + CHECK_DIGITS);
        let (random, check) = body.split_at(2 * SECRET_BYTES);
        assert_eq!(check, checksum(random));
        assert!(!format!("{a:?}").contains(random));
        assert_eq!(TokenHash::from_hex(&a.hash().to_hex()), Some(a.hash()));
        assert_eq!(TokenHash::from_hex("zz"), None);
    }

    #[test]
    fn a_token_ends_when_it_is_revoked_or_expires() {
        let token = |expires_at: Option<i64>, revoked_at: Option<i64>| Token {
            id: "t".to_owned(),
            name: String::new(),
            hash: TokenHash::of(""),
            scopes: vec![Scope::Write],
            limits: None,
            created_at: ArrivalTime(0),
            expires_at: expires_at.map(ArrivalTime),
            revoked_at: revoked_at.map(ArrivalTime),
        };
        assert!(!token(None, None).ended(ArrivalTime(i64::MAX)));
        assert!(!token(Some(10), None).ended(ArrivalTime(9)));
        assert!(token(Some(10), None).ended(ArrivalTime(10)));
        assert!(token(Some(10), Some(11)).ended(ArrivalTime(0)));
        assert!(token(None, None).allows(Scope::Write) && !token(None, None).allows(Scope::Read));
        let admin = Token { scopes: vec![Scope::Admin], ..token(None, None) };
        assert!(Scope::ALL.into_iter().all(|scope| admin.allows(scope)));
    }
}
