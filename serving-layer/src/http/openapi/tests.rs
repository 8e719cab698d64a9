use batch_layer::catalog::{Cause, GenerationRow, JobKind, JobRow, JobState, ReconciliationRow, ScheduleRow};
use schemas::partial::Aggregate;
use schemas::{ArrivalTime, EventTime, SeriesId, TimeRange};
use serde::Serialize;
use smallvec::SmallVec;
use utoipa::PartialSchema;

use super::*;
use crate::answer::{Answer, AsOf, Confidence, Point, SeriesAnswer, Value};
use crate::http::answer_text::AnswerText;

/// The described fields are those that are written.
fn check<Described: PartialSchema>(written: impl Serialize) {
    let described = serde_json::to_value(Described::schema()).expect("json");
    let written = serde_json::to_value(written).expect("json");
    let names = |value: &serde_json::Value| {
        let mut names: Vec<String> = value.as_object().expect("an object").keys().cloned().collect();
        names.sort();
        names
    };
    assert_eq!(names(&described["properties"]), names(&written));
}

fn job() -> JobRow {
    let now = ArrivalTime(0);
    JobRow {
        id: 1,
        kind: JobKind::Fold,
        range: TimeRange::ALL,
        selector: None,
        reason: String::new(),
        priority: 0,
        state: JobState::Queued,
        progress: 0.0,
        rows_read: 0,
        cells_written: 0,
        error: None,
        attempts: 0,
        not_before: now,
        created_at: now,
        started_at: None,
        finished_at: None,
    }
}

#[test]
fn jobs_and_schedules_are_described_as_written() {
    check::<Job>(job());
    check::<Schedule>(ScheduleRow {
        name: String::new(),
        cron: String::new(),
        kind: JobKind::Fold,
        lookback: None,
        enabled: true,
        next_at: None,
        last_at: None,
    });
}

#[test]
fn generations_and_differences_are_described_as_written() {
    let now = ArrivalTime(0);
    check::<Generation>(GenerationRow {
        number: 1,
        published_at: now,
        reason: String::new(),
        job: None,
        reverted_to: None,
        partitions: 0,
        current: true,
        pruned_at: None,
    });
    check::<Difference>(ReconciliationRow {
        at: now,
        job: None,
        partition_start: EventTime(0),
        series_id: SeriesId(0),
        metric_key: None,
        bucket: EventTime(0),
        field: String::new(),
        speed_value: None,
        batch_value: None,
        difference: None,
        cause: Cause::Late,
    });
}

#[test]
fn answers_are_described_as_written() {
    let point = Point {
        time: EventTime(0),
        values: SmallVec::from([Value { aggregate: Aggregate::Avg, value: None, interval: None }]),
        data_points: 0,
        batch_points: 0,
        speed_points: 0,
        source: Source::Batch,
        confidence: Some(Confidence {
            state: State::Open,
            completeness: 1.0,
            score: None,
            calibrated: false,
            final_share: 0.0,
        }),
    };
    let series = SeriesAnswer { metric: String::new(), tags: BTreeMap::new(), points: vec![point] };
    let as_of = AsOf { position: 0, generation: 0, watermark: None };
    let text: Vec<u8> = AnswerText::new(Answer { series: vec![series], as_of, missing: vec![] }).flatten().collect();
    let answer: serde_json::Value = serde_json::from_slice(&text).expect("json");
    let series = &answer["series"][0];
    check::<PointBody>(&series["points"][0]);
    check::<SeriesPoints>(series);
    check::<Moment>(&answer["as_of"]);
    check::<AnswerBody>(&answer);
}
