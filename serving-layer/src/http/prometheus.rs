//! OpenMetrics text as the older text format of Prometheus, which most readers ask for.
//!
//! Owns the two differences that matter: in the older format a counter is described under the name that its samples
//! bear, and there are no lines of units and no end mark.

/// The same metrics in the older format.
pub(super) fn from_open_metrics(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    // The help of a metric comes before its type, which decides its name.
    let mut help = None;
    for line in text.lines() {
        if line.starts_with("# HELP ") {
            help = Some(line);
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.rsplit_once(' ')) {
            describe(&mut out, name, kind, help.take());
        } else if !line.starts_with("# UNIT ") && line != "# EOF" {
            push_line(&mut out, line);
        }
    }
    out
}

fn describe(out: &mut String, name: &str, kind: &str, help: Option<&str>) {
    let (suffix, kind) = match kind {
        "counter" => ("_total", kind),
        "unknown" => ("", "untyped"),
        "info" => ("_info", "gauge"),
        _ => ("", kind),
    };
    let words = help.and_then(|line| line.strip_prefix("# HELP ")?.strip_prefix(name));
    if let Some(words) = words {
        push_line(out, &format!("# HELP {name}{suffix}{words}"));
    }
    push_line(out, &format!("# TYPE {name}{suffix} {kind}"));
}

fn push_line(out: &mut String, line: &str) {
    out.push_str(line);
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use prometheus_client::metrics::counter::Counter;
    use prometheus_client::metrics::gauge::Gauge;
    use prometheus_client::metrics::histogram::Histogram;
    use prometheus_client::registry::{Registry, Unit};

    use super::*;

    #[test]
    fn counters_are_described_under_the_name_of_their_samples() {
        let mut registry = Registry::default();
        registry.register("a", "Some", Counter::<u64>::default());
        registry.register("b", "Others", Gauge::<i64>::default());
        registry.register_with_unit("c", "Long", Unit::Seconds, Histogram::new([1.0]));
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).expect("text");
        let expected = "# HELP a_total Some.\n# TYPE a_total counter\na_total 0\n# HELP b Others.\n# TYPE b gauge\nb 0\n\
                        # HELP c_seconds Long.\n# TYPE c_seconds histogram\nc_seconds_sum 0.0\nc_seconds_count 0\n\
                        c_seconds_bucket{le=\"1.0\"} 0\nc_seconds_bucket{le=\"+Inf\"} 0\n";
        assert_eq!(from_open_metrics(&text), expected);
    }
}
