//! The ledger of one moment, as the speed layer sees it: it alone knows what is not in history yet.
//!
//! Owns the comparison. Does not own the equations (`schemas::ledger` tells them) nor history's totals (the catalog).

use schemas::ledger::{Tally, Totals};

/// Where all readings are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ledger {
    /// All that the log ever held: what was flushed when the directory was opened, and every durable frame since.
    pub logged: Tally,
    /// In memory and not in history: the open epoch and sealed ones.
    pub unflushed: Tally,
    /// What the catalog says of history.
    pub totals: Totals,
}

impl Ledger {
    /// Each equation that can be seen at any moment, and whether it holds.
    pub fn equations(&self) -> [(&'static str, bool); 2] {
        let led_1 = self.logged == self.unflushed.plus(self.totals.flushed);
        [("LED-1", led_1), ("LED-4", self.totals.flushed == self.totals.history)]
    }

    /// Each stage and its tally.
    pub fn stages(&self) -> [(&'static str, Tally); 4] {
        let Self { logged, unflushed, totals } = *self;
        [("log", logged), ("memory", unflushed), ("flushed", totals.flushed), ("history", totals.history)]
    }
}
