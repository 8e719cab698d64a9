//! One metric at one moment: its lateness, its horizon, and the arrivals of its buckets.
//!
//! Owns which arrivals are remembered. Does not own how they are worked out (`arrivals`).

use std::collections::HashMap;

use schemas::lateness::{Curve, LatenessTable};
use schemas::{ArrivalTime, TimeRange};

use super::arrivals::Arrivals;
use super::model::Model;

/// What the series of a metric have in common.
#[derive(Debug)]
pub struct Metric {
    now: ArrivalTime,
    curve: Option<Curve>,
    horizon: i64,
    /// The bucket that was asked last: series of a group ask for it one after the other.
    last: (TimeRange, Arrivals),
    /// Of young buckets, which are few and dear.
    young: HashMap<TimeRange, Arrivals, foldhash::fast::RandomState>,
}

impl Metric {
    /// The metric whose readings arrive like this.
    pub fn new(model: &Model, now: ArrivalTime, lateness: Option<&LatenessTable>) -> Self {
        let curve = lateness.map(Curve::of);
        let none = TimeRange::new(0, 0);
        let last = (none, model.arrivals(none, now, curve.as_ref()));
        Self { now, curve, horizon: model.horizon(lateness), last, young: HashMap::default() }
    }

    /// How late its readings arrive.
    pub fn lateness(&self) -> Option<&Curve> {
        self.curve.as_ref()
    }

    /// The age after which next to no readings arrive.
    pub fn horizon(&self) -> i64 {
        self.horizon
    }

    /// How its readings of a bucket have arrived.
    pub fn arrivals(&mut self, model: &Model, bucket: TimeRange) -> &Arrivals {
        let (now, curve) = (self.now, self.curve.as_ref());
        if Arrivals::dear(bucket, now) {
            return self.young.entry(bucket).or_insert_with(|| model.arrivals(bucket, now, curve));
        }
        if self.last.0 != bucket {
            self.last = (bucket, model.arrivals(bucket, now, curve));
        }
        &self.last.1
    }
}
