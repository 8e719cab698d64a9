//! What is refused, and that refusing takes no time and crashes nothing.

use std::time::{Duration, Instant};

use super::*;

/// Checks as sessions do, and how long it took.
fn on_large_stack(text: &str) -> (Result<()>, Duration) {
    let started = Instant::now();
    (crate::sql::admit(text), started.elapsed())
}

fn refused(text: impl Into<String>, needle: &str) {
    let text = text.into();
    let start: String = text.chars().take(80).collect();
    let (result, took) = on_large_stack(&text);
    let Err(Error::Invalid(reason)) = result else { panic!("let through: {start}") };
    assert!(reason.contains(needle), "{start}: {reason}");
    assert!(took < Duration::from_secs(1), "{start}: took {took:?}");
}

fn allowed(text: &str) {
    if let (Err(error), _) = on_large_stack(text) {
        panic!("{text}: {error}");
    }
}

#[test]
fn statements_that_do_something_are_refused() {
    for text in [
        "COPY readings TO '/tmp/x'",
        "COPY (SELECT 1) TO '/tmp/x'",
        "SET datafusion.execution.batch_size = 1",
        "CREATE TABLE t AS SELECT 1",
        "CREATE VIEW v AS SELECT 1",
        "INSERT INTO readings VALUES (1)",
        "UPDATE readings SET value = 1",
        "DELETE FROM readings",
        "DROP TABLE readings",
        "PREPARE p AS SELECT 1",
        "EXPLAIN ANALYZE INSERT INTO readings VALUES (1)",
        "EXPLAIN COPY readings TO '/tmp/x'",
        "SHOW ALL",
        "BEGIN",
    ] {
        refused(text, "read only");
    }
    refused("CREATE EXTERNAL TABLE t STORED AS CSV LOCATION '/etc/passwd'", "");
    refused("WITH a AS (INSERT INTO readings VALUES (1)) SELECT 1", "read only");
    refused("SELECT 1; SELECT 2", "one statement");
    refused("", "one statement");
    refused("SELEC 1", "can't read");
    refused("SELECT 1 INTO t", "SELECT INTO");
}

#[test]
fn what_is_outside_is_refused() {
    refused("SELECT * FROM '/etc/passwd'", "does not exist");
    refused("SELECT * FROM \"/etc/passwd\"", "does not exist");
    refused("SELECT * FROM information_schema.tables", "does not exist");
    refused("SELECT * FROM pg_catalog.pg_class", "does not exist");
    refused("SELECT * FROM read_csv('/etc/passwd')", "table functions");
    refused("SELECT * FROM generate_series(1, 1000000000)", "table functions");
    refused("SELECT * FROM readings, LATERAL generate_series(1, 9)", "table functions");
    refused("SELECT * FROM UNNEST([1, 2])", "table functions");
    refused("SELECT generate_series(1, 1000000000)", "not allowed");
    refused("SELECT range(0, 500000000)", "not allowed");
    refused("SELECT array_repeat('a', 1000000000)", "not allowed");
    refused("SELECT list_repeat('a', 1000000000)", "not allowed");
    refused("SELECT weir.repeat('a', 1)", "not allowed");
    refused("SELECT [1, 2]", "arrays");
    refused("SELECT (1, 2)", "tuples");
    refused("SELECT string_agg(metric, ',') OVER (ORDER BY value) FROM readings", "window function");
    refused("SELECT regexp_like(metric, device_id) FROM readings", "quotes");
    refused("SELECT metric ~ device_id FROM readings", "quotes");
    refused("DESCRIBE nothing", "does not exist");
}

#[test]
fn what_is_large_is_refused_quickly() {
    refused(format!("SELECT 1{}", "+1".repeat(20_000)), "bytes");
    refused(format!("SELECT 1{}", "+1".repeat(8_000)), "expressions");
    refused(format!("SELECT 1 FROM readings WHERE value=0{}", " OR value=0".repeat(1_300)), "expressions");
    refused(format!("SELECT {}1{}", "(".repeat(4_000), ")".repeat(4_000)), "nested");
    refused(format!("SELECT {}1", "NOT ".repeat(4_000)), "");
    refused(format!("SELECT {}1", "- ".repeat(8_000)), "");
    refused(format!("SELECT 1{}", " UNION ALL SELECT 1".repeat(800)), "");
    refused(format!("SELECT 1{}", " UNION ALL SELECT 1".repeat(64)), "combined");
    refused(format!("SELECT 1 FROM readings{}", ", readings".repeat(9)), "joins");
    refused(format!("SELECT 1 FROM readings{}", " CROSS JOIN readings".repeat(9)), "joins");
    refused(format!("SELECT {}1{}", "(SELECT ".repeat(1_500), ")".repeat(1_500)), "nested");
    refused(format!("SELECT 1 IN ({})", vec!["1"; 2_000].join(",")), "expressions");
    refused(format!("VALUES {}", vec!["(1)"; 2_000].join(",")), "");
    refused(
        "SELECT 1 FROM readings GROUP BY CUBE (metric, device_id, tags, value, position, event_time, arrival_time)",
        "CUBE",
    );
    refused("SELECT 1 FROM readings GROUP BY ROLLUP (metric), ROLLUP (tags), ROLLUP (value)", "ROLLUP");
}

/// Planning takes twice to three times as long for each level.
#[test]
fn subqueries_lie_within_each_other_six_times_at_most() {
    let chain = |depth: usize| {
        let open = "(SELECT max(value) FROM readings WHERE value < ".repeat(depth);
        format!("SELECT count(*) FROM readings WHERE value < {open}1{}", ")".repeat(depth))
    };
    allowed(&chain(6));
    refused(chain(7), "subqueries within each other");
    let beside = ["(SELECT max(value) FROM readings)"; 9].join(" + ");
    allowed(&format!("SELECT {beside}, (SELECT min(x) FROM (SELECT {beside} AS x))"));
    let within = format!("SELECT 1 WHERE EXISTS (SELECT 1 FROM (SELECT 1 WHERE 1 IN ({})))", chain(5));
    refused(within, "subqueries within each other");
}

/// `c0` joins itself in `c1`, and so on: a kilobyte of text, a quarter of a million tables.
#[test]
fn ctes_are_counted_where_they_are_used() {
    let bomb = |levels: usize, step: &str| {
        let bodies = (1..=levels).map(|i| format!("c{i} AS ({})", step.replace('@', &format!("c{}", i - 1))));
        let all: Vec<String> = ["c0 AS (SELECT 1 AS x)".to_owned()].into_iter().chain(bodies).collect();
        format!("WITH {} SELECT * FROM c{levels}", all.join(", "))
    };
    refused(bomb(18, "SELECT a.x FROM @ a JOIN @ b ON a.x = b.x"), "too large");
    refused(bomb(18, "SELECT x FROM @ UNION ALL SELECT x FROM @"), "too large");
    refused(bomb(60, "SELECT (SELECT max(x) FROM @) + (SELECT min(x) FROM @) AS x"), "too large");
    refused(bomb(7, "SELECT (SELECT max(x) FROM @) AS x"), "subqueries within each other");
    allowed(&bomb(6, "SELECT (SELECT max(x) FROM @) AS x"));
    refused("WITH RECURSIVE a AS (SELECT 1 UNION ALL SELECT * FROM a) SELECT * FROM a", "RECURSIVE");
    refused("WITH a AS (SELECT 1), a AS (SELECT 2) SELECT * FROM a", "");
    allowed(&bomb(5, "SELECT x + 1 AS x FROM @"));
    allowed("WITH readings AS (SELECT * FROM readings WHERE value > 1) SELECT count(*) FROM readings");
}

#[test]
fn questions_are_let_through() {
    for text in [
        "SELECT 1;",
        "SELECT * FROM readings WHERE event_time >= '2024-01-01T00:00:00Z' ORDER BY event_time LIMIT 10",
        "SELECT metric, date_trunc('hour', event_time) AS h, avg(value), count(*) FROM weir.public.readings GROUP BY 1, 2",
        "SELECT tag(tags, 'line'), max(value) FROM readings WHERE metric ~ '^temp' GROUP BY 1 HAVING count(*) > 3",
        "SELECT *, lag(metric_value) OVER (PARTITION BY metric_key ORDER BY time_bucket) FROM unified_metrics WHERE resolution IN ('1m', '1h')",
        "SELECT a.metric_key, a.metric_value - b.metric_value FROM unified_metrics a JOIN batch_metrics b USING (metric_key, time_bucket)",
        "SELECT first, last, count, min, max, sum FROM batch_metrics",
        "SELECT device_id || '-' || metric, CASE WHEN value > 1 THEN 'hot' ELSE 'cold' END FROM readings",
        "SELECT EXTRACT(hour FROM event_time), value::bigint, INTERVAL '1 hour' FROM readings",
        "SELECT metric, count(*) FROM readings GROUP BY ROLLUP (metric)",
        "SELECT count(*) FILTER (WHERE value > 1), approx_percentile_cont(0.99) WITHIN GROUP (ORDER BY value) FROM readings",
        "EXPLAIN SELECT 1",
        "EXPLAIN ANALYZE SELECT count(*) FROM readings",
        "DESCRIBE readings",
        "SELECT * FROM (VALUES (1), (2)) AS t(x)",
        "SELECT x FROM readings r, LATERAL (SELECT r.value AS x) s",
        "SELECT 1 UNION SELECT 2 EXCEPT SELECT 3",
    ] {
        allowed(text);
    }
}

/// Pieces of statements, whole and broken.
const PIECES: &str = "SELECT|*|FROM|readings|unified_metrics|WHERE|GROUP BY|ORDER BY|LIMIT|1|0x|1e400|'a'|'|\"|(|)|((((|))))|,|;|--|/*|*/|\
    $1|$$|?|:a|@|{|}|[|]|::int|AS|x|JOIN|ON|a = b|UNION ALL|WITH a AS|WITH RECURSIVE x AS|CASE WHEN|THEN|ELSE|END|\
    INTERVAL '1 day'|CUBE|OVER|PARTITION BY|ROWS BETWEEN|UNBOUNDED PRECEDING|count(*)|avg(value)|median|NOT|-|+|EXISTS|IN|\
    LIKE|EXPLAIN|COPY|é|\u{0}|LATERAL";

/// `WEIR_TEXTS=n` makes up so many.
#[test]
fn no_text_made_up_at_random_crashes_or_takes_long() {
    let texts = std::env::var("WEIR_TEXTS").ok().and_then(|n| n.parse().ok()).unwrap_or(20_000);
    let check_all = move || {
        let (mut random, mut let_through) = (fastrand::Rng::with_seed(9), 0);
        let pieces: Vec<&str> = PIECES.split('|').collect();
        for _ in 0..texts {
            // Words in any order are hardly ever SQL: half of the texts are a good statement, broken somewhere.
            let mut text = "SELECT device_id, avg(value) FROM readings r JOIN jobs j ON r.metric = j.kind \
                            WHERE value > 1 AND metric IN (SELECT metric FROM readings) GROUP BY device_id LIMIT 9"
                .split(' ')
                .map(str::to_owned)
                .collect::<Vec<_>>();
            if random.bool() {
                text.clear();
            }
            for _ in 0..random.usize(1..20) {
                let piece = pieces[random.usize(..pieces.len())].to_owned();
                match random.usize(..=text.len()) {
                    at if at < text.len() && random.bool() => text[at] = piece,
                    at => text.insert(at, if random.u8(..16) == 0 { piece.repeat(200) } else { piece }),
                }
            }
            let text = text.join(if random.u8(..4) == 0 { "" } else { " " });
            let started = Instant::now();
            let_through += usize::from(check(&text).is_ok());
            assert!(started.elapsed() < Duration::from_secs(1), "{text}: took {:?}", started.elapsed());
        }
        let_through
    };
    let let_through = crate::sql::worker::on_large_stack(check_all).expect("nothing crashes");
    assert!(let_through > texts / 1000, "nothing that is checked gets anywhere");
}
