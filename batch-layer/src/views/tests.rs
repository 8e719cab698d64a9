//! The cache against the file.

use bytes::Bytes;
use schemas::cells::Cell;
use schemas::history::StoredCell;
use schemas::paths::ObjectKind;
use schemas::{LogPosition, Partial};

use super::*;
use crate::history::pieces::PIECE_CELLS;
use crate::history::testing::in_memory;
use crate::history::{CellPieces, encode_cells, read_cells};

/// More than two row groups; the second series reaches over an edge.
fn stored() -> Vec<StoredCell> {
    let series = [PIECE_CELLS - 5, PIECE_CELLS, 10, 20];
    let cell = |i: usize| Cell { bucket: i as i64, partial: Partial::of(i as i64, 1.0) };
    let of = |(id, n): (u64, usize)| {
        (0..n).map(move |i| StoredCell { series: SeriesId(id), cell: cell(i), disordered: false })
    };
    (1..).zip(series).flat_map(of).collect()
}

fn all(cells: &ViewCells, series: u64) -> usize {
    let pieces: Vec<&[Cell]> = cells.of(SeriesId(series)).collect();
    let all: Vec<i64> = pieces.iter().flat_map(|cells| cells.iter().map(|c| c.bucket)).collect();
    assert!(all.is_sorted_by(|a, b| a < b), "pieces come in order");
    all.len()
}

async fn put(objects: &Objects, bytes: Bytes) -> ViewRef {
    let object = objects.put(ObjectKind::View, "2024-01", LogPosition(1), bytes).await.expect("puts");
    ViewRef { id: 1, object: Some(object), cut: LogPosition(1), cells: 0, readings: 0, generation: 1 }
}

#[tokio::test]
async fn only_the_row_groups_of_the_asked_series_are_read() {
    let (objects, _store) = in_memory();
    let view = put(&objects, encode_cells(&stored().into()).expect("encodes")).await;
    let cache = ViewCache::new(usize::MAX);
    for (series, read) in [(1, PIECE_CELLS), (4, PIECE_CELLS + 25), (2, 2 * PIECE_CELLS + 25)] {
        let cells = cache.get(&objects, &view, &[SeriesId(series)]).await.expect("reads");
        assert_eq!(all(&cells, series), stored().iter().filter(|c| c.series.0 == series).count());
        assert_eq!(cache.lock().cells, read, "series {series}");
    }
    let cells = cache.get(&objects, &view, &[SeriesId(9)]).await.expect("nothing to read");
    assert_eq!(all(&cells, 9), 0);
}

#[tokio::test]
async fn what_is_handed_over_is_what_the_file_holds() {
    let (objects, store) = in_memory();
    let view = put(&objects, encode_cells(&stored().into()).expect("encodes")).await;
    let object = view.object.as_ref().expect("it has cells");
    let groups = read_groups(&objects, object, |outline| (0..outline.len()).collect()).await.expect("reads");
    let read: Vec<CellTable> = groups.picked.into_iter().map(|(_, table)| table).collect();
    assert_eq!(CellPieces::from(stored()).into_tables(), read);
    assert_eq!(read_cells(&objects, object, None, false).await.expect("reads"), stored());

    let cache = ViewCache::new(usize::MAX);
    cache.keep(&object.path, CellPieces::from(stored()).into_tables());
    drop(store);
    objects.delete(&object.path).await.expect("deletes");
    let cells = cache.get(&objects, &view, &[SeriesId(2)]).await.expect("from memory");
    assert_eq!(all(&cells, 2), PIECE_CELLS);
}

#[tokio::test]
async fn the_least_recently_used_leave_first() {
    let (objects, _store) = in_memory();
    let view = put(&objects, encode_cells(&stored().into()).expect("encodes")).await;
    let cache = ViewCache::new(PIECE_CELLS + 25);
    cache.keep(&view.object.as_ref().expect("it has cells").path, CellPieces::from(stored()).into_tables());
    assert!(cache.lock().cells <= PIECE_CELLS + 25);
    for series in [4, 1, 4, 2] {
        let cells = cache.get(&objects, &view, &[SeriesId(series)]).await.expect("reads");
        assert_eq!(all(&cells, series), stored().iter().filter(|c| c.series.0 == series).count(), "{series}");
        assert!(cache.lock().cells <= PIECE_CELLS + 25);
    }
}
