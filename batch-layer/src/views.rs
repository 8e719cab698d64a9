//! Decoded views in memory, row group by row group: a query for a few series reads and keeps little else.
//!
//! Owns which row groups are in memory; the least recently used leave first. Does not own how they are read (history).
//! Views are immutable, so nothing in here is ever stale.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use schemas::SeriesId;
use schemas::cells::{Cell, CellTable};
use schemas::view::ViewRef;

use crate::error::Result;
use crate::history::Objects;
use crate::history::read::{CellGroups, read_groups};
use crate::history::selection::any_within;

/// The cells of some series of one view, in pieces sorted by series and bucket.
#[derive(Debug, Clone, Default)]
pub struct ViewCells(Vec<Arc<CellTable>>);

impl ViewCells {
    /// All cells of a table.
    pub(crate) fn of_table(table: CellTable) -> Self {
        Self(if table.is_empty() { Vec::new() } else { vec![Arc::new(table)] })
    }

    /// The cells of a series, in pieces sorted by bucket.
    pub fn of(&self, series: SeriesId) -> impl Iterator<Item = &[Cell]> {
        let from = self.0.partition_point(|table| table.bounds().is_some_and(|(_, last)| last < series));
        let holds = move |table: &&Arc<CellTable>| table.bounds().is_some_and(|(first, _)| first <= series);
        self.0[from..].iter().take_while(holds).map(move |table| table.of(series))
    }
}

/// A row group: its number in the file, and its cells.
type Numbered = (usize, Arc<CellTable>);

/// The row groups of one view.
#[derive(Debug)]
struct Groups {
    /// The first and the last series of each.
    outline: Vec<(SeriesId, SeriesId)>,
    /// Those in memory, and when each was last used.
    tables: HashMap<usize, (Arc<CellTable>, u64)>,
}

impl Groups {
    /// Those that may hold one of these series, sorted by id.
    fn wanted(outline: &[(SeriesId, SeriesId)], series: &[SeriesId]) -> Vec<usize> {
        let wanted = outline.iter().enumerate().filter(|(_, (first, last))| any_within(series, *first, *last));
        wanted.map(|(i, _)| i).collect()
    }

    /// Those of these that are in memory, which are in use now.
    fn take(&mut self, groups: &[usize], now: u64) -> Vec<Numbered> {
        let mut taken = Vec::with_capacity(groups.len());
        for group in groups {
            if let Some((table, used)) = self.tables.get_mut(group) {
                *used = now;
                taken.push((*group, Arc::clone(table)));
            }
        }
        taken
    }
}

#[derive(Debug, Default)]
struct Cached {
    views: HashMap<String, Groups>,
    cells: usize,
    clock: u64,
}

/// The cache.
#[derive(Debug)]
pub(crate) struct ViewCache {
    // One lock for all fields: the count must match the entries.
    cached: Mutex<Cached>,
    cells_max: usize,
}

impl ViewCache {
    pub(crate) fn new(cells_max: usize) -> Self {
        Self { cached: Mutex::default(), cells_max }
    }

    /// The cells of a view, at least those of these series, sorted by id.
    pub(crate) async fn get(&self, objects: &Objects, view: &ViewRef, series: &[SeriesId]) -> Result<ViewCells> {
        let Some(object) = &view.object else { return Ok(ViewCells::default()) };
        let (mut tables, known) = self.lookup(&object.path, series);
        let missing = |group: &usize| !tables.iter().any(|(cached, _)| cached == group);
        if known.is_none_or(|wanted| wanted.iter().any(missing)) {
            let pick = |outline: &[_]| Groups::wanted(outline, series).into_iter().filter(missing).collect();
            let CellGroups { outline, picked } = read_groups(objects, object, pick).await?;
            let picked: Vec<_> = picked.into_iter().map(|(group, table)| (group, Arc::new(table))).collect();
            self.insert(&object.path, outline, &picked);
            tables.extend(picked);
            tables.sort_unstable_by_key(|(group, _)| *group);
        }
        Ok(ViewCells(tables.into_iter().map(|(_, table)| table).collect()))
    }

    /// Takes over the cells of a view that was just stored as `path`, where they are not too many.
    pub(crate) fn keep(&self, path: &str, tables: Vec<CellTable>) {
        let outline = tables.iter().filter_map(CellTable::bounds).collect();
        let tables: Vec<_> = tables.into_iter().map(Arc::new).enumerate().collect();
        self.insert(path, outline, &tables);
    }

    /// Whether so many cells have room.
    pub(crate) fn has_room_for(&self, cells: usize) -> bool {
        cells <= self.cells_max
    }

    /// The wanted row groups that are in memory; and all wanted ones, where the view is known.
    fn lookup(&self, path: &str, series: &[SeriesId]) -> (Vec<Numbered>, Option<Vec<usize>>) {
        let mut cached = self.lock();
        cached.clock += 1;
        let now = cached.clock;
        let Some(groups) = cached.views.get_mut(path) else { return (Vec::new(), None) };
        let wanted = Groups::wanted(&groups.outline, series);
        (groups.take(&wanted, now), Some(wanted))
    }

    fn insert(&self, path: &str, outline: Vec<(SeriesId, SeriesId)>, tables: &[Numbered]) {
        let mut cached = self.lock();
        cached.clock += 1;
        let now = cached.clock;
        let groups = cached.views.entry(path.to_owned()).or_insert_with(|| Groups { outline, tables: HashMap::new() });
        let mut more = 0;
        for (group, table) in tables {
            if groups.tables.insert(*group, (Arc::clone(table), now)).is_none() {
                more += table.len();
            }
        }
        cached.cells += more;
        cached.shrink(self.cells_max);
    }

    fn lock(&self) -> MutexGuard<'_, Cached> {
        self.cached.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Cached {
    /// Lets the least recently used row groups go until there is room.
    fn shrink(&mut self, cells_max: usize) {
        while self.cells > cells_max {
            let all = self
                .views
                .iter()
                .flat_map(|(path, groups)| groups.tables.iter().map(move |(group, (_, used))| (*used, path, *group)));
            let Some((path, group)) = all.min().map(|(_, path, group)| (path.clone(), group)) else { return };
            let Some(groups) = self.views.get_mut(&path) else { return };
            if let Some((table, _)) = groups.tables.remove(&group) {
                self.cells -= table.len();
            }
            if groups.tables.is_empty() {
                self.views.remove(&path);
            }
        }
    }
}

#[cfg(test)]
mod tests;
