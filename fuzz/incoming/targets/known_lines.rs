//! Lines whose spellings are known say the same as lines whose are not.
#![no_main]

use libfuzzer_sys::fuzz_target;
use speed_layer::decode::Options;

fuzz_target!(|bodies: &[u8]| {
    let options = Options { precision: schemas::time::Precision::Millis, now: 1_700_000_000_000_000_000 };
    speed_layer::fuzzing::known_lines(bodies, &options);
});
