//! JSON as a body.
#![no_main]

use libfuzzer_sys::fuzz_target;
use speed_layer::decode::Format;

fuzz_target!(|body: &[u8]| fuzz_incoming::decodes(Format::Json, body));
