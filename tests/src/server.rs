//! The real binary, started on a free loopback port with its own data directory, and spoken to over HTTP.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};

/// The binary beside the running test.
///
/// # Panics
/// It was not built (`cargo build --workspace --all-targets` does).
pub fn binary() -> PathBuf {
    let test = std::env::current_exe().expect("a test has a path");
    let binary = test.ancestors().nth(2).expect("target/debug/deps/test").join("weir");
    assert!(binary.exists(), "{} was not built", binary.display());
    binary
}

/// A running server; killed when dropped.
#[derive(Debug)]
pub struct Server {
    child: Child,
    /// What it wrote to stderr so far.
    log: Arc<Mutex<String>>,
    /// Who reads that.
    reader: Option<JoinHandle<()>>,
    /// `http://127.0.0.1:port`, or `https` where it speaks TLS.
    pub url: String,
}

/// `weir serve` over `dir`, on a free port unless told otherwise, for a test to alter before it is launched.
pub fn serve(dir: &Path, more: &[&str]) -> Command {
    let mut command = Command::new(binary());
    command.arg("serve").arg("--data-dir").arg(dir).args(more);
    if !more.contains(&"--listen") {
        command.args(["--listen", "127.0.0.1:0"]);
    }
    command
}

/// What `weir check` finds wrong with a data directory that nobody serves.
///
/// # Panics
/// It can't be run.
pub fn faults_of(dir: &Path, more: &[&str]) -> Vec<String> {
    let checked =
        Command::new(binary()).arg("check").arg("--data-dir").arg(dir).args(more).output().expect("weir runs");
    let (told, errors) = (String::from_utf8_lossy(&checked.stdout), String::from_utf8_lossy(&checked.stderr));
    let findings = told.lines().filter(|line| line.contains(": ") && !line.starts_with("  advice:"));
    let findings = findings.filter(|line| !line.starts_with("ok:") && !line.starts_with("note:"));
    findings.chain(errors.lines().filter(|line| line.starts_with("error:"))).map(str::to_owned).collect()
}

impl Server {
    /// Starts `weir serve` over `dir` and waits until it is ready.
    ///
    /// # Errors
    /// It does not come up; the error holds what it printed.
    pub fn start(dir: &Path, more: &[&str]) -> anyhow::Result<Self> {
        Self::start_for(dir, more, &reqwest::blocking::Client::new())
    }

    /// The same, where not every client is let in: this one is.
    ///
    /// # Errors
    /// It does not come up; the error holds what it printed.
    pub fn start_for(dir: &Path, more: &[&str], client: &reqwest::blocking::Client) -> anyhow::Result<Self> {
        Self::spawn(serve(dir, more), client)
    }

    /// Like [`Self::start`], with these variables in its environment.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_in(environment: &[(&str, String)], dir: &Path, more: &[&str]) -> anyhow::Result<Self> {
        let mut command = serve(dir, more);
        command.envs(environment.iter().map(|(name, value)| (name, value)));
        Self::launch(command)
    }

    /// The same of a command that a test altered.
    ///
    /// # Errors
    /// It does not come up; the error holds what it printed.
    pub fn launch(command: Command) -> anyhow::Result<Self> {
        Self::spawn(command, &reqwest::blocking::Client::new())
    }

    fn spawn(mut command: Command, client: &reqwest::blocking::Client) -> anyhow::Result<Self> {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).stdin(Stdio::null()).spawn()?;
        let stdout = child.stdout.take().context("stdout is piped")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        let Some(url) = line.split_whitespace().find(|word| word.starts_with("http")) else {
            let output = child.wait_with_output()?;
            bail!("no address: {line:?} {}", String::from_utf8_lossy(&output.stderr));
        };
        let url = url.trim_end_matches('/').replace("//0.0.0.0:", "//127.0.0.1:");
        let stderr = child.stderr.take().context("stderr is piped")?;
        // Read to the end, so that a full pipe never stops the server.
        let log = Arc::new(Mutex::new(String::new()));
        let lines = Arc::clone(&log);
        let reader = std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                lines.lock().unwrap_or_else(PoisonError::into_inner).extend([line.as_str(), "\n"]);
            }
        });
        let mut server = Self { child, log, reader: Some(reader), url };
        server.wait_ready(client)?;
        Ok(server)
    }

    fn wait_ready(&mut self, client: &reqwest::blocking::Client) -> anyhow::Result<()> {
        let deadline = Instant::now() + Duration::from_secs(60);
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait()? {
                bail!("it ended before it was ready: {status}; {}", self.log());
            }
            if client.get(format!("{}/ready", self.url)).send().is_ok_and(|r| r.status().is_success()) {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        bail!("{} is not ready after 60 s", self.url)
    }

    /// Kills it at once, as a power cut would the process.
    ///
    /// # Errors
    /// It can't be waited for.
    pub fn kill(mut self) -> anyhow::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Asks it to stop and waits; returns its exit code.
    ///
    /// # Errors
    /// It does not stop within 15 s.
    pub fn stop(self) -> anyhow::Result<Option<i32>> {
        self.stop_and_tell().map(|(code, _)| code)
    }

    /// The same; returns all that it wrote to stderr, too.
    ///
    /// # Errors
    /// As [`Self::stop`].
    pub fn stop_and_tell(mut self) -> anyhow::Result<(Option<i32>, String)> {
        let pid = self.child.id().to_string();
        Command::new("kill").args(["-TERM", &pid]).status()?;
        let deadline = Instant::now() + Duration::from_secs(15);
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait()? {
                let read = self.reader.take().is_none_or(|reader| reader.join().is_ok());
                ensure!(read, "its words could not be read");
                return Ok((status.code(), self.log()));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        bail!("it did not stop within 15 s of SIGTERM")
    }

    /// What it wrote to stderr so far.
    pub fn log(&self) -> String {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
