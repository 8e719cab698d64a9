//! The names under which a reading's parts may be sent, the same in JSON, CSV and Arrow.

/// What a field or column of this name holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Field {
    /// `metric`.
    Metric,
    /// `sensor_type`: the metric, unless `metric` is there.
    SensorType,
    /// `value`.
    Value,
    /// `timestamp`.
    Timestamp,
    /// Another usual name of the timestamp: counts unless `timestamp` is there.
    OtherTime,
    /// `device_id`.
    DeviceId,
    /// `unit`: accepted, no part of the identity.
    Unit,
    /// `tags`.
    Tags,
    /// Anything else.
    Unknown,
}

/// How many kinds of [`Field`] there are.
pub(super) const FIELDS: usize = Field::Unknown as usize + 1;

impl Field {
    /// The field of this name.
    pub(super) fn of(name: &str) -> Self {
        match name {
            "metric" => Self::Metric,
            "sensor_type" => Self::SensorType,
            "value" => Self::Value,
            "timestamp" => Self::Timestamp,
            "time" | "ts" | "event_ts" | "event_time" => Self::OtherTime,
            "device_id" => Self::DeviceId,
            "unit" => Self::Unit,
            "tags" => Self::Tags,
            _ => Self::Unknown,
        }
    }
}

/// Where in a header row or schema each part of a reading stands.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Columns {
    /// The metric's column.
    pub(super) metric: usize,
    /// The value's column.
    pub(super) value: usize,
    /// The timestamp's column.
    pub(super) timestamp: Option<usize>,
    /// The device's column.
    pub(super) device: Option<usize>,
    /// The column named `tags`.
    pub(super) tags: Option<usize>,
    /// Columns that are a tag each, by their own name.
    pub(super) tag_columns: Vec<usize>,
}

impl Columns {
    /// Finds the parts among these column names. Columns without a name are ignored: some writers put a row number there.
    pub(super) fn find<'a>(names: impl Iterator<Item = &'a str>) -> Result<Self, String> {
        let mut at: [Option<(usize, &str)>; FIELDS] = [None; FIELDS];
        let mut seen = std::collections::HashSet::new();
        let mut tag_columns = Vec::new();
        for (i, name) in names.enumerate().filter(|(_, name)| !name.is_empty()) {
            if !seen.insert(name) {
                return Err(format!("column {:?} stands twice", schemas::time::clip(name)));
            }
            let field = Field::of(name);
            if field == Field::Unknown {
                tag_columns.push(i);
            } else if let Some((_, other)) = at[field as usize].replace((i, name)) {
                return Err(format!("columns {other:?} and {name:?} both name the time"));
            }
        }
        let find = |field: Field| at[field as usize].map(|(i, _)| i);
        if let (Some(_), Some(sensor_type)) = (find(Field::Metric), find(Field::SensorType)) {
            tag_columns.push(sensor_type);
        }
        Ok(Self {
            metric: find(Field::Metric)
                .or(find(Field::SensorType))
                .ok_or("no column is named metric or sensor_type")?,
            value: find(Field::Value).ok_or("no column is named value")?,
            timestamp: find(Field::Timestamp).or(find(Field::OtherTime)),
            device: find(Field::DeviceId),
            tags: find(Field::Tags),
            tag_columns,
        })
    }
}
