//! Spellings: how senders write down the series that are known, so that a usual line is one look-up.
//!
//! Owns the map from the raw bytes of line protocol (measurement with tags, field) to ids. Does **not** own which
//! series there are (registry): a spelling is only learned of a series whose definition is durable, and may be
//! forgotten at any time.
//!
//! SPL-1: a spelling means one series for ever, because series are never renamed; so a look-up needs no other check.

use std::sync::{PoisonError, RwLock, RwLockReadGuard};

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use schemas::SeriesId;

/// Bytes of spellings that are remembered; beyond them all are forgotten, and learned anew as they come.
const BYTES_MAX: usize = 256 << 20;
/// Most fields that are remembered behind one prefix: they are searched one by one when they come out of order.
const FIELDS_MAX: usize = 256;
/// What an entry takes beside its text, about.
const ENTRY_BYTES: usize = 64;

/// A series as rows name it: one that is known, or one of the keys that come with the rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SeriesRef(u64);

/// Marks a key that comes with the rows: numbers of metrics have 31 bits.
const NEW: u64 = 1 << 63;

impl SeriesRef {
    /// The `n`-th of the keys that come with the rows.
    pub const fn new(n: u32) -> Self {
        Self(NEW | n as u64)
    }

    /// A series that is known and durable.
    pub(crate) const fn known(id: SeriesId) -> Self {
        Self(id.0)
    }

    /// Which of the keys that come with the rows; `None` of a known series.
    pub const fn number(self) -> Option<u32> {
        if self.0 & NEW == 0 { None } else { Some((self.0 & 0xffff_ffff) as u32) }
    }

    /// The id, where `ids` are those of the keys that come with the rows.
    pub(crate) fn id(self, ids: &[SeriesId]) -> SeriesId {
        self.number().map_or(SeriesId(self.0), |n| ids[n as usize])
    }
}

impl From<u32> for SeriesRef {
    fn from(n: u32) -> Self {
        Self::new(n)
    }
}

/// A spelling that was not known, and which of the body's keys it means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spelled {
    /// Measurement and tags, as sent.
    pub(crate) prefix: Box<[u8]>,
    /// The field's name, as sent.
    pub(crate) field: Box<[u8]>,
    /// The key's number.
    pub(crate) key: u32,
}

#[derive(Debug)]
struct Field {
    name: Box<[u8]>,
    id: SeriesId,
}

#[derive(Debug, Default)]
struct Inner {
    prefixes: HashMap<Box<[u8]>, Vec<Field>, RandomState>,
    bytes: usize,
}

/// All spellings known, shared by all who decode.
#[derive(Debug, Default)]
pub(crate) struct Spellings {
    // One lock: readers take it for some thousand lines at a time, so that a writer never waits long.
    inner: RwLock<Inner>,
}

impl Spellings {
    /// The spellings as they are, to be held for a short while.
    pub(crate) fn known(&self) -> Known<'_> {
        Known(self.inner.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Remembers spellings; `ids` are those of the body's keys, all durable.
    pub(crate) fn learn(&self, spelled: Vec<Spelled>, ids: &[SeriesId]) {
        if spelled.is_empty() {
            return;
        }
        let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        for Spelled { prefix, field, key } in spelled {
            inner.learn(prefix, field, ids[key as usize]);
        }
    }
}

impl Inner {
    fn learn(&mut self, prefix: Box<[u8]>, name: Box<[u8]>, id: SeriesId) {
        if self.bytes > BYTES_MAX {
            *self = Self::default();
        }
        let size = prefix.len() + name.len() + ENTRY_BYTES;
        let fields = self.prefixes.entry(prefix).or_default();
        if fields.len() < FIELDS_MAX && fields.iter().all(|field| field.name != name) {
            self.bytes += size;
            fields.push(Field { name, id });
        }
    }
}

/// Spellings under a lock.
pub(crate) struct Known<'a>(RwLockReadGuard<'a, Inner>);

impl Known<'_> {
    /// The fields known behind this measurement and these tags.
    pub(crate) fn fields(&self, prefix: &[u8]) -> Fields<'_> {
        Fields { fields: self.0.prefixes.get(prefix).map_or(&[], Vec::as_slice), next: 0 }
    }
}

/// The fields of one line, which usually come in the order in which they were learned.
pub(crate) struct Fields<'a> {
    fields: &'a [Field],
    next: usize,
}

impl Fields<'_> {
    /// The series of this field.
    pub(crate) fn series(&mut self, name: &[u8]) -> Option<SeriesId> {
        let expected = self.fields.get(self.next).is_some_and(|field| *field.name == *name);
        let at = if expected { self.next } else { self.fields.iter().position(|field| *field.name == *name)? };
        self.next = at + 1;
        Some(self.fields[at].id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spelled(prefix: &str, field: &str, key: u32) -> Spelled {
        Spelled { prefix: prefix.as_bytes().into(), field: field.as_bytes().into(), key }
    }

    #[test]
    fn what_was_learned_is_known_in_any_order() {
        let spellings = Spellings::default();
        assert_eq!(spellings.known().fields(b"m,a=1").series(b"x"), None);
        let ids = [SeriesId::new(0, 0), SeriesId::new(1, 0)];
        spellings.learn(vec![spelled("m,a=1", "x", 0), spelled("m,a=1", "y", 1), spelled("m,a=1", "x", 0)], &ids);
        let known = spellings.known();
        let mut fields = known.fields(b"m,a=1");
        assert_eq!([fields.series(b"x"), fields.series(b"y")], [Some(ids[0]), Some(ids[1])]);
        assert_eq!([fields.series(b"x"), fields.series(b"z")], [Some(ids[0]), None]);
        assert_eq!(known.fields(b"m,a=2").series(b"x"), None);
    }

    #[test]
    fn references_are_told_apart() {
        let ids = [SeriesId::new(7, 9)];
        assert_eq!(SeriesRef::new(0).id(&ids), ids[0]);
        assert_eq!(SeriesRef::known(SeriesId::new(3, u32::MAX)).id(&ids), SeriesId::new(3, u32::MAX));
        assert_eq!((SeriesRef::new(u32::MAX).number(), SeriesRef::known(ids[0]).number()), (Some(u32::MAX), None));
    }
}
