//! A compressed body: never more than was allowed.
#![no_main]

use libfuzzer_sys::fuzz_target;
use speed_layer::decode::body::{Encoding, decompress};

const LIMIT: usize = 1 << 20;

fuzz_target!(|body: &[u8]| {
    for encoding in [Encoding::Gzip, Encoding::Zstd] {
        if let Ok(plain) = decompress(encoding, body, LIMIT, 100) {
            assert!(plain.len() <= LIMIT);
        }
    }
});
