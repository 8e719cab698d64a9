//! The real server: started, killed, stopped.
//!
//! Owns the process and its address. Does **not** own its data directory. A server that is dropped is killed.

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{JoinHandle, sleep};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};

use crate::client::{Client, get};
use crate::connection::{Protocol, Target};

/// A start that takes longer is an error.
const START_TIME: Duration = Duration::from_secs(300);
/// A stop that takes longer is an error.
const STOP_TIME: Duration = Duration::from_secs(60);
/// Lines of its log that are shown when it does not start.
const LOG_LINES: usize = 20;

/// A running `weir serve`.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// From before its start until it was ready.
    pub(crate) ready_in: Duration,
}

/// The release binary of this build; built if it is not there.
///
/// # Errors
/// It can't be built.
pub(crate) fn release_binary() -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe().context("can't find this program")?;
    let target = own.ancestors().nth(2).context("this program lies in no target directory")?;
    let binary = target.join("release").join("weir");
    if binary.exists() {
        return Ok(binary);
    }
    eprintln!("{} is missing: building it", binary.display());
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--release", "--bin", "weir", "--target-dir"]).arg(target);
    let status = cargo.current_dir(env!("CARGO_MANIFEST_DIR")).status().context("can't run cargo")?;
    ensure!(status.success() && binary.exists(), "cargo did not build {}", binary.display());
    Ok(binary)
}

impl Server {
    /// Starts it over `dir` on a free port and waits until it is ready.
    ///
    /// # Errors
    /// It does not come up; the error holds the end of its log.
    pub(crate) fn start(binary: &Path, dir: &Path) -> anyhow::Result<Self> {
        Self::start_with(binary, dir, &[])
    }

    /// Starts it with settings, by the names of their flags.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub(crate) fn start_with(binary: &Path, dir: &Path, settings: &[(&str, &str)]) -> anyhow::Result<Self> {
        let begun = Instant::now();
        let mut command = Command::new(binary);
        command.arg("serve").arg("--data-dir").arg(dir).args(["--listen", "127.0.0.1:0"]);
        command.args(settings.iter().map(|(flag, value)| format!("--{flag}={value}")));
        // Not from where a `weir.toml` may lie.
        command.current_dir(dir.parent().unwrap_or(dir));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("can't start {}", binary.display()))?;
        let log = Arc::new(Mutex::new(VecDeque::new()));
        let stderr = child.stderr.take().map(|stderr| keep_log(stderr, Arc::clone(&log)));
        let address = child.stdout.take().context("stdout is piped").and_then(read_address);
        // From here on dropping it kills the process.
        let mut server = Self { child, address: SocketAddr::from(([127, 0, 0, 1], 0)), ready_in: Duration::ZERO };
        let ready = address.and_then(|address| {
            server.address = address;
            server.wait_ready(begun)
        });
        if let Err(error) = ready {
            drop(server);
            // Its log ends with the process.
            let _ = stderr.map(JoinHandle::join);
            let log: Vec<String> = log.lock().unwrap_or_else(PoisonError::into_inner).drain(..).collect();
            return Err(error.context(format!("{} did not start:\n{}", binary.display(), log.join("\n"))));
        }
        server.ready_in = begun.elapsed();
        Ok(server)
    }

    fn wait_ready(&mut self, begun: Instant) -> anyhow::Result<()> {
        while begun.elapsed() < START_TIME {
            if let Some(status) = self.child.try_wait()? {
                bail!("it ended with {status}");
            }
            let answer = Client::connect(self.address).and_then(|mut client| client.send(&get("/ready")));
            if answer.is_ok_and(|answer| answer.is_success()) {
                return Ok(());
            }
            sleep(Duration::from_millis(1));
        }
        bail!("it is not ready after {START_TIME:?}")
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where requests go.
    pub(crate) fn target(&self) -> Target {
        Target { address: self.address, pid: self.pid(), protocol: Protocol::Http }
    }

    /// A new connection to it.
    ///
    /// # Errors
    /// It does not accept.
    pub(crate) fn client(&self) -> anyhow::Result<Client> {
        Client::connect(self.address)
    }

    /// Kills it at once, with whatever it has not flushed.
    ///
    /// # Errors
    /// It can't be killed.
    pub(crate) fn kill(mut self) -> anyhow::Result<()> {
        self.child.kill().context("can't kill the server")?;
        self.child.wait().context("can't wait for the server")?;
        Ok(())
    }

    /// Asks it to stop; returns how long that took.
    ///
    /// # Errors
    /// It does not stop, or not cleanly.
    pub(crate) fn stop(mut self) -> anyhow::Result<Duration> {
        let begun = Instant::now();
        let pid = self.pid().to_string();
        let told = Command::new("kill").args(["-TERM", &pid]).status().context("can't run kill")?;
        ensure!(told.success(), "can't signal the server");
        while begun.elapsed() < STOP_TIME {
            if let Some(status) = self.child.try_wait()? {
                ensure!(status.success(), "the server ended with {status} when it was told to stop");
                return Ok(begun.elapsed());
            }
            sleep(Duration::from_millis(2));
        }
        bail!("the server did not stop within {STOP_TIME:?}")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads the address it prints. The rest is read and dropped, so that a full pipe never stops it.
fn read_address(stdout: impl Read + Send + 'static) -> anyhow::Result<SocketAddr> {
    let mut lines = BufReader::new(stdout).lines();
    let address = lines.by_ref().map_while(Result::ok).find_map(|line| address_in(&line));
    std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
    address.context("it printed no address")
}

fn address_in(line: &str) -> Option<SocketAddr> {
    let (_, rest) = line.split_once("http://")?;
    rest.split(|c: char| c == '/' || c.is_whitespace()).next()?.parse().ok()
}

/// Keeps the last lines of its log.
fn keep_log(stderr: impl Read + Send + 'static, log: Arc<Mutex<VecDeque<String>>>) -> JoinHandle<()> {
    std::thread::spawn(move || {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
            if log.len() == LOG_LINES {
                log.pop_front();
            }
            log.push_back(line);
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_found_in_what_it_prints() {
        let found = |line| address_in(line).map(|address| address.to_string());
        assert_eq!(found("weir 0.1.0 listens on http://127.0.0.1:9347/ now").as_deref(), Some("127.0.0.1:9347"));
        assert_eq!(found("http://127.0.0.1:80").as_deref(), Some("127.0.0.1:80"));
        assert_eq!(found("starting"), None);
    }
}
