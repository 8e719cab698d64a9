//! Times and durations as text: what is read is written and read the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use schemas::time::{format_duration, format_rfc3339, parse_duration, parse_rfc3339};

fuzz_target!(|text: &str| {
    if let Ok(nanos) = parse_rfc3339(text) {
        assert_eq!(parse_rfc3339(&format_rfc3339(nanos)).expect("its own text"), nanos);
    }
    if let Ok(nanos) = parse_duration(text) {
        assert_eq!(parse_duration(&format_duration(nanos)).expect("its own text"), nanos);
    }
});
