//! The program's parts that others use, too: the engine's wiring, its clock and its settings. No logic of readings,
//! views or answers. The subcommands are in the binary.

pub mod clock;
pub mod engine;
pub mod settings;

pub use engine::{Engine, EngineComponents, EngineSettings};
pub use settings::Settings;
