//! Values as columns and back.
//!
//! Owns the conversions, and that no stored value is believed: what can't be is [`Error::Corrupt`]. Does not own SQL.

use std::sync::Arc;

use schemas::reading::LogPosition;
use schemas::time::{ArrivalTime, TimeRange};
use schemas::view::ObjectRef;
use serde::{Serialize, Serializer};
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{Decode, Row, Sqlite, Type};

use super::Attempt;
use crate::error::{Error, Result};

/// Reads the columns of a row in their order.
pub(super) struct Columns<'r> {
    row: &'r SqliteRow,
    next: usize,
}

impl<'r> Columns<'r> {
    /// From the first column on.
    pub(super) fn of(row: &'r SqliteRow) -> Self {
        Self { row, next: 0 }
    }

    /// The next column as it is.
    pub(super) fn get<T: Decode<'r, Sqlite> + Type<Sqlite>>(&mut self) -> Result<T> {
        let value = self.row.try_get(self.next).attempt("read a catalog row")?;
        self.next += 1;
        Ok(value)
    }

    /// A count or a number that can't be negative.
    pub(super) fn unsigned(&mut self) -> Result<u64> {
        let value: i64 = self.get()?;
        unsigned(value)
    }

    /// A count that may be absent.
    pub(super) fn optional_unsigned(&mut self) -> Result<Option<u64>> {
        self.get::<Option<i64>>()?.map(unsigned).transpose()
    }

    /// A log position.
    pub(super) fn position(&mut self) -> Result<LogPosition> {
        self.unsigned().map(LogPosition)
    }

    /// An instant of Weir's clock.
    pub(super) fn time(&mut self) -> Result<ArrivalTime> {
        self.get().map(ArrivalTime)
    }

    /// An instant that may be absent.
    pub(super) fn optional_time(&mut self) -> Result<Option<ArrivalTime>> {
        Ok(self.get::<Option<i64>>()?.map(ArrivalTime))
    }

    /// Start and end of a range that holds something.
    pub(super) fn range(&mut self) -> Result<TimeRange> {
        let range = TimeRange::new(self.get()?, self.get()?);
        if range.is_empty() { Err(Error::corrupt("catalog", format!("range {range} is empty"))) } else { Ok(range) }
    }

    /// A sum of the ledger that may be absent.
    pub(super) fn optional_sum(&mut self) -> Result<Option<u128>> {
        let parse = |text: String| u128::from_str_radix(&text, 16).map_err(|e| Error::corrupt("catalog", e));
        self.get::<Option<String>>()?.map(parse).transpose()
    }

    /// Two bounds of which both or neither exist.
    pub(super) fn optional_bounds(&mut self) -> Result<Option<(i64, i64)>> {
        match (self.get()?, self.get()?) {
            (Some(min), Some(max)) => Ok(Some((min, max))),
            (None, None) => Ok(None),
            _ => Err(Error::corrupt("catalog", "one bound of two is missing")),
        }
    }

    /// Path, length and block sums of an object.
    pub(super) fn object(&mut self) -> Result<ObjectRef> {
        self.optional_object()?.ok_or_else(|| Error::corrupt("catalog", "a row of `objects` is missing"))
    }

    /// The same of an object that may be absent.
    pub(super) fn optional_object(&mut self) -> Result<Option<ObjectRef>> {
        let (path, bytes, sums) =
            (self.get::<Option<String>>()?, self.optional_unsigned()?, self.get::<Option<Vec<u8>>>()?);
        match (path, bytes, sums) {
            (Some(path), Some(bytes), Some(sums)) => {
                Ok(Some(ObjectRef { block_sums: sums_of(&path, &sums)?, path, bytes }))
            }
            (None, None, None) => Ok(None),
            (path, ..) => Err(Error::corrupt("catalog", format!("the row of `objects` for {path:?} is missing"))),
        }
    }
}

fn unsigned(value: i64) -> Result<u64> {
    u64::try_from(value).map_err(|_| Error::corrupt("catalog", format!("{value} can't be negative")))
}

/// How an unsigned number is stored.
pub(super) fn stored(value: u64) -> Result<i64> {
    i64::try_from(value).map_err(|_| Error::Refused(format!("{value} is more than the catalog can hold")))
}

/// The number after the last one that this counter gave; never given twice, even if rows are deleted.
pub(super) async fn next_number(conn: &mut SqliteConnection, counter: &'static str) -> Result<i64> {
    let what = "count up in the catalog";
    sqlx::query("UPDATE counters SET value = value + 1 WHERE name = $1")
        .bind(counter)
        .execute(&mut *conn)
        .await
        .attempt(what)?;
    sqlx::query_scalar("SELECT value FROM counters WHERE name = $1").bind(counter).fetch_one(conn).await.attempt(what)
}

/// Block sums as bytes.
pub(super) fn bytes_of_sums(sums: &[u64]) -> Vec<u8> {
    sums.iter().flat_map(|sum| sum.to_le_bytes()).collect()
}

fn sums_of(path: &str, bytes: &[u8]) -> Result<Arc<[u64]>> {
    let (sums, rest) = bytes.as_chunks::<8>();
    if !rest.is_empty() {
        return Err(Error::corrupt(path, "its block sums are cut short in the catalog"));
    }
    Ok(sums.iter().map(|sum| u64::from_le_bytes(*sum)).collect())
}

/// Weights as bytes.
pub(super) fn bytes_of_weights(weights: &[f64]) -> Vec<u8> {
    weights.iter().flat_map(|weight| weight.to_le_bytes()).collect()
}

/// Weights of bytes; those of a broken row are corrupt.
pub(super) fn weights_of(bytes: &[u8]) -> Result<Vec<f64>> {
    let (weights, rest) = bytes.as_chunks::<8>();
    if !rest.is_empty() {
        return Err(Error::corrupt("catalog", "weights of `lateness` are cut short"));
    }
    Ok(weights.iter().map(|weight| f64::from_le_bytes(*weight)).collect())
}

/// An instant as RFC 3339.
pub(super) fn serialize_time<S: Serializer>(time: &ArrivalTime, to: S) -> std::result::Result<S::Ok, S::Error> {
    to.collect_str(time)
}

/// An instant as RFC 3339, or null.
pub(super) fn serialize_optional_time<S: Serializer>(
    time: &Option<ArrivalTime>,
    to: S,
) -> std::result::Result<S::Ok, S::Error> {
    time.map(|t| t.to_string()).serialize(to)
}
