//! How each figure grows: with readings, with series, with the length of history.
//!
//! Owns the order and the command. Does **not** own how much of each there is (`cases`), what is measured of it (`run`),
//! or how it is shown (`tables`, `plot`). A case that two kinds of growth share is measured once.

mod cases;
mod plot;
mod run;
mod tables;

use std::path::PathBuf;

use anyhow::{Context as _, ensure};
use clap::{Args, ValueEnum as _};

use cases::{Case, Kind, Size};
use run::Measured;

use crate::machine::{Machine, commit, now_ms};
use crate::measure::progress;
use crate::place::{self, Place};

/// Measures how figures grow.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Fewer series and readings, and fewer runs of each question
    #[arg(long)]
    quick: bool,
    /// What grows
    #[arg(long, value_enum, value_delimiter = ',', value_name = "KINDS", default_values_t = Kind::value_variants().to_vec())]
    kinds: Vec<Kind>,
    /// Write the tables there, too
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Draw the curves there, as SVG
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
    #[command(flatten)]
    place: Place,
}

/// Cases and what was measured of them.
type Results = Vec<(Case, Measured)>;

/// Measures every case, prints the tables, writes them down and draws them.
///
/// # Errors
/// Weir can't be found, a case failed or was answered wrongly; what was measured is shown all the same.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let weir = options.place.weir()?;
    let dir = options.place.dir()?;
    let size = if options.quick { Size::QUICK } else { Size::WHOLE };
    let machine = Machine::of(dir.path())?;
    let (mut results, mut troubles) = (Results::new(), Vec::new());
    for case in Case::all(&options.kinds, &size, now_ms()?) {
        progress(&case.describe());
        let data = dir.path().join("data");
        match run::run(&weir, &data, &case, size.runs) {
            Ok(measured) => {
                troubles.extend(measured.wrong.iter().map(|wrong| format!("{}: {wrong}", case.describe())));
                results.push((case, measured));
            }
            Err(error) => troubles.push(format!("{}: {error:#}", case.describe())),
        }
        std::fs::remove_dir_all(&data).with_context(|| format!("can't remove {}", data.display()))?;
    }
    let command = std::env::args().collect::<Vec<_>>().join(" ");
    let mut text = format!(
        "{}; writing and syncing 4 KiB: {}\n\n`{command}` (weir-bench of {})\n\n",
        machine.describe(),
        machine.sync.show(),
        commit()
    );
    text += &tables::markdown(&results);
    troubles.iter().for_each(|trouble| text += &format!("**Failed**, {trouble}\n\n"));
    println!("{text}");
    if let Some(path) = &options.out {
        place::write(path, &text)?;
    }
    if let Some(path) = &options.plot {
        place::write(path, &plot::svg(&results)?)?;
    }
    ensure!(troubles.is_empty(), "something failed");
    Ok(())
}
