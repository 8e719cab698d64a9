//! The parameters of a query, one a line: an error or a bounded query.
#![no_main]

use libfuzzer_sys::fuzz_target;
use schemas::query::QueryText;
use schemas::{ArrivalTime, Resolution};

fuzz_target!(|text: &str| {
    let mut lines = text.split('\n').map(|line| Some(line.to_owned()));
    let mut next = || lines.next().flatten();
    let question = QueryText {
        r#match: next(),
        from: next(),
        to: next(),
        step: next(),
        agg: next(),
        by: next(),
        view: next(),
        as_of: next(),
        min_confidence: next(),
        on_violation: next(),
        level: next(),
        max_rel_err: next(),
        confidence: next(),
    };
    let base = Resolution::from_nanos(60_000_000_000).expect("positive");
    let _ = question.check(ArrivalTime(1_700_000_000_000_000_000), base);
});
