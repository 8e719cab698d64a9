//! Buffers for bodies, used again and again: memory fresh from the system is cleared page by page first, which costs
//! more than reading a body into it.
//!
//! Owns a few spare buffers. Does not own how many bytes may be read at once (body).

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Most buffers that are kept, and the largest: 64 MiB in all.
const SPARE_MAX: usize = 16;
const SPARE_BYTES: usize = 4 << 20;

/// Buffers that nobody uses.
#[derive(Debug, Default)]
pub(super) struct Buffers(Mutex<Vec<Vec<u8>>>);

impl Buffers {
    /// An empty buffer with room for this many bytes, used before if possible.
    pub(super) fn take(self: &Arc<Self>, bytes: usize) -> Buffer {
        let spare = if bytes > SPARE_BYTES { None } else { self.spare().pop() };
        let mut buffer = spare.unwrap_or_default();
        buffer.reserve(bytes);
        Buffer { bytes: buffer, home: Arc::clone(self) }
    }

    fn spare(&self) -> MutexGuard<'_, Vec<Vec<u8>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Bytes in a buffer that goes back when they are dropped.
#[derive(Debug)]
pub(super) struct Buffer {
    bytes: Vec<u8>,
    home: Arc<Buffers>,
}

impl Deref for Buffer {
    type Target = Vec<u8>;

    fn deref(&self) -> &Vec<u8> {
        &self.bytes
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if self.bytes.capacity() > SPARE_BYTES {
            return;
        }
        let mut bytes = std::mem::take(&mut self.bytes);
        let mut spare = self.home.spare();
        if spare.len() < SPARE_MAX {
            bytes.clear();
            spare.push(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_come_back_empty_and_large_ones_do_not() {
        let buffers = Arc::new(Buffers::default());
        let mut first = buffers.take(100);
        first.extend_from_slice(b"secret");
        let place = first.as_ptr();
        drop(first);
        let again = buffers.take(50);
        assert_eq!((again.as_ptr(), again.len()), (place, 0));
        drop(buffers.take(SPARE_BYTES + 1));
        assert!(buffers.spare().is_empty());
    }
}
