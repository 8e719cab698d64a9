//! The columns under construction: series found so far, good rows, refused rows.
//!
//! Owns the numbering of series within one body and the bounds on what one body may make us remember. Does not own
//! naming rules. A series is checked and spelled out once per body; afterwards its raw spelling is looked up.

use std::borrow::Cow;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use schemas::SeriesKey;
use schemas::limits::Limits;
use schemas::series::DEVICE_TAG;
use schemas::time::clip;

use super::{Decoded, MAX_ERRORS, RowError};
use crate::spellings::{SeriesRef, Spelled, Spellings};

/// A map of this module's neighbours: fast, seeded anew in every map.
pub(super) type Map<K, V> = HashMap<K, V, RandomState>;

/// A tag's name and value.
pub(super) type Tag<'a> = (Cow<'a, str>, Cow<'a, str>);

/// Most bytes of series keys that one body may spell out. Line protocol repeats a line's tags in the key of every
/// field, so that a small body could otherwise name gigabytes of keys.
const KEY_BYTES_MAX: usize = 256 << 20;

/// What a spelling in parts begins with: no good line of line protocol does, as names hold no control characters.
const IN_PARTS: u8 = 0;

/// Collects the rows of one body.
pub(super) struct Rows<'k> {
    spellings: &'k Spellings,
    /// What the sender may write; `None`: everything.
    limits: Option<&'k Limits>,
    decoded: Decoded,
    by_key: Map<SeriesKey, u32>,
    by_spelling: Map<Box<[u8]>, SeriesRef>,
    spelling: Vec<u8>,
    key_bytes: usize,
}

impl<'k> Rows<'k> {
    /// No rows yet; series may be known by their spelling.
    pub(super) fn new(spellings: &'k Spellings) -> Self {
        Self {
            spellings,
            limits: None,
            decoded: Decoded::default(),
            by_key: Map::default(),
            by_spelling: Map::default(),
            spelling: Vec::new(),
            key_bytes: 0,
        }
    }

    /// The same where only series within these limits are taken. None may be known by its spelling: it would not be asked
    /// about.
    pub(super) fn within(spellings: &'k Spellings, limits: &'k Limits) -> Self {
        Self { limits: Some(limits), ..Self::new(spellings) }
    }

    /// How many good rows there are so far.
    pub(super) fn len(&self) -> usize {
        self.decoded.series.len()
    }

    /// Adds a good row of a series that is known or was numbered before.
    pub(super) fn push(&mut self, series: impl Into<SeriesRef>, time: i64, value: f64) {
        self.decoded.series.push(series.into());
        self.decoded.times.push(time);
        self.decoded.values.push(value);
    }

    /// Takes back all rows after the first `len`.
    pub(super) fn truncate(&mut self, len: usize) {
        self.decoded.series.truncate(len);
        self.decoded.times.truncate(len);
        self.decoded.values.truncate(len);
    }

    /// Counts string fields that are no readings.
    pub(super) fn skip(&mut self, fields: u64) {
        self.decoded.skipped += fields;
    }

    /// Refuses a row; the error is made only if it will be told.
    pub(super) fn reject(&mut self, error: impl FnOnce() -> RowError) {
        self.decoded.rejected += 1;
        if self.decoded.errors.len() < MAX_ERRORS {
            self.decoded.errors.push(error());
        }
    }

    /// The series with this metric, device (empty: none) and tags.
    pub(super) fn series(&mut self, metric: &str, device: &str, tags: &[Tag<'_>]) -> Result<SeriesRef, String> {
        self.spelling.clear();
        self.spelling.push(IN_PARTS);
        for part in [metric, device].into_iter().chain(tags.iter().flat_map(|(name, value)| [&**name, &**value])) {
            self.spelling.extend_from_slice(&part.len().to_le_bytes());
            self.spelling.extend_from_slice(part.as_bytes());
        }
        if let Some(&series) = self.by_spelling.get(self.spelling.as_slice()) {
            return Ok(series);
        }
        let known = self.spellings.known().fields(&self.spelling).series(b"");
        let series = match known {
            Some(id) => SeriesRef::known(id),
            None => {
                let number = self.new_series(metric, &with_device(device, tags)?)?;
                self.decoded.spelled.push(Spelled {
                    prefix: self.spelling.as_slice().into(),
                    field: Box::default(),
                    key: number,
                });
                SeriesRef::new(number)
            }
        };
        self.by_spelling.insert(self.spelling.as_slice().into(), series);
        Ok(series)
    }

    /// The number of the series with this metric and these tags, spelled out anew.
    pub(super) fn new_series(&mut self, metric: &str, tags: &[(&str, &str)]) -> Result<u32, String> {
        let key = SeriesKey::new(metric, tags).map_err(|e| e.to_string())?;
        if self.limits.is_some_and(|limits| !limits.hold(&key)) {
            self.decoded.forbidden += 1;
            return Err(format!("this token does not allow to write {:?}", clip(key.text())));
        }
        self.key_bytes += key.text().len();
        if self.key_bytes > KEY_BYTES_MAX {
            return Err(format!(
                "the body spells out more than {KEY_BYTES_MAX} bytes of series keys: send it in parts"
            ));
        }
        let next = u32::try_from(self.decoded.keys.len()).map_err(|_| "the body has too many series".to_owned())?;
        let keys = &mut self.decoded.keys;
        Ok(*self.by_key.entry(key).or_insert_with_key(|key| {
            keys.push(key.clone());
            next
        }))
    }

    /// Remembers how the series of this number is spelled.
    pub(super) fn spelled(&mut self, prefix: &[u8], field: &[u8], key: u32) {
        self.decoded.spelled.push(Spelled { prefix: prefix.into(), field: field.into(), key });
    }

    /// What was collected. Series that only refused rows named are forgotten.
    pub(super) fn finish(mut self) -> Decoded {
        if self.decoded.rejected > 0 {
            forget_unused(&mut self.decoded);
        }
        self.decoded
    }
}

/// The tags together with the device, each name once.
fn with_device<'a>(device: &'a str, tags: &'a [Tag<'_>]) -> Result<Vec<(&'a str, &'a str)>, String> {
    let mut all: Vec<(&str, &str)> = tags.iter().map(|(name, value)| (&**name, &**value)).collect();
    all.sort_unstable();
    if let Some(pair) = all.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        return Err(format!("tag {:?} stands twice", clip(pair[0].0)));
    }
    if device.is_empty() {
        return Ok(all);
    }
    match all.iter_mut().find(|(name, _)| *name == DEVICE_TAG) {
        None => all.push((DEVICE_TAG, device)),
        Some((_, tagged)) if tagged.is_empty() => *tagged = device,
        Some((_, tagged)) if *tagged == device => {}
        Some((_, tagged)) => {
            return Err(format!("device_id is {:?}, but the tag device_id is {:?}", clip(device), clip(tagged)));
        }
    }
    Ok(all)
}

fn forget_unused(decoded: &mut Decoded) {
    let mut used = vec![false; decoded.keys.len()];
    for number in decoded.series.iter().filter_map(|series| series.number()) {
        used[number as usize] = true;
    }
    if used.iter().all(|used| *used) {
        return;
    }
    let mut kept = 0;
    let renumbered: Vec<u32> = used
        .iter()
        .map(|used| {
            let number = kept;
            kept += u32::from(*used);
            number
        })
        .collect();
    decoded.spelled.retain(|spelled| used[spelled.key as usize]);
    decoded.spelled.iter_mut().for_each(|spelled| spelled.key = renumbered[spelled.key as usize]);
    let mut used = used.into_iter();
    decoded.keys.retain(|_| used.next().unwrap_or(false));
    for series in &mut decoded.series {
        if let Some(number) = series.number() {
            *series = SeriesRef::new(renumbered[number as usize]);
        }
    }
}
