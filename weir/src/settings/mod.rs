//! Settings of the program: what a person may write down, parsed once at the edge.
//!
//! Owns: the list of settings ([`KEYS`]), their text forms, and which source wins. Does **not** own: the defaults of the
//! layers (each layer has its own), nor what a setting does.
//!
//! ```text
//! flag > environment (WEIR_*) > weir.toml > default
//! ```

mod keys;
mod merge;
mod suggest;
mod tls;
mod units;

pub use keys::{KEYS, Key};
pub use merge::{Merged, Origin, Sources};
pub use tls::TlsSettings;

use crate::engine::EngineSettings;

/// All settings of the program, checked.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Settings of all layers, and where their data lies.
    pub engine: EngineSettings,
    /// Where HTTP listens: `HOST:PORT`.
    pub listen: String,
    /// Whether an address that others can reach is accepted although nothing asks who they are.
    pub insecure: bool,
    /// Where the certificates of HTTPS lie, if it is spoken.
    pub tls: TlsSettings,
    /// What is logged: a level, or a filter as `tracing` knows it.
    pub log_level: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            engine: EngineSettings::new("data"),
            listen: "127.0.0.1:9347".to_owned(),
            insecure: false,
            tls: TlsSettings::default(),
            log_level: "info".to_owned(),
        }
    }
}

/// A setting can't be taken as it was written; the text says where it stands and what to write instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error(pub(crate) String);

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Error {}
