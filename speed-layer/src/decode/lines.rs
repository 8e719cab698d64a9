//! Places in a body, told to the sender: line numbers and the start of a line. Computed only when an error is told.

use schemas::time::clip;

/// Most bytes that [`start_of`] looks at: enough for the characters that [`clip`] keeps.
const LOOK_MAX: usize = 4 * 80;

/// Counts lines up to rising places of one body, each byte once.
#[derive(Default)]
pub(super) struct LineCounter {
    at: usize,
    newlines: u64,
}

impl LineCounter {
    /// The line from 1 that byte `place` stands in. Places must not fall.
    pub(super) fn line_of(&mut self, body: &[u8], place: usize) -> u64 {
        let place = place.min(body.len()).max(self.at);
        self.newlines += memchr::memchr_iter(b'\n', &body[self.at..place]).count() as u64;
        self.at = place;
        self.newlines + 1
    }
}

/// The start of a row for an error message; bytes that are no UTF-8 are shown as replacement characters.
pub(super) fn start_of(row: &[u8]) -> String {
    let look = &row[..row.len().min(LOOK_MAX)];
    clip(String::from_utf8_lossy(look).trim_end_matches(['\r', '\n'])).to_owned()
}
