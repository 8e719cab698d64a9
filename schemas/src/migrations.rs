//! The catalog's tables, as numbered SQL scripts in the common subset of SQLite, PostgreSQL and MySQL.
//!
//! A script that was released never changes; a change is a new script.

/// A script and its number.
#[derive(Debug, Clone, Copy)]
pub struct Migration {
    /// Scripts run in order of this number, each once.
    pub version: i64,
    /// What it does, in a few words.
    pub description: &'static str,
    /// The statements.
    pub sql: &'static str,
}

/// All scripts, in order.
pub const ALL: &[Migration] = &[
    Migration { version: 1, description: "history, views, jobs", sql: include_str!("migrations/0001_history.sql") },
    Migration { version: 2, description: "tokens, audit", sql: include_str!("migrations/0002_access.sql") },
    Migration { version: 3, description: "limits of tokens", sql: include_str!("migrations/0003_limits.sql") },
    Migration { version: 4, description: "ledger, seals, damage", sql: include_str!("migrations/0004_integrity.sql") },
];
