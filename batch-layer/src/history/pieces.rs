//! Cells of a view in pieces: a view may have millions, and one list of them would be copied again and again as it grows.
//!
//! Owns the size of a piece, which is a row group of the view's file and what the cache keeps or lets go.

use schemas::cells::CellTable;
use schemas::history::StoredCell;

/// Most cells of a piece: a query for a few series should decode little else.
pub(crate) const PIECE_CELLS: usize = 16 * 1024;

/// Cells sorted by series and bucket, in pieces of at most 16,384.
#[derive(Debug, Clone, Default)]
pub struct CellPieces(Vec<Vec<StoredCell>>);

impl CellPieces {
    /// Appends a cell behind all others.
    pub fn push(&mut self, cell: StoredCell) {
        match self.0.last_mut() {
            Some(piece) if piece.len() < PIECE_CELLS => piece.push(cell),
            // Where there was a whole piece there will mostly be another.
            before => {
                let room = if before.is_some() { PIECE_CELLS } else { 1 };
                self.0.push(Vec::with_capacity(room));
                self.0.last_mut().expect("just pushed").push(cell);
            }
        }
    }

    /// Appends the pieces of `others`, all of whose cells come behind these.
    pub fn append(&mut self, others: Self) {
        self.0.extend(others.0);
    }

    /// The cells in order.
    pub fn iter(&self) -> impl Iterator<Item = &StoredCell> {
        self.0.iter().flatten()
    }

    /// How many cells.
    pub fn len(&self) -> usize {
        self.0.iter().map(Vec::len).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The pieces; none is empty.
    pub(crate) fn pieces(&self) -> &[Vec<StoredCell>] {
        &self.0
    }

    /// Each piece as a table, without sketches.
    pub(crate) fn into_tables(self) -> Vec<CellTable> {
        self.0.into_iter().map(table).collect()
    }
}

fn table(piece: Vec<StoredCell>) -> CellTable {
    let mut table = CellTable::with_room(piece.len());
    for StoredCell { series, mut cell, .. } in piece {
        cell.partial.sketch = None;
        table.push(series, cell);
    }
    table
}

impl FromIterator<StoredCell> for CellPieces {
    fn from_iter<I: IntoIterator<Item = StoredCell>>(cells: I) -> Self {
        let mut pieces = Self::default();
        cells.into_iter().for_each(|cell| pieces.push(cell));
        pieces
    }
}

impl From<Vec<StoredCell>> for CellPieces {
    fn from(cells: Vec<StoredCell>) -> Self {
        cells.into_iter().collect()
    }
}
