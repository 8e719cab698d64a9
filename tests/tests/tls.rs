//! HTTPS of the real binary: whom it talks to, what it shows, and what happens when its certificate changes. The
//! certificates are made by `openssl` in the test's own folder.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use reqwest::blocking::{Client, ClientBuilder, Response};
use reqwest::tls::TlsInfo;
use reqwest::{Certificate, Identity};
use tempfile::TempDir;
use tests::parts::scratch;
use tests::server::{Server, binary};

/// A handshake ends within this; the server's own deadline is 10 s.
const HANDSHAKES_END: Duration = Duration::from_secs(20);

/// A folder of certificates; `None` where this machine has no `openssl`.
struct Certificates(TempDir);

impl Certificates {
    fn new() -> Option<Self> {
        if Command::new("openssl").arg("version").output().is_err() {
            tests::skipped("there is no openssl (tests/install.sh)");
            return None;
        }
        let certificates = Self(scratch());
        certificates.sign("ca", None);
        Some(certificates)
    }

    /// Makes the certificate and key of this name, signed by another or by itself.
    fn sign(&self, name: &str, by: Option<&str>) {
        let mut command = Command::new("openssl");
        command.current_dir(self.0.path()).args(["req", "-x509", "-nodes", "-days", "2", "-newkey", "ec"]);
        command.args(["-pkeyopt", "ec_paramgen_curve:P-256", "-subj", &format!("/CN={name}")]);
        command.args(["-keyout", &format!("{name}.key"), "-out", &format!("{name}.pem")]);
        if let Some(by) = by {
            command.args(["-CA", &format!("{by}.pem"), "-CAkey", &format!("{by}.key")]);
            command.args(["-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"]);
            command.args(["-addext", "basicConstraints=critical,CA:FALSE"]);
        }
        let made = command.output().expect("openssl runs");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_str().expect("a plain path").to_owned()
    }

    fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).expect("made before")
    }

    /// Puts other bytes in the place of a file, at once.
    fn replace(&self, name: &str, bytes: &[u8]) {
        let draft = self.path("draft");
        std::fs::write(&draft, bytes).expect("written");
        std::fs::rename(draft, self.path(name)).expect("in place");
    }

    /// A client that trusts who this one signed.
    fn trusting(&self, ca: &str) -> ClientBuilder {
        let ca = Certificate::from_pem(&self.read(&format!("{ca}.pem"))).expect("a certificate");
        let client = Client::builder().no_proxy().timeout(Duration::from_secs(30)).tls_info(true);
        client.tls_built_in_root_certs(false).add_root_certificate(ca)
    }

    /// A client that shows this certificate, too.
    fn showing(&self, name: &str) -> Client {
        let pem = [self.read(&format!("{name}.pem")), self.read(&format!("{name}.key"))].concat();
        let client = self.trusting("ca").identity(Identity::from_pem(&pem).expect("certificate and key"));
        client.build().expect("a client")
    }

    /// Starts a server that shows `server.pem`.
    fn serve(&self, dir: &Path, more: &[&str], client: &Client) -> Server {
        let (cert, key) = (self.text("server.pem"), self.text("server.key"));
        let arguments = [&["--tls-cert", &cert, "--tls-key", &key], more].concat();
        let server = Server::start_for(dir, &arguments, client).expect("starts");
        assert!(server.url.starts_with("https://127.0.0.1:"), "{}", server.url);
        server
    }
}

fn get(client: &Client, server: &Server, path: &str) -> reqwest::Result<Response> {
    client.get(format!("{}{path}", server.url)).send()
}

/// The certificate that the server showed on the connection of this answer.
fn shown(response: &Response) -> Vec<u8> {
    let info = response.extensions().get::<TlsInfo>().expect("a TLS connection");
    info.peer_certificate().expect("a certificate").to_vec()
}

fn metrics(client: &Client, server: &Server) -> String {
    get(client, server, "/metrics").and_then(Response::text).expect("answered")
}

fn connect(server: &Server) -> TcpStream {
    let stream = TcpStream::connect(server.url.strip_prefix("https://").expect("https")).expect("listens");
    stream.set_read_timeout(Some(HANDSHAKES_END)).expect("a time-out");
    stream
}

/// Waits for what a server that looks once a second notices.
fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !done() {
        assert!(Instant::now() < deadline, "{what}: not within 20 s");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Runs `weir`, without the variables of whoever runs the test; whether it went well, stdout and stderr.
fn weir(arguments: &[&str]) -> (bool, String) {
    let mut command = Command::new(binary());
    for name in ["WEIR_TOKEN", "WEIR_CA", "WEIR_CLIENT_CERT", "WEIR_CLIENT_KEY"] {
        command.env_remove(name);
    }
    let mut child = command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("weir runs");
    let deadline = Instant::now() + Duration::from_secs(30);
    while child.try_wait().expect("a child").is_none() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(10));
    }
    // A server that should have refused to start would run for ever.
    let _ = child.kill();
    let output = child.wait_with_output().expect("ended");
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(text).expect("text"))
}

#[test]
fn only_who_trusts_the_certificate_talks_and_nobody_in_plain() {
    let Some(certificates) = Certificates::new() else { return };
    certificates.sign("server", Some("ca"));
    certificates.sign("other", None);
    let (dir, client) = (scratch(), certificates.trusting("ca").build().expect("a client"));
    let server = certificates.serve(dir.path(), &[], &client);

    let answer = get(&client, &server, "/v1/status").expect("answered");
    assert_eq!((answer.status().as_u16(), answer.version()), (200, reqwest::Version::HTTP_11));
    let stranger = certificates.trusting("other").build().expect("a client");
    assert!(get(&stranger, &server, "/health").is_err(), "it is signed by another");
    assert!(get(&Client::builder().no_proxy().build().expect("a client"), &server, "/health").is_err());

    let mut plain = connect(&server);
    plain.write_all(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n").expect("sent");
    let mut answer = Vec::new();
    // The connection may be reset before all is read.
    let _ = plain.read_to_end(&mut answer);
    assert!(!answer.starts_with(b"HTTP") && answer.len() < 64, "{}", String::from_utf8_lossy(&answer));
    assert_eq!(get(&client, &server, "/health").expect("answered").status(), 200);
    let told = metrics(&client, &server);
    for reason in ["not_tls", "alert"] {
        assert!(told.contains(&format!("weir_tls_handshakes_failed_total{{reason=\"{reason}\"}}")), "{reason}: {told}");
    }

    // The command line, which finds the server of a directory by itself.
    let (ca, data) = (certificates.text("ca.pem"), dir.path().to_str().expect("plain").to_owned());
    let sql = ["sql", "SELECT 1 AS one", "--format", "csv"];
    let by_url = weir(&[&sql[..], &["--url", &server.url, "--ca", &ca]].concat());
    assert_eq!(by_url, (true, "one\n1\n".to_owned()));
    assert_eq!(weir(&[&sql[..], &["--data-dir", &data, "--ca", &ca]].concat()), (true, "one\n1\n".to_owned()));
    let (untrusted, told) = weir(&[&sql[..], &["--url", &server.url]].concat());
    assert!(!untrusted && told.contains("can't reach"), "{told}");
    assert_eq!(server.stop().expect("stops"), Some(0));
}

#[test]
fn with_an_authority_for_clients_only_those_it_signed_come_in() {
    let Some(certificates) = Certificates::new() else { return };
    certificates.sign("server", Some("ca"));
    certificates.sign("crew", None);
    certificates.sign("press-7", Some("crew"));
    certificates.sign("intruder", Some("ca"));
    let (dir, crew) = (scratch(), certificates.text("crew.pem"));
    let member = certificates.showing("press-7");
    let server = certificates.serve(dir.path(), &["--tls-client-ca", &crew], &member);

    assert_eq!(get(&member, &server, "/v1/status").expect("answered").status(), 200);
    let nobody = certificates.trusting("ca").build().expect("a client");
    for (name, client) in [("nobody", nobody), ("intruder", certificates.showing("intruder"))] {
        assert!(get(&client, &server, "/health").is_err(), "{name} came in");
    }
    let told = metrics(&member, &server);
    for reason in ["no_certificate", "bad_certificate"] {
        assert!(told.contains(&format!("weir_tls_handshakes_failed_total{{reason=\"{reason}\"}}")), "{reason}: {told}");
    }
    assert!(server.log().contains("somebody was not let in"), "{}", server.log());

    let job = member.post(format!("{}/v1/jobs", server.url)).json(&serde_json::json!({"kind": "fold"})).send();
    assert_eq!(job.expect("answered").status(), 202);
    let audit = get(&member, &server, "/v1/audit").and_then(Response::text).expect("answered");
    assert!(audit.contains(r#""actor":"certificate \"press-7\" "#), "{audit}");

    let (ca, cert, key) =
        (certificates.text("ca.pem"), certificates.text("press-7.pem"), certificates.text("press-7.key"));
    let sql = ["sql", "SELECT 1 AS one", "--format", "csv", "--url", &server.url, "--ca", &ca];
    let member = weir(&[&sql[..], &["--client-cert", &cert, "--client-key", &key]].concat());
    assert_eq!(member, (true, "one\n1\n".to_owned()));
    assert!(!weir(&sql).0);
    assert_eq!(server.stop().expect("stops"), Some(0));
}

#[test]
fn a_certificate_is_replaced_while_serving_and_a_broken_one_is_not_taken() {
    let Some(certificates) = Certificates::new() else { return };
    certificates.sign("server", Some("ca"));
    certificates.sign("next", Some("ca"));
    let fresh = || certificates.trusting("ca").build().expect("a client");
    let (dir, old) = (scratch(), fresh());
    let server = certificates.serve(dir.path(), &[], &old);
    let seen = |client: &Client| shown(&get(client, &server, "/health").expect("answered"));
    let (first, metric) = (seen(&old), |outcome: &str| format!("weir_tls_reloads_total{{outcome=\"{outcome}\"}}"));

    // What can't be used changes nothing: no certificate, half of one, one that is not the key's.
    let (whole, next) = (certificates.read("server.pem"), certificates.read("next.pem"));
    for (broken, count) in [(&b""[..], 1), (&whole[..whole.len() / 2], 2), (&next[..], 3)] {
        certificates.replace("server.pem", broken);
        wait_for("a refusal", || metrics(&old, &server).contains(&format!("{} {count}", metric("refused"))));
        assert_eq!(seen(&fresh()), first, "the one before is shown");
    }
    std::fs::remove_file(certificates.path("server.pem")).expect("there");
    wait_for("a missing file", || metrics(&old, &server).contains(&format!("{} 4", metric("refused"))));

    certificates.replace("server.key", &certificates.read("next.key"));
    certificates.replace("server.pem", &next);
    wait_for("the next certificate", || seen(&fresh()) != first);
    let second = seen(&fresh());
    assert!(metrics(&old, &server).contains(&format!("{} 1", metric("loaded"))));
    assert_eq!(seen(&old), first, "the connection from before goes on");
    assert_eq!(seen(&fresh()), second);
    let log = server.log();
    let secret = String::from_utf8(certificates.read("next.key")).expect("PEM");
    let secret = secret.lines().nth(1).expect("a line of the key");
    assert!(log.contains("not the private key of the certificate") && !log.contains(secret), "{log}");
    assert!(log.contains("others can read the private key"), "the new one was written with the usual mode: {log}");
    assert_eq!(server.stop().expect("stops"), Some(0));
}

#[test]
fn handshakes_that_never_end_keep_nobody_waiting() {
    let Some(certificates) = Certificates::new() else { return };
    certificates.sign("server", Some("ca"));
    let (dir, client) = (scratch(), certificates.trusting("ca").build().expect("a client"));
    let server = certificates.serve(dir.path(), &[], &client);
    let silent: Vec<TcpStream> = (0..200).map(|_| connect(&server)).collect();
    let fresh = certificates.trusting("ca").build().expect("a client");
    assert_eq!(get(&fresh, &server, "/health").expect("answered").status(), 200);
    assert!(!metrics(&fresh, &server).contains("too_slow"), "the good client waited for the silent ones");
    for mut stream in silent {
        let read = stream.read(&mut [0; 64]).map_err(|error| error.kind());
        assert!(matches!(read, Ok(0) | Err(std::io::ErrorKind::ConnectionReset)), "not closed in time: {read:?}");
    }
    wait_for("the count", || metrics(&fresh, &server).contains("{reason=\"too_slow\"} 200\n"));
    // One that is open at the end keeps the server no longer than requests in flight may.
    let _open = connect(&server);
    assert_eq!(server.stop().expect("stops"), Some(0));
}

#[test]
fn half_a_setting_is_an_error_that_names_the_other_half() {
    let dir = scratch();
    let data = dir.path().join("data").to_str().expect("plain").to_owned();
    for (arguments, expected) in [
        (&["--tls-cert", "/nowhere.pem"][..], "tls_key"),
        (&["--tls-key", "/nowhere.pem"], "tls_cert"),
        (&["--tls-client-ca", "/nowhere.pem"], "tls_cert"),
        (&["--tls-cert", "/nowhere.pem", "--tls-key", "/nowhere.key"], "/nowhere.pem"),
    ] {
        let (good, told) = weir(&[&["serve", "--data-dir", &data, "--listen", "127.0.0.1:0"], arguments].concat());
        assert!(!good && told.contains(expected), "{arguments:?}: {told}");
    }
    assert!(!Path::new(&data).exists(), "nothing was made");
}

#[test]
fn others_are_let_near_only_where_somebody_asks_who_they_are() {
    let Some(certificates) = Certificates::new() else { return };
    certificates.sign("server", Some("ca"));
    let (cert, key, ca) =
        (certificates.text("server.pem"), certificates.text("server.key"), certificates.text("ca.pem"));
    let dir = scratch();
    let data = dir.path().to_str().expect("plain").to_owned();
    let open = ["serve", "--data-dir", &data, "--listen", "0.0.0.0:0"];
    let tls = ["--tls-cert", &cert, "--tls-key", &key];
    let (good, told) = weir(&[&open[..], &tls].concat());
    assert!(!good && told.contains("refusing to listen"), "TLS hides, it does not ask: {told}");

    let member = certificates.showing("server");
    let server = certificates.serve(dir.path(), &["--listen", "0.0.0.0:0", "--tls-client-ca", &ca], &member);
    assert_eq!(get(&member, &server, "/health").expect("answered").status(), 200);
    assert_eq!(server.stop().expect("stops"), Some(0));

    let (made, told) = weir(&["token", "create", "--name", "t", "--scope", "read", "--data-dir", &data]);
    assert!(made, "{told}");
    let server = Server::start(dir.path(), &["--listen", "0.0.0.0:0"]).expect("a token is enough");
    assert!(server.log().contains("can be read on the network"), "{}", server.log());
    assert_eq!(server.stop().expect("stops"), Some(0));
}
