//! Which resolutions and buckets are counted.

use std::collections::BTreeSet;

use super::*;

fn base() -> Resolution {
    Resolution::DEFAULT_BASE
}

#[test]
fn resolutions_keep_the_text_they_were_asked_with() {
    let asked = Texts::Of(BTreeSet::from(["1m".to_owned(), "60s".to_owned()]));
    let found = resolutions("t", base(), asked).expect("both are durations");
    let texts: Vec<(&str, i64)> = found.iter().map(|(text, step)| (text.as_ref(), step.nanos())).collect();
    assert_eq!(texts, [("1m", 60_000_000_000), ("60s", 60_000_000_000)]);
    let found = resolutions("t", base(), Texts::Any).expect("the base");
    assert_eq!(found, [(Arc::from("10s"), base())]);
}

#[test]
fn bad_resolutions_are_named() {
    for (asked, needle) in [
        (Texts::Unclear, "= or IN"),
        (Texts::Of(BTreeSet::new()), "contradict"),
        (Texts::Of(BTreeSet::from(["hour".to_owned()])), "\"hour\""),
    ] {
        let error = resolutions("unified_metrics", base(), asked).expect_err(needle).to_string();
        assert!(error.contains(needle) && error.contains("unified_metrics"), "{error}");
    }
}

#[test]
fn buckets_that_start_in_the_range_are_whole() {
    let step = Resolution::from_nanos(10).expect("positive");
    assert_eq!(steps_in(step, TimeRange::new(1, 11)), TimeRange::new(10, 20));
    assert_eq!(steps_in(step, TimeRange::new(0, 10)), TimeRange::new(0, 10));
    assert!(steps_in(step, TimeRange::new(1, 9)).is_empty());
}
