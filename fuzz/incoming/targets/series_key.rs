//! The key of a series: what is read is written as it was.
#![no_main]

use libfuzzer_sys::fuzz_target;
use schemas::SeriesKey;

fuzz_target!(|text: &str| {
    if let Ok(key) = SeriesKey::parse(text) {
        assert_eq!(SeriesKey::parse(key.text()).expect("its own text"), key);
    }
});
