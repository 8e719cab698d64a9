//! The factory's readings as line protocol that every server takes, whatever its names.
//!
//! Owns the text of such lines. Does **not** own the dealing of lines to requests (`crate::lines`).

use std::io::Write as _;

use crate::lines::{Layout, Shape, push_decimal, push_fields, push_time};
use crate::workload::{METRICS, Reading};

/// Lines of `shape`, made requests by `wrap`.
pub(super) fn layout(shape: Shape, wrap: fn(&[u8]) -> Vec<u8>) -> Layout {
    let push = match shape {
        Shape::Narrow => push_narrow,
        Shape::Wide => push_wide,
    };
    Layout { shape, push, wrap }
}

/// `factory,device=d007,metric=temperature value=65.12 TIME`. Writing to a vector does not fail.
fn push_narrow(out: &mut Vec<u8>, readings: &[Reading]) {
    let first = readings[0];
    let metric = &METRICS[first.metric];
    let _ = write!(out, "factory,device=d{:03},metric={} value=", first.device, metric.name);
    push_decimal(out, first.value, metric.decimals);
    push_time(out, first.time_ms);
}

/// `machine,device=d007 temperature=65.12,pressure=6.2,... TIME`
fn push_wide(out: &mut Vec<u8>, readings: &[Reading]) {
    let _ = write!(out, "machine,device=d{:03}", readings[0].device);
    push_fields(out, readings);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::Arrival;

    #[test]
    fn lines_have_the_same_names_for_all() {
        let reading =
            |metric, value| Reading { time_ms: 1_700_000_000_001, device: 7, metric, value, arrival: Arrival::OnTime };
        let line = |shape, readings: &[Reading]| {
            let mut out = Vec::new();
            (layout(shape, <[u8]>::to_vec).push)(&mut out, readings);
            String::from_utf8(out).expect("ascii")
        };
        let narrow = line(Shape::Narrow, &[reading(0, 65.02)]);
        assert_eq!(narrow, "factory,device=d007,metric=temperature value=65.02 1700000000001000000\n");
        let wide = line(Shape::Wide, &[reading(3, 1480.0), reading(1, 0.5)]);
        assert_eq!(wide, "machine,device=d007 rpm=1480,pressure=0.500 1700000000001000000\n");
    }
}
