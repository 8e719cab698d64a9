//! What was heard of watched series: readings as they arrived, for those who learn how late and how often they come.
//!
//! Owns the bounded list of what was heard and not yet fetched. Does not own which series are watched, nor what is learned.

use schemas::{ArrivalTime, SeriesId};

/// So many readings are kept until they are fetched; what comes then is only counted.
const HEARD_MAX: usize = 1 << 16;

/// A reading of a watched series.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Heard {
    /// Its series.
    pub series: SeriesId,
    /// When it happened, nanoseconds.
    pub time: i64,
    /// Its value.
    pub value: f64,
    /// When it arrived.
    pub arrival: ArrivalTime,
    /// Whether it replaces a reading with another value; else it is new. What only repeats one is not heard.
    pub corrects: bool,
}

/// What was heard since it was fetched last.
#[derive(Debug, Default)]
pub(super) struct Hearing {
    heard: Vec<Heard>,
    lost: u64,
}

impl Hearing {
    pub(super) fn extend(&mut self, heard: impl IntoIterator<Item = Heard>) {
        let mut heard = heard.into_iter();
        let room = HEARD_MAX - self.heard.len().min(HEARD_MAX);
        self.heard.extend(heard.by_ref().take(room));
        self.lost += heard.count() as u64;
    }

    /// What was heard, series by series in order of arrival, and how many more there were no room for.
    pub(super) fn take(&mut self) -> (Vec<Heard>, u64) {
        (std::mem::take(&mut self.heard), std::mem::take(&mut self.lost))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_fetches_is_bounded_and_counted() {
        let mut hearing = Hearing::default();
        let heard = |i: usize| Heard {
            series: SeriesId::new(0, 0),
            time: 0,
            value: 0.0,
            arrival: ArrivalTime((i as i64) ^ 1),
            corrects: false,
        };
        hearing.extend((0..HEARD_MAX - 1).map(heard));
        hearing.extend((0..3).map(heard));
        let (fetched, lost) = hearing.take();
        assert_eq!((fetched.len(), lost), (HEARD_MAX, 2));
        assert_eq!(hearing.take(), (Vec::new(), 0));
    }
}
