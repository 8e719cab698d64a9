//! An answer to a metric query. Does not own its text (`http`).

use std::collections::BTreeMap;

use schemas::EventTime;
use schemas::partial::Aggregate;
use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};
use smallvec::SmallVec;
use utoipa::ToSchema;

use crate::confidence::State;

/// Where a number came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// Batch views alone.
    Batch,
    /// Readings that no view has counted.
    Speed,
    /// Both.
    Merged,
}

impl Source {
    /// Its name outside.
    pub fn name(self) -> &'static str {
        match self {
            Self::Batch => "batch",
            Self::Speed => "speed",
            Self::Merged => "merged",
        }
    }
}

/// Bounds that hold the final value with the asked probability.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, ToSchema)]
pub struct Interval {
    /// Lower bound.
    pub low: f64,
    /// Upper bound.
    pub high: f64,
}

/// One aggregate of one bucket.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Value {
    /// What was asked for.
    pub aggregate: Aggregate,
    /// Its value; `None` where it is not defined.
    pub value: Option<f64>,
    /// Its interval; `None` where there is nothing to say.
    pub interval: Option<Interval>,
}

/// How far the values of a bucket can be trusted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Confidence {
    /// How settled the bucket is.
    pub state: State,
    /// Readings counted per readings expected finally.
    pub completeness: f64,
    /// Probability that the final values are close to these; `None` over a hole.
    pub score: Option<f64>,
    /// Whether measured outcomes stand behind the score.
    pub calibrated: bool,
    /// The part of the cells behind the values (each a series in a bucket of the base resolution) that are final: old enough,
    /// and counted by batch views alone.
    pub final_share: f64,
}

/// One bucket of one series or group.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    /// Start of the bucket.
    pub time: EventTime,
    /// The aggregates in the order they were asked for; mostly one, which then has its place right here.
    pub values: SmallVec<[Value; 1]>,
    /// Readings counted, each identity once.
    pub data_points: u64,
    /// Those that batch views counted.
    pub batch_points: u64,
    /// Those that only the speed layer counted.
    pub speed_points: u64,
    /// Where the numbers came from.
    pub source: Source,
    /// How far they can be trusted; `None` where nobody asked.
    pub confidence: Option<Confidence>,
}

/// The points of one series or group.
#[derive(Debug, Clone, PartialEq)]
pub struct SeriesAnswer {
    /// The metric; empty for a group over several metrics.
    pub metric: String,
    /// The tags of the series, or those that make the group.
    pub tags: BTreeMap<String, String>,
    /// Buckets with readings, sorted by time.
    pub points: Vec<Point>,
}

/// Of which moment an answer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AsOf {
    /// Every reading up to this log position is counted.
    pub position: u64,
    /// The generation of batch views.
    pub generation: u64,
    /// The greatest event time counted.
    pub watermark: Option<EventTime>,
}

impl Serialize for AsOf {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(3))?;
        map.serialize_entry("generation", &self.generation)?;
        map.serialize_entry("position", &self.position)?;
        map.serialize_entry("watermark", &self.watermark.map(|t| t.to_string()))?;
        map.end()
    }
}

/// An answer to a metric query.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// Series or groups with points, sorted by `metric_key`.
    pub series: Vec<SeriesAnswer>,
    /// Of which moment.
    pub as_of: AsOf,
    /// What could not be read, in words; empty where nothing is missing.
    pub missing: Vec<String>,
}
