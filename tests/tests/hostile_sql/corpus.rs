//! Statements that somebody would send to stop the server, or to see what they should not.
//!
//! Some name what does not exist here, some are too large, and some are small and allowed but ask for more work or memory
//! than there is.

/// All statements; each once.
pub(super) fn corpus() -> Vec<String> {
    let mut all: Vec<String> = [forbidden(), large(), endless(), swollen(), odd(), nested(), joined()].concat();
    all.sort();
    all.dedup();
    all
}

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(ToString::to_string).collect()
}

/// What would write, read files, look at settings or call what is not there.
pub(crate) fn forbidden() -> Vec<String> {
    let mut all = Vec::new();
    let paths = ["/etc/passwd", "../catalog.db", "file:///etc/passwd", "s3://bucket/x", "/proc/self/environ", "x.csv"];
    for path in paths {
        all.extend([
            format!("COPY readings TO '{path}'"),
            format!("COPY (SELECT * FROM readings) TO '{path}' STORED AS PARQUET"),
            format!("COPY readings FROM '{path}'"),
            format!("CREATE EXTERNAL TABLE t STORED AS CSV LOCATION '{path}'"),
            format!("SELECT * FROM '{path}'"),
            format!("SELECT * FROM \"{path}\""),
            format!("SELECT * FROM read_csv('{path}')"),
            format!("SELECT * FROM read_parquet('{path}')"),
            format!("SELECT load_extension('{path}')"),
            format!("EXPLAIN ANALYZE COPY readings TO '{path}'"),
            format!("ATTACH '{path}' AS other"),
        ]);
    }
    let tables =
        ["information_schema.tables", "information_schema.df_settings", "pg_catalog.pg_class", "sqlite_master"];
    all.extend(tables.iter().chain(&["tokens", "audit", "weir.public.tokens", "catalog.tokens"]).flat_map(|table| {
        [format!("SELECT * FROM {table}"), format!("DESCRIBE {table}"), format!("SELECT * FROM readings, {table}")]
    }));
    let functions = ["range(0, 500000000)", "generate_series(1, 1e9)", "array_repeat('a', 1000000000)", "version()"];
    let more = ["current_setting('x')", "pg_sleep(100)", "sleep(100)", "md5('a')", "uuid()", "levenshtein('a', 'b')"];
    all.extend(functions.iter().chain(&more).map(|call| format!("SELECT {call} FROM readings")));
    let verbs = ["INSERT INTO readings VALUES (1)", "DELETE FROM readings", "UPDATE readings SET value = 1"];
    let verbs = verbs.iter().chain(&["DROP TABLE readings", "TRUNCATE readings", "CREATE TABLE t AS SELECT 1"]);
    all.extend(verbs.flat_map(|verb| {
        [verb.to_string(), format!("EXPLAIN {verb}"), format!("PREPARE p AS {verb}"), format!("SELECT 1; {verb}")]
    }));
    all.extend(texts(&[
        "SET datafusion.execution.batch_size = 1",
        "SHOW ALL",
        "SHOW TABLES",
        "RESET ALL",
        "EXECUTE p",
        "DEALLOCATE p",
        "CREATE FUNCTION f() RETURNS INT RETURN 1",
        "BEGIN",
        "COMMIT",
        "GRANT ALL ON readings TO PUBLIC",
        "CALL f()",
        "ANALYZE readings",
        "VACUUM",
        "LOCK TABLE readings",
        "LISTEN x",
        "DECLARE c CURSOR FOR SELECT 1",
        "WITH a AS (DELETE FROM readings RETURNING *) SELECT * FROM a",
        "SELECT 1 INTO t",
    ]));
    all
}

/// What is longer, deeper or wider than any planner likes.
fn large() -> Vec<String> {
    let mut all = Vec::new();
    for n in [300, 1_000, 4_000, 20_000, 100_000] {
        all.extend([
            format!("SELECT 1{}", "+1".repeat(n)),
            format!("SELECT count(*) FROM readings WHERE value=0{}", " OR value=0".repeat(n)),
            format!("SELECT {}1{}", "(".repeat(n), ")".repeat(n)),
            format!("SELECT {}1", "- ".repeat(n)),
            format!("SELECT {}true", "NOT ".repeat(n)),
            format!("SELECT 1{}", " UNION ALL SELECT 1".repeat(n)),
            format!("SELECT 1{}", " EXCEPT SELECT 2".repeat(n)),
            format!("SELECT {}1{}", "(SELECT ".repeat(n), ")".repeat(n)),
            format!("SELECT 1 IN ({})", vec!["1"; n].join(",")),
            format!("VALUES {}", vec!["(1)"; n].join(",")),
            format!("SELECT {}", vec!["1"; n].join(",")),
            format!("SELECT CASE{} END", " WHEN true THEN 1".repeat(n)),
            format!("SELECT {}'a'{}", "upper(".repeat(n), ")".repeat(n)),
            format!("SELECT 'a'{}", " || 'a'".repeat(n)),
            format!("SELECT 1 FROM readings{}", ", readings".repeat(n)),
            format!("SELECT 1 FROM readings ORDER BY {}", vec!["value"; n].join(",")),
            format!("SELECT count(*) FROM readings GROUP BY {}", vec!["value + 1"; n].join(",")),
            format!("SELECT '{}'", "x".repeat(n)),
            format!("SELECT \"{}\" FROM readings", "x".repeat(n)),
            format!("SELECT 1 AS {}", "é".repeat(n)),
            format!("SELECT 0.{}", "1".repeat(n)),
            format!("SELECT 1e{n}"),
            format!("SELECT {}", "9".repeat(n)),
            format!("/*{}*/ SELECT 1", "/*".repeat(n)),
            format!("SELECT count(*) FROM readings WHERE metric LIKE '{}'", "%a".repeat(n)),
            format!("SELECT count(*) FROM readings WHERE metric ~ '{}'", "(a*)*".repeat(n)),
        ]);
    }
    for levels in [4, 6, 12, 18, 60] {
        let steps = [
            "SELECT a.x FROM @ a JOIN @ b ON a.x = b.x",
            "SELECT x FROM @ UNION ALL SELECT x FROM @",
            "SELECT (SELECT max(x) FROM @) + (SELECT min(x) FROM @) AS x",
            "SELECT x || x AS x FROM @",
            "SELECT repeat(x, 16) AS x FROM @",
        ];
        all.extend(steps.map(|step| {
            let bodies = (1..=levels).map(|i| format!("c{i} AS ({})", step.replace('@', &format!("c{}", i - 1))));
            let bodies: Vec<String> = ["c0 AS (SELECT 'a' AS x)".to_owned()].into_iter().chain(bodies).collect();
            format!("WITH {} SELECT count(x) FROM c{levels}", bodies.join(", "))
        }));
    }
    all.push("WITH RECURSIVE a AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM a) SELECT max(n) FROM a".to_owned());
    all
}

/// What never ends, by the number of its rows.
fn endless() -> Vec<String> {
    let mut all = Vec::new();
    for pair in ["readings a, readings b", "readings a CROSS JOIN readings b", "readings a JOIN readings b ON true"] {
        for what in
            ["count(*)", "sum(a.value * b.value)", "max(a.metric || b.metric)", "count(DISTINCT a.value + b.value)"]
        {
            all.push(format!("SELECT {what} FROM {pair}"));
        }
        for tail in ["ORDER BY a.value", "ORDER BY random()", "WHERE a.value + b.value = 0.123", "LIMIT 1000000000"] {
            all.push(format!("SELECT a.value, b.value FROM {pair} {tail}"));
        }
    }
    for on in ["a.value <> b.value", "a.value < b.value", "a.value + b.value = 0.5", "a.metric || b.device_id = 'x'"] {
        for join in ["JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN"] {
            all.push(format!("SELECT count(*) FROM readings a {join} readings b ON {on}"));
        }
    }
    let tables = ["realtime_metrics", "unified_metrics", "late_readings", "quarantine", "reconciliation", "jobs"];
    all.extend(
        tables
            .iter()
            .map(|table| format!("SELECT count(*) FROM {table} a, readings b, readings c WHERE b.value = c.value + 1")),
    );
    all.extend(texts(&[
        "SELECT count(*) FROM readings a, readings b, readings c, readings d",
        "SELECT count(*) FROM readings a WHERE EXISTS (SELECT 1 FROM readings b WHERE b.value > a.value + 1e9)",
        "SELECT count(*) FROM readings a WHERE NOT EXISTS (SELECT 1 FROM readings b WHERE b.value < a.value)",
        "SELECT count(*) FROM readings WHERE value NOT IN (SELECT value + 0.5 FROM readings)",
        "SELECT (SELECT count(*) FROM readings b WHERE b.value < a.value) FROM readings a",
        "SELECT count(*) FROM readings a NATURAL JOIN readings b",
        "SELECT count(*) FROM (SELECT value FROM readings UNION SELECT value + 1 FROM readings) a, readings b",
        "SELECT a.metric_key, count(*) FROM readings a JOIN readings b USING (metric) GROUP BY a.metric_key",
    ]));
    all
}

/// What fills memory.
fn swollen() -> Vec<String> {
    let mut all = Vec::new();
    for n in ["1000", "1000000", "1000000000", "9223372036854775807", "-1", "NULL"] {
        for call in ["repeat(metric, @)", "lpad(metric, @)", "rpad(metric, @, 'ab')", "substr(metric, @)"] {
            all.push(format!("SELECT max(length({})) FROM readings", call.replace('@', n)));
            all.push(format!("SELECT {}", call.replace('@', n).replace("metric", "'a'")));
        }
    }
    for what in ["metric_key", "tags", "repeat(tags, 100)", "metric_key || tags"] {
        for call in ["string_agg(@, ',')", "array_agg(@)", "count(DISTINCT @)", "min(@)", "array_agg(DISTINCT @)"] {
            all.push(format!("SELECT {} FROM readings", call.replace('@', what)));
        }
    }
    for over in ["OVER ()", "OVER (ORDER BY value)", "OVER (PARTITION BY metric ORDER BY event_time)"] {
        for call in [
            "sum(value)",
            "row_number()",
            "lag(value, 100000)",
            "median(value)",
            "count(DISTINCT value)",
            "ntile(1000)",
        ] {
            all.push(format!("SELECT max(x) FROM (SELECT {call} {over} AS x FROM readings)"));
        }
    }
    let frame = "ROWS BETWEEN 100000 PRECEDING AND 100000 FOLLOWING";
    all.extend(["max(value)", "median(value)", "stddev(value)", "percentile_cont(value, 0.9)"].map(|call| {
        format!("SELECT max(x) FROM (SELECT {call} OVER (ORDER BY event_time {frame}) AS x FROM readings)")
    }));
    all.extend(texts(&[
        "SELECT replace(repeat('a', 1000), 'a', repeat('b', 1000000))",
        "SELECT regexp_replace(repeat('a', 100000), 'a', repeat('b', 100000), 'g')",
        "SELECT regexp_replace(tags, '', repeat('b', 100000), 'g') FROM readings",
        "SELECT concat_ws(repeat('x', 100000), tags, tags, tags, tags, tags, tags, tags, tags) FROM readings",
        "SELECT to_char(event_time, repeat('%c', 5000)) FROM readings",
        "SELECT translate(tags, 'a', repeat('b', 100000)) FROM readings",
        "SELECT count(*) FROM readings GROUP BY event_time, value, position, arrival_time, random()",
        "SELECT * FROM readings ORDER BY random(), metric_key, tags",
        "SELECT DISTINCT * FROM readings",
        "SELECT metric, device_id, tags, value, count(*) FROM readings GROUP BY CUBE (metric, device_id, tags, value)",
        "SELECT median(value), percentile_cont(value, 0.999), approx_median(value) FROM readings GROUP BY event_time",
        "SELECT date_bin(INTERVAL '1 nanosecond', event_time) AS t, count(*) FROM readings GROUP BY t",
        "SELECT count(*) FROM readings WHERE metric ~ '(a{1000}){1000}'",
        "SELECT count(*) FROM readings WHERE metric ~ '((((a{100}){100}){100}){100}){100}'",
        "SELECT regexp_count(tags, '.*.*.*.*.*.*.*x') FROM readings",
        "SELECT count(*) FROM unified_metrics a, unified_metrics b",
        "SELECT * FROM unified_metrics WHERE resolution = '1s'",
        "SELECT * FROM batch_metrics WHERE resolution = '1ns'",
        "SELECT factorial(2147483647)",
        "SELECT power(10, 400), exp(1e300), ln(-1), sqrt(-1), 1 / 0",
    ]));
    all
}

/// Values at the ends of their types, and texts that break terminals and parsers.
fn odd() -> Vec<String> {
    let mut all = Vec::new();
    let values = [
        "9223372036854775807",
        "-9223372036854775808",
        "1e308",
        "'NaN'",
        "''",
        "NULL",
        "X'ff'",
        "'\u{0}'",
        "'\u{202e}'",
    ];
    let calls = [
        "abs(@)",
        "CAST(@ AS BIGINT)",
        "CAST(@ AS TIMESTAMP)",
        "CAST(@ AS DECIMAL(76, 38))",
        "chr(@)",
        "to_timestamp(@)",
        "@ + 1",
        "@ * @",
        "@ % 0",
        "date_bin(INTERVAL '0 seconds', event_time)",
        "date_trunc(@, event_time)",
        "round(@, 2147483647)",
        "to_hex(@)",
        "make_date(@, @, @)",
        "lpad('a', @)",
        "split_part('a', 'a', @)",
        "tag(tags, @)",
        "event_time + INTERVAL '300000000 years'",
        "CAST(@ AS INTERVAL)",
        "extract(epoch FROM to_timestamp(@))",
    ];
    for value in values {
        all.extend(calls.map(|call| format!("SELECT {} FROM readings LIMIT 5", call.replace('@', value))));
    }
    all.extend(texts(&[
        "",
        ";",
        "--",
        "SELECT",
        "SELECT * FROM readings WHERE",
        "SELECT $1",
        "SELECT ?",
        "SELECT * FROM readings TABLESAMPLE (1)",
        "SELECT * FROM readings FOR UPDATE",
        "SELECT * FROM readings AS OF 1",
        "SELECT * FROM readings LIMIT -1",
        "SELECT * FROM readings LIMIT 9223372036854775807 OFFSET 9223372036854775807",
        "SELECT * FROM readings |> WHERE value > 1",
        "FROM readings",
        "\u{feff}SELECT 1",
        "SELECT '\u{1b}[2J'",
    ]));
    all
}

/// Subqueries in each other, as deep as the budget lets them.
fn nested() -> Vec<String> {
    (1..=24)
        .map(|depth| {
            let open = "(SELECT max(value) FROM readings WHERE value < ".repeat(depth);
            format!("SELECT count(*) FROM readings WHERE value < {open}1e9{}", ")".repeat(depth))
        })
        .collect()
}

/// Chains of joins with ever more tables, on what matches everything and on what matches nothing.
fn joined() -> Vec<String> {
    let conditions =
        ["ON @.metric = readings.metric", "ON @.value > readings.value", "ON @.event_time = readings.event_time"];
    let chain = |n: usize, on: &str| -> String {
        (0..n).map(|i| format!(" JOIN readings t{i} {}", on.replace('@', &format!("t{i}")))).collect()
    };
    (1..=9).flat_map(|n| conditions.map(|on| format!("SELECT count(*) FROM readings{}", chain(n, on)))).collect()
}
