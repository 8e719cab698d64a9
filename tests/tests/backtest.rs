//! `weir backtest`: what it shows at each age is what had arrived by then, counted anew here; what it foretells is sound and
//! comes true about as often as it says.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use tests::parts::scratch;
use tests::server::binary;

/// Milliseconds since 1970 of some minute's beginning.
const START: i64 = 1_700_000_040_000;
const MINUTE: i64 = 60_000;
const DEVICES: usize = 4;

/// A reading: device, event time and arrival time in milliseconds, value.
type Reading = (usize, i64, i64, f64);

/// Two hours of readings every two seconds, late by four seconds in the mean; a copy of some comes later.
fn readings() -> Vec<Reading> {
    let mut random = fastrand::Rng::with_seed(11);
    let mut readings = Vec::new();
    for device in 0..DEVICES {
        for n in 0..3_600 {
            let event = START + n * 2_000 + device as i64 * 13;
            let arrival = event + (-4_000.0 * random.f64().max(1e-9).ln()) as i64;
            let value = f64::from(random.u8(0..50));
            readings.push((device, event, arrival, value));
            if random.u32(0..50) == 0 {
                readings.push((device, event, arrival + 90_000, value));
            }
        }
    }
    readings
}

fn write_csv(readings: &[Reading], path: &Path) {
    let mut text = "metric,device_id,event_time,arrival_time,value\n".to_owned();
    for (device, event, arrival, value) in readings {
        writeln!(text, "load,d{device},{event},{arrival},{value}").expect("a text takes all");
    }
    std::fs::write(path, text).expect("written");
}

/// Runs it; its tables and its samples.
fn backtest(dir: &Path, file: &str, more: &[&str]) -> (String, Vec<BTreeMap<String, String>>) {
    let samples = dir.join("samples.csv");
    let mut command = Command::new(binary());
    command.arg("backtest").arg(dir.join(file)).arg("--samples").arg(&samples).args(more);
    let output = command.output().expect("it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = std::fs::read_to_string(samples).expect("written");
    let mut lines = text.lines();
    let names: Vec<&str> = lines.next().expect("a header").split(',').collect();
    let row = |line: &str| {
        let cells = line.split(',').map(str::to_owned);
        names.iter().map(|name| (*name).to_owned()).zip(cells).collect()
    };
    (String::from_utf8_lossy(&output.stdout).into_owned(), lines.map(row).collect())
}

fn number(row: &BTreeMap<String, String>, name: &str) -> f64 {
    row[name].parse().unwrap_or_else(|_| panic!("{name} of {row:?}"))
}

fn millis(row: &BTreeMap<String, String>) -> i64 {
    let at = chrono::DateTime::parse_from_rfc3339(&row["bucket"]).expect("an instant");
    at.timestamp_millis()
}

/// Count, maximum and last of what of a bucket had arrived before an instant, copies once. What arrives at the instant of a
/// question is in its answer.
fn shown(readings: &[Reading], device: &str, bucket: i64, before: i64) -> [f64; 3] {
    let of = |(d, event, arrival, value): &Reading| {
        let inside = bucket <= *event && *event < bucket + MINUTE && *arrival < before;
        (inside && (device == "*" || device == format!("d{d}"))).then_some(((*event, *d), *value))
    };
    let found: BTreeMap<(i64, usize), f64> = readings.iter().filter_map(of).collect();
    let max = found.values().copied().fold(f64::MIN, f64::max);
    [found.len() as f64, max, found.last_key_value().map_or(f64::NAN, |(_, value)| *value)]
}

#[test]
fn what_it_shows_had_arrived_and_what_it_foretells_comes_true() {
    let dir = scratch();
    let readings = readings();
    write_csv(&readings, &dir.path().join("readings.csv"));
    for more in [&[][..], &["--group"]] {
        let (tables, samples) = backtest(dir.path(), "readings.csv", more);
        assert!(tables.contains("completeness_bias") && tables.contains("width/baseline"), "{tables}");
        let (mut held, mut undecided, mut told, mut happened) = (0.0, 0.0, 0.0, 0.0);
        let mut n = 0.0;
        for row in &samples {
            let (bucket, age) = (millis(row), number(row, "age_s") as i64 * 1_000);
            let place = match row["agg"].as_str() {
                "count" => 0,
                "max" => 1,
                "last" => 2,
                _ => continue,
            };
            let now = shown(&readings, &row["device_id"], bucket, bucket + MINUTE + age + 1)[place];
            assert_eq!(number(row, "v_now"), now, "{row:?}");
            let (low, high, score) = (number(row, "low"), number(row, "high"), number(row, "confidence_score"));
            assert!(low.is_finite() && low <= high && (0.0..1.0).contains(&score), "{row:?}");
            assert!((0.0..=1.0).contains(&number(row, "completeness")), "{row:?}");
            if row["calibrated"] == "true" && low < high {
                let truth = shown(&readings, &row["device_id"], bucket, i64::MAX)[place];
                undecided += 1.0;
                held += f64::from(low <= truth && truth <= high);
            }
            if row["calibrated"] == "true" {
                let truth = shown(&readings, &row["device_id"], bucket, i64::MAX)[place];
                (n, told) = (n + 1.0, told + score);
                happened += f64::from((truth - now).abs() <= 0.01 * now.abs());
            }
        }
        println!(
            "{more:?}: {n} calibrated, {undecided} undecided, {} held; told {told}, happened {happened}",
            held / undecided
        );
        assert!(undecided > 100.0 && held / undecided > 0.88, "{held} of {undecided}");
        assert!(n > 1_000.0 && (told - happened).abs() / n < 0.03, "{told} {happened} of {n}");
    }
}

#[test]
fn a_file_that_does_not_say_when_readings_arrived_is_refused() {
    let dir = scratch();
    std::fs::write(dir.path().join("x.csv"), "metric,device_id,event_time,value\nm,d,1,2\n").expect("written");
    let output = Command::new(binary()).arg("backtest").arg(dir.path().join("x.csv")).output().expect("it runs");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && told.contains("arrival_time") && told.contains("x.csv"), "{told}");
}
