//! Which batch views, epochs and readings made each number.

use std::sync::Arc;

use schemas::epoch::Snapshot;
use schemas::limits::Limits;
use schemas::query::{Query, QueryText};
use schemas::{EventTime, TimeRange};
use serde_json::{Value, json};

use super::merge::whole_buckets;
use super::points::SeriesCells;
use crate::error::Result;
use crate::serving::Serving;

/// Most points that are explained; the rest is counted.
const POINTS_MAX: usize = 1_000;

impl Serving {
    /// Explains the answer to a metric query: for each point its views (partition, cut, generation) and the epochs
    /// after their cuts (positions, whether they are in memory, readings in the point's buckets).
    ///
    /// # Errors
    /// As for the query itself.
    pub async fn explain(&self, text: &QueryText) -> Result<Value> {
        self.explain_within(text, None).await
    }

    /// Explains it to somebody who may read the series within these limits only: how much a view counts of all series
    /// together is not for them.
    ///
    /// # Errors
    /// As for the query itself.
    pub async fn explain_within(&self, text: &QueryText, limits: Option<&Arc<Limits>>) -> Result<Value> {
        let query = self.checked(text, limits)?;
        let snapshot = self.speed.snapshot(&query.selector);
        let cells = self.query_cells(&snapshot, &query, Vec::new()).await?;
        let points: usize = cells.iter().map(|s| s.points.len()).sum();
        let mut left = POINTS_MAX;
        let totals = limits.is_none();
        let series: Vec<Value> =
            cells.iter().map(|series| self.explain_series(&snapshot, &query, series, totals, &mut left)).collect();
        Ok(json!({
            "series": series,
            "points": points,
            "explained": POINTS_MAX - left,
            "as_of": {"position": snapshot.position.0, "generation": snapshot.version.generation,
                      "flushed": snapshot.version.flushed.0, "watermark": snapshot.watermark.map(|t| t.to_string())},
        }))
    }

    fn explain_series(
        &self,
        snapshot: &Snapshot,
        query: &Query,
        cells: &SeriesCells,
        totals: bool,
        left: &mut usize,
    ) -> Value {
        let shown = cells.points.len().min(*left);
        *left -= shown;
        let points: Vec<Value> = cells.points[..shown]
            .iter()
            .map(|point| {
                let bucket = query.step.bucket(EventTime(point.bucket)).intersect(&query.range);
                json!({
                    "time": EventTime(point.bucket).to_string(),
                    "source": point.source(),
                    "data_points": point.partial.count,
                    "batch_points": point.batch_points,
                    "speed_points": point.speed_points,
                    "views": views(snapshot, bucket, totals),
                    "epochs": self.epochs(snapshot, cells, bucket),
                })
            })
            .collect();
        json!({"metric_key": cells.series.key.text(), "points": points})
    }

    /// The epochs that count for the bucket because no view has counted them.
    fn epochs(&self, snapshot: &Snapshot, cells: &SeriesCells, bucket: TimeRange) -> Vec<Value> {
        let buckets = whole_buckets(bucket, self.speed.settings().base);
        let mut told = Vec::new();
        for epoch in &snapshot.epochs {
            let Some(part) = epoch.of(cells.series.id) else { continue };
            let pending = schemas::cells::cells_in(part.cells(), buckets)
                .iter()
                .filter(|cell| epoch.last > snapshot.version.cut_at(EventTime(cell.bucket)));
            let (mut readings, mut disordered) = (0, 0);
            for cell in pending {
                readings += cell.partial.count;
                disordered += usize::from(part.disordered().binary_search(&cell.bucket).is_ok());
            }
            if readings > 0 {
                told.push(json!({
                    "first": epoch.first.0, "last": epoch.last.0, "hot": epoch.hot,
                    "flushed": epoch.last <= snapshot.version.flushed,
                    "readings": readings, "cells_resolved_from_raw_readings": disordered,
                }));
            }
        }
        told
    }
}

/// The views that count for the bucket; with `totals`, how much each counts of all series together.
fn views(snapshot: &Snapshot, bucket: TimeRange, totals: bool) -> Vec<Value> {
    let partitions = snapshot.version.partitions_in(bucket).iter();
    let viewed = partitions.filter_map(|p| p.view.as_ref().map(|view| (p.span, view)));
    viewed
        .map(|(span, view)| {
            let mut told = json!({
                "partition": {"from": span.start.to_string(), "to": span.end.to_string()},
                "cut": view.cut.0, "generation": view.generation,
            });
            if totals {
                told["cells"] = view.cells.into();
                told["readings"] = view.readings.into();
            }
            told
        })
        .collect()
}
