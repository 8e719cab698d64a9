//! Columns of integers in as few whole bytes each as they need: what is written to disk is copied, checked and synced.
//!
//! A column is its least number, the unit of the distances from it, and these distances in 0, 1, 2, 4 or 8 bytes.
//! Owns this form. Does not own which columns there are (frame).
//!
//! ```text
//! least i64 | unit u32 | width u8 | distances, little endian
//! ```

use super::frame::Reader;

/// Bytes before the distances.
pub(super) const COLUMN_HEADER: usize = 13;
/// Nanoseconds of a millisecond and of a microsecond: the units that senders count in. Dividing by a constant is
/// multiplying, so each has code of its own.
const MILLISECOND: u32 = 1_000_000;
const MICROSECOND: u32 = 1_000;

/// Appends numbers of which nothing is known.
pub(super) fn encode(numbers: impl Iterator<Item = i64> + Clone, out: &mut Vec<u8>) {
    Distances::of(numbers).encode::<1>(out);
}

/// Appends instants in nanoseconds, which mostly are whole milliseconds.
pub(super) fn encode_times(times: &[i64], out: &mut Vec<u8>) {
    let distances = Distances::of(times.iter().copied());
    if distances.are_whole::<MILLISECOND>() {
        distances.encode::<MILLISECOND>(out);
    } else if distances.are_whole::<MICROSECOND>() {
        distances.encode::<MICROSECOND>(out);
    } else {
        distances.encode::<1>(out);
    }
}

/// Numbers as distances from the least of them.
struct Distances<N> {
    numbers: N,
    least: i64,
    greatest: i64,
}

impl<N: Iterator<Item = i64> + Clone> Distances<N> {
    fn of(numbers: N) -> Self {
        let (least, greatest) = numbers.clone().fold((i64::MAX, i64::MIN), |(a, b), n| (a.min(n), b.max(n)));
        Self { numbers, least: least.min(greatest), greatest }
    }

    /// Two's complement: a distance is right even where the difference of the two is too large for an i64.
    fn each(&self) -> impl Iterator<Item = u64> + use<N> {
        let (numbers, least) = (self.numbers.clone(), self.least);
        numbers.map(move |n| n.wrapping_sub(least) as u64)
    }

    fn are_whole<const UNIT: u32>(&self) -> bool {
        self.each().all(|d| d.is_multiple_of(u64::from(UNIT)))
    }

    fn encode<const UNIT: u32>(&self, out: &mut Vec<u8>) {
        let span = (self.greatest.wrapping_sub(self.least) as u64) / u64::from(UNIT);
        out.extend_from_slice(&self.least.to_le_bytes());
        out.extend_from_slice(&UNIT.to_le_bytes());
        let steps = self.each().map(|d| d / u64::from(UNIT));
        match span {
            0 => out.push(0),
            1..=0xff => push(out, 1, steps.map(|s| [s as u8])),
            0x100..=0xffff => push(out, 2, steps.map(|s| (s as u16).to_le_bytes())),
            0x1_0000..=0xffff_ffff => push(out, 4, steps.map(|s| (s as u32).to_le_bytes())),
            _ => push(out, 8, steps.map(u64::to_le_bytes)),
        }
    }
}

fn push<const WIDTH: usize>(out: &mut Vec<u8>, width: u8, steps: impl Iterator<Item = [u8; WIDTH]>) {
    out.push(width);
    out.extend(steps.flatten());
}

/// Takes a column of so many numbers off the front of bytes.
pub(super) fn decode(reader: &mut Reader<'_>, rows: usize) -> Result<Vec<i64>, String> {
    let least = reader.i64()?;
    let unit = i64::from(reader.u32()?);
    match reader.take(1)?[0] {
        0 => Ok(vec![least; rows]),
        1 => numbers(reader, rows, (least, unit), |[a]| u64::from(a)),
        2 => numbers(reader, rows, (least, unit), |bytes| u64::from(u16::from_le_bytes(bytes))),
        4 => numbers(reader, rows, (least, unit), |bytes| u64::from(u32::from_le_bytes(bytes))),
        8 => numbers(reader, rows, (least, unit), u64::from_le_bytes),
        other => Err(format!("a column of {other} bytes a number")),
    }
}

fn numbers<const WIDTH: usize>(
    reader: &mut Reader<'_>,
    rows: usize,
    (least, unit): (i64, i64),
    step: impl Fn([u8; WIDTH]) -> u64,
) -> Result<Vec<i64>, String> {
    let bytes = reader.take(rows.checked_mul(WIDTH).ok_or("too many rows")?)?;
    let number = |bytes: &[u8; WIDTH]| least.wrapping_add((step(*bytes) as i64).wrapping_mul(unit));
    Ok(bytes.as_chunks::<WIDTH>().0.iter().map(number).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(numbers: &[i64], width: usize) {
        let mut bytes = Vec::new();
        encode_times(numbers, &mut bytes);
        assert_eq!(bytes.len(), COLUMN_HEADER + numbers.len() * width);
        let mut reader = Reader(&bytes);
        assert_eq!(decode(&mut reader, numbers.len()).as_deref(), Ok(numbers));
        assert!(reader.0.is_empty());
        let mut plain = Vec::new();
        encode(numbers.iter().copied(), &mut plain);
        assert_eq!(decode(&mut Reader(&plain), numbers.len()).as_deref(), Ok(numbers));
    }

    #[test]
    fn columns_read_back_and_are_as_narrow_as_they_can_be() {
        check(&[], 0);
        check(&[7], 0);
        check(&[i64::MIN, i64::MIN], 0);
        check(&[5, 260], 1);
        check(&[5, 261], 2);
        check(&[-1, 0xffff - 1], 2);
        check(&[0, 0x1_0000], 4);
        check(&[0, 0xffff_ffff], 4);
        check(&[0, 0x1_0000_0000], 8);
        check(&[i64::MAX, i64::MIN, 0], 8);
        let start = 1_700_000_000_123_000_000;
        check(&[start, start + 255_000_000, start + 7_000_000], 1);
        check(&[start, start + 1_000, start + 3_000_000], 2);
        check(&[start, start + 86_400_000_000_000], 4);
    }

    #[test]
    fn unknown_widths_and_short_columns_are_refused() {
        let mut bytes = Vec::new();
        encode([1, 300].into_iter(), &mut bytes);
        assert!(decode(&mut Reader(&bytes[..bytes.len() - 1]), 2).is_err());
        assert!(decode(&mut Reader(&bytes), usize::MAX).is_err());
        bytes[COLUMN_HEADER - 1] = 3;
        assert!(decode(&mut Reader(&bytes), 2).is_err());
    }
}
