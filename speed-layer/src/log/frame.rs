//! A frame: one accepted batch in columns, with its checksum.
//!
//! ```text
//! payload = version, arrival time, definitions, rows; metric numbers, ordinals and event times (packed); values
//! ```

use schemas::{ArrivalTime, Batch, SeriesId, SeriesKey};

use super::packed::{self, COLUMN_HEADER};

/// The version that is written.
const VERSION: u8 = 2;
/// The version before: series and event times as plain numbers of eight bytes.
const PLAIN: u8 = 1;
/// Bytes before the payload: length and CRC.
pub(super) const FRAME_HEADER: usize = 8;
/// Longest payload that is believed when read.
pub(super) const PAYLOAD_MAX: usize = 1 << 30;

/// An accepted batch and when it arrived.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Frame {
    /// When Weir accepted it.
    pub(crate) arrival: ArrivalTime,
    /// Its readings.
    pub(crate) batch: Batch,
}

impl Frame {
    /// Appends length, CRC and payload.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&[0; FRAME_HEADER]);
        out.push(VERSION);
        out.extend_from_slice(&self.arrival.0.to_le_bytes());
        push_len(out, self.batch.definitions.len());
        for (id, key) in &self.batch.definitions {
            out.extend_from_slice(&id.0.to_le_bytes());
            push_len(out, key.text().len());
            out.extend_from_slice(key.text().as_bytes());
        }
        push_len(out, self.batch.len());
        packed::encode(self.batch.series.iter().map(|id| i64::from(id.metric())), out);
        packed::encode(self.batch.series.iter().map(|id| i64::from(id.ordinal())), out);
        packed::encode_times(&self.batch.times, out);
        out.extend(self.batch.values.iter().flat_map(|v| v.to_le_bytes()));
        let payload = &out[start + FRAME_HEADER..];
        let (len, crc) = (u32::try_from(payload.len()).expect("bounded by PAYLOAD_MAX"), crc32fast::hash(payload));
        out[start..start + 4].copy_from_slice(&len.to_le_bytes());
        out[start + 4..start + 8].copy_from_slice(&crc.to_le_bytes());
    }

    /// How many bytes [`Self::encode`] appends at most.
    pub(super) fn encoded_len_max(&self) -> usize {
        let definitions: usize = self.batch.definitions.iter().map(|(_, key)| 12 + key.text().len()).sum();
        FRAME_HEADER + 17 + definitions + 3 * COLUMN_HEADER + 24 * self.batch.len()
    }

    /// The first frame of `bytes`, and what follows it.
    pub(crate) fn decode(bytes: &[u8]) -> Result<(Self, &[u8]), String> {
        let mut header = Reader(bytes);
        let (len, crc) = (header.len()?, header.u32()?);
        if len > PAYLOAD_MAX {
            return Err(format!("a frame of {len} bytes"));
        }
        let payload = header.take(len)?;
        if crc32fast::hash(payload) != crc {
            return Err("the frame's checksum does not match".to_owned());
        }
        Ok((Self::decode_payload(payload)?, header.0))
    }

    /// The frame of a payload whose checksum matched.
    pub(crate) fn decode_payload(payload: &[u8]) -> Result<Self, String> {
        let mut reader = Reader(payload);
        let version = reader.take(1)?[0];
        let arrival = ArrivalTime(reader.i64()?);
        let mut definitions = Vec::new();
        for _ in 0..reader.len()? {
            let id = SeriesId(reader.u64()?);
            let len = reader.len()?;
            let text = std::str::from_utf8(reader.take(len)?).map_err(|_| "a series name is not UTF-8".to_owned())?;
            definitions.push((id, SeriesKey::parse(text).map_err(|e| e.to_string())?));
        }
        let rows = reader.len()?;
        // Packed columns of equal numbers take no bytes, but each row has a value of eight.
        if rows > reader.0.len() / 8 {
            return Err(format!("{rows} rows in {} bytes", reader.0.len()));
        }
        let (series, times) = match version {
            PLAIN => (
                words(&mut reader, rows)?.map(|w| SeriesId(u64::from_le_bytes(w))).collect(),
                instants(&mut reader, rows)?,
            ),
            VERSION => (series(&mut reader, rows)?, packed::decode(&mut reader, rows)?),
            other => return Err(format!("unknown frame version {other}")),
        };
        let values = words(&mut reader, rows)?.map(f64::from_le_bytes).collect();
        if !reader.0.is_empty() {
            return Err("bytes follow the last column".to_owned());
        }
        Ok(Self { arrival, batch: Batch { definitions, series, times, values } })
    }
}

fn push_len(out: &mut Vec<u8>, len: usize) {
    out.extend_from_slice(&u32::try_from(len).expect("bounded by PAYLOAD_MAX").to_le_bytes());
}

fn words<'a>(reader: &mut Reader<'a>, rows: usize) -> Result<impl Iterator<Item = [u8; 8]> + use<'a>, String> {
    let bytes = reader.take(rows.checked_mul(8).ok_or("too many rows")?)?;
    Ok(bytes.as_chunks::<8>().0.iter().copied())
}

fn instants(reader: &mut Reader<'_>, rows: usize) -> Result<Vec<i64>, String> {
    Ok(words(reader, rows)?.map(i64::from_le_bytes).collect())
}

fn series(reader: &mut Reader<'_>, rows: usize) -> Result<Vec<SeriesId>, String> {
    let (metrics, ordinals) = (packed::decode(reader, rows)?, packed::decode(reader, rows)?);
    let number = |n: i64| u32::try_from(n).map_err(|_| "a series number is too large".to_owned());
    metrics.into_iter().zip(ordinals).map(|(m, o)| Ok(SeriesId::new(number(m)?, number(o)?))).collect()
}

/// Takes values off the front of bytes.
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn take(&mut self, n: usize) -> Result<&'a [u8], String> {
        let (taken, rest) = self.0.split_at_checked(n).ok_or("it ends too early")?;
        self.0 = rest;
        Ok(taken)
    }

    pub(super) fn u32(&mut self) -> Result<u32, String> {
        let bytes = self.take(4)?;
        Ok(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }

    pub(super) fn u64(&mut self) -> Result<u64, String> {
        Ok(u64::from_le_bytes(self.take(8)?.try_into().expect("eight bytes were taken")))
    }

    pub(super) fn i64(&mut self) -> Result<i64, String> {
        Ok(i64::from_le_bytes(self.take(8)?.try_into().expect("eight bytes were taken")))
    }

    fn len(&mut self) -> Result<usize, String> {
        Ok(self.u32()? as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame() -> Frame {
        let key = SeriesKey::parse("t{device_id=\"d\"}").expect("valid");
        let series = vec![SeriesId(1), SeriesId(1 << 32)];
        let batch =
            Batch { definitions: vec![(SeriesId(1), key)], series, times: vec![-5, 7], values: vec![1.5, -0.0] };
        Frame { arrival: ArrivalTime(99), batch }
    }

    #[test]
    fn frames_read_back() {
        let mut bytes = Vec::new();
        frame().encode(&mut bytes);
        assert!(bytes.len() <= frame().encoded_len_max());
        bytes.extend_from_slice(b"next");
        let (decoded, rest) = Frame::decode(&bytes).expect("own bytes");
        assert_eq!((decoded, rest), (frame(), b"next".as_slice()));
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_noticed() {
        let mut bytes = Vec::new();
        frame().encode(&mut bytes);
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(Frame::decode(&flipped).is_err(), "bit {bit}");
        }
        for len in 0..bytes.len() {
            assert!(Frame::decode(&bytes[..len]).is_err(), "cut at {len}");
        }
    }

    /// Found by fuzzing: a payload of sixty bytes had gigabytes set aside.
    #[test]
    fn rows_without_values_are_refused_before_they_take_memory() {
        let (rows, columns) = ((1_u32 << 20).to_le_bytes(), [0; 3 * COLUMN_HEADER]);
        let payload = [&[VERSION][..], &[0; 12], &rows, &columns].concat();
        let refused = Frame::decode_payload(&payload).expect_err("there are no values");
        assert!(refused.contains("rows in"), "{refused}");
    }

    /// Pins the format: these bytes must decode for ever.
    #[test]
    fn the_format_is_pinned() {
        let mut bytes = Vec::new();
        frame().encode(&mut bytes);
        assert_eq!(crc32fast::hash(&bytes), 0x8632_14b6);
    }

    #[test]
    fn frames_of_the_version_before_are_read() {
        let hex = "5d00000046690e5201630000000000000001000000010000000000000010000000747b6465766963655f69643d2264227d\
                   0200000001000000000000000000000001000000fbffffffffffffff0700000000000000000000000000f83f00000000\
                   00000080";
        let byte = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).expect("hexadecimal");
        let bytes: Vec<u8> = (0..hex.len()).step_by(2).map(byte).collect();
        let (decoded, rest) = Frame::decode(&bytes).expect("written once");
        assert_eq!((decoded, rest), (frame(), &[][..]));
    }
}
