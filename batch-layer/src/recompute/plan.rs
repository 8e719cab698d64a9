//! Pure work on sorted cells: folding epochs into a view without reading a single reading, and comparing two views.
//!
//! Does not own reading or writing the cells.

use schemas::Partial;
use schemas::SeriesId;
use schemas::history::StoredCell;

use crate::error::{Error, Result};

/// The cells of a view and of the epochs after its cut as one view: what a recompute would give.
///
/// # Errors
/// A cell is disordered: only raw readings tell what it counts. Recompute instead.
pub fn fold(view: Vec<StoredCell>, epochs: &[Vec<StoredCell>]) -> Result<Vec<StoredCell>> {
    let mut cells = view;
    cells.extend(epochs.iter().flatten().cloned());
    if let Some(cell) = cells.iter().find(|c| c.disordered) {
        let (series, bucket) = (cell.series.0, cell.cell.bucket);
        return Err(Error::Refused(format!(
            "bucket {bucket} of series {series} is disordered: recompute instead of folding"
        )));
    }
    // Finds the sorted lists and merges them.
    cells.sort_by_key(place);
    cells.dedup_by(|next, kept| {
        let same = place(next) == place(kept);
        if same {
            kept.cell.partial.merge(&next.cell.partial);
        }
        same
    });
    Ok(cells)
}

/// A cell that is not the same in two views; missing in one where that one counts nothing.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    /// Its series.
    pub series: SeriesId,
    /// The start of its bucket, nanoseconds.
    pub bucket: i64,
    /// What the old view counts.
    pub old: Option<Partial>,
    /// What the new view counts.
    pub new: Option<Partial>,
}

/// Where two views, both sorted by series and bucket, differ. Sketches are compared only where both have one: a folded
/// view may lack them.
pub fn compare<'a>(
    old: impl IntoIterator<Item = &'a StoredCell>,
    new: impl IntoIterator<Item = &'a StoredCell>,
) -> Vec<Difference> {
    let (mut old, mut new) = (old.into_iter().peekable(), new.into_iter().peekable());
    let mut differences = Vec::new();
    loop {
        let (a, b) = match (old.peek(), new.peek()) {
            (None, None) => return differences,
            (Some(a), Some(b)) if place(a) == place(b) => (old.next(), new.next()),
            (Some(a), Some(b)) if place(a) > place(b) => (None, new.next()),
            (Some(_), _) => (old.next(), None),
            (None, Some(_)) => (None, new.next()),
        };
        differences.extend(difference(a, b));
    }
}

fn difference(old: Option<&StoredCell>, new: Option<&StoredCell>) -> Option<Difference> {
    let (series, bucket) = place(old.or(new)?);
    let (old, new) = (old.map(|c| &c.cell.partial), new.map(|c| &c.cell.partial));
    let same = old.zip(new).is_some_and(|(old, new)| counts_alike(old, new));
    (!same).then(|| Difference { series, bucket, old: old.cloned(), new: new.cloned() })
}

fn counts_alike(a: &Partial, b: &Partial) -> bool {
    if a.sketch.is_some() == b.sketch.is_some() {
        return a == b;
    }
    let bare = |p: &Partial| Partial { sketch: None, ..p.clone() };
    bare(a) == bare(b)
}

fn place(cell: &StoredCell) -> (SeriesId, i64) {
    (cell.series, cell.cell.bucket)
}

#[cfg(test)]
mod tests;
