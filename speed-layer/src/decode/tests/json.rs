use super::{Format, check, check_with, long_name};
use crate::decode::{Options, decode};
use schemas::time::Precision;

#[track_caller]
fn json(body: &str, expected: &[&str]) {
    check(Format::Json, body, expected);
}

#[test]
fn objects_and_arrays() {
    json(
        r#"{"metric":"t","value":1.5,"timestamp":"2024-01-01T00:00:00Z","device_id":"p-7","unit":"C","tags":{"line":"A"}}"#,
        &[r#"t{device_id="p-7",line="A"} @1704067200000000000 = 1.5"#],
    );
    json(r#" [ ] "#, &[]);
    json("\u{feff}[{\"sensor_type\":\"t\",\"value\":true}]", &["t @42 = 1"]);
    json(
        r#"[{"metric":"t","value":1,"timestamp":5},{"metric":"t","value":-2e3,"timestamp":"7"}]"#,
        &["t @5000000 = 1", "t @7000000 = -2000"],
    );
    json(r#"{"metric":"t","value":1,"timestamp":null,"device_id":null,"tags":null}"#, &["t @42 = 1"]);
    json(r#"{"metric":"t","value":1,"timestamp":""}"#, &["t @42 = 1"]);
    json(r#"{"metric":"t","value":1,"device_id":7}"#, &[r#"t{device_id="7"} @42 = 1"#]);
    json(r#"{"metric":"t","value":1,"tags":{"a":1.0,"b":true,"c":"","d":null}}"#, &[r#"t{a="1.0",b="true"} @42 = 1"#]);
    json(r#"{"metric":"t","value":1,"tags":{}}"#, &["t @42 = 1"]);
    json(r#"{"metric":"t","value":1,"device_id":"x","tags":{"device_id":"x"}}"#, &[r#"t{device_id="x"} @42 = 1"#]);
    json(r#"{"metric":"gr\u00fc\u00df","value":0,"unknown":[{"a":[]}]}"#, &["grüß @42 = 0"]);
    json(r#"{"metric":"t","value":1,"event_time":9}"#, &["t @9000000 = 1"]);
    json(r#"{"metric":"t","sensor_type":"DHT22","value":1,"timestamp":1,"ts":2}"#, &["t @1000000 = 1"]);
}

#[test]
fn one_bad_element_hurts_only_itself() {
    json(
        r#"[{"metric":"t","value":1}, 7, null, [], "x", {"metric":"t","value":"1"}, {"metric":"t","value":2}]"#,
        &[
            "t @42 = 1",
            "t @42 = 2",
            "!1 must be a JSON object, not a number",
            "!2 not null",
            "!3 not an array",
            "!4 not text",
            "!5 value must be a number",
        ],
    );
}

#[test]
fn malformed_rows() {
    for (row, reason) in [
        ("{}", "metric is missing"),
        (r#"{"metric":"t"}"#, "value is missing"),
        (r#"{"metric":7,"value":1}"#, "metric must be text, not a number"),
        (r#"{"metric":"","value":1}"#, "metric name is empty"),
        (r#"{"metric":"t","value":null}"#, "not null"),
        (r#"{"metric":"t","value":"NaN"}"#, r#"not the text "NaN""#),
        (r#"{"metric":"t","value":[1]}"#, "not an array"),
        (r#"{"metric":"t","value":1e400}"#, "value 1e400 is too large"),
        (r#"{"metric":"t","value":-1e400}"#, "value -1e400 is too large"),
        (r#"{"metric":"t","value":1,"timestamp":true}"#, "timestamp must be"),
        (r#"{"metric":"t","value":1,"timestamp":"yesterday"}"#, "is not RFC 3339"),
        (r#"{"metric":"t","value":1,"timestamp":"2024-01-01"}"#, "is not RFC 3339"),
        (r#"{"metric":"t","value":1,"timestamp":"9999-01-01T00:00:00Z"}"#, "outside the years"),
        (r#"{"metric":"t","value":1,"timestamp":99999999999999999999}"#, "outside the years"),
        (r#"{"metric":"t","value":1,"timestamp":1e99}"#, "outside the years"),
        (r#"{"metric":"t","value":1,"device_id":{}}"#, "device_id must be"),
        (r#"{"metric":"t","value":1,"device_id":"a","tags":{"device_id":"b"}}"#, "but the tag device_id is"),
        (r#"{"metric":"t","value":1,"tags":[]}"#, "tags must be a JSON object"),
        (r#"{"metric":"t","value":1,"tags":{"a":{}}}"#, "tag must be text"),
        (r#"{"metric":"t","value":1,"tags":{"a":"1","a":"2"}}"#, r#"tag "a" stands twice"#),
        (r#"{"metric":"t","value":1,"tags":{"a":"","a":"2"}}"#, r#"tag "a" stands twice"#),
        (r#"{"metric":"t","value":1,"tags":{"":"1"}}"#, "tag name is empty"),
        (r#"{"metric":"t","value":1,"metric":"u"}"#, r#"field "metric" stands twice"#),
        (r#"{"metric":"t","value":1,"value":1}"#, r#"field "value" stands twice"#),
        (r#"{"metric":"\ud800","value":1}"#, "escape"),
        (r#"{"metric":"a\nb","value":1}"#, "control character"),
        (r#"{"metric":"a{","value":1}"#, "must not contain"),
    ] {
        json(row, &[&format!("!0 {reason}")]);
        json(&format!("[{row}]"), &[&format!("!0 {reason}")]);
        check(Format::Ndjson, format!("\n{row}\r\n"), &[&format!("!0:2 {reason}")]);
    }
}

#[test]
fn broken_documents_are_refused_whole() {
    for (body, reason) in [
        ("", "body is empty"),
        (" \n", "body is empty"),
        ("7", "must be a JSON object or an array"),
        ("nope", "not JSON: expected"),
        ("[{\"metric\":\"t\",\"value\":1},\n  {\"metric\"]", "at line 2 column 12"),
        (r#"[{"metric":"t","value":NaN}]"#, "not JSON"),
        (r#"[{"metric":"t","value":01}]"#, "not JSON"),
        (r#"[{"metric":"t","value":1}"#, "EOF"),
        (r#"[] []"#, "trailing"),
        (r#"{"metric":"t","value":1} x"#, "trailing"),
    ] {
        json(body, &[&format!("error {reason}")]);
    }
    check(Format::Json, b"[{\"metric\":\"\xff\"}]", &["error not UTF-8 at byte 12"]);
}

#[test]
fn depth_costs_no_stack() {
    let (open, close) = ("[".repeat(100_000), "]".repeat(100_000));
    json(&open, &["error EOF"]);
    json(&format!("{open}{close}"), &["!0 must be a JSON object, not an array"]);
    json(&format!(r#"{{"metric":"t","value":1,"x":{open}{close}}}"#), &["t @42 = 1"]);
    json(&format!(r#"{{"metric":"t","value":{open}{close}}}"#), &["!0 not an array"]);
    check(Format::Ndjson, format!("{open}\n{}", "{\"a\":".repeat(100_000)), &["!0:1 EOF", "!1:2 EOF"]);
}

#[test]
fn long_names_are_refused() {
    let long = long_name();
    json(&format!(r#"{{"metric":"{long}","value":1}}"#), &["!0 metric name has 1000000 bytes"]);
    json(&format!(r#"{{"metric":"t","value":1,"tags":{{"{long}":"a"}}}}"#), &["!0 tag name has 1000000 bytes"]);
    json(&format!(r#"{{"metric":"t","value":1,"device_id":"{long}"}}"#), &["!0 tag value has 1000000 bytes"]);
    json(&format!(r#"{{"metric":"t","value":1{long}}}"#), &["error not JSON"]);
    json(&format!(r#"{{"metric":"t","value":{}}}"#, "9".repeat(1_000_000)), &["!0 is too large"]);
    json(&format!(r#"{{"metric":"t","value":1,"timestamp":{}}}"#, "9".repeat(1_000_000)), &["!0 outside the years"]);
}

#[test]
fn lines_are_told_apart() {
    check(
        Format::Ndjson,
        b"{\"metric\":\"t\",\"value\":1}\r\n\n  \n{\"metric\":\"\xff\",\"value\":1}\n{\"metric\":\"t\",\"value\":1\n{\"metric\":\"t\",\"value\":2}",
        &["t @42 = 1", "t @42 = 2", "!1:4 not UTF-8 at byte 11", "!2:5 not valid JSON: EOF while parsing an object at column"],
    );
    check(Format::Ndjson, "\n \n", &[]);
    check(Format::Ndjson, "{\"metric\":\"t\",\"value\":1} {}", &["!0:1 trailing"]);
}

#[test]
fn errors_are_told_up_to_a_hundred() {
    let body = format!("[{}]", vec!["1"; 1000].join(","));
    let decoded = decode(Format::Json, body.as_bytes(), &super::OPTIONS).expect("an array");
    assert_eq!((decoded.rejected, decoded.errors.len()), (1000, 100));
    super::assert_sound(&decoded);
}

#[test]
fn precisions() {
    for (precision, timestamp, time) in [
        (Precision::Seconds, "-1", "-1000000000"),
        (Precision::Seconds, "1700000000.5", "1700000000500000000"),
        (Precision::Seconds, "1700000000.123456789", "1700000000123456789"),
        (Precision::Seconds, "1.7e9", "1700000000000000000"),
        (Precision::Millis, "1700000000000.123456", "1700000000000123456"),
        (Precision::Micros, "-0.5", "-500"),
        (Precision::Nanos, "-9223372036854775808", "-9223372036854775808"),
        (Precision::Nanos, "9223372036854775807", "9223372036854775807"),
        (Precision::Auto, "1700000000", "1700000000000000000"),
        (Precision::Auto, "1700000000.25", "1700000000250000000"),
        (Precision::Auto, "0.5", "500000000"),
        (Precision::Auto, "1700000000000", "1700000000000000000"),
    ] {
        let options = Options { precision, now: 0 };
        let row = format!("t @{time} = 1");
        check_with(Format::Json, format!(r#"{{"metric":"t","value":1,"timestamp":{timestamp}}}"#), &options, &[&row]);
        check_with(Format::Csv, format!("metric,value,time\nt,1,{timestamp}"), &options, &[&row]);
    }
}
