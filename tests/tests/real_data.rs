//! Real data sets through the real binary: what Weir answers equals what the source files say. Skips aloud where
//! `shared/data` is not beside the project.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use arrow::array::{Array as _, AsArray as _, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Int64Type};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::Value;
use tests::parts::scratch;
use tests::server::{Server, binary};
use tests::skipped;

const DAY_NS: i64 = 86_400_000_000_000;

fn data(name: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data").join(name);
    if !path.exists() {
        skipped(format_args!("{} does not exist", path.display()));
    }
    path.exists().then_some(path)
}

/// (metric, device, start of day) to identities: time to value, the last one of the file.
type Days = BTreeMap<(String, String, i64), BTreeMap<i64, f64>>;

fn batches(path: &Path) -> Vec<RecordBatch> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(path).expect("readable")).expect("Parquet");
    reader.build().expect("a reader").map(|b| b.expect("a batch")).collect()
}

fn text(batch: &RecordBatch, column: &str) -> Vec<String> {
    let column = cast(batch.column_by_name(column).expect("the column"), &DataType::Utf8).expect("text");
    let column = column.as_string::<i32>();
    (0..column.len()).map(|i| column.value(i).to_owned()).collect()
}

fn nanos(batch: &RecordBatch, column: &str) -> Vec<i64> {
    let column = batch.column_by_name(column).expect("the column");
    let utc = cast(column, &DataType::Timestamp(arrow::datatypes::TimeUnit::Nanosecond, None)).expect("a time");
    let column = cast(&utc, &DataType::Int64).expect("numbers");
    column.as_primitive::<Int64Type>().values().to_vec()
}

fn floats(batch: &RecordBatch, column: &str) -> arrow::array::Float64Array {
    let column = cast(batch.column_by_name(column).expect("the column"), &DataType::Float64).expect("numbers");
    column.as_primitive::<Float64Type>().clone()
}

fn import(dir: &Path, args: &[&str]) {
    let output = Command::new(binary()).arg("import").arg("--data-dir").arg(dir).args(args).output().expect("runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn recompute(server: &Server) {
    let output = Command::new(binary()).args(["recompute", "--wait", "--url", &server.url]).output().expect("runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn check(dir: &Path) {
    let output = Command::new(binary()).arg("check").arg("--data-dir").arg(dir).output().expect("runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

/// Every day of every series, as the view answers it, equals the source.
fn compare(server: &Server, view: &str, mut days: Days) {
    let query = format!(
        "{}/v1/query?match=%7B%7D&from=1990-01-01T00:00:00Z&to=2030-01-01T00:00:00Z&step=1d&agg=count,sum,avg,min,max&view={view}",
        server.url
    );
    let body = reqwest::blocking::Client::builder().timeout(None).build().expect("a client").get(query).send();
    let answer: Value = body.and_then(|r| r.json()).expect("JSON");
    for series in answer["series"].as_array().expect("series") {
        let word = |v: &Value| v.as_str().expect("a word").to_owned();
        let (metric, device) = (word(&series["metric"]), word(&series["tags"]["device_id"]));
        for point in series["points"].as_array().expect("points") {
            let time = schemas::time::parse_rfc3339(point["time"].as_str().expect("a time")).expect("RFC 3339");
            let values = days.remove(&(metric.clone(), device.clone(), time));
            let values = values.unwrap_or_else(|| panic!("{metric} {device} {time} is not in the source"));
            compare_day(point, &values.into_values().collect::<Vec<f64>>());
            if view == "batch" {
                assert_eq!(point["source"], "batch");
            }
        }
    }
    assert!(days.is_empty(), "days are missing: {:?}", days.keys().take(3).collect::<Vec<_>>());
}

fn compare_day(point: &Value, values: &[f64]) {
    let number = |name: &str| point[name].as_f64().expect("a number");
    let n = values.len() as f64;
    let sum: f64 = values.iter().sum();
    let close = |a: f64, b: f64| (a - b).abs() <= 1e-12 * values.iter().map(|v| v.abs()).sum::<f64>();
    assert_eq!(number("count"), n, "{point}");
    assert!(close(number("sum"), sum) && close(number("avg") * n, sum), "{point} {sum}");
    assert_eq!(number("min"), values.iter().copied().fold(f64::INFINITY, f64::min), "{point}");
    assert_eq!(number("max"), values.iter().copied().fold(f64::NEG_INFINITY, f64::max), "{point}");
}

fn files_below(dir: &Path) -> usize {
    let entries = std::fs::read_dir(dir).expect("a folder").map(|e| e.expect("an entry"));
    entries.map(|e| if e.path().is_dir() { files_below(&e.path()) } else { 1 }).sum()
}

#[test]
fn four_years_of_air_quality() {
    let Some(source) = data("prsa_beijing/readings.parquet") else { return };
    let mut days = Days::new();
    for batch in batches(&source) {
        let (devices, metrics) = (text(&batch, "device_id"), text(&batch, "metric"));
        let (times, values) = (nanos(&batch, "event_ts"), floats(&batch, "value"));
        for (i, time) in times.into_iter().enumerate() {
            let key = (metrics[i].clone(), devices[i].clone(), time.div_euclid(DAY_NS) * DAY_NS);
            days.entry(key).or_default().insert(time, values.value(i));
        }
    }
    let dir = scratch();
    import(dir.path(), &[source.to_str().expect("UTF-8")]);
    let server = Server::start(dir.path(), &[]).expect("starts");
    compare(&server, "unified", days.clone());
    recompute(&server);
    compare(&server, "batch", days);
    assert_eq!(server.stop().expect("stops"), Some(0));
    let files = files_below(&dir.path().join("history"));
    assert!(files < 200, "{files} files");
    check(dir.path());
}

#[test]
fn electric_load_with_duplicates_out_of_order() {
    let Some(source) = data("pjm_hourly_load/load.parquet") else { return };
    let mut days = Days::new();
    for batch in batches(&source) {
        let (devices, times, values) =
            (text(&batch, "device_id"), nanos(&batch, "ts_local"), floats(&batch, "load_mw"));
        for (i, time) in times.into_iter().enumerate().filter(|(i, _)| values.is_valid(*i)) {
            let key = ("load_mw".to_owned(), devices[i].clone(), time.div_euclid(DAY_NS) * DAY_NS);
            days.entry(key).or_default().insert(time, values.value(i));
        }
    }
    let dir = scratch();
    import(dir.path(), &["--time", "ts_local", source.to_str().expect("UTF-8")]);
    let server = Server::start(dir.path(), &[]).expect("starts");
    compare(&server, "unified", days.clone());
    recompute(&server);
    compare(&server, "batch", days);
    assert_eq!(server.stop().expect("stops"), Some(0));
}

/// Each frame was heard by up to twelve gateways: every copy is sent as a reading at the frame's arrival, and once more
/// with the gateway's own clock, which may be years off.
#[test]
fn copies_of_a_frame_count_once_and_wrong_clocks_move_nothing() {
    let Some(folder) = data("saint_eynard_lorawan") else { return };
    let frames = csv(&folder.join("frames.csv.gz"));
    let receptions = csv(&folder.join("receptions.csv.gz"));
    let mut frame_times: BTreeMap<(String, String), (String, String)> = BTreeMap::new();
    for row in &frames {
        if let Ok(value) = row["temperature"].parse::<f64>() {
            let key = (row["device_id"].clone(), row["fcnt"].clone());
            frame_times.insert(key, (row["arrival_ts_ms"].clone(), value.to_string()));
        }
    }
    let dir = scratch();
    let server = Server::start(dir.path(), &[]).expect("starts");
    let (mut lines, mut clocks) = (String::new(), String::new());
    let mut copies = 0;
    for row in &receptions {
        let Some((time, value)) = frame_times.get(&(row["device_id"].clone(), row["fcnt"].clone())) else { continue };
        lines.push_str(&format!("temperature,device_id={} value={value} {time}\n", row["device_id"]));
        copies += 1;
        if !row["gw_time_ms"].is_empty() {
            clocks.push_str(&format!("gateway_clock,device_id={} value=1 {}\n", row["gateway"], row["gw_time_ms"]));
        }
    }
    write(&server, &lines);
    let identities: std::collections::BTreeSet<_> =
        lines.lines().map(|l| l.split(' ').collect::<Vec<_>>()).map(|w| (w[0].to_owned(), w[2].to_owned())).collect();
    assert!(copies > identities.len(), "there are copies");
    assert_eq!(count(&server, "temperature"), identities.len() as f64);
    let before = query(&server, "temperature");
    write(&server, &clocks);
    assert_eq!(query(&server, "temperature"), before, "clocks years off move nothing else");
    let clock_identities: std::collections::BTreeSet<_> = clocks.lines().map(str::to_owned).collect();
    assert_eq!(count(&server, "gateway_clock"), clock_identities.len() as f64, "each in its own time");
    recompute(&server);
    assert_eq!(count(&server, "temperature"), identities.len() as f64);
    assert_eq!(count(&server, "gateway_clock"), clock_identities.len() as f64);
}

fn csv(path: &Path) -> Vec<BTreeMap<String, String>> {
    use std::io::Read as _;
    let mut text = String::new();
    flate2::read::MultiGzDecoder::new(File::open(path).expect("readable")).read_to_string(&mut text).expect("gzip");
    let mut lines = text.lines();
    let header: Vec<&str> = lines.next().expect("a header").split(',').collect();
    let row = |line: &str| header.iter().zip(line.split(',')).map(|(h, v)| ((*h).to_owned(), v.to_owned())).collect();
    lines.map(row).collect()
}

fn write(server: &Server, lines: &str) {
    let client = reqwest::blocking::Client::new();
    let all: Vec<&str> = lines.lines().collect();
    for chunk in all.chunks(5_000) {
        let answer = client.post(format!("{}/api/v2/write?precision=ms", server.url)).body(chunk.join("\n")).send();
        let answer = answer.expect("an answer");
        assert_eq!(answer.status().as_u16(), 204, "{:?}", answer.text());
    }
}

fn query(server: &Server, metric: &str) -> Value {
    let query = format!(
        "{}/v1/query?match={metric}&from=2000-01-01T00:00:00Z&to=2030-01-01T00:00:00Z&step=1d&agg=count,sum,max&by=device_id",
        server.url
    );
    let answer: Value = reqwest::blocking::get(query).and_then(|r| r.json()).expect("JSON");
    let mut series = answer["series"].clone();
    // Confidence moves with the clock; values must not.
    for point in
        series.as_array_mut().into_iter().flatten().flat_map(|s| s["points"].as_array_mut().into_iter().flatten())
    {
        *point = serde_json::json!({"time": point["time"], "count": point["count"], "sum": point["sum"], "max": point["max"]});
    }
    series
}

fn count(server: &Server, metric: &str) -> f64 {
    let counts = |series: &Value| {
        series["points"].as_array().map_or(0.0, |p| p.iter().filter_map(|p| p["count"].as_f64()).sum())
    };
    query(server, metric).as_array().map_or(0.0, |all| all.iter().map(counts).sum())
}
