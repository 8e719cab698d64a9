//! The text against what serde makes of the same data.

use std::collections::BTreeMap;

use schemas::partial::Aggregate;
use schemas::time::{HOUR, MINUTE};
use serde_json::{Value as Json, json};

use super::*;
use crate::answer::AsOf;

fn point(time: i64, aggregates: &[Aggregate]) -> Point {
    let interval = |i: usize| (i % 3 != 2).then_some(Interval { low: -0.0, high: 1e300 / 3.0 });
    let value = |(i, a): (usize, &Aggregate)| Value {
        aggregate: *a,
        value: (i % 4 != 3).then_some(0.1 + i as f64),
        interval: interval(i),
    };
    Point {
        time: EventTime(time),
        values: aggregates.iter().enumerate().map(value).collect(),
        data_points: 60,
        batch_points: 50,
        speed_points: 10,
        source: Source::Merged,
        confidence: Some(Confidence {
            state: State::Settling,
            completeness: 1.0,
            score: Some(0.97),
            calibrated: false,
            final_share: 0.5,
        }),
    }
}

fn answer(points: usize, aggregates: &[Aggregate]) -> Answer {
    let tags = BTreeMap::from([("device_id".to_owned(), "press \"7\"".to_owned())]);
    let one = |metric: &str| SeriesAnswer {
        metric: metric.to_owned(),
        tags: tags.clone(),
        points: (0..points as i64).map(|i| point(i * MINUTE, aggregates)).collect(),
    };
    let as_of = AsOf { position: 7, generation: 2, watermark: Some(EventTime(0)) };
    Answer { series: vec![one("a"), one("b")], as_of, missing: vec!["x".to_owned()] }
}

fn text(answer: Answer) -> String {
    String::from_utf8(AnswerText::new(answer).flatten().collect()).expect("text")
}

#[test]
fn a_small_answer() {
    let expected = concat!(
        r#"{"series":[{"metric":"a","tags":{"device_id":"press \"7\""},"points":[{"time":"1970-01-01T00:00:00Z","#,
        r#""count":0.1,"avg":1.1,"max":2.1,"first":null,"data_points":60,"batch_points":50,"speed_points":10,"#,
        r#""source":"merged","state":"settling","completeness":1.0,"confidence_score":0.97,"final_share":0.5,"calibrated":false,"#,
        r#""interval":{"avg":{"low":-0.0,"high":3.3333333333333335e+299},"count":{"low":-0.0,"high":3.3333333333333335e+299},"#,
        r#""first":{"low":-0.0,"high":3.3333333333333335e+299},"max":null}}]}],"#,
        r#""as_of":{"generation":2,"position":7,"watermark":"1970-01-01T00:00:00Z"},"missing":["x"]}"#
    );
    let mut one = answer(1, &[Aggregate::Count, Aggregate::Avg, Aggregate::Max, Aggregate::First]);
    one.series.truncate(1);
    assert_eq!(text(one), expected);
    let none = Answer { series: Vec::new(), ..answer(0, &[]) };
    assert!(text(none).starts_with(r#"{"series":[],"as_of":"#));
}

#[test]
fn pieces_make_one_document_and_are_bounded() {
    let sizes: Vec<usize> = AnswerText::new(answer(2000, &Aggregate::ALL)).map(|piece| piece.len()).collect();
    assert!(sizes.len() > 10 && sizes.iter().all(|size| *size < CHUNK_BYTES + 3000), "{sizes:?}");
    let all: Json = serde_json::from_str(&text(answer(2000, &Aggregate::ALL))).expect("json");
    assert_eq!(all["series"][1]["points"].as_array().map(Vec::len), Some(2000));
    assert_eq!(all["series"][1]["points"][1999]["interval"]["avg"], json!(null));
}

#[test]
fn times_are_as_displayed() {
    let mut times = Times::default();
    for time in [0, 1, -1, HOUR, DAY - SECOND, DAY, -DAY, 5 * DAY + 7 * HOUR + 59 * SECOND, i64::MIN, i64::MAX] {
        let mut out = Vec::new();
        times.write(EventTime(time), &mut out);
        assert_eq!(String::from_utf8(out).expect("text"), EventTime(time).to_string());
    }
}

#[test]
fn numbers_that_stand_twice_are_those_that_serde_writes() {
    let aggregates = [Aggregate::Avg, Aggregate::Min];
    let mut repeated = answer(6, &aggregates);
    for (i, point) in repeated.series.iter_mut().flat_map(|s| &mut s.points).enumerate() {
        let state = if i < 3 { State::Open } else { State::Final };
        let (completeness, score) = (if i < 4 { 0.0 } else { -0.0 }, (i % 3 != 0).then_some(0.25));
        let calibrated = i == 9;
        let told = Confidence { state, completeness, score, calibrated, final_share: 1.0 };
        point.confidence = (i != 7).then_some(told);
        point.speed_points = i as u64 / 5;
        point.values[0].interval = Some(Interval { low: 0.1, high: 0.1 + i as f64 });
        point.values[1].interval = Some(Interval { low: 1.1, high: 1.1 });
    }
    let text: Json = serde_json::from_str(&text(repeated.clone())).expect("json");
    for (s, series) in repeated.series.iter().enumerate() {
        for (p, point) in series.points.iter().enumerate() {
            let told = &text["series"][s]["points"][p];
            assert_eq!((&told["speed_points"], &told["source"]), (&json!(point.speed_points), &json!(point.source)));
            for value in &point.values {
                assert_eq!(told[value.aggregate.name()], json!(value.value));
            }
            let Some(Confidence { state, completeness, score, calibrated, final_share }) = point.confidence else {
                let left_out = ["state", "completeness", "confidence_score", "calibrated", "final_share", "interval"];
                assert!(left_out.iter().all(|field| told.get(field).is_none()), "{told}");
                continue;
            };
            assert_eq!(told["completeness"].to_string(), json!(completeness).to_string());
            assert_eq!((&told["confidence_score"], &told["state"]), (&json!(score), &json!(state)));
            assert_eq!((&told["calibrated"], &told["final_share"]), (&json!(calibrated), &json!(final_share)));
            for value in &point.values {
                assert_eq!(told["interval"][value.aggregate.name()], json!(value.interval));
            }
        }
    }
}

#[test]
fn decimals_are_written_as_serde_writes_them() {
    let mut random = fastrand::Rng::with_seed(3);
    let mut numbers = Numbers::default();
    let mut some = vec![0.0, -0.0, 1e-5, 9e-6, -0.5, 100.0, 1e15, 1e16, 2_251_799_813_685_247.0, f64::MAX, f64::NAN];
    some.extend([1.0 / 3.0, f64::INFINITY, 0.1 + 0.2, 123_456.789, -1e-300, 5e-324]);
    for _ in 0..100_000 {
        let (integer, scale) = (random.i64(-1_000_000_000..1_000_000_000), random.i32(0..12));
        some.push(format!("{integer}e-{scale}").parse().expect("a number"));
    }
    for value in some {
        let (mut text, expected) = (Vec::new(), serde_json::to_string(&value).expect("a number"));
        numbers.write(value, &mut text);
        assert_eq!(String::from_utf8(text).expect("text"), expected);
    }
}
