//! What was learned: by the model, of its own forecasts, and of buckets that changed after they were final.
//!
//! Owns these as one value that is kept over restarts. Does not own what they mean (`confidence`).

use std::collections::BTreeMap;

use schemas::SeriesKey;
use serde::{Deserialize, Serialize};

use crate::confidence::{Ask, ClassId, Learner, ScoreRow, Scores, Settings, SourceId};

/// The probability with which intervals are to hold, by which they are judged.
pub const LEVEL: f64 = 0.95;
/// The form in which it is kept; another is forgotten.
const FORM: u32 = 2;
/// Metrics that are remembered; of more, those that are not watched now go first.
const CLASSES: usize = 64;
/// Strata that are remembered: each metric at each width, single series and groups.
const STRATA: usize = 256;
/// By the definition of the horizon one reading in a thousand comes later; that is worth so many observed buckets.
const REVISED: f64 = 0.5;
const REVISED_OF: f64 = 500.0;
/// Buckets seen after they were final, from which on their rate of revision counts as measured.
const MEASURED: f64 = 300.0;

/// The number of a metric class: FNV-1a of its name, the same over restarts.
pub(crate) fn class_of(metric: &str) -> ClassId {
    fnv(metric.as_bytes())
}

/// The number of the source of a series.
pub(crate) fn source_of(key: &SeriesKey) -> SourceId {
    fnv(key.text().as_bytes())
}

fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// How often buckets of a class changed after they were final.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
struct Revisions {
    seen: f64,
    revised: f64,
}

/// What was learned.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Learned {
    form: u32,
    /// The model.
    pub learner: Learner,
    /// How right it was.
    pub scores: Scores,
    revisions: BTreeMap<ClassId, Revisions>,
    /// The names of the classes.
    names: BTreeMap<ClassId, String>,
}

/// How right forecasts of one metric, aggregate and age were.
#[derive(Debug, Clone)]
pub struct CalibrationRow {
    /// The metric.
    pub metric: String,
    /// The score.
    pub row: ScoreRow,
    /// Whether coverage left its band.
    pub breach: bool,
}

impl Learned {
    pub(super) fn new(horizon_max: i64, epsilon: f64) -> Self {
        let settings = Settings {
            horizon_max,
            strata_max: STRATA,
            ask: Ask { level: LEVEL, eps: epsilon, floor: 0.0 },
            ..Settings::default()
        };
        Self {
            form: FORM,
            learner: Learner::new(settings),
            scores: Scores::default(),
            revisions: BTreeMap::new(),
            names: BTreeMap::new(),
        }
    }

    /// Whether there is nothing to keep.
    pub(super) fn is_new(&self) -> bool {
        self.names.is_empty()
    }

    pub(super) fn to_text(&self) -> String {
        serde_json::to_string(self).expect("numbers and texts")
    }

    pub(super) fn from_text(text: &str, horizon_max: i64, epsilon: f64) -> serde_json::Result<Self> {
        #[derive(Deserialize)]
        struct Form {
            form: u32,
        }
        if serde_json::from_str::<Form>(text)?.form != FORM {
            return Ok(Self::new(horizon_max, epsilon));
        }
        let mut learned: Self = serde_json::from_str(text)?;
        let Self { learner, .. } = Self::new(horizon_max, epsilon);
        learned.learner.set(learner.settings());
        Ok(learned)
    }

    /// Names classes.
    pub(super) fn name<'a>(&mut self, metrics: impl Iterator<Item = &'a str>) {
        let watched: BTreeMap<ClassId, String> = metrics.map(|metric| (class_of(metric), metric.to_owned())).collect();
        self.names.extend(watched.clone());
        while self.names.len() > CLASSES {
            let Some(class) = self.names.keys().find(|class| !watched.contains_key(class)).copied() else { return };
            self.names.remove(&class);
            self.revisions.remove(&class);
            self.scores.retain(|kept| kept != class);
        }
    }

    /// What became of a bucket after it was final.
    pub(super) fn revised(&mut self, class: ClassId, revised: bool) {
        let revisions = self.revisions.entry(class).or_default();
        revisions.seen += 1.0;
        revisions.revised += f64::from(revised);
    }

    /// Probability that a bucket that is final stays as it is, and whether that was measured: one minus the rate at which
    /// others changed (with half a revision in five hundred buckets believed beforehand).
    pub fn stays(&self, class: ClassId) -> (f64, bool) {
        let Revisions { seen, revised } = self.revisions.get(&class).copied().unwrap_or_default();
        (1.0 - (revised + REVISED) / (seen + REVISED_OF), seen >= MEASURED)
    }

    /// The horizon of each metric, nanoseconds.
    pub fn horizons(&self) -> impl Iterator<Item = (String, i64)> {
        self.names.iter().map(|(class, name)| (name.clone(), self.learner.horizon(*class)))
    }

    /// How right forecasts were, by metric, aggregate and age.
    pub fn calibration(&self) -> Vec<CalibrationRow> {
        let named = |row: ScoreRow| {
            let metric = self.names.get(&row.class)?.clone();
            Some(CalibrationRow { metric, breach: row.breaches(LEVEL), row })
        };
        let mut rows: Vec<CalibrationRow> = self.scores.rows().into_iter().filter_map(named).collect();
        rows.sort_by(|a, b| a.metric.cmp(&b.metric));
        rows
    }
}
