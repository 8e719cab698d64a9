//! Paths of stored objects: numbers, dates and hashes only. No name that came from outside ever becomes a path.

use crate::reading::LogPosition;
use crate::time::{DAY, HOUR, TimeRange};

/// What a stored object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ObjectKind {
    /// Raw readings.
    Readings,
    /// Readings from the future.
    Quarantine,
    /// Partials of one epoch.
    Partials,
    /// Cells of one partition's view.
    View,
    /// States of series.
    Series,
}

impl ObjectKind {
    /// Its name, in paths and in the catalog.
    pub fn name(self) -> &'static str {
        match self {
            Self::Readings => "readings",
            Self::Quarantine => "quarantine",
            Self::Partials => "partials",
            Self::View => "views",
            Self::Series => "series",
        }
    }
}

/// `kind/part=LABEL/POSITION-HASH.parquet`: Hive style, so that other readers list partitions by name.
pub fn object_path(kind: ObjectKind, part: &str, position: LogPosition, content_hash: u64) -> String {
    format!("{}/part={part}/{:016}-{content_hash:016x}.parquet", kind.name(), position.0)
}

/// The log position in the path of an object; `None` of a path that [`object_path`] never makes.
pub fn position_of(path: &str) -> Option<LogPosition> {
    let kinds =
        [ObjectKind::Readings, ObjectKind::Quarantine, ObjectKind::Partials, ObjectKind::View, ObjectKind::Series];
    let [kind, part, name] = path.split('/').collect::<Vec<_>>()[..] else { return None };
    let (position, hash) = name.strip_suffix(".parquet")?.split_once('-')?;
    let ours = kinds.iter().any(|k| k.name() == kind) && part.starts_with("part=");
    let digits = position.len() == 16 && position.bytes().all(|b| b.is_ascii_digit());
    let hexadecimal = hash.len() == 16 && hash.bytes().all(|b| b.is_ascii_hexdigit());
    (ours && digits && hexadecimal).then(|| position.parse().map(LogPosition).ok()).flatten()
}

/// The label of a partition: `2013-03` for a month, `2013-03-01` for a day, `2013-03-01T07` for an hour.
pub fn partition_label(span: TimeRange) -> String {
    let text = crate::time::format_rfc3339(span.start.0);
    let date_end = text.find('T').expect("RFC 3339 has a T");
    match span.end.0.saturating_sub(span.start.0) {
        HOUR => text[..date_end + 3].to_owned(),
        DAY => text[..date_end].to_owned(),
        _ => text[..date_end - 3].to_owned(),
    }
}

/// The label of files with stray readings of several partitions.
pub const MIXED: &str = "mixed";
/// The label of objects that belong to no stretch of event time.
pub const WHOLE: &str = "all";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::parse_rfc3339;

    #[test]
    fn labels_tell_the_span() {
        let span = |start: &str, nanos: i64| {
            let start = parse_rfc3339(start).expect(start);
            TimeRange::new(start, start + nanos)
        };
        assert_eq!(partition_label(span("2013-03-01T00:00:00Z", 31 * DAY)), "2013-03");
        assert_eq!(partition_label(span("2013-03-05T00:00:00Z", DAY)), "2013-03-05");
        assert_eq!(partition_label(span("2013-03-05T07:00:00Z", HOUR)), "2013-03-05T07");
        assert_eq!(
            object_path(ObjectKind::View, "2013-03", LogPosition(7), 255),
            "views/part=2013-03/0000000000000007-00000000000000ff.parquet"
        );
    }

    #[test]
    fn the_position_is_read_out_of_a_path() {
        let path = object_path(ObjectKind::Readings, MIXED, LogPosition(17), u64::MAX);
        assert_eq!(position_of(&path), Some(LogPosition(17)));
        for foreign in
            ["claim", "readings/part=a/17-ff.parquet", "notes/part=a/0000000000000017-00000000000000ff.parquet"]
        {
            assert_eq!(position_of(foreign), None, "{foreign}");
        }
        assert_eq!(position_of(&format!("{path}.bak")), None);
        assert_eq!(position_of(&path.replace("part=", "")), None);
    }
}
