//! What filters are read as.

use datafusion::logical_expr::{col, in_list, lit, not};

use super::*;

fn at(nanos: i64) -> Expr {
    Expr::Literal(ScalarValue::TimestampNanosecond(Some(nanos), Some("UTC".into())), None)
}

#[test]
fn ranges_hold_all_that_can_match() {
    let t = || col("event_time");
    for (filter, expected) in [
        (t().gt_eq(at(5)).and(t().lt(at(9))), TimeRange::new(5, 9)),
        (t().gt(at(5)), TimeRange::new(6, i64::MAX)),
        (at(5).gt_eq(t()), TimeRange::new(i64::MIN, 6)),
        (t().eq(at(5)), TimeRange::new(5, 6)),
        (t().between(at(5), at(9)), TimeRange::new(5, 10)),
        (t().eq(at(5)).or(t().eq(at(9))), TimeRange::new(5, 10)),
        (t().eq(at(5)).or(col("value").eq(lit(1.0))), TimeRange::ALL),
        (in_list(t(), vec![at(7), at(3)], false), TimeRange::new(3, 8)),
        (not(t().eq(at(5))), TimeRange::ALL),
        (col("arrival_time").gt(at(5)), TimeRange::ALL),
        (
            t().lt(Expr::Literal(ScalarValue::TimestampMillisecond(Some(1), None), None)),
            TimeRange::new(i64::MIN, 1_000_000),
        ),
    ] {
        assert_eq!(range_of("event_time", std::slice::from_ref(&filter)), expected, "{filter}");
    }
    assert_eq!(range_of("event_time", &[t().gt_eq(at(5)), t().lt(at(9))]), TimeRange::new(5, 9));
    assert!(range_of("event_time", &[t().gt(at(9)), t().lt(at(5))]).is_empty());
}

#[test]
fn texts_are_understood_or_said_to_be_unclear() {
    let r = || col("resolution");
    let of = |texts: &[&str]| Texts::Of(texts.iter().map(|t| (*t).to_owned()).collect());
    let other = || col("metric").eq(lit("a"));
    for (filter, expected) in [
        (other(), Texts::Any),
        (r().eq(lit("1m")), of(&["1m"])),
        (lit("1m").eq(r()), of(&["1m"])),
        (r().eq(lit("1m")).and(other()), of(&["1m"])),
        (r().eq(lit("1m")).or(r().eq(lit("1h"))), of(&["1m", "1h"])),
        (in_list(r(), vec![lit("1m"), lit("1h")], false), of(&["1m", "1h"])),
        (r().eq(lit("1m")).and(r().eq(lit("1h"))), of(&[])),
        (r().eq(lit("1m")).and(other()).or(r().eq(lit("1h")).and(col("value").gt(lit(1)))), of(&["1m", "1h"])),
        (r().eq(lit("1m")).or(other()), Texts::Unclear),
        (r().not_eq(lit("1m")), Texts::Unclear),
        (r().not_eq(lit("1m")).and(r().eq(lit("1h"))), of(&["1h"])),
        (r().like(lit("1%")), Texts::Unclear),
        (r().eq(col("metric")), Texts::Unclear),
    ] {
        assert_eq!(texts_of("resolution", std::slice::from_ref(&filter)), expected, "{filter}");
    }
}

#[test]
fn series_are_chosen_by_any_expression_over_their_names() {
    let session = datafusion::prelude::SessionContext::new();
    let state = session.state();
    let key = |metric: &str, device: &str| {
        schemas::SeriesKey::new(metric, &[("device_id", device), ("line", "A")]).expect("valid")
    };
    let series: Vec<SeriesState> = [key("a", "x"), key("a", "y"), key("b", "x")]
        .into_iter()
        .zip(1..)
        .map(|(key, id)| SeriesState { id: schemas::SeriesId(id), key, tail: None })
        .collect();
    let chosen = |filters: &[Expr]| {
        let chosen = series_of(&state, &series, filters).expect("evaluates");
        chosen.iter().map(|s| s.id.0).collect::<Vec<_>>()
    };
    let text = |text: &str| Expr::Literal(ScalarValue::Utf8View(Some(text.to_owned())), None);
    assert_eq!(chosen(&[]), [1, 2, 3]);
    assert_eq!(chosen(&[col("metric").eq(text("a")), col("device_id").not_eq(text("x"))]), [2]);
    assert_eq!(chosen(&[col("metric").eq(text("b")).or(col("device_id").eq(text("y")))]), [2, 3]);
    assert_eq!(chosen(&[col("metric_key").like(text("%line=\"A\"}"))]), [1, 2, 3]);
    assert_eq!(chosen(&[col("metric").eq(text("a")).or(col("value").gt(lit(1)))]), [1, 2, 3], "not about series alone");
    assert_eq!(chosen(&[col("tags").is_null()]), [] as [u64; 0]);
}
