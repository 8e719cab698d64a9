use super::{Format, check, check_with, long_name};
use schemas::SeriesId;

use crate::decode::{Options, decode, decode_known};
use crate::spellings::Spellings;
use schemas::time::Precision;

#[track_caller]
fn lines(body: impl AsRef<[u8]>, expected: &[&str]) {
    check(Format::LineProtocol, body, expected);
}

#[test]
fn fields_become_readings() {
    lines("cpu value=1", &["cpu @42 = 1"]);
    lines(
        "cpu,host=a,dc=b usage=1.5,idle=-2 7",
        &[r#"cpu_usage{dc="b",host="a"} @7000000 = 1.5"#, r#"cpu_idle{dc="b",host="a"} @7000000 = -2"#],
    );
    lines(
        "m a=1i,b=2u,c=-3i,d=t,e=F,f=true,g=False,h=1e3,i=1.,j=.5,k=TRUE,l=+4",
        &[
            "m_a @42 = 1",
            "m_b @42 = 2",
            "m_c @42 = -3",
            "m_d @42 = 1",
            "m_e @42 = 0",
            "m_f @42 = 1",
            "m_g @42 = 0",
            "m_h @42 = 1000",
            "m_i @42 = 1",
            "m_j @42 = 0.5",
            "m_k @42 = 1",
            "m_l @42 = 4",
        ],
    );
    lines("m value=18446744073709551615u", &["m @42 = 18446744073709552000"]);
    lines("m value=1,value=2", &["m @42 = 1", "m @42 = 2"]);
    lines("m,a=1,b=2 value=1\nm,b=2,a=1 value=2", &[r#"m{a="1",b="2"} @42 = 1"#, r#"m{a="1",b="2"} @42 = 2"#]);
}

#[test]
fn lines_end_in_many_ways() {
    lines(
        "\n\r\n  \n# comment value=1\n  m value=1  \r\nm value=2 5\r\nm value=3 6  \nm   value=4   7\r\n#end",
        &["m @42 = 1", "m @5000000 = 2", "m @6000000 = 3", "m @7000000 = 4"],
    );
    lines("# only", &[]);
    lines("m s=\"x\" 1\r\nm s=\"y\"\r\nm value=1\r", &["m @42 = 1", "skipped 2"]);
    lines("\u{feff}m value=1", &["m @42 = 1"]);
}

#[test]
fn strings_are_skipped_and_counted() {
    lines("m a=\"x\",b=\"y\"\nm c=1,d=\"z\"", &["m_c @42 = 1", "skipped 3"]);
    lines("m a=\"one\ntwo, three=4 5\\\" # \\\\\",b=1 9\nm value=2", &["m_b @9000000 = 1", "m @42 = 2", "skipped 1"]);
    lines("m a=\"\",b=1", &["m_b @42 = 1", "skipped 1"]);
}

#[test]
fn escapes() {
    lines(r"m,e\=f=g value=1", &[r#"!0:1 tag name "e=f" must not contain '='"#]);
    lines(r"my\ room\,1,a\ b=c\,d,e=g\=h\ i x\ y\,z\=1=2", &[r#"my room,1_x y,z=1{a b="c,d",e="g=h i"} @42 = 2"#]);
    lines(r"a\b,t=x\y,u=\n v\=w=1", &[r#"a\b_v=w{t="x\\y",u="\\n"} @42 = 1"#]);
    lines(r"a\\\ b value=1", &[r"a\\ b @42 = 1"]);
    lines(r"a\=b value=1", &[r"a\=b @42 = 1"]);
    lines(r"m va\lue=1", &[r"m_va\lue @42 = 1"]);
    lines("m,t=\"q\" value=1", &[r#"m{t="\"q\""} @42 = 1"#]);
    lines("temp\u{e9},t=\u{1f600} value=1", &["temp\u{e9}{t=\"\u{1f600}\"} @42 = 1"]);
}

#[test]
fn malformed_lines() {
    for (line, reason) in [
        ("m", "line has no fields"),
        ("m,a=b", "line has no fields"),
        (r"m\ value=1", "line has no fields"),
        ("m ", "a field is missing"),
        ("m 5", "\"5\" has no value"),
        ("m value", "\"value\" has no value"),
        ("m value=", "\"value\": value is missing"),
        ("m =1", "a field has no name"),
        ("m value=1,", "a field is missing"),
        ("m value=1,,b=2", "a field is missing"),
        ("m value=1, b=2", "a field is missing"),
        ("m value=1 b=2", "timestamp \"b=2\" is not a whole number"),
        ("m value=1 5 6", "\"6\" stands after the timestamp"),
        ("m value=1 5x", "timestamp \"5x\" is not a whole number"),
        ("m value=1 5.5", "is not a whole number"),
        ("m value=1 99999999999999999999", "outside the years"),
        ("m value=1 -9223372036854775", "outside the years"),
        ("m value=1 9223372036854775807", "outside the years"),
        ("m value=x", "value \"x\" is not a number"),
        ("m value=1x", "is not a number"),
        ("m value='a'", "is not a number"),
        ("m value=1.5i", "is not an integer"),
        ("m value=--5i", "is not an integer"),
        ("m value=i", "is not a number"),
        ("m value=-1u", "is not an integer"),
        ("m value=9223372036854775808i", "does not fit in 64 bits"),
        ("m value=-9223372036854775809i", "does not fit in 64 bits"),
        ("m value=18446744073709551616u", "does not fit in 64 bits"),
        ("m value=nan", "value is NaN"),
        ("m value=NaN", "value is NaN"),
        ("m value=inf", "value is inf"),
        ("m value=-Infinity", "value is -Infinity"),
        ("m value=1e400", "is too large"),
        ("m value=tRUE", "is not a number"),
        ("m good=1,bad=x", "field \"bad\""),
        ("m good=1,b{d=2", "must not contain"),
        (",a=b value=1", "measurement is missing"),
        ("m, value=1", "followed by no tag"),
        ("m,a value=1", "tag \"a\" has no value"),
        ("m,a= value=1", "tag \"a\" has no value"),
        ("m,=b value=1", "a tag has no name"),
        ("m,a=b, value=1", "followed by no tag"),
        ("m,a=b=c value=1", "unescaped ="),
        ("m,a=1,a=2 value=1", "tag \"a\" stands twice"),
        ("m,a=1,a=1 s=\"text\"", "tag \"a\" stands twice"),
        ("m s=\"x\"y", "\"y\" stands after a field value"),
        ("m s=\"x\"1", "stands after a field value"),
        ("m s=\"open", "no closing quote"),
        ("m s=\"open\\\"", "no closing quote"),
        ("m s=\"open\\", "no closing quote"),
    ] {
        let told = format!("!1:2 {reason}");
        lines(format!("ok value=1\n{line}\nok value=2"), &["ok @42 = 1", "ok @42 = 2", &told]);
        lines(format!("ok value=1\r\n{line}\r\nok value=2\r\n"), &["ok @42 = 1", "ok @42 = 2", &told]);
        lines(line, &[&format!("!0:1 {reason}")]);
    }
}

#[test]
fn a_bad_line_ends_outside_of_its_strings() {
    lines("m a=x,s=\"one\nfake value=1\" 5\nm value=2", &["m @42 = 2", "!0:1 is not a number"]);
    lines("m s=\"one\nfake value=1\" 5x\nm value=2", &["m @42 = 2", "!0:1 is not a whole number"]);
    lines("m a=x,s=\"open\nm value=2", &["m @42 = 2", "!0:1 is not a number"]);
    lines("m a=1\n\nm s=\"a\nb\",a=x\nm a=y", &["m_a @42 = 1", "!1:3 field \"a\"", "!2:5 field \"a\""]);
}

#[test]
fn invalid_utf8_hurts_one_line() {
    for line in [
        &b"m\xff value=1"[..],
        b"m,a=\xff value=1",
        b"m \xff=1",
        b"m value=\xff",
        b"m s=\"\xff\"",
        b"m \xff=\"s\"",
        b"m a=1 \xff",
    ] {
        let body = [b"ok value=1\n", line, b"\n# \xff\nok value=2"].concat();
        let decoded = decode(Format::LineProtocol, &body, &super::OPTIONS).expect("lines");
        super::assert_sound(&decoded);
        assert_eq!((decoded.values, decoded.rejected), (vec![1.0, 2.0], 1), "{line:?}");
        assert!(decoded.errors[0].text.is_some());
    }
}

#[test]
fn precisions() {
    for (precision, timestamp, time) in [
        (Precision::Nanos, "-1", -1),
        (Precision::Nanos, "9223372036854775807", i64::MAX),
        (Precision::Nanos, "-9223372036854775808", i64::MIN),
        (Precision::Micros, "1", 1_000),
        (Precision::Seconds, "1", 1_000_000_000),
        (Precision::Minutes, "1", 60_000_000_000),
        (Precision::Hours, "1", 3_600_000_000_000),
        (Precision::Auto, "1700000000", 1_700_000_000_000_000_000),
        (Precision::Auto, "1700000000000", 1_700_000_000_000_000_000),
        (Precision::Auto, "1700000000000000", 1_700_000_000_000_000_000),
        (Precision::Auto, "1700000000000000000", 1_700_000_000_000_000_000),
    ] {
        let options = Options { precision, now: 0 };
        check_with(Format::LineProtocol, format!("m value=1 {timestamp}"), &options, &[&format!("m @{time} = 1")]);
    }
    assert!("d".parse::<Precision>().is_err());
    assert!("MS".parse::<Precision>().is_err());
}

#[test]
fn long_names_are_refused() {
    let long = long_name();
    lines(format!("{long} value=1\nm value=2"), &["m @42 = 2", "!0:1 metric name has 1000000 bytes"]);
    lines(format!("m {long}=1"), &["!0:1 bytes, more than"]);
    lines(format!("m,{long}=1 value=1"), &["!0:1 tag name has 1000000 bytes"]);
    lines(format!("m,a={long} value=1"), &["!0:1 tag value has 1000000 bytes"]);
    lines(format!("m value=1 {}", "9".repeat(1_000_000)), &["!0:1 outside the years"]);
    lines(format!("m value={}", "9".repeat(1_000_000)), &["!0:1 is too large"]);
}

#[test]
fn time_and_memory_are_linear() {
    let many_tags: String = (0..64).map(|i| format!(",t{i}={}", "v".repeat(1000))).collect();
    let many_fields: Vec<String> = (0..100_000).map(|i| format!("{i}=1")).collect();
    lines(format!("m{many_tags} {}", many_fields.join(",")), &["!0:1 spells out more than"]);
    for unit in [
        "m a=\"\n",
        "m a=x,s=\"\n",
        "\"\n",
        "m a=\\\"\n",
        "x\",k=\"a y=\",j=\"\n",
        "m a=\"\\\"\n",
        "=\"",
        "\\",
        ",=",
        "m, a=\"\"\"\n",
    ] {
        let body = unit.repeat(4_000_000 / unit.len());
        let started = std::time::Instant::now();
        let decoded = decode(Format::LineProtocol, body.as_bytes(), &super::OPTIONS).expect("lines");
        super::assert_sound(&decoded);
        assert!(started.elapsed().as_secs() < 20, "{unit:?} took {:?}", started.elapsed());
    }
}

/// What other forms taught is no line, whatever its bytes are.
#[test]
fn a_spelling_in_parts_is_no_line() {
    let spellings = Spellings::default();
    let json = br#"{"metric":"a","device_id":"d","value":1}"#;
    let known = decode_known(Format::Json, json, &super::OPTIONS, &spellings).expect("a document");
    let prefix = known.spelled[0].prefix.clone();
    spellings.learn(known.spelled, &[SeriesId::new(0, 0)]);
    let line = [&prefix, b" =5 1".as_slice()].concat();
    let decoded = decode_known(Format::LineProtocol, &line, &super::OPTIONS, &spellings).expect("lines");
    assert_eq!((decoded.series.len(), decoded.rejected), (0, 1));
    assert!(decoded.errors[0].reason.contains("has no name"), "{:?}", decoded.errors);
}

#[test]
fn a_spelling_that_was_learned_needs_no_key() {
    let (spellings, body) = (Spellings::default(), b"m,b=1,a=2 value=1,x=2 1\nbad line\nm,a=2 y=\"text\",x=3 2");
    let decode = || decode_known(Format::LineProtocol, body, &super::OPTIONS, &spellings).expect("lines");
    let first = decode();
    assert_eq!((first.keys.len(), first.rejected), (3, 1));
    let ids: Vec<SeriesId> = (0..3).map(|i| SeriesId::new(i, 7)).collect();
    spellings.learn(first.spelled, &ids);
    let second = decode();
    assert_eq!((second.keys, second.spelled, second.rejected), (vec![], vec![], 1));
    let read: Vec<SeriesId> = second.series.iter().map(|series| series.id(&[])).collect();
    assert_eq!(read, first.series.iter().map(|series| series.id(&ids)).collect::<Vec<_>>());
    assert_eq!((second.times, second.values), (first.times, first.values));
}
