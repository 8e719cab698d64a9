//! Whether an Arrow stream is honest about its sizes, decided before the Arrow library allocates by them.
//!
//! Owns the framing of messages and the bounds below. Does not own the meaning of columns. The library checks that
//! arrays are well formed; what it does not bound is how much a few bytes may make it allocate, copy or validate:
//! body lengths, decompressed lengths, buffers that overlap, delta dictionaries (each copies all before it), and text
//! views (many may show the same long text, and each is validated on its own).

use arrow::datatypes::{DataType, Schema};
use arrow::ipc::convert::fb_to_schema;
use arrow::ipc::{self, CompressionType, MessageHeader};

/// Most columns: far more than a reading can have tags.
const COLUMNS_MAX: usize = 1024;
/// Most bytes that the compressed buffers of a stream may say they decompress to, and most bytes of text that its views
/// may show.
const EXPANDED_MAX: u64 = 256 << 20;
/// What stands before the length of a message.
const CONTINUATION: [u8; 4] = [0xff; 4];

/// Where the stream ends in these bytes, if all its claims about sizes hold.
pub(super) fn check(body: &[u8]) -> Result<usize, String> {
    let mut frames = Frames { body, at: 0 };
    let mut checker = Checker::default();
    while let Some(Frame { message, body }) = frames.next()? {
        checker.message(message, body)?;
    }
    match checker.schema {
        Some(_) => Ok(frames.at),
        None => Err("it has no schema".to_owned()),
    }
}

/// One message: what it says, and the bytes that it speaks of.
struct Frame<'a> {
    message: ipc::Message<'a>,
    body: &'a [u8],
}

/// The messages of a stream.
struct Frames<'a> {
    body: &'a [u8],
    at: usize,
}

impl<'a> Frames<'a> {
    fn next(&mut self) -> Result<Option<Frame<'a>>, String> {
        if self.at == self.body.len() {
            return Ok(None);
        }
        let mut length = self.word()?;
        if length == CONTINUATION {
            length = self.word()?;
        }
        let length = u32::from_le_bytes(length);
        if length == 0 {
            return if self.at == self.body.len() { Ok(None) } else { Err("bytes follow its end".to_owned()) };
        }
        let metadata = self.take(u64::from(length))?;
        let message = ipc::root_as_message(metadata).map_err(|e| format!("a message is malformed: {e}"))?;
        let length = u64::try_from(message.bodyLength()).map_err(|_| "a body has a negative length".to_owned())?;
        Ok(Some(Frame { message, body: self.take(length)? }))
    }

    fn word(&mut self) -> Result<[u8; 4], String> {
        let word = self.take(4)?;
        Ok([word[0], word[1], word[2], word[3]])
    }

    fn take(&mut self, length: u64) -> Result<&'a [u8], String> {
        let rest = &self.body[self.at..];
        let length = usize::try_from(length).ok().filter(|length| *length <= rest.len()).ok_or("it is cut off")?;
        self.at += length;
        Ok(&rest[..length])
    }
}

#[derive(Default)]
struct Checker {
    schema: Option<Schema>,
    decompressed: u64,
    viewed: u64,
}

impl Checker {
    fn message(&mut self, message: ipc::Message<'_>, body: &[u8]) -> Result<(), String> {
        match message.header_type() {
            MessageHeader::Schema if self.schema.is_some() => Err("it has two schemas".to_owned()),
            MessageHeader::Schema => self.schema(message),
            MessageHeader::RecordBatch => {
                let schema = self.schema.as_ref().ok_or("a batch comes before the schema")?;
                let types: Vec<DataType> = schema.fields().iter().map(|field| field.data_type().clone()).collect();
                self.batch(message.header_as_record_batch().ok_or("a batch is empty")?, body, &types)
            }
            MessageHeader::DictionaryBatch => self.dictionary(message, body),
            other => Err(format!("it has a message of type {other:?}")),
        }
    }

    fn schema(&mut self, message: ipc::Message<'_>) -> Result<(), String> {
        let schema = message.header_as_schema().ok_or("the schema is empty")?;
        let columns = schema.fields().map_or(0, |fields| fields.len());
        if columns > COLUMNS_MAX {
            return Err(format!("it has {columns} columns, more than {COLUMNS_MAX}"));
        }
        let schema = fb_to_schema(schema);
        for field in schema.fields() {
            if !is_accepted(field.data_type()) {
                let name = schemas::time::clip(field.name());
                return Err(format!("column {name:?} has type {}, which is not accepted", field.data_type()));
            }
        }
        self.schema = Some(schema);
        Ok(())
    }

    fn dictionary(&mut self, message: ipc::Message<'_>, body: &[u8]) -> Result<(), String> {
        let dictionary = message.header_as_dictionary_batch().ok_or("a dictionary is empty")?;
        if dictionary.isDelta() {
            return Err("delta dictionaries are not accepted".to_owned());
        }
        let schema = self.schema.as_ref().ok_or("a dictionary comes before the schema")?;
        #[allow(deprecated, reason = "the stream decoder itself still finds dictionaries by these ids")]
        let fields = schema.fields_with_dict_id(dictionary.id());
        let Some(DataType::Dictionary(_, texts)) = fields.first().map(|field| field.data_type()) else {
            return Err("a dictionary belongs to no column".to_owned());
        };
        let types = [texts.as_ref().clone()];
        self.batch(dictionary.data().ok_or("a dictionary is empty")?, body, &types)
    }

    fn batch(&mut self, batch: ipc::RecordBatch<'_>, body: &[u8], types: &[DataType]) -> Result<(), String> {
        let nodes = batch.nodes().ok_or("a batch has no nodes")?;
        if nodes.iter().any(|node| node.length() < 0 || !(0..=node.length()).contains(&node.null_count())) {
            return Err("a column has an impossible length".to_owned());
        }
        let codec = batch.compression().map(|compression| compression.codec());
        let mut buffers = Vec::new();
        for buffer in batch.buffers().ok_or("a batch has no buffers")? {
            let bytes = slice(body, buffer).ok_or("a buffer lies outside of its message")?;
            if let (Some(codec), false) = (codec, bytes.is_empty()) {
                self.compressed(bytes, codec)?;
            }
            buffers.push(bytes);
        }
        if buffers.iter().map(|bytes| bytes.len()).sum::<usize>() > body.len() {
            return Err("buffers overlap".to_owned());
        }
        let views: Vec<i64> = batch.variadicBufferCounts().map(|counts| counts.iter().collect()).unwrap_or_default();
        self.views(types, &buffers, &views, codec.is_some())
    }

    fn compressed(&mut self, bytes: &[u8], codec: CompressionType) -> Result<(), String> {
        let (length, frame) = bytes.split_first_chunk::<8>().ok_or("a compressed buffer is too short")?;
        let length = match i64::from_le_bytes(*length) {
            -1 => return Ok(()),
            length => u64::try_from(length).map_err(|_| "a compressed buffer has a negative length")?,
        };
        self.decompressed = self.decompressed.saturating_add(length);
        if self.decompressed > EXPANDED_MAX {
            return Err(format!("it decompresses to more than {EXPANDED_MAX} bytes"));
        }
        // Zstd output is written into a buffer of the length told; LZ4 output is collected until the frame ends.
        if codec == CompressionType::LZ4_FRAME && length > 0 && lz4_may_exceed(frame, length) {
            return Err("a compressed buffer holds more than it says".to_owned());
        }
        Ok(())
    }

    /// Goes over the buffers in the order of the columns and sums up what text views show.
    fn views(&mut self, types: &[DataType], buffers: &[&[u8]], counts: &[i64], compressed: bool) -> Result<(), String> {
        let mut counts = counts.iter();
        let mut at = 0;
        for data_type in types {
            if *data_type != DataType::Utf8View {
                at += buffer_count(data_type);
                continue;
            }
            if compressed {
                return Err("compressed text views are not accepted: send Utf8, or no compression".to_owned());
            }
            let count = counts.next().and_then(|n| usize::try_from(*n).ok()).filter(|n| *n <= buffers.len());
            let views = buffers.get(at + 1).ok_or("a buffer is missing")?;
            let lengths =
                views.chunks_exact(16).map(|view| u64::from(u32::from_le_bytes([view[0], view[1], view[2], view[3]])));
            self.viewed = self.viewed.saturating_add(lengths.sum());
            if self.viewed > EXPANDED_MAX {
                return Err(format!("its text views show more than {EXPANDED_MAX} bytes"));
            }
            at += 2 + count.ok_or("a column of text views does not tell its buffers")?;
        }
        if counts.next().is_some() {
            return Err("it counts buffers of text views that it does not have".to_owned());
        }
        Ok(())
    }
}

fn slice<'a>(body: &'a [u8], buffer: &ipc::Buffer) -> Option<&'a [u8]> {
    let start = usize::try_from(buffer.offset()).ok()?;
    let length = usize::try_from(buffer.length()).ok()?;
    body.get(start..start.checked_add(length)?)
}

/// Flat columns, dictionaries of text, and maps of text: all that a reading needs, and all that [`Checker::views`] can
/// walk. Columns of other flat types are ignored later.
fn is_accepted(data_type: &DataType) -> bool {
    match data_type {
        DataType::Dictionary(_, values) => is_text(values),
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(fields) => {
                fields.len() == 2
                    && fields.iter().all(|f| matches!(f.data_type(), DataType::Utf8 | DataType::LargeUtf8))
            }
            _ => false,
        },
        DataType::Null | DataType::Boolean | DataType::Binary | DataType::LargeBinary => true,
        flat => is_text(flat) || flat.is_primitive(),
    }
}

fn is_text(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
}

/// How many buffers a column of this accepted type has; text views have a number of their own.
fn buffer_count(data_type: &DataType) -> usize {
    match data_type {
        DataType::Null => 0,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Binary | DataType::LargeBinary => 3,
        // Validity and offsets; validity of the entries; keys and values of three buffers each.
        DataType::Map(..) => 2 + 1 + 3 + 3,
        _ => 2,
    }
}

/// Whether this LZ4 frame may decompress to a block or more above the length it is said to have, by its block headers.
fn lz4_may_exceed(frame: &[u8], length: u64) -> bool {
    const CHECKSUM: usize = 4;
    const UNCOMPRESSED: u32 = 1 << 31;
    let &[_, _, _, _, flags, descriptor, ..] = frame else { return false };
    let block_max: u64 = match (descriptor >> 4) & 7 {
        4 => 64 << 10,
        5 => 256 << 10,
        6 => 1 << 20,
        _ => 4 << 20,
    };
    let content_size = if flags & 0x08 != 0 { 8 } else { 0 };
    let dictionary = if flags & 0x01 != 0 { 4 } else { 0 };
    let block_checksum = if flags & 0x10 != 0 { CHECKSUM } else { 0 };
    let mut rest = frame.get(4 + 2 + content_size + dictionary + 1..).unwrap_or_default();
    let mut blocks = 0;
    while let Some((header, after)) = rest.split_first_chunk::<4>() {
        let size = u32::from_le_bytes(*header);
        if size == 0 {
            break;
        }
        blocks += 1;
        rest = after.get((size & !UNCOMPRESSED) as usize + block_checksum..).unwrap_or_default();
    }
    blocks > length / block_max + 1
}
