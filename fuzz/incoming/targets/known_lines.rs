//! Lines whose spellings are known say the same as lines whose are not.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bodies: &[u8]| speed_layer::fuzzing::known_lines(bodies, &fuzz_incoming::OPTIONS));
