//! The law, on random lives of the real engine. `WEIR_LAW_SEED=n` replays one, `WEIR_LAW_CASES=n` sets how many.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use tests::faults::{Fault, Fired};

#[test]
fn every_answer_equals_a_recount() {
    let number = |name: &str| std::env::var(name).ok().and_then(|v| v.parse::<u64>().ok());
    if let Some(seed) = number("WEIR_LAW_SEED") {
        return println!("{:?}", case(seed));
    }
    let cases = number("WEIR_LAW_CASES").unwrap_or(1000);
    let start = number("WEIR_LAW_START").unwrap_or(1);
    let next = AtomicU64::new(start);
    let fired: Mutex<Fired> = Mutex::default();
    let threads = std::thread::available_parallelism().map_or(2, usize::from) * 2;
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= start + cases {
                        return;
                    }
                    let happened = case(seed);
                    let mut fired = fired.lock().unwrap_or_else(PoisonError::into_inner);
                    happened.into_iter().for_each(|(fault, n)| *fired.entry(fault).or_default() += n);
                }
            });
        }
    });
    let fired = fired.into_inner().unwrap_or_else(PoisonError::into_inner);
    println!("faults: {fired:?}");
    let never: Vec<Fault> = Fault::ALL.into_iter().filter(|fault| !fired.contains_key(fault)).collect();
    assert!(cases < ENOUGH || never.is_empty(), "of {cases} lives none had {never:?}");
}

/// Among so many lives every kind of fault happens.
const ENOUGH: u64 = 500;

fn case(seed: u64) -> Fired {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(tests::law::live(seed)).unwrap_or_else(|error| {
        panic!(
            "the law is broken with seed {seed} (replay: WEIR_LAW_SEED={seed} cargo test --workspace --test law)\n{error:?}"
        )
    })
}
