//! Which stretches of event time are counted one after the other.
//!
//! A window holds a bounded number of cells, as far as views and epochs tell beforehand. Windows follow each other in
//! time, so that the views of one are still decoded when the next one asks for the same partition.

use schemas::epoch::Snapshot;
use schemas::{EventTime, Resolution, TimeRange};

/// About how many cells of a window are in memory at once; some hundred bytes each.
const CELLS: f64 = 200_000.0;

/// How many cells lie where.
#[derive(Debug)]
pub(super) struct Density {
    /// Stretches and how many cells lie in each; they may overlap.
    stretches: Vec<(TimeRange, f64)>,
    /// How many series are asked for.
    series: f64,
}

impl Density {
    /// The density of so many of the snapshot's series.
    pub(super) fn of(snapshot: &Snapshot, series: usize) -> Self {
        let share = series as f64 / snapshot.series.len().max(1) as f64;
        let views = snapshot.version.partitions.iter().filter_map(|p| Some((p.span, p.view.as_ref()?.cells as f64)));
        let epochs = snapshot.epochs.iter().filter_map(|epoch| {
            let (first, last) = epoch.event_bounds?;
            let cells: usize = epoch.series.iter().map(|(_, part)| part.cells().len()).sum();
            Some((TimeRange::new(first, last.saturating_add(1)), cells as f64))
        });
        let stretches = views.chain(epochs).map(|(range, cells)| (range, cells * share)).collect();
        Self { stretches, series: series as f64 }
    }

    /// About how many cells or points lie in this range.
    fn cells(&self, range: TimeRange, step: Resolution) -> f64 {
        let most = self.series * (length(range) / step.nanos() as f64).max(1.0);
        if most <= CELLS {
            return most;
        }
        self.stretches.iter().map(|(span, cells)| cells * length(span.intersect(&range)) / length(*span).max(1.0)).sum()
    }
}

fn length(range: TimeRange) -> f64 {
    if range.is_empty() { 0.0 } else { range.end.0 as f64 - range.start.0 as f64 }
}

/// Windows of whole steps that together are `range`, in order.
pub(super) fn windows(range: TimeRange, step: Resolution, density: &Density) -> Vec<TimeRange> {
    let (mut done, mut waiting) = (Vec::new(), vec![range]);
    while let Some(range) = waiting.pop().filter(|range| !range.is_empty()) {
        let middle = range.start.0.saturating_add(range.end.0.saturating_sub(range.start.0) / 2);
        let middle = step.ceil(EventTime(middle));
        if middle >= range.end || density.cells(range, step) <= CELLS {
            done.push(range);
            continue;
        }
        // The earlier half is taken from the stack first.
        waiting.push(TimeRange { start: middle, end: range.end });
        waiting.push(TimeRange { start: range.start, end: middle });
    }
    done
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_follow_density_and_cover_the_range() {
        let range = TimeRange::new(0, 1_000_000);
        let step = Resolution::from_nanos(10).expect("positive");
        let dense = TimeRange::new(500_000, 600_000);
        let density = Density { stretches: vec![(range, 10_000.0), (dense, 2_000_000.0)], series: 1_000.0 };
        let windows = windows(range, step, &density);
        assert_eq!((windows[0].start, windows[windows.len() - 1].end), (range.start, range.end));
        assert!(windows.windows(2).all(|pair| pair[0].end == pair[1].start && pair[0].end.0 % 10 == 0));
        assert!((10..40).contains(&windows.len()), "{}", windows.len());
        assert!(windows.iter().all(|w| density.cells(*w, step) <= CELLS));
    }
}
