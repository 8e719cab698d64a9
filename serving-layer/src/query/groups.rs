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

/// A point of a group, and the points of its members that it is made of.
pub(super) type GroupPoint<'a> = (CellPoint, Vec<(&'a SeriesState, &'a CellPoint)>);

/// The series by the tags that are kept; each on its own where `by` is `None`. Sorted by metric, then tags.
pub(super) fn group(series: Vec<SeriesCells>, by: Option<&[String]>) -> Vec<Group> {
    let Some(by) = by else {
        return series
            .into_iter()
            .map(|cells| Group { metric: metric(&cells.series), tags: tags(&cells.series), members: vec![cells] })
            .collect();
    };
    let mut groups: BTreeMap<BTreeMap<String, String>, Group> = BTreeMap::new();
    for cells in series {
        let kept: BTreeMap<String, String> =
            tags(&cells.series).into_iter().filter(|(name, _)| by.contains(name)).collect();
        let new = || Group { metric: metric(&cells.series), tags: kept.clone(), members: Vec::new() };
        let group = groups.entry(kept.clone()).or_insert_with(new);
        if group.metric != cells.series.key.metric() {
            group.metric.clear();
        }
        group.members.push(cells);
    }
    groups.into_values().collect()
}

fn metric(series: &SeriesState) -> String {
    series.key.metric().to_owned()
}

fn tags(series: &SeriesState) -> BTreeMap<String, String> {
    series.key.tags().into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

impl Group {
    /// The points of the group with, for each, which members have one in that bucket.
    pub(super) fn points(&self) -> Vec<GroupPoint<'_>> {
        let mut points: BTreeMap<i64, GroupPoint<'_>> = BTreeMap::new();
        for member in &self.members {
            for point in &member.points {
                match points.get_mut(&point.bucket) {
                    Some((all, parts)) => {
                        all.merge(point);
                        parts.push((&member.series, point));
                    }
                    None => {
                        points.insert(point.bucket, (point.clone(), vec![(&member.series, point)]));
                    }
                }
            }
        }
        points.into_values().collect()
    }
}
