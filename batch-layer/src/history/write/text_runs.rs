//! A column of texts of which many rows in a row are equal, as a Parquet column chunk: a dictionary and lengths of runs.
//!
//! The library's writer looks up every row in the dictionary; three such columns would cost more than all numbers of a
//! reading. Owns the chunk's two pages, as the format defines them (<https://parquet.apache.org/docs/file-format/>, RLE
//! and dictionary encoding), and its metadata. Does not own which rows there are.

use std::collections::HashMap;

use bytes::Bytes;
use parquet::basic::{Compression, Encoding, PageType, ZstdLevel};
use parquet::column::page::{CompressedPage, Page, PageWriter as _};
use parquet::column::writer::ColumnCloseResult;
use parquet::data_type::ByteArray;
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::{ColumnChunkMetaData, OffsetIndexBuilder, PageEncodingStats};
use parquet::file::statistics::Statistics;
use parquet::file::writer::{SerializedPageWriter, TrackedWrite};
use parquet::schema::types::ColumnDescPtr;

use super::ZSTD_LEVEL;

/// Longest text of which statistics tell: they stand in the footer, which is kept in memory.
const STATISTICS_BYTES: usize = 64;

/// The rows of one column in one row group.
#[derive(Debug, Default)]
pub(super) struct TextRuns {
    /// The distinct texts, numbered in the order in which they came.
    numbers: HashMap<Box<str>, u32>,
    /// The text's number and how many rows; `None` of null.
    runs: Vec<(Option<u32>, u64)>,
    bytes: usize,
}

impl TextRuns {
    /// Appends equal rows.
    pub(super) fn push(&mut self, text: Option<&str>, rows: usize) {
        let number = text.map(|text| self.number(text));
        match self.runs.last_mut() {
            Some((last, before)) if *last == number => *before += rows as u64,
            _ => self.runs.push((number, rows as u64)),
        }
    }

    fn number(&mut self, text: &str) -> u32 {
        if let Some(number) = self.numbers.get(text) {
            return *number;
        }
        let number = u32::try_from(self.numbers.len()).expect("a row group has fewer rows than 2^32");
        self.numbers.insert(text.into(), number);
        self.bytes += text.len();
        number
    }

    /// Bytes of all distinct texts.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The distinct texts in the order of their numbers.
    fn texts(&self) -> Vec<&str> {
        let mut texts = vec![""; self.numbers.len()];
        self.numbers.iter().for_each(|(text, number)| texts[*number as usize] = text);
        texts
    }

    /// The chunk of this column, and what the file's footer says of it.
    pub(super) fn chunk(&self, column: ColumnDescPtr) -> Result<(Bytes, ColumnCloseResult)> {
        let rows = self.runs.iter().map(|(_, rows)| rows).sum::<u64>();
        let mut sink = TrackedWrite::new(Vec::new());
        let mut pages = SerializedPageWriter::new(&mut sink);
        let dictionary = pages.write_page(self.dictionary_page()?)?;
        let data = pages.write_page(self.data_page(rows, column.max_def_level() > 0)?)?;
        let encoded = |page_type, encoding| PageEncodingStats { page_type, encoding, count: 1 };
        let mut metadata = ColumnChunkMetaData::builder(column)
            .set_compression(Compression::ZSTD(ZstdLevel::try_new(ZSTD_LEVEL)?))
            .set_encodings(vec![Encoding::PLAIN, Encoding::RLE, Encoding::RLE_DICTIONARY])
            .set_page_encoding_stats(vec![
                encoded(PageType::DICTIONARY_PAGE, Encoding::PLAIN),
                encoded(PageType::DATA_PAGE, Encoding::RLE_DICTIONARY),
            ])
            .set_total_compressed_size((dictionary.compressed_size + data.compressed_size) as i64)
            .set_total_uncompressed_size((dictionary.uncompressed_size + data.uncompressed_size) as i64)
            .set_num_values(rows as i64)
            .set_dictionary_page_offset(Some(dictionary.offset as i64))
            .set_data_page_offset(data.offset as i64);
        if let Some(statistics) = self.statistics() {
            metadata = metadata.set_statistics(statistics);
        }
        let mut offsets = OffsetIndexBuilder::new();
        offsets.append_row_count(rows as i64);
        offsets.append_offset_and_size(data.offset as i64, i32::try_from(data.compressed_size)?);
        let closed = ColumnCloseResult {
            bytes_written: dictionary.bytes_written + data.bytes_written,
            rows_written: rows,
            metadata: metadata.build()?,
            bloom_filter: None,
            column_index: None,
            offset_index: Some(offsets.build()),
        };
        Ok((sink.into_inner()?.into(), closed))
    }

    /// All distinct texts, each behind its length.
    fn dictionary_page(&self) -> Result<CompressedPage> {
        let (texts, mut plain) = (self.texts(), Vec::new());
        for text in &texts {
            plain.extend_from_slice(&u32::try_from(text.len())?.to_le_bytes());
            plain.extend_from_slice(text.as_bytes());
        }
        let num_values = u32::try_from(texts.len())?;
        let page = |buf| Page::DictionaryPage { buf, num_values, encoding: Encoding::PLAIN, is_sorted: false };
        compressed(&plain, page)
    }

    /// Where rows may be null, for each whether it is not; then the number of each that is not.
    fn data_page(&self, rows: u64, nullable: bool) -> Result<CompressedPage> {
        let mut plain = Vec::new();
        if nullable {
            let levels = run_lengths(self.runs.iter().map(|(number, rows)| (u32::from(number.is_some()), *rows)), 1);
            plain.extend_from_slice(&u32::try_from(levels.len())?.to_le_bytes());
            plain.extend_from_slice(&levels);
        }
        let greatest = self.numbers.len().saturating_sub(1) as u32;
        let bits = (u32::BITS - greatest.leading_zeros()).max(1);
        plain.push(bits as u8);
        let numbers = self.runs.iter().filter_map(|(number, rows)| Some(((*number)?, *rows)));
        plain.extend_from_slice(&run_lengths(numbers, bits));
        let num_values = u32::try_from(rows)?;
        compressed(&plain, |buf| Page::DataPage {
            buf,
            num_values,
            encoding: Encoding::RLE_DICTIONARY,
            def_level_encoding: Encoding::RLE,
            rep_level_encoding: Encoding::RLE,
            statistics: None,
        })
    }

    /// Least and greatest text, if all are short.
    fn statistics(&self) -> Option<Statistics> {
        let texts = || self.numbers.keys();
        let short = texts().all(|text| text.len() <= STATISTICS_BYTES);
        let bound = |text: Option<&Box<str>>| text.map(|text| ByteArray::from(&**text));
        let nulls = self.runs.iter().filter(|(number, _)| number.is_none()).map(|(_, rows)| rows).sum();
        let (least, greatest) = (bound(texts().min()), bound(texts().max()));
        short.then(|| Statistics::byte_array(least, greatest, None, Some(nulls), false))
    }
}

fn compressed(plain: &[u8], page: impl FnOnce(Bytes) -> Page) -> Result<CompressedPage> {
    let compressed = zstd::bulk::compress(plain, ZSTD_LEVEL).map_err(|e| ParquetError::External(Box::new(e)))?;
    Ok(CompressedPage::new(page(compressed.into()), plain.len()))
}

/// Runs as Parquet's RLE encoding has them: twice the length as a LEB128, then the value in whole bytes.
fn run_lengths(runs: impl Iterator<Item = (u32, u64)>, bits: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (value, length) in runs {
        let mut header = length << 1;
        while header >= 0x80 {
            bytes.push((header & 0x7f) as u8 | 0x80);
            header >>= 7;
        }
        bytes.push(header as u8);
        bytes.extend_from_slice(&value.to_le_bytes()[..bits.div_ceil(8) as usize]);
    }
    bytes
}
