//! A statement of SQL at the gate: refused or let through, without a planner, in no time.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let _ = serving_layer::sql::admit(text);
});
