//! Calibration: the engine watches what becomes of its own answers, and learns from it.
//!
//! Owns which series and buckets are watched, when they are looked at, what is kept of the forecasts made for them until
//! they are final, and the keeping of what was learned over restarts. Does not own the model (`confidence`), nor how values
//! are made: cells are read by the same function that answers queries.
//!
//! ```text
//! readings heard ─► learner
//! each second: watched buckets at their checkpoints ─► forecast, kept ─► final ─► learner, scores, revisions
//! ```

mod gauges;
mod holes;
mod learned;
mod watch;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use schemas::epoch::{SeriesState, Snapshot};
use schemas::query::ViewKind;
use schemas::time::SECOND;
use schemas::{ArrivalTime, EventTime, Resolution, SeriesId, TimeRange};

pub use gauges::Gauges;
pub use holes::{Hole, Holes, Reason};
pub use learned::{CalibrationRow, LEVEL, Learned};
pub(crate) use learned::{class_of, source_of};

use self::watch::{Due, Seen, Watch};
use crate::confidence::{Arrival, Arrived, Moment, Outlook, Readings, Sight, Stratum};
use crate::error::{Error, Result};
use crate::query::{CellPoint, CellQuery, SeriesCells, cells, readings_of};
use crate::serving::Serving;

/// The name that what was learned is kept by, and the one of the last moment when the server is known to have run.
const KEPT_AS: &str = "calibration";
const ALIVE: &str = "alive_at";
/// Queries see what was learned after so long at most.
const SHOW_EVERY: i64 = 3 * SECOND;
/// It is kept this often, and other series are watched.
const KEEP_EVERY: i64 = 60 * SECOND;
const WATCH_EVERY: i64 = 600 * SECOND;
/// Metrics that are watched, and series of each.
const METRICS: usize = 32;
const SERIES: usize = 16;

/// What was learned, and what is watched in order to learn more; held by the handle of the serving layer.
#[derive(Debug)]
pub struct Calibration {
    /// What queries see: one immutable value, replaced now and then.
    learned: Mutex<Arc<Learned>>,
    watch: tokio::sync::Mutex<Watching>,
    /// What is missing for reasons that no model of lateness knows.
    pub holes: Holes,
}

#[derive(Debug)]
struct Watching {
    watch: Watch,
    /// What learns. Nobody waits for it.
    learned: Learned,
    /// The series that are watched.
    series: HashMap<SeriesId, SeriesState>,
    chosen_at: Option<i64>,
    kept_at: i64,
    shown_at: i64,
}

impl Calibration {
    /// Nothing was learned yet.
    pub(crate) fn new(horizon_max: i64, epsilon: f64, base: Resolution) -> Self {
        let learned = Learned::new(horizon_max, epsilon);
        let watching = Watching {
            watch: Watch::new(base, horizon_max),
            learned: learned.clone(),
            series: HashMap::new(),
            chosen_at: None,
            kept_at: 0,
            shown_at: 0,
        };
        Self {
            learned: Mutex::new(Arc::new(learned)),
            watch: tokio::sync::Mutex::new(watching),
            holes: Holes::default(),
        }
    }

    /// What was learned so far.
    pub fn learned(&self) -> Arc<Learned> {
        Arc::clone(&self.learned.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn show(&self, learned: Arc<Learned>) {
        *self.learned.lock().unwrap_or_else(PoisonError::into_inner) = learned;
    }
}

impl Serving {
    /// Takes up what was learned before a restart, and notes that nothing was heard meanwhile.
    ///
    /// # Errors
    /// The catalog can't be read. What was kept by a version that learned otherwise is forgotten.
    pub async fn resume_calibration(&self) -> Result<()> {
        let catalog = self.batch.catalog();
        let alive: Option<i64> = catalog.meta(ALIVE).await?.and_then(|at| at.parse().ok());
        let heard = self.speed.last_arrival().map(|at| at.0);
        if let Some(last) = alive.max(heard) {
            self.calibration.holes.down(ArrivalTime(last), self.clock.now());
        }
        if let Some(kept) = catalog.meta(KEPT_AS).await? {
            match Learned::from_text(&kept, self.settings.horizon_max_nanos(), self.settings.epsilon) {
                Ok(learned) => {
                    self.calibration.watch.lock().await.learned = learned.clone();
                    self.calibration.show(Arc::new(learned));
                }
                Err(error) => tracing::warn!(%error, "what was learned of confidence can't be read: learning anew"),
            }
        }
        Ok(())
    }

    /// Keeps what was learned and shown, and that the server runs.
    ///
    /// # Errors
    /// The catalog can't be written.
    pub async fn keep_calibration(&self) -> Result<()> {
        let (learned, catalog) = (self.calibration.learned(), self.batch.catalog());
        if !learned.is_new() {
            // Some megabytes of numbers.
            let text = tokio::task::spawn_blocking(move || learned.to_text()).await;
            let text = text.map_err(|e| Error::Unavailable(format!("what was learned can't be written: {e}")))?;
            catalog.set_meta(KEPT_AS, &text).await?;
        }
        Ok(catalog.set_meta(ALIVE, &self.clock.now().0.to_string()).await?)
    }

    /// One step of learning: hears what arrived, looks at the watched buckets that are due, learns from those that are final.
    /// To be called about once a second.
    ///
    /// # Errors
    /// History can't be read, or what was learned can't be kept.
    pub async fn calibrate(&self) -> Result<()> {
        let mut watching = self.calibration.watch.lock().await;
        let now = self.clock.now();
        self.choose(&mut watching, now);
        self.hear(&mut watching);
        let Watching { watch, learned, series, .. } = &mut *watching;
        let due = watch.due(now, |class| learned.learner.label_age(class));
        if !due.is_empty() {
            let (seen, failed) = self.look(learned, series, due, now).await;
            watch.learn(seen, learned, now);
            // The others are learned from: a file that can't be read must not end all learning.
            if let Some((due, error)) = failed {
                watch.put_off(due, now);
                tracing::warn!(%error, "watched buckets can't be looked at; they are tried again");
            }
        }
        if now.0.saturating_sub(watching.shown_at) >= SHOW_EVERY {
            watching.shown_at = now.0;
            self.calibration.show(Arc::new(watching.learned.clone()));
        }
        if now.0.saturating_sub(watching.kept_at) >= KEEP_EVERY {
            watching.kept_at = now.0;
            self.keep_calibration().await?;
        }
        Ok(())
    }

    /// Chooses the series to watch, now and then others: some of each metric, some of the metrics.
    fn choose(&self, watching: &mut Watching, now: ArrivalTime) {
        let fresh = |at: i64| now.0.saturating_sub(at) < if watching.series.is_empty() { SECOND } else { WATCH_EVERY };
        if watching.chosen_at.is_some_and(fresh) {
            return;
        }
        watching.chosen_at = Some(now.0);
        // Those that still speak stay: whoever listens to others now and then hears silences where there are none.
        let ids: Vec<SeriesId> = watching.watch.chosen().collect();
        let speaks =
            |state: &SeriesState| state.tail.is_some_and(|tail| now.0.saturating_sub(tail.arrival.0) < 2 * WATCH_EVERY);
        let mut chosen = self.speed.snapshot_of(&ids).series;
        chosen.retain(speaks);
        for more in self.speed.sample(METRICS, SERIES, now.0.unsigned_abs()) {
            let of_metric = chosen.iter().filter(|state| state.id.metric() == more.id.metric()).count();
            let metrics: HashSet<u32> = chosen.iter().map(|state| state.id.metric()).collect();
            let has_room = if of_metric == 0 { metrics.len() < METRICS } else { of_metric < SERIES };
            if has_room && !chosen.iter().any(|state| state.id == more.id) {
                chosen.push(more);
            }
        }
        self.speed.watch(chosen.iter().map(|series| series.id).collect());
        watching.learned.name(chosen.iter().map(|series| series.key.metric()));
        watching.watch.choose(chosen.iter().map(|s| (class_of(s.key.metric()), s.id)).collect());
        // Those of buckets that are not final yet are still needed.
        let needed = watching.watch.needed();
        watching.series.retain(|id, _| needed.contains(id));
        watching.series.extend(chosen.into_iter().map(|series| (series.id, series)));
    }

    fn hear(&self, watching: &mut Watching) {
        let (heard, lost) = self.speed.heard();
        if lost > 0 {
            tracing::debug!(lost, "more was heard of watched series than can be learned from");
        }
        let Watching { learned, series, .. } = watching;
        for heard in heard {
            let Some(series) = series.get(&heard.series) else { continue };
            learned.learner.arrived(&Arrived {
                class: class_of(series.key.metric()),
                source: source_of(&series.key),
                event: heard.time,
                arrival: heard.arrival.0,
                value: heard.value,
                kind: if heard.corrects { Arrival::Correction } else { Arrival::New },
            });
        }
    }

    /// What the watched buckets that are due show now; those that can't be read, and why the first of them.
    async fn look(
        &self,
        learned: &Learned,
        series: &HashMap<SeriesId, SeriesState>,
        due: Vec<Due>,
        now: ArrivalTime,
    ) -> (Vec<(Due, Option<Seen>)>, Option<(Vec<Due>, Error)>) {
        let mut ids: Vec<SeriesId> = due.iter().flat_map(|due| due.series.iter().copied()).collect();
        ids.sort_unstable();
        ids.dedup();
        let snapshot = self.speed.snapshot_of(&ids);
        let mut by_bucket: BTreeMap<(EventTime, i64), Vec<Due>> = BTreeMap::new();
        for due in due {
            by_bucket.entry((due.bucket.start, due.stratum.width)).or_default().push(due);
        }
        let (mut seen, mut failed) = (Vec::new(), None::<(Vec<Due>, Error)>);
        for ((start, width), due) in by_bucket {
            let range = TimeRange::new(start.0, start.0.saturating_add(width));
            // Nobody is told how far to trust what lies over a hole, and what became of it teaches nothing of lateness.
            if !self.calibration.holes.in_range(range, now, i64::MAX).is_empty() {
                seen.extend(due.into_iter().map(|due| (due, None)));
                continue;
            }
            let wanted: Vec<SeriesId> = due.iter().flat_map(|due| due.series.iter().copied()).collect();
            let found = match self.cells_of(&snapshot, &wanted, range, width).await {
                Ok(found) => found,
                Err(error) => {
                    failed.get_or_insert_with(|| (Vec::new(), error)).0.extend(due);
                    continue;
                }
            };
            for due in due {
                let members = due.series.iter().filter_map(|id| series.get(id).map(|state| (state, found.get(id))));
                let one = see(learned, &snapshot, &due, members, now);
                seen.push((due, one));
            }
        }
        (seen, failed)
    }

    async fn cells_of(
        &self,
        snapshot: &Snapshot,
        wanted: &[SeriesId],
        range: TimeRange,
        width: i64,
    ) -> Result<HashMap<SeriesId, CellPoint>> {
        let step = Resolution::from_nanos(width)?;
        let series = snapshot.series.iter().filter(|state| wanted.contains(&state.id)).cloned().collect();
        let (view, as_of, final_before) = (ViewKind::Unified, None, Vec::new());
        let query = CellQuery { series, range, step, view, as_of, quantiles: true, final_before };
        let found = cells(self, snapshot, query).await?;
        let point = |SeriesCells { series, points }: SeriesCells| Some((series.id, points.into_iter().next()?));
        Ok(found.into_iter().filter_map(point).collect())
    }
}

/// What a cell shows, with the outlook of all of its members; `None` where none has a reading.
fn see<'a>(
    learned: &Learned,
    snapshot: &Snapshot,
    due: &Due,
    members: impl Iterator<Item = (&'a SeriesState, Option<&'a CellPoint>)>,
    now: ArrivalTime,
) -> Option<Seen> {
    let members: Vec<_> = members.collect();
    let mut points = members.iter().filter_map(|(_, point)| *point);
    let mut all = points.next()?.clone();
    points.for_each(|point| all.merge(point));
    let readings = readings_of(&all);
    let moment = moment_of(due.bucket, now, &readings);
    let outlook = outlook_of(learned, &due.stratum, &moment, snapshot, members.iter().map(|(state, _)| *state));
    let is_final = learned.learner.ready(due.stratum.class, &moment, &outlook);
    Some(Seen { readings, moment, outlook, is_final })
}

fn moment_of(bucket: TimeRange, now: ArrivalTime, readings: &Readings) -> Moment {
    Moment { bucket, now: now.0, first: readings.first, last: readings.last }
}

fn outlook_of<'a>(
    learned: &Learned,
    stratum: &Stratum,
    moment: &Moment,
    snapshot: &Snapshot,
    members: impl Iterator<Item = &'a SeriesState>,
) -> Outlook {
    let (learner, class) = (&learned.learner, learned.learner.class(stratum.class));
    let member = |state: &SeriesState| {
        // The newest end as the snapshot has it.
        let at = snapshot.series.binary_search_by(|s| s.key.cmp(&state.key));
        let tail = at.ok().and_then(|i| snapshot.series[i].tail.as_ref());
        (learner.series(&class, source_of(&state.key)), tail)
    };
    let sight = Sight::new(members.map(member).collect(), Vec::new());
    sight.outlook(&learner.foreteller(stratum, learner.settings().ask), moment)
}
