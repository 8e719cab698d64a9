//! An S3 server for tests: moto, of PyPI, in the environment that `tests/install.sh` makes below the target directory.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// A running server with one empty bucket, `weir`; killed when dropped.
#[derive(Debug)]
pub struct S3 {
    child: Child,
    /// `127.0.0.1:port`.
    pub address: String,
}

impl S3 {
    /// Starts one; `None`, and a line that says so, where moto is not installed.
    ///
    /// # Panics
    /// It is installed but does not start.
    pub fn start() -> Option<Self> {
        let server = target().join("s3-venv/bin/moto_server");
        if !server.exists() {
            super::skip::skipped(format_args!("{} does not exist (tests/install.sh installs it)", server.display()));
            return None;
        }
        let mut command = Command::new(server);
        command.args(["-H", "127.0.0.1", "-p", "0"]).stdout(Stdio::null()).stderr(Stdio::piped()).stdin(Stdio::null());
        let mut child = command.spawn().expect("moto starts");
        let mut said = BufReader::new(child.stderr.take().expect("stderr is piped")).lines().map_while(Result::ok);
        let address = said.by_ref().find_map(|line| Some(line.split_once("Running on http://")?.1.trim().to_owned()));
        let address = address.expect("moto tells its address");
        // Read to the end, so that a full pipe never stops the server.
        std::thread::spawn(move || said.for_each(drop));
        let server = Self { child, address };
        server.make_bucket().expect("moto makes a bucket");
        Some(server)
    }

    fn make_bucket(&self) -> std::io::Result<()> {
        let mut connection = TcpStream::connect(&self.address)?;
        write!(connection, "PUT /weir HTTP/1.1\r\nHost: s3\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        connection.read_to_string(&mut answer)?;
        if answer.starts_with("HTTP/1.1 200") { Ok(()) } else { Err(std::io::Error::other(answer)) }
    }

    /// The variables with which a program finds the server at `address`: its own, or that of a proxy before it.
    pub fn environment(address: &str) -> [(&'static str, String); 5] {
        [
            ("AWS_ACCESS_KEY_ID", "test".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "test".to_owned()),
            ("AWS_REGION", "us-east-1".to_owned()),
            ("AWS_ENDPOINT_URL", format!("http://{address}")),
            ("AWS_ALLOW_HTTP", "true".to_owned()),
        ]
    }
}

impl Drop for S3 {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The target directory that this test was built in.
fn target() -> PathBuf {
    let test = std::env::current_exe().expect("a test has a path");
    test.ancestors().nth(3).expect("target/debug/deps/test").to_owned()
}
