//! Calls to the operating system that fail, wait, or are the last: a library that is preloaded into the server numbers
//! every call that changes a file below the data directory (`tests/faults/calls.c` tells how).

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What happens to a call, and to which.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing: the calls are only written down.
    None,
    /// The process is killed instead of call number n.
    KillBefore(usize),
    /// The process is killed after call number n.
    KillAfter(usize),
    /// The process is killed when half of the bytes of call number n are written; one that writes none is not made.
    Tear(usize),
    /// Call number n fails with this error number.
    Fail(usize, i32),
    /// Sync number n of the log fails with this error number.
    FailSync(usize, i32),
    /// Each sync of the log takes this many milliseconds longer.
    SlowSync(u64),
}

impl Fault {
    /// Whether the process ends by it.
    pub fn kills(self) -> bool {
        matches!(self, Self::KillBefore(_) | Self::KillAfter(_) | Self::Tear(_))
    }

    fn variables(self) -> Vec<(&'static str, String)> {
        let (act, at, until, value) = match self {
            Self::None => return Vec::new(),
            Self::KillBefore(n) => ("before", n, n, 0),
            Self::KillAfter(n) => ("after", n, n, 0),
            Self::Tear(n) => ("torn", n, n, 0),
            Self::Fail(n, error) | Self::FailSync(n, error) => ("fail", n, n, error.into()),
            Self::SlowSync(ms) => ("delay", 1, usize::MAX >> 1, i64::try_from(ms).unwrap_or(i64::MAX)),
        };
        let mut variables = vec![
            ("CALLS_DO", act.to_owned()),
            ("CALLS_AT", at.to_string()),
            ("CALLS_UNTIL", until.to_string()),
            ("CALLS_VALUE", value.to_string()),
        ];
        if let Self::SlowSync(_) | Self::FailSync(..) = self {
            variables.extend([("CALLS_ONLY", "fdatasync".to_owned()), ("CALLS_END", ".log".to_owned())]);
        }
        variables
    }
}

/// A call that was made, in the order of their numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// Its name, such as `fdatasync`.
    pub name: String,
    /// The file, below the directory.
    pub path: String,
    /// Whether something happened to it.
    pub hit: bool,
}

/// The library, built for this test.
#[derive(Debug)]
pub struct Calls {
    library: PathBuf,
}

impl Calls {
    /// Builds the library into `dir`.
    ///
    /// # Errors
    /// There is no C compiler here; what it said.
    pub fn build(dir: &Path) -> Result<Self, String> {
        let library = dir.join("calls.so");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("faults/calls.c");
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(source).arg("-ldl").stdin(Stdio::null());
        let output = compiler.output().map_err(|error| format!("cc: {error}"))?;
        let told = || String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.success() { Ok(Self { library }) } else { Err(told()) }
    }

    /// Lets `command` meet `fault` below `dir`. Its calls are written down in the file `log`.
    pub fn preload(&self, command: &mut Command, dir: &Path, log: &Path, fault: Fault) {
        command.env("LD_PRELOAD", &self.library).env("CALLS_DIR", dir).env("CALLS_LOG", log);
        command.envs(fault.variables());
    }

    /// The calls that were written down.
    pub fn made(log: &Path) -> Vec<Call> {
        let text = std::fs::read_to_string(log).unwrap_or_default();
        let call = |line: &str| -> Option<(usize, Call)> {
            let mut words = line.splitn(3, ' ');
            let number = words.next()?;
            let (hit, number) = (number.ends_with('!'), number.trim_end_matches('!').parse().ok()?);
            Some((number, Call { name: words.next()?.to_owned(), path: words.next()?.to_owned(), hit }))
        };
        let mut calls: Vec<(usize, Call)> = text.lines().filter_map(call).collect();
        calls.sort_by_key(|(number, _)| *number);
        calls.into_iter().map(|(_, call)| call).collect()
    }
}
