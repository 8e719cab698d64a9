//! Bad input over HTTP: a clear error that names the place and the reason, the rest kept, never a 500.

use serde_json::Value;
use tests::parts::scratch;
use tests::server::Server;

/// A request, the status it must get and a word that its answer must hold.
struct Case {
    path: &'static str,
    content_type: &'static str,
    encoding: Option<&'static str>,
    body: Vec<u8>,
    status: u16,
    word: &'static str,
}

fn case(
    path: &'static str,
    content_type: &'static str,
    body: impl Into<Vec<u8>>,
    status: u16,
    word: &'static str,
) -> Case {
    Case { path, content_type, encoding: None, body: body.into(), status, word }
}

fn encoded(encoding: &'static str, body: Vec<u8>, status: u16, word: &'static str) -> Case {
    Case { encoding: Some(encoding), ..case("/v1/readings", "application/json", body, status, word) }
}

const JSON: &str = "application/json";
const NDJSON: &str = "application/x-ndjson";
const CSV: &str = "text/csv";
const TEXT: &str = "text/plain";
const READINGS: &str = "/v1/readings";
const V1: &str = "/write";
const V2: &str = "/api/v2/write";
const V3: &str = "/api/v3/write_lp";

fn cases() -> Vec<Case> {
    let long = "x".repeat(1_000_000);
    let gzip = gzip(br#"[{"metric":"a","value":1}]"#);
    vec![
        case(READINGS, JSON, "", 400, "empty"),
        case(READINGS, JSON, "{", 400, "line 1"),
        case(READINGS, JSON, "nonsense", 400, "line 1"),
        case(READINGS, JSON, r#"[{"metric":"a","value":"1"}]"#, 400, "number"),
        case(READINGS, JSON, r#"[{"metric":"a","value":null}]"#, 400, "value"),
        case(READINGS, JSON, r#"[{"metric":"a","value":1e400}]"#, 400, "value"),
        case(READINGS, JSON, r#"[{"metric":"a","value":NaN}]"#, 400, "line 1"),
        case(READINGS, JSON, r#"[{"metric":7,"value":1}]"#, 400, "metric"),
        case(READINGS, JSON, r#"[{"value":1}]"#, 400, "metric"),
        case(READINGS, JSON, r#"[{"metric":"","value":1}]"#, 400, "empty"),
        case(READINGS, JSON, r#"[{"metric":"a","value":1,"timestamp":"yesterday"}]"#, 400, "timestamp"),
        case(READINGS, JSON, r#"[{"metric":"a","value":1,"timestamp":1e300}]"#, 400, "timestamp"),
        case(READINGS, JSON, r#"[{"metric":"a","value":1,"tags":{"x":[]}}]"#, 400, "x"),
        case(READINGS, JSON, r#"[{"metric":"a","value":1,"tags":{"x":"1","x":"2"}}]"#, 400, "x"),
        case(READINGS, JSON, r#"[7,"x",null]"#, 400, "object"),
        case(READINGS, JSON, format!(r#"[{{"metric":"{long}","value":1}}]"#), 400, "1024"),
        case(READINGS, JSON, "[".repeat(100_000), 400, "line"),
        case("/v1/readings?precision=weeks", JSON, r#"[{"metric":"a","value":1}]"#, 400, "precision"),
        case("/v1/readings?precison=s", JSON, r#"[{"metric":"a","value":1}]"#, 400, "precision"),
        case(READINGS, "application/pdf", "x", 415, "application/json"),
        case(READINGS, NDJSON, b"{\"metric\":\"a\",\"value\":1}\n\xff\xfe\n".to_vec(), 400, "UTF-8"),
        case(READINGS, NDJSON, "{\"metric\":\"a\"\n", 400, "line"),
        case(READINGS, CSV, "a,b\n1,2\n", 400, "metric"),
        case(READINGS, CSV, "metric,value\na,one\n", 400, "one"),
        case(READINGS, CSV, "metric,value,value\na,1,1\n", 400, "value"),
        case(READINGS, CSV, "metric,value\na,inf\n", 400, "value"),
        case(READINGS, "application/vnd.apache.arrow.stream", "nonsense", 400, "rrow"),
        case(V2, TEXT, "m", 400, "field"),
        case(V2, TEXT, "m v=", 400, "1"),
        case(V2, TEXT, "m v=NaN", 400, "NaN"),
        case(V2, TEXT, "m v=1 notatime", 400, "timestamp"),
        case(V2, TEXT, "m v=99999999999999999999i", 400, "1"),
        case(V2, TEXT, "m,a= v=1", 400, "a"),
        case(V2, TEXT, "m,a=1,a=2 v=1", 400, "a"),
        case(V2, TEXT, ",a=1 v=1", 400, "measurement"),
        case(V2, TEXT, b"m v=1\n\xff v=1".to_vec(), 400, "UTF-8"),
        case(V2, TEXT, format!("{long} v=1"), 400, "1024"),
        case("/api/v2/write?precision=weeks", TEXT, "m v=1", 400, "precision"),
        case(V1, TEXT, "m v=", 400, "error"),
        case("/write?precision=weeks", TEXT, "m v=1", 400, "precision"),
        case(V3, TEXT, "m v=1\nm v=", 400, "partial write"),
        case("/api/v3/write_lp?precision=weeks", TEXT, "m v=1", 400, "precision"),
        encoded("gzip", gzip[..gzip.len() / 2].to_vec(), 400, "gzip"),
        encoded("gzip", b"no gzip at all".to_vec(), 400, "gzip"),
        encoded("zstd", b"no zstd at all".to_vec(), 400, "zstd"),
        encoded("br", b"x".to_vec(), 415, "gzip"),
    ]
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).expect("in memory");
    encoder.finish().expect("in memory")
}

#[test]
fn bad_bodies_get_clear_answers() {
    let dir = scratch();
    let server = Server::start(dir.path(), &[]).expect("starts");
    let client = reqwest::blocking::Client::new();
    for (i, case) in cases().into_iter().enumerate() {
        let mut request = client.post(format!("{}{}", server.url, case.path)).header("content-type", case.content_type);
        if let Some(encoding) = case.encoding {
            request = request.header("content-encoding", encoding);
        }
        let start = String::from_utf8_lossy(&case.body[..case.body.len().min(60)]).into_owned();
        let answer = request.body(case.body).send().expect("an answer");
        let (status, text) = (answer.status().as_u16(), answer.text().expect("text"));
        let shown = &text[..text.len().min(400)];
        assert_eq!(status, case.status, "case {i} {} {start:?}: {shown}", case.path);
        assert!(text.contains(case.word), "case {i} {} {start:?} should mention {:?}: {shown}", case.path, case.word);
        assert!(text.len() < 40_000, "case {i}: an error is not a copy of the body");
    }
    let health = reqwest::blocking::get(format!("{}/health", server.url)).expect("an answer");
    assert!(health.status().is_success());
    assert_eq!(server.stop().expect("stops"), Some(0));
}

#[test]
fn the_good_rows_of_a_bad_body_are_kept() {
    let dir = scratch();
    let server = Server::start(dir.path(), &[]).expect("starts");
    let client = reqwest::blocking::Client::new();
    let post = |path: &str, content_type: &str, body: &str| {
        let request = client.post(format!("{}{path}", server.url)).header("content-type", content_type.to_owned());
        let answer = request.body(body.to_owned()).send().expect("an answer");
        (answer.status().as_u16(), answer.json::<Value>().unwrap_or(Value::Null))
    };
    let (status, answer) = post(
        READINGS,
        JSON,
        r#"[{"metric":"kept","value":1,"timestamp":1000},{"metric":"kept"},{"metric":"kept","value":3,"timestamp":3000}]"#,
    );
    assert_eq!((status, &answer["accepted"], &answer["rejected"]), (400, &2.into(), &1.into()), "{answer}");
    assert_eq!(answer["errors"][0]["index"], 1);
    assert!(answer["position"].as_u64().is_some_and(|p| p > 0));
    let (status, answer) = post(
        "/v1/readings?partial=false",
        JSON,
        r#"[{"metric":"all_or_none","value":1,"timestamp":1000},{"metric":"x"}]"#,
    );
    assert_eq!((status, &answer["accepted"]), (400, &0.into()), "{answer}");
    assert_eq!(post("/api/v3/write_lp?precision=second", TEXT, "kept value=5 5\nkept value=").0, 400);
    assert_eq!(post("/api/v2/write?precision=s", TEXT, "all_or_none value=5 5\nall_or_none value=").0, 400);
    assert_eq!(post("/write?precision=s", TEXT, "all_or_none value=5 5\nall_or_none value=").0, 400);
    let count = |metric: &str| {
        let query = format!("{}/v1/query?match={metric}&from=0&to=10000&step=1d&agg=count", server.url);
        let answer: Value = reqwest::blocking::get(query).expect("an answer").json().expect("JSON");
        answer["series"][0]["points"][0]["count"].as_f64().unwrap_or(0.0)
    };
    assert_eq!(count("kept"), 3.0);
    assert_eq!(count("all_or_none"), 0.0);
}

#[test]
fn far_futures_are_quarantined_and_distant_pasts_count() {
    let dir = scratch();
    let server = Server::start(dir.path(), &[]).expect("starts");
    let client = reqwest::blocking::Client::new();
    let body = "ends,device_id=d value=1 9000000000000000000\nends,device_id=d value=2 -9000000000000000000\nends,device_id=d value=3 0";
    let answer = client.post(format!("{}{V2}", server.url)).body(body).send().expect("an answer");
    assert_eq!(answer.status().as_u16(), 204);
    let rows = sql(&server, "SELECT value FROM readings WHERE metric = 'ends' ORDER BY event_time");
    assert_eq!(rows, serde_json::json!([{"value": 2.0}, {"value": 3.0}]));
    let rows = sql(&server, "SELECT value FROM quarantine");
    assert_eq!(rows, serde_json::json!([{"value": 1.0}]));
    let rows = sql(&server, "SELECT metric_value FROM realtime_metrics");
    assert_eq!(rows, serde_json::json!([{"metric_value": 3.0}]));
}

/// Instants as far from each other as can be said, two of them in each order, in one request and in two.
#[test]
fn extreme_times_and_values_count_in_any_order() {
    let dir = scratch();
    let flags = ["--max-future-skew", "100000d", "--seal-age", "1h"];
    let server = Server::start(dir.path(), &flags).expect("starts");
    let times = [i64::MIN, i64::MIN + 1, -9_000_000_000_000_000_000, -1, 0, 1_700_000_000_000_000_000, i64::MAX - 1];
    let values = ["1.7e308", "-1.7e308", "5e-324", "-0.0"];
    let line = |device: &str, i: usize| format!("ends,device_id={device} value={} {}\n", values[i % 4], times[i]);
    let pairs = (0..times.len()).flat_map(|i| (0..times.len()).map(move |j| (i, j))).filter(|(i, j)| i != j);
    let (mut bodies, mut readings) = ([String::new(), String::new(), String::new()], 0);
    for (i, j) in pairs {
        bodies[0] += &line(&format!("a{i}_{j}"), i);
        bodies[1] += &line(&format!("a{i}_{j}"), j);
        bodies[2] += &line(&format!("b{i}_{j}"), i);
        bodies[2] += &line(&format!("b{i}_{j}"), j);
        readings += 4;
    }
    bodies[2] += &format!("ends,device_id=c value=1 {}\n", i64::MAX);
    let client = reqwest::blocking::Client::new();
    for body in bodies {
        let answer = client.post(format!("{}{V2}", server.url)).body(body).send().expect("an answer");
        assert_eq!(answer.status().as_u16(), 204);
    }
    let metrics = reqwest::blocking::get(format!("{}/metrics", server.url)).and_then(|r| r.text()).expect("metrics");
    assert!(metrics.contains("readings_quarantined_total{reason=\"future\"} 1\n"), "the very last instant: {metrics}");
    look_at_extremes(&server, readings);
    let job = client.post(format!("{}/v1/jobs", server.url)).json(&serde_json::json!({"kind": "recompute"})).send();
    let job: Value = job.and_then(|answer| answer.error_for_status()?.json()).expect("queued");
    let mut state = Value::Null;
    while !["succeeded", "failed"].iter().any(|end| state == *end) {
        std::thread::sleep(std::time::Duration::from_millis(20));
        let answer = reqwest::blocking::get(format!("{}/v1/jobs/{}", server.url, job["id"]));
        state = answer.and_then(|answer| answer.json::<Value>()).expect("an answer")["state"].clone();
    }
    assert_eq!(state, "succeeded", "{job}");
    look_at_extremes(&server, readings);
    server.kill().expect("killed");
    let server = Server::start(dir.path(), &flags).expect("starts again");
    look_at_extremes(&server, readings);
    let (code, log) = server.stop_and_tell().expect("stops");
    assert!(code == Some(0) && !log.contains("panicked"), "{log}");
}

fn look_at_extremes(server: &Server, readings: i64) {
    let count = |statement: &str| sql(server, statement)[0]["n"].clone();
    assert_eq!(count("SELECT count(*) AS n FROM readings"), readings);
    assert_eq!(count("SELECT count(*) AS n FROM realtime_metrics WHERE metric_key LIKE 'ends%'"), readings / 2);
    assert!(count("SELECT count(*) AS n FROM unified_metrics").as_i64().is_some_and(|n| n > 0));
    let aggregates = "agg=count,sum,avg,min,max,first,last,stddev,p95";
    for range in
        ["from=0&to=now&step=1d", "from=-9223372036854775808&to=9223372036854775807&step=40000d", "from=now-1h&step=1m"]
    {
        for by in ["", "&by="] {
            let path = format!("/v1/query?match=ends&{range}&{aggregates}{by}");
            let answer = reqwest::blocking::get(format!("{}{path}", server.url)).expect("an answer");
            let (status, text) = (answer.status().as_u16(), answer.text().expect("text"));
            assert!(status < 500, "{path}: {status} {text}");
            assert!(status != 200 || serde_json::from_str::<Value>(&text).is_ok(), "{path}: {text}");
        }
    }
    for path in ["/v1/realtime", "/v1/status", "/v1/calibration", "/metrics"] {
        let answer = reqwest::blocking::get(format!("{}{path}", server.url)).expect("an answer");
        assert_eq!(answer.status().as_u16(), 200, "{path}");
    }
    assert!(!server.log().contains("panicked"), "{}", server.log());
}

#[test]
fn what_is_too_old_is_quarantined_where_that_is_asked_for() {
    let dir = scratch();
    let server = Server::start(dir.path(), &["--max-past-skew", "1d"]).expect("starts");
    let client = reqwest::blocking::Client::new();
    let body = "ends,device_id=d value=1 9000000000000000000\nends,device_id=d value=2 -9000000000000000000\nends,device_id=d value=3";
    let answer = client.post(format!("{}{V2}", server.url)).body(body).send().expect("an answer");
    assert_eq!(answer.status().as_u16(), 204);
    assert_eq!(sql(&server, "SELECT value FROM readings"), serde_json::json!([{"value": 3.0}]));
    let rows = sql(&server, "SELECT value, reason FROM quarantine ORDER BY value");
    let expected =
        [("future", 1.0), ("past", 2.0)].map(|(reason, value)| serde_json::json!({"value": value, "reason": reason}));
    assert_eq!(rows, serde_json::json!(expected));
    let metrics = client.get(format!("{}/metrics", server.url)).send().and_then(|r| r.text()).expect("metrics");
    for reason in ["future", "past"] {
        let line = format!("weir_speed_readings_quarantined_total{{reason=\"{reason}\"}} 1");
        assert!(metrics.lines().any(|l| l == line), "{line}");
    }
}

fn sql(server: &Server, statement: &str) -> Value {
    let request = reqwest::blocking::Client::new().post(format!("{}/v1/sql", server.url));
    let answer = request.json(&serde_json::json!({"sql": statement})).send().expect("an answer");
    let (status, text) = (answer.status().as_u16(), answer.text().expect("text"));
    assert_eq!(status, 200, "{statement}: {text}");
    serde_json::from_str(&text).expect("JSON")
}
