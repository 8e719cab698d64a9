//! Stored parts of partials: sketches and exact sums.
#![no_main]

use libfuzzer_sys::fuzz_target;
use schemas::partial::{ExactSum, Sketch};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(sketch) = Sketch::from_bytes(bytes) {
        let _ = sketch.quantile(0.5);
        let mut merged = sketch.clone();
        merged.merge(&sketch);
        let _ = merged.quantile(0.99);
        assert_eq!(Sketch::from_bytes(&sketch.to_bytes()).expect("its own bytes").to_bytes(), sketch.to_bytes());
    }
    let components = bytes.as_chunks::<8>().0.iter().map(|eight| f64::from_le_bytes(*eight));
    if let Ok(sum) = ExactSum::from_components(components) {
        let _ = sum.value();
        if let Some(components) = sum.components() {
            let again = ExactSum::from_components(components).expect("its own components");
            assert_eq!(again.value().to_bits(), sum.value().to_bits());
        }
    }
});
