//! The payload of a log frame.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|payload: &[u8]| speed_layer::fuzzing::log_frame(payload));
