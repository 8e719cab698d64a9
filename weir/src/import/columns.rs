//! Which column means what, for CSV and Parquet alike.
//!
//! Long form: a column holds the value, and another (or `--metric`) the metric. Wide form: every numeric column is a
//! metric named after the column. Names that need no flags are those that the HTTP interface knows.

/// Names of the event time, the first that is there counts.
const TIMES: [&str; 5] = ["timestamp", "time", "ts", "event_ts", "event_time"];
const METRICS: [&str; 2] = ["metric", "sensor_type"];
const VALUE: &str = "value";
const DEVICE: &str = "device_id";
const TAGS: &str = "tags";
const UNIT: &str = "unit";

/// What was said about columns.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Mapping {
    /// The metric's name.
    pub(super) metric: Option<String>,
    /// The column of the value.
    pub(super) value: Option<String>,
    /// The column of the event time.
    pub(super) time: Option<String>,
    /// The column of the time of arrival; unread where nothing is said.
    pub(super) arrival: Option<String>,
    /// The column of the device.
    pub(super) device: Option<String>,
    /// The columns that are tags; all texts where empty.
    pub(super) tags: Vec<String>,
}

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Numbers or truth values.
    Number,
    /// Text.
    Text,
    /// Instants.
    Time,
    /// Something else, or nothing.
    Other,
}

/// Where the metric's name stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Metric {
    /// In this column.
    Column(usize),
    /// It is this for all rows.
    Named(String),
    /// It is the name of the value's column.
    OfValue,
}

/// What each column means, by its number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Plan {
    /// The metric.
    pub(super) metric: Metric,
    /// The values: one column in long form, one or more in wide form.
    pub(super) values: Vec<usize>,
    /// Whether rows are wide: a missing value is then no reading, instead of a bad one.
    pub(super) wide: bool,
    /// The event time; arrival time where there is none.
    pub(super) time: Option<usize>,
    /// The time of arrival.
    pub(super) arrival: Option<usize>,
    /// The device.
    pub(super) device: Option<usize>,
    /// Tags, named after their columns.
    pub(super) tags: Vec<usize>,
    /// Tags as JSON objects or maps.
    pub(super) tag_objects: Option<usize>,
}

/// Whether CSV with these columns is what `speed_layer::decode` reads by itself.
pub(super) fn is_plain(names: &[String], mapping: &Mapping) -> bool {
    let has = |name: &str| names.iter().any(|n| n == name);
    *mapping == Mapping::default() && has(VALUE) && METRICS.iter().any(|name| has(name))
}

impl Plan {
    /// The plan for these columns.
    pub(super) fn make(columns: &[(String, Kind)], mapping: &Mapping) -> anyhow::Result<Self> {
        let find = |name: &str| columns.iter().position(|(n, _)| n == name);
        let said = |flag: &str, name: &Option<String>| match name.as_deref() {
            None => Ok(None),
            Some(name) => find(name).map(Some).ok_or_else(|| no_column(flag, name, columns)),
        };
        let time = said("--time", &mapping.time)?.or_else(|| TIMES.iter().find_map(|name| find(name)));
        let arrival = said("--arrival", &mapping.arrival)?;
        let device = said("--device", &mapping.device)?.or_else(|| find(DEVICE));
        let value = said("--value", &mapping.value)?.or_else(|| find(VALUE));
        let metric_column = if mapping.metric.is_some() { None } else { METRICS.iter().find_map(|name| find(name)) };
        let mut used: Vec<usize> =
            [time, arrival, device, value, metric_column, find(UNIT), find(TAGS)].into_iter().flatten().collect();
        let mut tags = Vec::new();
        for name in &mapping.tags {
            tags.push(find(name).ok_or_else(|| no_column("--tag", name, columns))?);
        }
        used.extend(&tags);
        let free = |kind: Kind| (0..columns.len()).filter(move |i| columns[*i].1 == kind);
        let values = match value {
            Some(value) => vec![value],
            None => free(Kind::Number).filter(|i| !used.contains(i)).collect(),
        };
        if mapping.tags.is_empty() {
            tags = free(Kind::Text).filter(|i| !used.contains(i)).collect();
        }
        let metric = metric_of(columns, mapping, metric_column, value, &values)?;
        let wide = value.is_none();
        if wide && time.is_none() {
            anyhow::bail!(
                "no column is named {}: say which holds the time with --time COLUMN; there are {}",
                TIMES.join(", "),
                names(columns)
            );
        }
        Ok(Self {
            metric,
            values,
            wide,
            time,
            arrival,
            device,
            tags,
            tag_objects: find(TAGS).filter(|i| Some(*i) != device),
        })
    }

    /// All columns that are read, in order.
    pub(super) fn used(&self) -> Vec<usize> {
        let metric = if let Metric::Column(i) = self.metric { Some(i) } else { None };
        let single = [metric, self.time, self.arrival, self.device, self.tag_objects].into_iter().flatten();
        let mut used: Vec<usize> = single.chain(self.values.iter().copied()).chain(self.tags.iter().copied()).collect();
        used.sort_unstable();
        used.dedup();
        used
    }
}

fn metric_of(
    columns: &[(String, Kind)],
    mapping: &Mapping,
    column: Option<usize>,
    value: Option<usize>,
    values: &[usize],
) -> anyhow::Result<Metric> {
    match (&mapping.metric, column, value) {
        (_, _, None) if values.is_empty() => {
            anyhow::bail!("no column holds numbers; there are {}", names(columns))
        }
        (Some(name), _, None) if values.len() > 1 => anyhow::bail!(
            "--metric {name} fits one column, but {} hold numbers: say which with --value COLUMN",
            values.iter().map(|i| columns[*i].0.as_str()).collect::<Vec<_>>().join(", ")
        ),
        (Some(name), ..) => Ok(Metric::Named(name.clone())),
        (None, Some(_), None) => anyhow::bail!(
            "no column is named value: say which holds it with --value COLUMN; there are {}",
            names(columns)
        ),
        (None, Some(column), Some(_)) => Ok(Metric::Column(column)),
        (None, None, Some(value)) if columns[value].0 == VALUE => {
            anyhow::bail!("no column is named metric or sensor_type: say what the values are with --metric NAME")
        }
        (None, None, _) => Ok(Metric::OfValue),
    }
}

fn no_column(flag: &str, name: &str, columns: &[(String, Kind)]) -> anyhow::Error {
    anyhow::anyhow!("{flag}: no column is named {name:?}; there are {}", names(columns))
}

fn names(columns: &[(String, Kind)]) -> String {
    const SHOWN: usize = 30;
    let names: Vec<&str> = columns.iter().take(SHOWN).map(|(name, _)| name.as_str()).collect();
    format!("{}{}", names.join(", "), if columns.len() > SHOWN { ", ..." } else { "" })
}

#[cfg(test)]
mod tests {
    use super::Kind::{Number, Text, Time};
    use super::*;

    fn plan(columns: &[(&str, Kind)], flags: &[(&str, &str)]) -> anyhow::Result<Plan> {
        let columns: Vec<(String, Kind)> = columns.iter().map(|(n, k)| ((*n).to_owned(), *k)).collect();
        let flag = |name: &str| flags.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned());
        let tags = flags.iter().filter(|(n, _)| *n == "tag").map(|(_, v)| (*v).to_owned()).collect();
        let mapping = Mapping {
            metric: flag("metric"),
            value: flag("value"),
            time: flag("time"),
            arrival: flag("arrival"),
            device: flag("device"),
            tags,
        };
        Plan::make(&columns, &mapping)
    }

    const PRSA: &[(&str, Kind)] =
        &[("device_id", Text), ("metric", Text), ("value", Number), ("unit", Text), ("event_ts", Time)];
    const PJM: &[(&str, Kind)] = &[("device_id", Text), ("ts_local", Time), ("load_mw", Number)];
    const WIDE: &[(&str, Kind)] =
        &[("time", Time), ("room", Text), ("floor", Number), ("temp", Number), ("on", Number)];

    #[test]
    fn columns_find_their_meaning() {
        let long = Plan {
            metric: Metric::Column(1),
            values: vec![2],
            wide: false,
            time: Some(4),
            arrival: None,
            device: Some(0),
            tags: vec![],
            tag_objects: None,
        };
        assert_eq!(plan(PRSA, &[]).expect("long"), long);
        let pjm = Plan {
            metric: Metric::OfValue,
            values: vec![2],
            wide: true,
            time: Some(1),
            arrival: None,
            device: Some(0),
            tags: vec![],
            tag_objects: None,
        };
        assert_eq!(plan(PJM, &[("time", "ts_local")]).expect("wide"), pjm);
        let wide = Plan {
            metric: Metric::OfValue,
            values: vec![2, 3, 4],
            wide: true,
            time: Some(0),
            arrival: None,
            device: None,
            tags: vec![1],
            tag_objects: None,
        };
        assert_eq!(plan(WIDE, &[]).expect("wide"), wide);
        let tagged = plan(WIDE, &[("tag", "floor"), ("device", "room")]).expect("wide");
        assert_eq!((tagged.values, tagged.tags, tagged.device), (vec![3, 4], vec![2], Some(1)));
        let one = plan(WIDE, &[("value", "temp"), ("metric", "temperature")]).expect("long");
        assert_eq!(
            (one.metric, one.values, one.wide, one.tags),
            (Metric::Named("temperature".into()), vec![3], false, vec![1])
        );
        assert_eq!(plan(WIDE, &[("value", "temp")]).expect("long").metric, Metric::OfValue);
        assert_eq!(long.used(), [0, 1, 2, 4]);
    }

    #[test]
    fn what_can_not_be_meant_is_told() {
        for (columns, flags, needle) in [
            (PJM, &[][..], "--time COLUMN"),
            (PJM, &[("time", "when")][..], "no column is named \"when\"; there are device_id, ts_local, load_mw"),
            (WIDE, &[("metric", "x")][..], "--value COLUMN"),
            (&[("time", Time), ("value", Number)][..], &[][..], "--metric NAME"),
            (&[("time", Time), ("metric", Text), ("v", Number)][..], &[][..], "--value COLUMN"),
            (&[("time", Time), ("wd", Text)][..], &[][..], "no column holds numbers"),
            (WIDE, &[("tag", "x")][..], "--tag"),
        ] {
            let error = plan(columns, flags).expect_err(needle).to_string();
            assert!(error.contains(needle), "{error}");
        }
    }

    #[test]
    fn usual_csv_needs_no_plan() {
        let names = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
        assert!(is_plain(&names(&["sensor_type", "value", "x"]), &Mapping::default()));
        assert!(!is_plain(&names(&["time", "temp"]), &Mapping::default()));
        let mapping = Mapping { time: Some("t".into()), ..Mapping::default() };
        assert!(!is_plain(&names(&["metric", "value", "t"]), &mapping));
    }
}
