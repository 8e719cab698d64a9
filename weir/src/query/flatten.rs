//! The answer to a query as rows: one for each point, the tags of its series beside it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use anyhow::Context as _;
use arrow::array::{
    ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray, TimestampNanosecondArray,
};
use schemas::time::parse_rfc3339;
use serde::Deserialize;
use serde_json::{Map, Value};

/// Columns that are no tags; a tag of such a name gets `tag_` in front.
const OWN: [&str; 11] = [
    "metric",
    "time",
    "data_points",
    "batch_points",
    "speed_points",
    "source",
    "state",
    "completeness",
    "confidence_score",
    "final_share",
    "calibrated",
];

/// An answer, as far as it is shown.
#[derive(Debug, Deserialize)]
pub(super) struct Answer {
    series: Vec<Series>,
    /// What could not be read.
    #[serde(default)]
    pub(super) missing: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Series {
    #[serde(default)]
    metric: String,
    #[serde(default)]
    tags: BTreeMap<String, String>,
    points: Vec<Map<String, Value>>,
}

type Row<'a> = (&'a Series, &'a Map<String, Value>);

impl Answer {
    /// One row for each point; all columns, or those that a person reads.
    pub(super) fn rows(&self, aggregates: &[&str], full: bool) -> anyhow::Result<RecordBatch> {
        let rows: Vec<Row<'_>> = self.series.iter().flat_map(|s| s.points.iter().map(move |p| (s, p))).collect();
        let mut columns = Columns { rows: &rows, columns: Vec::new() };
        columns.text("metric", |(series, _)| Some(series.metric.as_str()));
        let tags: BTreeSet<&String> = self.series.iter().flat_map(|series| series.tags.keys()).collect();
        for tag in tags {
            columns.text(&tag_name(tag, aggregates), |(series, _)| series.tags.get(tag).map(String::as_str));
        }
        columns.time()?;
        for aggregate in aggregates {
            columns.aggregate(aggregate, full);
        }
        columns.integer("data_points");
        if full {
            columns.integer("batch_points");
            columns.integer("speed_points");
        }
        columns.text("source", |(_, point)| point.get("source")?.as_str());
        columns.text("state", |(_, point)| point.get("state")?.as_str());
        columns.float("completeness", |(_, point)| point.get("completeness")?.as_f64());
        columns.float("confidence_score", |(_, point)| point.get("confidence_score")?.as_f64());
        if full {
            columns.float("final_share", |(_, point)| point.get("final_share")?.as_f64());
            columns.truth("calibrated");
        }
        RecordBatch::try_from_iter_with_nullable(columns.columns).context("the answer's columns do not fit together")
    }
}

fn tag_name(tag: &str, aggregates: &[&str]) -> String {
    let of_aggregate = |name: &&str| tag.strip_prefix(*name).is_some_and(|rest| matches!(rest, "" | "_low" | "_high"));
    if OWN.contains(&tag) || aggregates.iter().any(of_aggregate) { format!("tag_{tag}") } else { tag.to_owned() }
}

/// Columns under construction.
struct Columns<'a> {
    rows: &'a [Row<'a>],
    columns: Vec<(String, ArrayRef, bool)>,
}

impl<'a> Columns<'a> {
    fn push(&mut self, name: &str, column: ArrayRef) {
        self.columns.push((name.to_owned(), column, true));
    }

    fn text(&mut self, name: &str, cell: impl Fn(&Row<'a>) -> Option<&'a str>) {
        let cells: StringArray = self.rows.iter().map(cell).collect();
        self.push(name, Arc::new(cells));
    }

    fn float(&mut self, name: &str, cell: impl Fn(&Row<'a>) -> Option<f64>) {
        let cells: Float64Array = self.rows.iter().map(cell).collect();
        self.push(name, Arc::new(cells));
    }

    /// A value and its bounds. Where all bounds are the values, a person need not read them thrice.
    fn aggregate(&mut self, name: &str, full: bool) {
        let value = |point: &Map<String, Value>| point.get(name)?.as_f64();
        let bound = |point: &Map<String, Value>, side: &str| point.get("interval")?[name][side].as_f64();
        let differs = |(_, point): &Row<'a>, side| bound(point, side).is_some_and(|b| Some(b) != value(point));
        self.float(name, |(_, point)| value(point));
        if full || self.rows.iter().any(|row| differs(row, "low") || differs(row, "high")) {
            self.float(&format!("{name}_low"), |(_, point)| bound(point, "low"));
            self.float(&format!("{name}_high"), |(_, point)| bound(point, "high"));
        }
    }

    fn integer(&mut self, name: &str) {
        let cells: Int64Array = self.rows.iter().map(|(_, point)| point.get(name)?.as_i64()).collect();
        self.push(name, Arc::new(cells));
    }

    fn truth(&mut self, name: &str) {
        let cells: BooleanArray = self.rows.iter().map(|(_, point)| point.get(name)?.as_bool()).collect();
        self.push(name, Arc::new(cells));
    }

    fn time(&mut self) -> anyhow::Result<()> {
        let mut times = Vec::with_capacity(self.rows.len());
        for (_, point) in self.rows {
            let text = point.get("time").and_then(Value::as_str).context("a point has no time")?;
            times.push(parse_rfc3339(text)?);
        }
        self.push("time", Arc::new(TimestampNanosecondArray::from(times).with_timezone("+00:00")));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &str = r#"{"series":[
        {"metric":"t","tags":{"device_id":"a","state":"x"},"points":[{"time":"2024-01-01T10:00:00Z","avg":25.5,"data_points":60,
          "batch_points":50,"speed_points":10,"source":"merged","state":"settling","completeness":0.98,"confidence_score":null,
          "calibrated":false,"interval":{"avg":{"low":25.2,"high":25.4}}}]},
        {"metric":"u","tags":{},"points":[{"time":"2024-01-01T10:00:10.5Z","avg":null,"data_points":0,"interval":{}}]}],
        "as_of":{"position":1,"generation":1,"watermark":null},"missing":[]}"#;

    fn csv(aggregates: &[&str], full: bool) -> String {
        let answer: Answer = serde_json::from_str(ANSWER).expect("an answer");
        let mut out = Vec::new();
        let batch = answer.rows(aggregates, full).expect("rows");
        arrow::csv::Writer::new(&mut out).write(&batch).expect("written");
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn points_become_rows() {
        let expected = "metric,device_id,tag_state,time,avg,avg_low,avg_high,data_points,source,state,completeness,confidence_score\n\
                        t,a,x,2024-01-01T10:00:00Z,25.5,25.2,25.4,60,merged,settling,0.98,\n\
                        u,,,2024-01-01T10:00:10.500Z,,,,0,,,,\n";
        assert_eq!(csv(&["avg"], false), expected);
        assert!(!csv(&["max"], false).contains("max_low"), "nothing is known of it");
        let full = csv(&["avg", "max"], true);
        assert!(
            full.lines().next().is_some_and(|head| head.contains("max_high") && head.ends_with("calibrated")),
            "{full}"
        );
    }

    #[test]
    fn no_points_make_no_rows() {
        let answer: Answer = serde_json::from_str(r#"{"series":[]}"#).expect("an answer");
        assert_eq!(answer.rows(&["avg"], true).expect("rows").num_rows(), 0);
    }
}
