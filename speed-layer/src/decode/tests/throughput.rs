//! Points a second of each format on one core: `cargo test --release -p speed-layer --lib throughput -- --ignored --nocapture`.

use std::fmt::Write;
use std::sync::Arc;
use std::time::Instant;

use arrow::array::{ArrayRef, DictionaryArray, Float64Array, Int64Array};
use arrow::datatypes::Int32Type;

use super::{Format, OPTIONS, arrow_stream};
use crate::decode::decode;

const POINTS: usize = 1_000_000;

fn device(i: usize) -> String {
    format!("press-{}", i % 1000)
}

fn time(i: usize) -> usize {
    1_700_000_000_000 + i
}

fn value(i: usize) -> String {
    format!("{}.{:02}", 20 + i % 70, i % 100)
}

fn measure(name: &str, format: Format, body: &[u8]) {
    let best = (0..5)
        .map(|_| {
            let started = Instant::now();
            let decoded = decode(format, body, &OPTIONS).expect("a good body");
            assert_eq!((decoded.values.len(), decoded.rejected), (POINTS, 0));
            started.elapsed()
        })
        .min()
        .expect("five runs");
    let rate = POINTS as f64 / best.as_secs_f64() / 1e6;
    println!("{name}: {rate:.1} M points/s, {:.0} MB/s", body.len() as f64 / best.as_secs_f64() / 1e6);
}

#[test]
#[ignore = "a measurement"]
fn throughput() {
    let text = |line: &dyn Fn(usize) -> String| (0..POINTS).map(line).collect::<Vec<_>>().join("\n").into_bytes();
    let narrow = text(&|i| format!("temperature,device_id={} value={} {}", device(i), value(i), time(i)));
    measure("line protocol, narrow", Format::LineProtocol, &narrow);
    let mut wide = String::new();
    for i in (0..POINTS).step_by(10) {
        let _ = write!(wide, "cpu,host={},region=eu-west,os=linux ", device(i));
        let fields: Vec<String> = (0..10).map(|field| format!("usage_{field}={}", value(i + field))).collect();
        let _ = writeln!(wide, "{} {}", fields.join(","), time(i));
    }
    measure("line protocol, 10 fields", Format::LineProtocol, wide.as_bytes());
    let row = |i| {
        format!(
            r#"{{"metric":"temperature","value":{},"timestamp":{},"device_id":"{}"}}"#,
            value(i),
            time(i),
            device(i)
        )
    };
    measure("ndjson", Format::Ndjson, &text(&row));
    measure("json", Format::Json, format!("[{}]", (0..POINTS).map(row).collect::<Vec<_>>().join(",")).as_bytes());
    let rows = text(&|i| format!("temperature,{},{},{}", value(i), time(i), device(i)));
    measure("csv", Format::Csv, &[b"metric,value,timestamp,device_id\n".as_slice(), &rows].concat());
    let names: Vec<String> = (0..POINTS).map(device).collect();
    let metric: ArrayRef = Arc::new(std::iter::repeat_n("temperature", POINTS).collect::<DictionaryArray<Int32Type>>());
    let devices: ArrayRef = Arc::new(names.iter().map(String::as_str).collect::<DictionaryArray<Int32Type>>());
    let values: ArrayRef = Arc::new(Float64Array::from_iter_values((0..POINTS).map(|i| i as f64)));
    let times: ArrayRef = Arc::new(Int64Array::from_iter_values((0..POINTS).map(|i| time(i) as i64)));
    let body =
        arrow_stream::stream(vec![("metric", metric), ("value", values), ("timestamp", times), ("device_id", devices)]);
    measure("arrow", Format::ArrowStream, &body);
}
