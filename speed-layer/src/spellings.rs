//! Spellings: how senders write down the series that are known, so that a usual line is one look-up.
//!
//! Owns the map from the raw bytes of line protocol (measurement with tags, field) to ids, and from the parts that other
//! forms name a series by (no field). Does **not** own which
//! series there are (registry): a spelling is only learned of a series whose definition is durable, and may be
//! forgotten at any time.
//!
//! Senders mostly write their lines in the same order again and again, so what followed a prefix the last time is tried
//! first: then nothing is searched and nothing hashed.
//!
//! SPL-1: a spelling means one series for ever, because series are never renamed; so a look-up needs no other check.

use std::hash::BuildHasher as _;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard};

use foldhash::fast::RandomState;
use hashbrown::HashTable;
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

/// Measurement and tags as they are written, and the fields known behind them.
#[derive(Debug)]
struct Prefix {
    text: Box<[u8]>,
    fields: Vec<Field>,
    /// The number of the prefix that came on the next line, when last looked at. Only a guess, so any order of memory
    /// will do.
    next: AtomicU32,
}

/// No prefix.
const NONE: u32 = u32::MAX;

#[derive(Debug, Default)]
struct Inner {
    prefixes: Vec<Prefix>,
    /// Numbers of prefixes, by their text.
    numbers: HashTable<u32>,
    hasher: RandomState,
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
        Known { inner: self.inner.read().unwrap_or_else(PoisonError::into_inner), last: NONE }
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
    fn find(&self, text: &[u8]) -> Option<u32> {
        let same = |number: &u32| *self.prefixes[*number as usize].text == *text;
        self.numbers.find(self.hasher.hash_one(text), same).copied()
    }

    fn learn(&mut self, text: Box<[u8]>, name: Box<[u8]>, id: SeriesId) {
        if self.bytes > BYTES_MAX {
            *self = Self::default();
        }
        let size = text.len() + name.len() + ENTRY_BYTES;
        let number = self.find(&text).unwrap_or_else(|| self.add(text));
        let fields = &mut self.prefixes[number as usize].fields;
        if fields.len() < FIELDS_MAX && fields.iter().all(|field| field.name != name) {
            self.bytes += size;
            fields.push(Field { name, id });
        }
    }

    fn add(&mut self, text: Box<[u8]>) -> u32 {
        let number = u32::try_from(self.prefixes.len()).expect("bounded by BYTES_MAX");
        let Self { prefixes, numbers, hasher, .. } = self;
        let hash = hasher.hash_one(&*text);
        prefixes.push(Prefix { text, fields: Vec::new(), next: AtomicU32::new(NONE) });
        numbers.insert_unique(hash, number, |number| hasher.hash_one(&*prefixes[*number as usize].text));
        number
    }
}

/// Spellings under a lock, read line by line.
pub(crate) struct Known<'a> {
    inner: RwLockReadGuard<'a, Inner>,
    /// The prefix of the last line that had a known one.
    last: u32,
}

impl Known<'_> {
    /// The measurement and tags that the next line will probably have.
    pub(crate) fn expected(&self) -> Option<&[u8]> {
        let next = self.prefix(self.prefix(self.last)?.next.load(Ordering::Relaxed))?;
        Some(&next.text)
    }

    /// The fields known behind this measurement and these tags, which are those of the next line.
    pub(crate) fn fields(&mut self, text: &[u8]) -> Fields<'_> {
        let last = self.prefix(self.last);
        let expected = last.map_or(NONE, |last| last.next.load(Ordering::Relaxed));
        let number = match self.prefix(expected) {
            Some(prefix) if *prefix.text == *text => expected,
            _ => {
                let Some(number) = self.inner.find(text) else { return Fields { fields: &[], next: 0 } };
                if let Some(last) = last {
                    last.next.store(number, Ordering::Relaxed);
                }
                number
            }
        };
        self.last = number;
        Fields { fields: &self.inner.prefixes[number as usize].fields, next: 0 }
    }

    fn prefix(&self, number: u32) -> Option<&Prefix> {
        self.inner.prefixes.get(number as usize)
    }
}

/// The fields of one line, which usually come in the order in which they were learned.
pub(crate) struct Fields<'a> {
    fields: &'a [Field],
    next: usize,
}

impl Fields<'_> {
    /// The name of the field that will probably come next.
    pub(crate) fn expected(&self) -> Option<&[u8]> {
        self.fields.get(self.next).map(|field| &*field.name)
    }

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
        let mut known = spellings.known();
        let mut fields = known.fields(b"m,a=1");
        assert_eq!(fields.expected(), Some(b"x".as_slice()));
        assert_eq!([fields.series(b"x"), fields.series(b"y")], [Some(ids[0]), Some(ids[1])]);
        assert_eq!([fields.series(b"x"), fields.series(b"z")], [Some(ids[0]), None]);
        assert_eq!(known.fields(b"m,a=2").series(b"x"), None);
    }

    #[test]
    fn what_came_next_is_expected_next() {
        let spellings = Spellings::default();
        let ids = [SeriesId::new(0, 0), SeriesId::new(0, 1), SeriesId::new(0, 2)];
        spellings.learn(vec![spelled("a", "x", 0), spelled("b", "x", 1), spelled("c", "x", 2)], &ids);
        let read = |known: &mut Known<'_>, prefix: &str| known.fields(prefix.as_bytes()).series(b"x");
        let mut known = spellings.known();
        assert_eq!(known.expected(), None);
        assert_eq!(
            ["a", "c", "unknown", "b"].map(|prefix| read(&mut known, prefix)),
            [Some(ids[0]), Some(ids[2]), None, Some(ids[1])]
        );
        let mut known = spellings.known();
        for (prefix, next) in [("a", Some("c")), ("c", Some("b")), ("b", None)] {
            assert!(read(&mut known, prefix).is_some());
            assert_eq!(known.expected(), next.map(str::as_bytes), "after {prefix}");
        }
        // Another order is learned in its place.
        read(&mut known, "a");
        assert_eq!(read(&mut known, "b"), Some(ids[1]));
        read(&mut known, "a");
        assert_eq!(known.expected(), Some(b"b".as_slice()));
    }

    #[test]
    fn references_are_told_apart() {
        let ids = [SeriesId::new(7, 9)];
        assert_eq!(SeriesRef::new(0).id(&ids), ids[0]);
        assert_eq!(SeriesRef::known(SeriesId::new(3, u32::MAX)).id(&ids), SeriesId::new(3, u32::MAX));
        assert_eq!((SeriesRef::new(u32::MAX).number(), SeriesRef::known(ids[0]).number()), (Some(u32::MAX), None));
    }
}
