use super::{Format, check, long_name};

#[track_caller]
fn csv(body: impl AsRef<[u8]>, expected: &[&str]) {
    check(Format::Csv, body, expected);
}

#[test]
fn rows() {
    csv("metric,value\n", &[]);
    csv("metric,value", &[]);
    csv("\u{feff}metric,value\r\nt,1.5\r\n\r\nt, -2 \r\n", &["t @42 = 1.5", "t @42 = -2"]);
    csv(
        "sensor_type,value,timestamp,device_id,unit\nt,1,2024-01-01T00:00:00Z,7,C",
        &[r#"t{device_id="7"} @1704067200000000000 = 1"#],
    );
    csv("value,metric,ts,line\n1,t,5,A\n2,t,,", &[r#"t{line="A"} @5000000 = 1"#, "t @42 = 2"]);
    csv("metric,value,tags\nt,1,\"{\"\"a\"\":\"\"x,\"\"\"\"y\"\"}\"", &["!0:2 not valid JSON"]);
    csv("metric,value,tags,b\nt,1,\"{\"\"a\"\":\"\"x\"\"}\",2\nt,2,,", &[r#"t{a="x",b="2"} @42 = 1"#, "t @42 = 2"]);
    csv(
        "metric,value,note\n\"a, b\",true,\"say \"\"hi\"\"\"\nt,false,",
        &[r#"a, b{note="say \"hi\""} @42 = 1"#, "t @42 = 0"],
    );
    csv(",metric,value\n0,t,1\n1,t,2", &["t @42 = 1", "t @42 = 2"]);
    csv("metric,sensor_type,value\nt,DHT22,1", &[r#"t{sensor_type="DHT22"} @42 = 1"#]);
    csv("metric,value,device_id,tags\nt,1,a,\"{\"\"device_id\"\":\"\"a\"\"}\"", &[r#"t{device_id="a"} @42 = 1"#]);
}

#[test]
fn malformed_rows() {
    for (row, reason) in [
        ("t", "row has 1 cells, but the header row has 5"),
        ("t,1,,,,", "row has 6 cells"),
        (",1,,,", "metric is missing"),
        ("t,,,,", "value is missing"),
        ("t,x,,,", r#"value "x" is not a number"#),
        ("t,NaN,,,", "value is NaN"),
        ("t,-inf,,,", "value is -inf"),
        ("t,Infinity,,,", "value is Infinity"),
        ("t,1e400,,,", "is too large"),
        ("t,1,yesterday,,", "is not RFC 3339"),
        ("t,1,9e99,,", "outside the years"),
        ("t,1,2300-01-01T00:00:00Z,,", "outside the years"),
        ("t,1,,[],", "tags must be a JSON object"),
        ("t,1,,{,", "not valid JSON"),
        ("t,1,,\"{\"\"line\"\":\"\"B\"\"}\",A", r#"tag "line" stands twice"#),
    ] {
        let body = format!("metric,value,timestamp,tags,line\r\nt,7,,,\r\n\r\n{row}\r\nt,8,,,\r\n");
        csv(body, &["t @42 = 7", "t @42 = 8", &format!("!1:4 {reason}")]);
    }
    csv(b"metric,value\nt,1\n\xff,2\nt,3\n", &["t @42 = 1", "t @42 = 3", "!1:3 is not UTF-8"]);
    csv("metric,value,x\n\"a\nb\nc\",1,\nt,,\n", &["!0:2 control character", "!1:5 value is missing"]);
    csv("metric,value,device_id,tags\nt,1,a,\"{\"\"device_id\"\":\"\"b\"\"}\"", &["!0:2 but the tag device_id"]);
    csv(format!("metric,value\n{},1\nt,2", long_name()), &["t @42 = 2", "!0:2 1000000 bytes"]);
}

#[test]
fn unusable_headers() {
    for (body, reason) in [
        ("", "body is empty"),
        ("\n\n", "no CSV header row"),
        ("t,1\n", "no column is named metric"),
        ("metric,time\n", "no column is named value"),
        ("value\n1", "no column is named metric"),
        ("metric,value,metric\n", "stands twice"),
        ("metric,value,a,a\n", "stands twice"),
        ("metric,value,ts,time\n", "both name the time"),
    ] {
        csv(body, &[&format!("error {reason}")]);
    }
    csv(b"metric,value,\xff\nt,1,2", &["error not UTF-8"]);
}
