//! Bodies of senders who may write some series only.

use schemas::limits::Limits;

use super::arrow_stream::{floats, stream, texts};
use super::{OPTIONS, matches, rendered};
use crate::decode::{Format, decode_within};

/// What may be written of metrics `a*` by device `x`, told as by `super::check`; and how many rows were forbidden.
#[track_caller]
fn check(format: Format, body: &[u8], expected: &[&str], forbidden: u64) {
    let limits = Limits::new(["a*"], ["x"]).expect("good");
    let decoded = decode_within(format, body, &OPTIONS, &limits);
    assert_eq!(decoded.as_ref().map(|decoded| decoded.forbidden).ok(), Some(forbidden));
    let found = rendered(decoded);
    let good = found.len() == expected.len() && found.iter().zip(expected).all(|(f, e)| matches(f, e));
    assert!(good, "{format:?}: {found:#?} is not {expected:#?}");
}

#[test]
fn what_the_sender_may_not_write_is_refused_row_by_row() {
    let json = br#"[{"metric":"a","device_id":"x","value":1},{"metric":"b","device_id":"x","value":2},
        {"metric":"a","device_id":"y","value":3},{"metric":"ab","tags":{"device_id":"x"},"value":4},
        {"metric":"a","value":5},{"metric":"a","device_id":"x","value":"no"}]"#;
    let forbidden = "this token does not allow to write";
    let expected = [
        r#"a{device_id="x"} @42 = 1"#,
        r#"ab{device_id="x"} @42 = 4"#,
        &format!("!1 {forbidden}"),
        &format!("!2 {forbidden}"),
        &format!("!4 {forbidden}"),
        "!5 value must be a number",
    ];
    check(Format::Json, json, &expected, 3);
    let lines = br#"{"metric":"b","device_id":"x","value":2}
{"metric":"a","device_id":"x","value":1}"#;
    check(Format::Ndjson, lines, &[r#"a{device_id="x"} @42 = 1"#, &format!("!0:1 {forbidden}")], 1);
    let csv = b"metric,device_id,value\na,x,1\nb,x,2\na,y,3\n";
    let expected = [r#"a{device_id="x"} @42 = 1"#, &format!("!1:3 {forbidden}"), &format!("!2:4 {forbidden}")];
    check(Format::Csv, csv, &expected, 2);
    let columns = [("metric", texts(&["a", "b"])), ("device_id", texts(&["x", "x"])), ("value", floats(&[1.0, 2.0]))];
    let arrow = stream(columns.into());
    check(Format::ArrowStream, &arrow, &[r#"a{device_id="x"} @42 = 1"#, &format!("!1 {forbidden}")], 1);
}

#[test]
fn a_line_with_a_forbidden_field_is_refused_whole() {
    let lines =
        b"a,device_id=x value=1,speed=2\na,device_id=y value=3,speed=4\nb,device_id=x value=5\na,device_id=x value=6\n";
    let expected = [
        r#"a{device_id="x"} @42 = 1"#,
        r#"a_speed{device_id="x"} @42 = 2"#,
        r#"a{device_id="x"} @42 = 6"#,
        "!1:2 this token does not allow to write \"a{device_id=",
        "!2:3 this token does not allow",
    ];
    check(Format::LineProtocol, lines, &expected, 2);
}
