//! Tokens: who may do what.
//!
//! Owns their rows. Does not own secrets nor what makes a token valid ([`crate::access`]).

use std::sync::Arc;

use schemas::limits::Limits;
use schemas::time::{ArrivalTime, clip};
use sqlx::sqlite::SqliteRow;

use super::rows::Columns;
use super::{Attempt, Catalog};
use crate::access::{NewToken, Scope, Secret, Token, TokenHash};
use crate::error::{Error, Result};

/// Longest name of a token, in characters.
const NAME_MAX: usize = 128;
/// Hexadecimal digits of an id: the first of its hash.
const ID_DIGITS: usize = 12;

impl Catalog {
    /// Makes a token. Its secret can't be had again. `actor` is who asks for it.
    ///
    /// # Errors
    /// The name is empty or too long, it allows nothing, it would have ended already, its limits can't be kept; or the
    /// catalog can't be written.
    pub async fn create_token(&self, actor: &str, new: NewToken, now: ArrivalTime) -> Result<(Token, Secret)> {
        check(&new, now)?;
        let secret = Secret::new()?;
        let hash = secret.hash();
        let NewToken { name, mut scopes, limits, expires_at } = new;
        scopes.sort_unstable();
        scopes.dedup();
        let mut id = hash.to_hex();
        id.truncate(ID_DIGITS);
        let limits = (!limits.is_none()).then(|| Arc::new(limits));
        let token = Token { id, name, hash, scopes, limits, created_at: now, expires_at, revoked_at: None };
        let mut tx = self.begin().await?;
        sqlx::query(
            "INSERT INTO tokens (id, name, hash, scopes, created_at, expires_at, metrics, devices) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        )
        .bind(&token.id)
        .bind(&token.name)
        .bind(hash.to_hex())
        .bind(names(&token.scopes))
        .bind(now.0)
        .bind(expires_at.map(|t| t.0))
        .bind(token.limits.as_ref().and_then(|limits| limits.metric_lines()))
        .bind(token.limits.as_ref().and_then(|limits| limits.device_lines()))
        .execute(&mut *tx)
        .await
        .attempt("keep a token")?;
        let limits = token.limits.as_ref().map_or_else(String::new, |limits| format!(" within {limits}"));
        let subject = format!("{} {:?} for {}{limits}", token.id, token.name, names(&token.scopes));
        Self::note(&mut tx, now, actor, "create token", &subject).await?;
        tx.commit().await.attempt("keep a token")?;
        Ok((token, secret))
    }

    /// All tokens that were ever made, the oldest first.
    ///
    /// # Errors
    /// The catalog can't be read or is corrupt.
    pub async fn tokens(&self) -> Result<Vec<Token>> {
        let mut tx = self.snapshot().await?;
        let rows = sqlx::query(
            "SELECT id, name, hash, scopes, created_at, expires_at, revoked_at, metrics, devices FROM tokens \
             ORDER BY created_at, id",
        )
        .fetch_all(&mut *tx)
        .await
        .attempt("list tokens")?;
        rows.iter().map(token_of).collect()
    }

    /// Makes a token of no use from now on. One that was revoked before stays so.
    ///
    /// # Errors
    /// There is none of this id; or the catalog can't be written.
    pub async fn revoke_token(&self, actor: &str, id: &str, now: ArrivalTime) -> Result<()> {
        let mut tx = self.begin().await?;
        let changed = sqlx::query("UPDATE tokens SET revoked_at = COALESCE(revoked_at, $1) WHERE id = $2")
            .bind(now.0)
            .bind(id)
            .execute(&mut *tx)
            .await
            .attempt("revoke a token")?;
        if changed.rows_affected() == 0 {
            return Err(Error::NotFound(format!("token {:?}", clip(id))));
        }
        Self::note(&mut tx, now, actor, "revoke token", id).await?;
        tx.commit().await.attempt("revoke a token")
    }
}

fn check(NewToken { name, scopes, limits, expires_at }: &NewToken, now: ArrivalTime) -> Result<()> {
    if name.is_empty() || name.chars().count() > NAME_MAX || name.chars().any(char::is_control) {
        return Err(Error::Refused(format!("the name of a token has 1 to {NAME_MAX} printable characters")));
    }
    if scopes.is_empty() {
        return Err(Error::Refused("a token without a scope allows nothing".into()));
    }
    if expires_at.is_some_and(|end| end <= now) {
        return Err(Error::Refused("a token that has expired already allows nothing".into()));
    }
    let narrow = [Scope::Write, Scope::Read];
    if let Some(wide) = scopes.iter().find(|scope| !limits.is_none() && !narrow.contains(scope)) {
        let reason =
            format!("scope {} reaches all metrics and devices: limits go with write and read only", wide.name());
        return Err(Error::Refused(reason));
    }
    Ok(())
}

fn names(scopes: &[Scope]) -> String {
    scopes.iter().map(|scope| scope.name()).collect::<Vec<_>>().join(" ")
}

fn token_of(row: &SqliteRow) -> Result<Token> {
    let mut columns = Columns::of(row);
    Ok(Token {
        id: columns.get()?,
        name: columns.get()?,
        hash: TokenHash::from_hex(&columns.get::<String>()?).ok_or_else(|| corrupt("a hash is no SHA-256"))?,
        scopes: columns
            .get::<String>()?
            .split_whitespace()
            .map(|name| name.parse().map_err(|_| corrupt("an unknown scope")))
            .collect::<Result<_>>()?,
        created_at: columns.time()?,
        expires_at: columns.optional_time()?,
        revoked_at: columns.optional_time()?,
        limits: limits_of(&mut columns)?,
    })
}

fn limits_of(columns: &mut Columns<'_>) -> Result<Option<Arc<Limits>>> {
    let (metrics, devices): (Option<String>, Option<String>) = (columns.get()?, columns.get()?);
    let limits = Limits::of_lines(metrics.as_deref(), devices.as_deref()).map_err(|_| corrupt("a malformed limit"))?;
    Ok((!limits.is_none()).then(|| Arc::new(limits)))
}

fn corrupt(what: &str) -> Error {
    Error::corrupt("catalog, tokens", what)
}
