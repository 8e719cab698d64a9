//! A peer's process: started, asked to stop, never left behind.
//!
//! Owns the process and its log. Does **not** own what it runs, nor its data directory. One that is dropped is stopped,
//! if need be killed, by its own process id.

use std::fs::File;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};

/// A start that takes longer is an error.
const START_TIME: Duration = Duration::from_secs(60);
/// A stop that takes longer is an error.
const STOP_TIME: Duration = Duration::from_secs(120);
/// One that is dropped is killed after this.
const DROP_TIME: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(20);
/// Bytes of its log that are shown when it does not start.
const LOG_SHOWN: usize = 1000;

/// A running peer.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts it, its output to `log`, and waits until `is_ready`.
    ///
    /// # Errors
    /// It can't be started, ends or does not become ready; the error holds the end of its log.
    pub(super) fn start(mut command: Command, log: PathBuf, is_ready: impl Fn() -> bool) -> anyhow::Result<Self> {
        let file = File::create(&log).with_context(|| format!("can't make {}", log.display()))?;
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        let child = command.spawn().with_context(|| format!("can't start {:?}", command.get_program()))?;
        let mut process = Self { child, log };
        let begun = Instant::now();
        while !is_ready() {
            if let Some(status) = process.child.try_wait()? {
                bail!("{:?} ended with {status}: {}", command.get_program(), process.said());
            }
            ensure!(begun.elapsed() < START_TIME, "{:?} is not ready: {}", command.get_program(), process.said());
            sleep(POLL);
        }
        Ok(process)
    }

    /// Its process id.
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Asks it to stop and waits.
    ///
    /// # Errors
    /// It does not stop.
    pub(super) fn stop(mut self) -> anyhow::Result<()> {
        ensure!(self.end(STOP_TIME)?.is_some(), "process {} did not stop: {}", self.pid(), self.said());
        Ok(())
    }

    /// Interrupts it and waits so long at most.
    fn end(&mut self, patience: Duration) -> anyhow::Result<Option<ExitStatus>> {
        if let Some(status) = self.child.try_wait()? {
            return Ok(Some(status));
        }
        let told = Command::new("kill").args(["-INT", &self.pid().to_string()]).status().context("can't run kill")?;
        ensure!(told.success(), "can't signal process {}", self.pid());
        let begun = Instant::now();
        while begun.elapsed() < patience {
            if let Some(status) = self.child.try_wait()? {
                return Ok(Some(status));
            }
            sleep(POLL);
        }
        Ok(None)
    }

    fn said(&self) -> String {
        let log = std::fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&log[log.len().saturating_sub(LOG_SHOWN)..]).trim().to_owned()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !matches!(self.end(DROP_TIME), Ok(Some(_))) {
            // It may have ended meanwhile.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// A port that nobody listens on now.
///
/// # Errors
/// There is none.
pub(super) fn free_port() -> anyhow::Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no port is free")?;
    Ok(listener.local_addr()?.port())
}

/// The first line that a program prints.
///
/// # Errors
/// It is not there, fails or prints nothing.
pub(super) fn first_line(program: impl AsRef<Path>, args: &[&str]) -> anyhow::Result<String> {
    let program = program.as_ref();
    let output = Command::new(program).args(args).stdin(Stdio::null()).output();
    let output = output.with_context(|| format!("can't run {}", program.display()))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().map(str::trim).find(|line| !line.is_empty());
    ensure!(output.status.success(), "{} ended with {}", program.display(), output.status);
    line.map(str::to_owned).with_context(|| format!("{} prints nothing", program.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_dropped_has_ended() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut command = Command::new("sleep");
        command.arg("100");
        let process = Process::start(command, dir.path().join("log"), || true).expect("sleep is there");
        let proc = PathBuf::from(format!("/proc/{}", process.pid()));
        assert!(proc.exists());
        drop(process);
        assert!(!proc.exists());
    }

    #[test]
    fn one_that_ends_at_once_tells_why() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut command = Command::new("sh");
        command.args(["-c", "echo because; exit 3"]);
        let error = Process::start(command, dir.path().join("log"), || false).expect_err("it ends").to_string();
        assert!(error.contains("exit status: 3: because"), "{error}");
    }
}
