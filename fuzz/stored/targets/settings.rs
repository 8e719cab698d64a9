//! A file of settings: an error that names a place, or settings that are shown as they are taken.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weir::settings::{KEYS, Origin, Sources};

fuzz_target!(|text: &str| {
    let sources = Sources { file: Some(("weir.toml".into(), text.to_owned())), ..Sources::default() };
    match sources.merge() {
        Ok(merged) => {
            for key in KEYS.iter().filter(|key| merged.origin(key) != Origin::Default) {
                let shown = key.show(&merged.settings);
                let again = Sources { flags: vec![(key.name, shown.clone())], ..Sources::default() };
                again.merge().unwrap_or_else(|error| panic!("{shown:?}: {error}"));
            }
        }
        Err(error) => assert!(error.to_string().contains("weir.toml"), "{error}"),
    }
});
