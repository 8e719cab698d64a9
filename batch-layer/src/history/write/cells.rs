//! Parquet files of cells: a row group for each piece.

use bytes::Bytes;
use parquet::arrow::arrow_writer::{ArrowColumnChunk, ArrowRowGroupWriterFactory, compute_leaves};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::writer::SerializedFileWriter;
use schemas::SeriesId;
use schemas::history::{CELLS, StoredCell, cells_to_batch};

use super::{column, delta, failed, open, properties, split};
use crate::error::Result;
use crate::history::pieces::{CellPieces, PIECE_CELLS};

/// Writes one file of cells piece by piece, so that not all of them are in memory.
pub struct CellsWriter {
    file: SerializedFileWriter<Vec<u8>>,
    groups: ArrowRowGroupWriterFactory,
    last: Option<(SeriesId, i64)>,
}

impl CellsWriter {
    /// A file without cells.
    ///
    /// # Errors
    /// The encoder fails.
    pub fn new() -> Result<Self> {
        let (file, groups) = open(&CELLS, cells_properties())?.into_serialized_writer().map_err(failed)?;
        Ok(Self { file, groups, last: None })
    }

    /// Appends cells behind all others, as a row group.
    ///
    /// # Errors
    /// The encoder fails.
    ///
    /// # Panics
    /// The cells, or these and those before, are not sorted by series and bucket, each pair once.
    pub fn push(&mut self, piece: &[StoredCell]) -> Result<()> {
        self.check_order(piece);
        let columns = encode_group(&self.groups, self.file.flushed_row_groups().len(), piece)?;
        self.append(columns)
    }

    /// The file.
    ///
    /// # Errors
    /// The encoder fails.
    pub fn finish(self) -> Result<Bytes> {
        self.file.into_inner().map(Bytes::from).map_err(failed)
    }

    fn check_order(&mut self, piece: &[StoredCell]) {
        let order = |c: &StoredCell| (c.series, c.cell.bucket);
        let Some((first, last)) = piece.first().zip(piece.last()) else { return };
        let sorted = self.last < Some(order(first)) && piece.is_sorted_by(|a, b| order(a) < order(b));
        assert!(sorted, "cells are stored in order of series and bucket");
        self.last = Some(order(last));
    }

    fn append(&mut self, columns: Vec<ArrowColumnChunk>) -> Result<()> {
        let mut group = self.file.next_row_group().map_err(failed)?;
        columns.into_iter().try_for_each(|column| column.append_to_row_group(&mut group)).map_err(failed)?;
        group.close().map(drop).map_err(failed)
    }
}

/// A Parquet file of cells, encoded on as many threads as there are processors.
///
/// # Errors
/// The encoder fails.
///
/// # Panics
/// The cells are not sorted by series and bucket, each pair once.
pub fn encode_cells(cells: &CellPieces) -> Result<Bytes> {
    let mut writer = CellsWriter::new()?;
    cells.pieces().iter().for_each(|piece| writer.check_order(piece));
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(cells.pieces().len());
    let groups = &writer.groups;
    let encoded = std::thread::scope(|scope| {
        let encode = |first: usize| {
            let pieces = cells.pieces().iter().enumerate().skip(first).step_by(threads);
            pieces.map(|(number, piece)| encode_group(groups, number, piece)).collect::<Result<Vec<_>>>()
        };
        let threads: Vec<_> = (0..threads).map(|first| scope.spawn(move || encode(first))).collect();
        let joined = threads.into_iter().map(|t| t.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        joined.collect::<Result<Vec<_>>>()
    });
    let mut encoded: Vec<_> = encoded?.into_iter().map(Vec::into_iter).collect();
    for number in 0..cells.pieces().len() {
        writer.append(encoded[number % threads].next().expect("each thread encodes its share"))?;
    }
    writer.finish()
}

/// The columns of the `number`-th row group.
fn encode_group(
    groups: &ArrowRowGroupWriterFactory,
    number: usize,
    piece: &[StoredCell],
) -> Result<Vec<ArrowColumnChunk>> {
    let mut writers = groups.create_column_writers(number).map_err(failed)?;
    let batch = cells_to_batch(piece);
    for ((field, column), writer) in CELLS.fields().iter().zip(batch.columns()).zip(&mut writers) {
        // No column is nested: each has one leaf.
        for leaf in compute_leaves(field, column).map_err(failed)? {
            writer.write(&leaf).map_err(failed)?;
        }
    }
    writers.into_iter().map(|writer| writer.close().map_err(failed)).collect()
}

fn cells_properties() -> WriterProperties {
    let builder = properties("cells", PIECE_CELLS, &[0, 1]);
    let builder = delta(builder, &["series_id", "bucket", "count", "first_time", "last_time"]);
    // Sums and sketches rarely repeat; a dictionary of them would only be built to be thrown away.
    split(builder, &["sum", "sum_lo", "sum_sq", "sum_sq_lo"])
        .set_column_dictionary_enabled(column("sketch"), false)
        .set_column_statistics_enabled(column("sketch"), EnabledStatistics::None)
        .build()
}
