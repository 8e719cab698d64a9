//! A selector: what is read says the same when its text is read again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use schemas::SeriesKey;
use schemas::selector::Selector;

fuzz_target!(|text: &str| {
    let Ok(selector) = text.parse::<Selector>() else { return };
    let again: Selector = selector.text().parse().expect("its own text");
    for key in ["m", "temperature{device_id=\"press-7\",line=\"B\"}", "a{b=\"\"}"] {
        let Ok(key) = SeriesKey::parse(key) else { continue };
        assert_eq!(selector.matches(&key), again.matches(&key));
    }
});
