//! Grouping: series that share the kept tags become one. Pure.

use std::collections::BTreeMap;

use schemas::epoch::SeriesState;

use super::points::{CellPoint, SeriesCells};

/// A group of series and its points.
#[derive(Debug, Clone)]
pub(super) struct Group {
    /// The metric; empty where the members differ in it.
    pub(super) metric: String,
    /// The kept tags.
    pub(super) tags: BTreeMap<String, String>,
    /// The members.
    pub(super) members: Vec<SeriesCells>,
}

/// Names and values of tags, in order of the names.
type Tags = Vec<(String, String)>;

/// The series by the tags that are kept; each on its own where `by` is `None`. Sorted by metric, then tags.
pub(super) fn group(series: Vec<SeriesCells>, by: Option<&[String]>) -> Vec<Group> {
    let Some(by) = by else {
        let alone = |cells: SeriesCells| Group::of(tags(&cells.series, |_| true), vec![cells]);
        return series.into_iter().map(alone).collect();
    };
    let mut groups: BTreeMap<Tags, Vec<SeriesCells>> = BTreeMap::new();
    for cells in series {
        let kept = if by.is_empty() { Vec::new() } else { tags(&cells.series, |name| by.iter().any(|b| b == name)) };
        groups.entry(kept).or_default().push(cells);
    }
    groups.into_iter().map(|(tags, members)| Group::of(tags, members)).collect()
}

/// The tags of a series that are kept, in order of their names.
fn tags(series: &SeriesState, keep: impl Fn(&str) -> bool) -> Tags {
    let kept = series.key.tags().filter(|(name, _)| keep(name));
    kept.map(|(name, value)| (name.to_owned(), value.into())).collect()
}

impl Group {
    fn of(tags: Tags, members: Vec<SeriesCells>) -> Self {
        let mut metrics = members.iter().map(|cells| cells.series.key.metric());
        let first = metrics.next().unwrap_or_default();
        let metric = if metrics.all(|metric| metric == first) { first.to_owned() } else { String::new() };
        Self { metric, tags: tags.into_iter().collect(), members }
    }

    /// Calls `each` with the points of the group in order of time.
    pub(super) fn each_point<E>(&self, mut each: impl FnMut(&CellPoint) -> Result<(), E>) -> Result<(), E> {
        if let [member] = self.members.as_slice() {
            return member.points.iter().try_for_each(each);
        }
        let mut parts: Vec<&CellPoint> = self.members.iter().flat_map(|member| &member.points).collect();
        // Stable: of one bucket, the members stay in their order.
        parts.sort_by_key(|point| point.bucket);
        for parts in parts.chunk_by(|a, b| a.bucket == b.bucket) {
            let mut all = parts[0].clone();
            parts[1..].iter().for_each(|point| all.merge(point));
            each(&all)?;
        }
        Ok(())
    }
}
