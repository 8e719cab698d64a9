//! Which partitions an epoch touches, which are new, and which get a file of their own. Pure.

use std::collections::BTreeMap;

use chrono::{DateTime, Datelike as _, NaiveDate, Utc};
use schemas::epoch::{Epoch, SeriesEpoch};
use schemas::time::{DAY, HOUR, MINUTE};
use schemas::view::HistoryVersion;
use schemas::{EventTime, Resolution, TimeRange};

/// A partition should hold about this many readings at most.
const PARTITION_READINGS: i128 = 2_000_000;
/// A partition with fewer readings of an epoch shares a file with others.
const OWN_FILE_READINGS: u64 = 8_192;

/// What a flush does with an epoch's readings.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct FlushPlan {
    /// Partitions that do not exist yet, in order.
    pub(super) new_partitions: Vec<TimeRange>,
    /// Each partition with readings of the epoch and how many, in order.
    pub(super) touched: Vec<(TimeRange, u64)>,
    /// Those that get a file of their own, in order.
    pub(super) own: Vec<TimeRange>,
}

impl FlushPlan {
    /// Whether `t` belongs to a file of its partition's own.
    pub(super) fn owns(&self, t: EventTime) -> bool {
        let after = self.own.partition_point(|span| span.start <= t);
        self.own[..after].last().is_some_and(|span| span.contains(t))
    }

    /// Whether some readings share a file.
    pub(super) fn has_strays(&self) -> bool {
        self.own.len() < self.touched.len()
    }
}

/// Plans the flush of `epoch` into `version`.
pub(super) fn plan(version: &HistoryVersion, epoch: &Epoch) -> FlushPlan {
    let new_partitions = new_partitions(version, epoch);
    let spans = Spans { version, new: &new_partitions };
    let mut touched: BTreeMap<TimeRange, u64> = BTreeMap::new();
    let mut current = TimeRange::new(0, 0);
    for (series, (first, last)) in parts(epoch) {
        if !current.contains(first) {
            current = spans.of(first);
        }
        if current.contains(last) {
            *touched.entry(current).or_default() += series.hot_len() as u64;
            continue;
        }
        for time in times(series) {
            if !current.contains(time) {
                current = spans.of(time);
            }
            *touched.entry(current).or_default() += 1;
        }
    }
    let touched: Vec<(TimeRange, u64)> = touched.into_iter().collect();
    let enough = |rows: u64| rows >= OWN_FILE_READINGS || touched.len() == 1;
    let own = touched.iter().filter(|(_, rows)| enough(*rows)).map(|(span, _)| *span).collect();
    FlushPlan { new_partitions, touched, own }
}

/// Each series that has readings, and its first and last event time: most lie in one partition as a whole.
fn parts(epoch: &Epoch) -> impl Iterator<Item = (&SeriesEpoch, (EventTime, EventTime))> {
    let bounds = |series: &SeriesEpoch| series.event_bounds().map(|(min, max)| (EventTime(min), EventTime(max)));
    epoch.series.iter().filter_map(move |(_, series)| Some((series.as_ref(), bounds(series)?)))
}

fn times(series: &SeriesEpoch) -> impl Iterator<Item = EventTime> {
    series.arrivals(TimeRange::ALL).map(|r| EventTime(r.time))
}

struct Spans<'a> {
    version: &'a HistoryVersion,
    new: &'a [TimeRange],
}

impl Spans<'_> {
    fn of(&self, time: EventTime) -> TimeRange {
        if let Some(partition) = self.version.partition_of(time) {
            return partition.span;
        }
        let after = self.new.partition_point(|span| span.start <= time);
        *self.new[..after].last().expect("every reading without a partition got a new one")
    }
}

/// How dense the readings of a month are that belong to no partition yet.
struct Density {
    month: TimeRange,
    readings: i128,
    first: i64,
    last: i64,
    hours: std::collections::BTreeSet<i64>,
    /// That of the last reading.
    hour: TimeRange,
}

fn new_partitions(version: &HistoryVersion, epoch: &Epoch) -> Vec<TimeRange> {
    let mut months: BTreeMap<EventTime, Density> = BTreeMap::new();
    let mut known = TimeRange::new(0, 0);
    let mut month = month_of(EventTime(0));
    for (series, (first, last)) in parts(epoch) {
        if !known.contains(first) {
            known = version.partition_of(first).map_or(known, |partition| partition.span);
        }
        if known.contains(first) && known.contains(last) {
            continue;
        }
        if !month.contains(first) {
            month = month_of(first);
        }
        let hour = hour_of(first);
        if hour.contains(last) && version.partitions_in(hour).is_empty() {
            let density = months.entry(month.start).or_insert_with(|| Density::new(month, first));
            density.count_all(series.hot_len(), (first, last), hour);
            continue;
        }
        for time in times(series).filter(|time| version.partition_of(*time).is_none()) {
            if !month.contains(time) {
                month = month_of(time);
            }
            months.entry(month.start).or_insert_with(|| Density::new(month, time)).count(time);
        }
    }
    let mut spans: Vec<TimeRange> = Vec::new();
    for density in months.values() {
        spans.extend(density.spans(version));
    }
    spans
}

impl Density {
    fn new(month: TimeRange, time: EventTime) -> Self {
        let (hours, hour) = (Default::default(), TimeRange::new(0, 0));
        Self { month, readings: 0, first: time.0, last: time.0, hours, hour }
    }

    fn count(&mut self, time: EventTime) {
        let hour = if self.hour.contains(time) { self.hour } else { hour_of(time) };
        self.count_all(1, (time, time), hour);
    }

    /// Counts readings from `first` to `last`, all in one hour.
    fn count_all(&mut self, readings: usize, (first, last): (EventTime, EventTime), hour: TimeRange) {
        self.readings += readings as i128;
        (self.first, self.last) = (self.first.min(first.0), self.last.max(last.0));
        if self.hour != hour {
            self.hour = hour;
            self.hours.insert(hour.start.0);
        }
    }

    /// The widest spans that hold few enough readings and overlap no partition.
    fn spans(&self, version: &HistoryVersion) -> Vec<TimeRange> {
        // A burst says little about a day: less than five minutes counts as five.
        let seen = i128::from(self.last.saturating_sub(self.first)).max(i128::from(5 * MINUTE));
        let per_day = self.readings * i128::from(DAY) / seen;
        if per_day * 31 <= PARTITION_READINGS && version.partitions_in(self.month).is_empty() {
            return vec![self.month];
        }
        let day = Resolution::from_nanos(DAY).expect("positive");
        let hour = Resolution::from_nanos(HOUR).expect("positive");
        let mut spans: Vec<TimeRange> = Vec::new();
        for start in &self.hours {
            let whole_day = day.bucket(day.floor(EventTime(*start)));
            if spans.last().is_some_and(|span| span.contains(EventTime(*start))) {
                continue;
            }
            let fits = per_day <= PARTITION_READINGS && version.partitions_in(whole_day).is_empty();
            spans.push(if fits { whole_day } else { hour.bucket(EventTime(*start)) });
        }
        spans
    }
}

fn hour_of(t: EventTime) -> TimeRange {
    let hour = Resolution::from_nanos(HOUR).expect("positive");
    hour.bucket(hour.floor(t))
}

/// The calendar month (UTC) that holds `t`.
fn month_of(t: EventTime) -> TimeRange {
    let date = DateTime::<Utc>::from_timestamp_nanos(t.0).date_naive();
    let start = |year: i32, month: u32, otherwise: i64| {
        let midnight = NaiveDate::from_ymd_opt(year, month, 1).and_then(|d| d.and_hms_opt(0, 0, 0));
        midnight.and_then(|m| m.and_utc().timestamp_nanos_opt()).unwrap_or(otherwise)
    };
    let (year, month) = (date.year(), date.month());
    let next = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
    TimeRange::new(start(year, month, i64::MIN), start(next.0, next.1, i64::MAX))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use schemas::epoch::{Arrival, SeriesEpoch};
    use schemas::time::{SECOND, parse_rfc3339};
    use schemas::view::Partition;
    use schemas::{LogPosition, SeriesId};

    use super::*;

    fn epoch(times: impl IntoIterator<Item = i64>) -> Epoch {
        let mut series = SeriesEpoch::default();
        let base = Resolution::DEFAULT_BASE;
        times.into_iter().for_each(|t| series.insert(t, 1.0, 0, base, Arrival::Newest));
        Epoch {
            first: LogPosition(1),
            last: LogPosition(1),
            arrivals: Arc::default(),
            readings: series.hot_len() as u64,
            event_bounds: series.event_bounds(),
            series: vec![(SeriesId(1), Arc::new(series))],
            quarantine: vec![],
            hot: true,
        }
    }

    fn at(text: &str) -> i64 {
        parse_rfc3339(text).expect(text)
    }

    #[test]
    fn hourly_readings_make_months_and_dense_ones_hours() {
        let start = at("2013-03-01T00:00:00Z");
        let sparse = plan(&HistoryVersion::default(), &epoch((0..24 * 61).map(|h| start + h * HOUR)));
        let march = TimeRange::new(start, at("2013-04-01T00:00:00Z"));
        assert_eq!(sparse.new_partitions[0], march);
        assert_eq!(sparse.new_partitions.len(), 2);
        assert!(sparse.has_strays() && sparse.own.is_empty(), "few readings share a file");
        let dense = plan(&HistoryVersion::default(), &epoch((0..40_000).map(|i| start + i * SECOND / 100)));
        assert_eq!(dense.new_partitions, [TimeRange::new(start, start + HOUR)]);
        assert_eq!(dense.own, dense.new_partitions);
    }

    #[test]
    fn new_partitions_never_overlap_old_ones() {
        let hour = TimeRange::new(at("2013-03-05T07:00:00Z"), at("2013-03-05T08:00:00Z"));
        let partition = Partition { span: hour, view: None, files: vec![], touched: LogPosition(1) };
        let version = HistoryVersion { partitions: vec![partition], ..Default::default() };
        let times = ["2013-03-01T00:00:00Z", "2013-03-05T07:30:00Z", "2013-03-05T09:30:00Z", "2013-04-05T09:30:00Z"];
        let plan = plan(&version, &epoch(times.map(at)));
        let labels: Vec<String> = plan.new_partitions.iter().map(|s| schemas::paths::partition_label(*s)).collect();
        assert_eq!(labels, ["2013-03-01", "2013-03-05T09", "2013-04"]);
        assert_eq!(plan.touched.len(), 4);
        assert_eq!(plan.touched[1], (hour, 1));
    }

    #[test]
    fn months_at_the_ends_of_time_do_not_overflow() {
        for t in [i64::MIN, i64::MAX - 1, 0, -1] {
            assert!(month_of(EventTime(t)).contains(EventTime(t)), "{t}");
        }
    }
}
