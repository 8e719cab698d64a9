//! Decoded views in memory, least recently used ones leave first.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use schemas::cells::CellTable;
use schemas::view::ViewRef;

use crate::error::Result;
use crate::history::{Objects, read_cells};

#[derive(Debug, Default)]
struct Cached {
    tables: HashMap<String, (Arc<CellTable>, u64)>,
    cells: usize,
    clock: u64,
}

/// The cache. Views are immutable, so an entry is never stale.
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

    /// The cells of a view.
    pub(crate) async fn get(&self, objects: &Objects, view: &ViewRef) -> Result<Arc<CellTable>> {
        let Some(object) = &view.object else { return Ok(Arc::default()) };
        if let Some(table) = self.lookup(&object.path) {
            return Ok(table);
        }
        let mut table = CellTable::default();
        for stored in read_cells(objects, object, None, false).await? {
            table.push(stored.series, stored.cell);
        }
        let table = Arc::new(table);
        self.insert(object.path.clone(), Arc::clone(&table));
        Ok(table)
    }

    fn lookup(&self, path: &str) -> Option<Arc<CellTable>> {
        let mut cached = self.cached.lock().unwrap_or_else(PoisonError::into_inner);
        cached.clock += 1;
        let now = cached.clock;
        let (table, used) = cached.tables.get_mut(path)?;
        *used = now;
        Some(Arc::clone(table))
    }

    fn insert(&self, path: String, table: Arc<CellTable>) {
        let mut cached = self.cached.lock().unwrap_or_else(PoisonError::into_inner);
        cached.clock += 1;
        let now = cached.clock;
        cached.cells += table.len();
        if let Some((before, _)) = cached.tables.insert(path, (table, now)) {
            cached.cells -= before.len();
        }
        while cached.cells > self.cells_max && cached.tables.len() > 1 {
            let oldest = cached.tables.iter().min_by_key(|(_, (_, used))| *used).map(|(path, _)| path.clone());
            if let Some((table, _)) = oldest.and_then(|path| cached.tables.remove(&path)) {
                cached.cells -= table.len();
            }
        }
    }
}
