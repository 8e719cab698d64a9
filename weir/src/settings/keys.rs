//! The list of settings: name, meaning, and how each is read and shown. Flags, environment, file and `weir config
//! explain` all follow this one list.

use schemas::Resolution;

use super::Settings;
use super::units::{
    durability, duration, duration_or_zero, file, flag, fraction, memory, positive, show_durability, show_duration,
    show_file, show_size, size,
};

/// One setting.
#[derive(Debug)]
pub struct Key {
    /// Its name in `weir.toml`; the flag has dashes, the variable is in capitals behind `WEIR_`.
    pub name: &'static str,
    /// What its value looks like.
    pub value: &'static str,
    /// What it means.
    pub about: &'static str,
    pub(super) set: fn(&mut Settings, &str) -> Result<(), String>,
    pub(super) get: fn(&Settings) -> String,
}

impl Key {
    /// The setting of this name.
    pub fn named(name: &str) -> Option<&'static Self> {
        KEYS.iter().find(|key| key.name == name)
    }

    /// Its flag, without the dashes in front.
    pub fn flag(&self) -> String {
        self.name.replace('_', "-")
    }

    /// Its environment variable.
    pub fn variable(&self) -> String {
        format!("WEIR_{}", self.name.to_uppercase())
    }

    /// Its value.
    pub fn show(&self, settings: &Settings) -> String {
        (self.get)(settings)
    }
}

/// All settings. `data_dir` stands before `history`, whose default lies in it.
pub const KEYS: &[Key] = &[
    Key {
        name: "data_dir",
        value: "DIR",
        about: "Where everything lies that is kept",
        set: |s, text| {
            s.engine.data_dir = text.into();
            s.engine.batch.dir = text.into();
            s.engine.batch.history = s.engine.data_dir.join("history").to_string_lossy().into_owned();
            if text.is_empty() { Err("is empty".to_owned()) } else { Ok(()) }
        },
        get: |s| s.engine.data_dir.display().to_string(),
    },
    Key {
        name: "listen",
        value: "HOST:PORT",
        about: "Where HTTP listens; port 0 takes a free one",
        set: |s, text| match text.rsplit_once(':') {
            Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => {
                s.listen = text.to_owned();
                Ok(())
            }
            _ => Err(format!("{:?} is not like 127.0.0.1:9347", schemas::time::clip(text))),
        },
        get: |s| s.listen.clone(),
    },
    Key {
        name: "insecure",
        value: "BOOL",
        about: "Accept an address that others can reach, although nothing asks who they are",
        set: |s, text| flag(text).map(|v| s.insecure = v),
        get: |s| s.insecure.to_string(),
    },
    Key {
        name: "tls_cert",
        value: "FILE",
        about: "Certificates in PEM to serve HTTPS with, the server's own first; read anew when the file changes",
        set: |s, text| {
            s.tls.cert = file(text);
            Ok(())
        },
        get: |s| show_file(s.tls.cert.as_deref()),
    },
    Key {
        name: "tls_key",
        value: "FILE",
        about: "Private key of the certificate, in PEM",
        set: |s, text| {
            s.tls.key = file(text);
            Ok(())
        },
        get: |s| show_file(s.tls.key.as_deref()),
    },
    Key {
        name: "tls_client_ca",
        value: "FILE",
        about: "Certificates in PEM, one of which must have signed that of a client; none is asked for if empty",
        set: |s, text| {
            s.tls.client_ca = file(text);
            Ok(())
        },
        get: |s| show_file(s.tls.client_ca.as_deref()),
    },
    Key {
        name: "cors_origins",
        value: "ORIGINS",
        about: "Sites whose pages may send and ask in a browser: https://a.example,https://b.example, or *; none if empty",
        set: |s, text| text.parse().map(|v| s.engine.serving.cors = v).map_err(|e: serving_layer::Error| e.to_string()),
        get: |s| s.engine.serving.cors.to_string(),
    },
    Key {
        name: "history",
        value: "URL",
        about: "Where history lies: a path, file://, memory:// or s3://bucket/prefix (key and place from the environment: \
                AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION; for others than AWS AWS_ENDPOINT_URL, AWS_ALLOW_HTTP)",
        set: |s, text| {
            s.engine.batch.history = text.to_owned();
            Ok(())
        },
        get: |s| s.engine.batch.history.clone(),
    },
    Key {
        name: "base_resolution",
        value: "DURATION",
        about: "Width of base buckets; fixed for the life of a data directory, divides an hour",
        set: |s, text| {
            let base: Resolution = text.trim().parse().map_err(|e: schemas::Error| e.to_string())?;
            (s.engine.speed.base, s.engine.batch.base) = (base, base);
            if schemas::time::HOUR % base.nanos() == 0 { Ok(()) } else { Err("does not divide an hour".to_owned()) }
        },
        get: |s| s.engine.speed.base.to_string(),
    },
    Key {
        name: "durability",
        value: "sync|interval:DURATION",
        about: "When a reading counts as acknowledged: synced to disk, or written and synced this often",
        set: |s, text| durability(text).map(|v| s.engine.speed.durability = v),
        get: |s| show_durability(s.engine.speed.durability),
    },
    Key {
        name: "max_future_skew",
        value: "DURATION",
        about: "Readings further ahead of the clock than this are quarantined",
        set: |s, text| duration_or_zero(text).map(|v| s.engine.speed.max_future_skew = v),
        get: |s| show_duration(s.engine.speed.max_future_skew),
    },
    Key {
        name: "max_past_skew",
        value: "DURATION",
        about: "Readings further behind the clock than this are quarantined; 0 for none",
        set: |s, text| duration_or_zero(text).map(|v| s.engine.speed.max_past_skew = v),
        get: |s| show_duration(s.engine.speed.max_past_skew),
    },
    Key {
        name: "seal_age",
        value: "DURATION",
        about: "An open epoch is sealed at this age",
        set: |s, text| duration(text).map(|v| s.engine.speed.seal_age = v),
        get: |s| show_duration(s.engine.speed.seal_age),
    },
    Key {
        name: "seal_bytes",
        value: "SIZE",
        about: "An open epoch is sealed when its readings take this much memory",
        set: |s, text| size(text).map(|v| s.engine.speed.seal_bytes = v),
        get: |s| show_size(s.engine.speed.seal_bytes),
    },
    Key {
        name: "hot_retention",
        value: "DURATION",
        about: "Flushed readings stay in memory this long, so that late ones find their duplicates there",
        set: |s, text| duration_or_zero(text).map(|v| s.engine.speed.hot_retention = v),
        get: |s| show_duration(s.engine.speed.hot_retention),
    },
    Key {
        name: "hot_bytes",
        value: "SIZE",
        about: "Flushed readings leave memory early above this; ingest waits at eight times as much",
        set: |s, text| size(text).map(|v| s.engine.speed.hot_bytes = v),
        get: |s| show_size(s.engine.speed.hot_bytes),
    },
    Key {
        name: "segment_bytes",
        value: "SIZE",
        about: "Size of a log segment",
        set: |s, text| size(text).map(|v| s.engine.speed.segment_bytes = v),
        get: |s| show_size(s.engine.speed.segment_bytes),
    },
    Key {
        name: "disk_reserve",
        value: "SIZE",
        about: "Kept free on the disks of log and history: before it is touched readings are refused and jobs wait; 0: nothing",
        set: |s, text| size(text).map(|v| s.engine.disk_reserve = v),
        get: |s| show_size(s.engine.disk_reserve),
    },
    Key {
        name: "max_series",
        value: "NUMBER",
        about: "Most series; readings of further ones are refused",
        set: |s, text| positive(text).map(|v| s.engine.speed.max_series = v),
        get: |s| s.engine.speed.max_series.to_string(),
    },
    Key {
        name: "new_series_per_second",
        value: "NUMBER",
        about: "New series that may come in a second, ten times as many at once; more are refused for a while",
        set: |s, text| positive(text).map(|v| s.engine.speed.new_series_per_second = v),
        get: |s| s.engine.speed.new_series_per_second.to_string(),
    },
    Key {
        name: "generation_grace",
        value: "DURATION",
        about: "How long superseded generations can be asked for and reverted to",
        set: |s, text| duration_or_zero(text).map(|v| s.engine.batch.generation_grace = v),
        get: |s| show_duration(s.engine.batch.generation_grace),
    },
    Key {
        name: "file_grace",
        value: "DURATION",
        about: "How long superseded files of readings are kept for queries that still read them",
        set: |s, text| duration_or_zero(text).map(|v| s.engine.batch.file_grace = v),
        get: |s| show_duration(s.engine.batch.file_grace),
    },
    Key {
        name: "scrub_interval",
        value: "DURATION",
        about: "Everything stored is read and verified once in so long; 0s: never",
        set: |s, text| duration_or_zero(text).map(|v| s.engine.batch.scrub_interval = v),
        get: |s| show_duration(s.engine.batch.scrub_interval),
    },
    Key {
        name: "batch_memory",
        value: "SIZE",
        about: "Memory that batch work may use",
        set: |s, text| memory(text).map(|v| s.engine.batch.memory_bytes = v),
        get: |s| show_size(s.engine.batch.memory_bytes as u64),
    },
    Key {
        name: "view_cells",
        value: "NUMBER",
        about: "Most cells of views kept decoded in memory; about 150 bytes each",
        set: |s, text| positive(text).map(|v| s.engine.batch.cached_cells = v),
        get: |s| s.engine.batch.cached_cells.to_string(),
    },
    Key {
        name: "body_bytes",
        value: "SIZE",
        about: "Longest compressed body of a request",
        set: |s, text| memory(text).map(|v| s.engine.serving.body_bytes = v),
        get: |s| show_size(s.engine.serving.body_bytes as u64),
    },
    Key {
        name: "decompressed_bytes",
        value: "SIZE",
        about: "Longest body of a request after decompression",
        set: |s, text| memory(text).map(|v| s.engine.serving.decompressed_bytes = v),
        get: |s| show_size(s.engine.serving.decompressed_bytes as u64),
    },
    Key {
        name: "query_timeout",
        value: "DURATION",
        about: "Longest time of one query",
        set: |s, text| duration(text).map(|v| s.engine.serving.query_timeout = v),
        get: |s| show_duration(s.engine.serving.query_timeout),
    },
    Key {
        name: "sql_memory",
        value: "SIZE",
        about: "Memory that one SQL statement may use",
        set: |s, text| memory(text).map(|v| s.engine.serving.sql_memory_bytes = v),
        get: |s| show_size(s.engine.serving.sql_memory_bytes as u64),
    },
    Key {
        name: "sql_memory_total",
        value: "SIZE",
        about: "Memory that all SQL statements may use together",
        set: |s, text| memory(text).map(|v| s.engine.serving.sql_memory_total_bytes = v),
        get: |s| show_size(s.engine.serving.sql_memory_total_bytes as u64),
    },
    Key {
        name: "sql_at_once",
        value: "NUMBER",
        about: "SQL statements that run at once; more wait, then are refused",
        set: |s, text| positive(text).map(|v| s.engine.serving.sql_at_once = v),
        get: |s| s.engine.serving.sql_at_once.to_string(),
    },
    Key {
        name: "queries_at_once",
        value: "NUMBER",
        about: "Queries that run at once; more wait, then are refused",
        set: |s, text| positive(text).map(|v| s.engine.serving.queries_at_once = v),
        get: |s| s.engine.serving.queries_at_once.to_string(),
    },
    Key {
        name: "late_after",
        value: "DURATION",
        about: "A reading that arrives this much after it happened is listed in late_readings",
        set: |s, text| duration(text).map(|v| s.engine.serving.late_after = v),
        get: |s| show_duration(s.engine.serving.late_after),
    },
    Key {
        name: "horizon_max",
        value: "DURATION",
        about: "Buckets that ended longer ago than this are final once a view counts them",
        set: |s, text| duration(text).map(|v| s.engine.serving.horizon_max = v),
        get: |s| show_duration(s.engine.serving.horizon_max),
    },
    Key {
        name: "epsilon",
        value: "FRACTION",
        about: "A value counts as the same within this fraction",
        set: |s, text| fraction(text).map(|v| s.engine.serving.epsilon = v),
        get: |s| s.engine.serving.epsilon.to_string(),
    },
    Key {
        name: "log_level",
        value: "LEVEL",
        about: "What is logged to stderr: error, warn, info, debug, trace, or a filter such as info,weir=debug",
        set: |s, text| {
            s.log_level = text.to_owned();
            Ok(())
        },
        get: |s| s.log_level.clone(),
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_reads_back_what_it_shows() {
        for key in KEYS {
            let mut settings = Settings::default();
            let shown = key.show(&settings);
            (key.set)(&mut settings, &shown).expect(key.name);
            assert_eq!(key.show(&settings), shown, "{}", key.name);
        }
    }

    #[test]
    fn names_are_unique_and_spelt_alike() {
        for (i, key) in KEYS.iter().enumerate() {
            assert!(key.name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{}", key.name);
            assert!(KEYS[..i].iter().all(|other| other.name != key.name), "{}", key.name);
        }
    }

    #[test]
    fn bad_values_are_refused() {
        for (name, text) in [
            ("listen", "9347"),
            ("listen", "host:port"),
            ("base_resolution", "7s"),
            ("seal_age", "0s"),
            ("max_series", "0"),
            ("epsilon", "2"),
            ("data_dir", ""),
            ("cors_origins", "a.example"),
            ("durability", "often"),
        ] {
            let key = Key::named(name).expect(name);
            assert!((key.set)(&mut Settings::default(), text).is_err(), "{name} {text}");
        }
    }
}
