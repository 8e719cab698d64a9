//! Work that is spread over the processors.
//!
//! Owns the threads. Does not own the work, nor how much of it is worth a thread.

use std::panic::resume_unwind;
use std::thread;

/// What `work` makes of the items, cut into so many parts of about equal length at most; in their order.
pub(super) fn spread<T: Send, R: Send>(items: &mut [T], parts: usize, work: impl Fn(&mut [T]) -> R + Sync) -> Vec<R> {
    let mut parts = items.chunks_mut(items.len().div_ceil(parts.max(1)).max(1));
    let first = parts.next();
    thread::scope(|scope| {
        let work = &work;
        let others: Vec<_> = parts.map(|part| scope.spawn(move || work(part))).collect();
        let others = |first: R| {
            let others = others.into_iter().map(|other| other.join().unwrap_or_else(|panic| resume_unwind(panic)));
            std::iter::once(first).chain(others).collect()
        };
        first.map(work).map_or_else(Vec::new, others)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_item_is_worked_on_once_and_in_order() {
        for (items, parts, expected) in [(0, 2, 0), (1, 2, 1), (5, 1, 1), (5, 2, 2), (5, 0, 1), (7, 3, 3), (2, 9, 2)] {
            let mut all: Vec<i32> = (0..items).collect();
            let made = spread(&mut all, parts, |part| {
                part.iter_mut().for_each(|item| *item += 1);
                part.to_vec()
            });
            assert_eq!((made.len(), made.concat()), (expected, (1..=items).collect()), "{items} {parts}");
        }
    }
}
