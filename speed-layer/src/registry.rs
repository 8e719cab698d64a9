//! The series registry: hands out ids and remembers which definitions the log does not hold yet.
//!
//! Owns the two-way map between keys and ids. Does not own what is known of a series' readings (shards).
//!
//! REG-1: a frame that uses a series carries its definition, unless an earlier frame that is durable does.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use schemas::selector::Selector;
use schemas::time::SECOND;
use schemas::{ArrivalTime, SeriesId, SeriesKey};

use crate::error::{Error, Result};

/// Series with the ids that they got.
pub(crate) type Definitions = Vec<(SeriesId, SeriesKey)>;

#[derive(Debug, Default)]
struct Inner {
    ids: HashMap<Arc<str>, SeriesId, foldhash::fast::RandomState>,
    metrics: HashMap<String, u32>,
    /// Keys by metric number, then ordinal; `None` where a definition is still missing during replay.
    keys: Vec<Vec<Option<SeriesKey>>>,
    /// Defined, but in no durable frame yet.
    pending: HashSet<SeriesId>,
    allowance: Allowance,
}

/// Seconds' worth of new series that may come at once: a fleet that is switched on.
const BURST_S: f64 = 10.0;

/// How many new series may come now: a bucket that fills as time passes. A batch may take more than is left, and those after
/// it wait: else one with very many would never be taken.
#[derive(Debug, Default)]
struct Allowance {
    /// `None`: full.
    left: Option<f64>,
    at: i64,
}

impl Allowance {
    fn take(&mut self, series: usize, per_second: usize, now: ArrivalTime) -> Result<()> {
        let most = per_second as f64 * BURST_S;
        let passed = now.0.saturating_sub(self.at).max(0) as f64 / SECOND as f64;
        let left = self.left.map_or(most, |left| (left + passed * per_second as f64).min(most));
        self.at = now.0;
        if left <= 0.0 {
            self.left = Some(left);
            let retry_after_s = (-left / per_second as f64).ceil().clamp(1.0, 60.0) as u64;
            return Err(Error::Overloaded {
                reason: "too many new series at once (new_series_per_second)",
                retry_after_s,
            });
        }
        self.left = Some(left - series as f64);
        Ok(())
    }
}

/// The registry, shared by all who decode.
// One lock guards all fields: an id must never be visible without its key, nor a key without its pending mark.
#[derive(Debug)]
pub(crate) struct Registry {
    inner: RwLock<Inner>,
    max_series: usize,
    new_per_second: usize,
}

impl Registry {
    pub(crate) fn new(max_series: usize, new_per_second: usize) -> Self {
        Self { inner: RwLock::default(), max_series, new_per_second: new_per_second.max(1) }
    }

    /// The id of each key, handing out new ones; and the definitions that the frame must carry.
    ///
    /// # Errors
    /// There are too many series, or too many new ones at once.
    pub(crate) fn resolve(&self, keys: &[SeriesKey], now: ArrivalTime) -> Result<(Vec<SeriesId>, Definitions)> {
        if keys.is_empty() {
            return Ok(Default::default());
        }
        let known = {
            let inner = self.read();
            let ids: Option<Vec<SeriesId>> = keys.iter().map(|key| inner.ids.get(key.text()).copied()).collect();
            ids.map(|ids| (inner.pending.is_empty(), ids))
        };
        let ids = match known {
            Some((true, ids)) => return Ok((ids, Vec::new())),
            Some((false, ids)) => ids,
            None => self.define_missing(keys, now)?,
        };
        let inner = self.read();
        let definitions = ids.iter().zip(keys).filter(|(id, _)| inner.pending.contains(id));
        let definitions = definitions.map(|(id, key)| (*id, key.clone())).collect();
        Ok((ids, definitions))
    }

    fn define_missing(&self, keys: &[SeriesKey], now: ArrivalTime) -> Result<Vec<SeriesId>> {
        let mut inner = self.write();
        let missing = keys.iter().filter(|key| !inner.ids.contains_key(key.text())).count();
        if inner.ids.len() + missing > self.max_series {
            let reason = format!("more than {} series; raise max_series to take more", self.max_series);
            return Err(schemas::Error::invalid(reason).into());
        }
        if missing > 0 {
            inner.allowance.take(missing, self.new_per_second, now)?;
        }
        Ok(keys.iter().map(|key| inner.define_next(key)).collect())
    }

    /// Takes over a definition from the log or from history.
    pub(crate) fn restore(&self, id: SeriesId, key: SeriesKey) {
        self.write().insert(id, key);
    }

    /// These definitions are durable now.
    pub(crate) fn mark_durable(&self, definitions: &[(SeriesId, SeriesKey)]) {
        if !definitions.is_empty() {
            let mut inner = self.write();
            definitions.iter().for_each(|(id, _)| {
                inner.pending.remove(id);
            });
        }
    }

    /// The selected series.
    pub(crate) fn select(&self, selector: &Selector) -> Vec<(SeriesId, SeriesKey)> {
        let inner = self.read();
        let mut selected = Vec::new();
        let mut visit = |metric: u32| {
            for (ordinal, key) in (0..).zip(&inner.keys[metric as usize]) {
                if let Some(key) = key.as_ref().filter(|key| selector.matches(key)) {
                    selected.push((SeriesId::new(metric, ordinal), key.clone()));
                }
            }
        };
        match selector.metric() {
            Some(name) => inner.metrics.get(name).copied().into_iter().for_each(&mut visit),
            None => inner.metrics.values().copied().for_each(&mut visit),
        }
        selected
    }

    /// Some series of some metrics, at most `series` of each of at most `metrics`; others with another `seed`.
    pub(crate) fn sample(&self, metrics: usize, series: usize, seed: u64) -> Vec<(SeriesId, SeriesKey)> {
        let inner = self.read();
        let mut sampled = Vec::new();
        for (metric, ordinal) in some(inner.keys.len(), metrics, seed).flat_map(|metric| {
            let ordinals = inner.keys[metric as usize].len();
            some(ordinals, series, seed).map(move |ordinal| (metric, ordinal))
        }) {
            if let Some(key) = &inner.keys[metric as usize][ordinal as usize] {
                sampled.push((SeriesId::new(metric, ordinal), key.clone()));
            }
        }
        sampled
    }

    /// The key of an id.
    pub(crate) fn key(&self, id: SeriesId) -> Option<SeriesKey> {
        self.read().keys.get(id.metric() as usize)?.get(id.ordinal() as usize)?.clone()
    }

    /// How many series.
    pub(crate) fn len(&self) -> usize {
        self.read().ids.len()
    }

    fn read(&self) -> RwLockReadGuard<'_, Inner> {
        self.inner.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Inner> {
        self.inner.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// At most `most` of the numbers below `all`, evenly spread from a place that the seed decides.
fn some(all: usize, most: usize, seed: u64) -> impl Iterator<Item = u32> {
    let first = if all > most { (seed % all as u64) as usize } else { 0 };
    let chosen = all.min(most);
    (0..chosen).map(move |i| u32::try_from((first + i * all / chosen) % all).expect("numbers are u32"))
}

impl Inner {
    fn define_next(&mut self, key: &SeriesKey) -> SeriesId {
        if let Some(id) = self.ids.get(key.text()) {
            return *id;
        }
        let next_metric = u32::try_from(self.keys.len()).expect("bounded by max_series");
        let metric = self.metrics.get(key.metric()).copied().unwrap_or(next_metric);
        let ordinal = self.keys.get(metric as usize).map_or(0, Vec::len);
        let id = SeriesId::new(metric, u32::try_from(ordinal).expect("bounded by max_series"));
        self.insert(id, key.clone());
        self.pending.insert(id);
        id
    }

    fn insert(&mut self, id: SeriesId, key: SeriesKey) {
        let (metric, ordinal) = (id.metric() as usize, id.ordinal() as usize);
        if self.keys.len() <= metric {
            self.keys.resize_with(metric + 1, Vec::new);
        }
        if self.keys[metric].len() <= ordinal {
            self.keys[metric].resize(ordinal + 1, None);
        }
        self.metrics.insert(key.metric().to_owned(), id.metric());
        self.ids.insert(key.shared(), id);
        self.keys[metric][ordinal] = Some(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: ArrivalTime = ArrivalTime(1_000 * SECOND);

    #[test]
    fn only_so_many_series_are_new_at_once() {
        let registry = Registry::new(10_000, 10);
        let keys = |from: usize, count: usize| -> Vec<SeriesKey> {
            (from..from + count).map(|i| SeriesKey::parse(&format!("m{{x=\"{i}\"}}")).expect("valid")).collect()
        };
        let at = |seconds: i64| ArrivalTime(NOW.0 + seconds * SECOND);
        registry.resolve(&keys(0, 150), NOW).expect("a fleet is switched on");
        let refused = registry.resolve(&keys(150, 1), NOW).expect_err("one more");
        assert!(matches!(refused, Error::Overloaded { retry_after_s: 5, .. }), "{refused}");
        registry.resolve(&keys(0, 150), NOW).expect("known ones cost nothing");
        assert!(registry.resolve(&keys(150, 1), at(5)).is_err(), "what was too much is still owed");
        registry.resolve(&keys(150, 10), at(6)).expect("ten a second");
        assert!(registry.resolve(&keys(160, 1), at(6)).is_err());
        registry.resolve(&keys(160, 100), at(1_000)).expect("as at first");
    }

    #[test]
    fn definitions_ride_along_until_durable() {
        let registry = Registry::new(3, 100);
        let key = |text: &str| SeriesKey::parse(text).expect(text);
        let keys = [key("a{x=\"1\"}"), key("b"), key("a{x=\"2\"}")];
        let (ids, definitions) = registry.resolve(&keys, NOW).expect("room");
        assert_eq!(ids, [SeriesId::new(0, 0), SeriesId::new(1, 0), SeriesId::new(0, 1)]);
        assert_eq!(definitions.len(), 3);
        assert_eq!(registry.resolve(&keys[..1], NOW).expect("known").1.len(), 1, "not durable yet");
        registry.mark_durable(&definitions);
        assert_eq!(registry.resolve(&keys, NOW).expect("known"), (ids, vec![]));
        assert!(registry.resolve(&[key("c")], NOW).is_err(), "a fourth series");
        assert_eq!(registry.select(&"a".parse().expect("valid")).len(), 2);
        assert_eq!(registry.key(SeriesId::new(1, 0)), Some(key("b")));
    }
}
