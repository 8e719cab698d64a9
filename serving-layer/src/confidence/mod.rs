//! Confidence: how complete a value is, where its final value lies, and how settled its bucket is.

use serde::Serialize;
use utoipa::ToSchema;

/// How settled a bucket is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// The bucket has not ended.
    Open,
    /// It ended, and readings may still arrive.
    Settling,
    /// Older than the horizon and counted by a batch view.
    Final,
    /// It changed after it was final.
    Revised,
}

impl State {
    /// Its name outside.
    pub fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Settling => "settling",
            Self::Final => "final",
            Self::Revised => "revised",
        }
    }
}
