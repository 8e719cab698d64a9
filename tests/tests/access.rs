//! Who may do what: every route of the real server, with every kind of token and with paths that try to go round.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use reqwest::blocking::Client;
use reqwest::{Method, StatusCode};
use serde_json::Value;
use tests::parts::scratch;
use tests::server::{Server, binary};

const SCOPES: [&str; 5] = ["write", "read", "batch", "rules", "admin"];

/// What each route needs. A route that is not here fails the test: whoever adds one decides, also whether it belongs to
/// [`OPEN_TO_LIMITED`].
const RULES: [(&str, &str, &str); 33] = [
    ("get", "/health", ""),
    ("get", "/ready", ""),
    ("post", "/v1/readings", "write"),
    ("post", "/write", "write"),
    ("post", "/api/v2/write", "write"),
    ("post", "/api/v3/write_lp", "write"),
    ("get", "/ping", "write"),
    ("get", "/api/v2/ping", "write"),
    ("get", "/v1/query", "read"),
    ("get", "/v1/explain", "read"),
    ("get", "/v1/realtime", "read"),
    ("get", "/v1/metrics", "read"),
    ("get", "/v1/series", "read"),
    ("post", "/v1/sql", "read"),
    ("get", "/v1/jobs", "read"),
    ("post", "/v1/jobs", "batch"),
    ("get", "/v1/jobs/{id}", "read"),
    ("delete", "/v1/jobs/{id}", "batch"),
    ("get", "/v1/jobs/{id}/events", "read"),
    ("get", "/v1/schedules", "read"),
    ("get", "/v1/schedules/{name}", "read"),
    ("put", "/v1/schedules/{name}", "batch"),
    ("delete", "/v1/schedules/{name}", "batch"),
    ("get", "/v1/generations", "read"),
    ("post", "/v1/generations/{generation}/revert", "batch"),
    ("get", "/v1/reconciliation", "read"),
    ("get", "/v1/calibration", "read"),
    ("get", "/v1/status", "read"),
    ("get", "/v1/audit", "admin"),
    ("get", "/", "read"),
    ("get", "/metrics", "read"),
    ("get", "/openapi.json", "read"),
    ("head", "/v1/query", "read"),
];

/// The routes for tokens that are limited to some series: they keep to the limits, or tell nothing of any series.
const OPEN_TO_LIMITED: [&str; 13] = [
    "/v1/readings",
    "/write",
    "/api/v2/write",
    "/api/v3/write_lp",
    "/ping",
    "/api/v2/ping",
    "/v1/query",
    "/v1/explain",
    "/v1/realtime",
    "/v1/metrics",
    "/v1/series",
    "/",
    "/openapi.json",
];

/// Runs `weir` over a data directory, without the variables of whoever runs the test; stdout, stderr.
fn weir(dir: &Path, arguments: &[&str], token: Option<&str>) -> (String, String) {
    let mut command = Command::new(binary());
    command.args(arguments).arg("--data-dir").arg(dir).env_remove("WEIR_TOKEN");
    token.map(|token| command.env("WEIR_TOKEN", token));
    let output = command.output().expect("weir runs");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    (text(output.stdout), text(output.stderr))
}

/// Makes a token; its secret.
fn create(dir: &Path, scope: &str, more: &[&str]) -> String {
    let arguments = [&["token", "create", "--name", "of a test", "--scope", scope], more].concat();
    let (secret, told) = weir(dir, &arguments, None);
    assert!(secret.starts_with("weir_"), "{told}");
    secret.trim().to_owned()
}

/// The id of the newest token.
fn newest(dir: &Path) -> String {
    let (list, _) = weir(dir, &["token", "list"], None);
    let last = list.lines().last().expect("a token");
    last.split_whitespace().next().expect("an id").to_owned()
}

fn ask(url: &str, method: &str, path: &str, token: Option<&str>) -> StatusCode {
    let method = Method::from_bytes(method.to_uppercase().as_bytes()).expect("a method");
    let mut request = Client::new().request(method, format!("{url}{path}"));
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    request.send().expect("answered").status()
}

/// Sends a request line as it stands; the status.
fn ask_raw(url: &str, line: &str) -> u16 {
    let address = url.strip_prefix("http://").expect("http");
    let mut stream = TcpStream::connect(address).expect("listens");
    write!(stream, "{line} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n").expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("answered");
    answer
        .split_whitespace()
        .nth(1)
        .and_then(|status| status.parse().ok())
        .unwrap_or_else(|| panic!("{line}: {answer}"))
}

/// A token is known within a second of its making.
fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(1);
    while !done() {
        assert!(Instant::now() < deadline, "{what}: not within a second");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn every_route_asks_for_the_scope_that_it_needs() {
    let dir = scratch();
    let server = Server::start(dir.path(), &[]).expect("starts");
    let url = server.url.as_str();
    assert_eq!(ask(url, "get", "/v1/status", None), StatusCode::OK, "no token was made: nobody is asked");

    let revoked = create(dir.path(), "admin", &[]);
    weir(dir.path(), &["token", "revoke", &newest(dir.path())], None);
    let short = create(dir.path(), "admin", &["--expires", "1ms"]);
    let tokens = SCOPES.map(|scope| create(dir.path(), scope, &[]));
    let admin = tokens[4].as_str();
    let limited = [("write", "--metric"), ("read", "--metric"), ("write", "--device"), ("read", "--device")]
        .map(|(scope, kind)| (scope, create(dir.path(), scope, &[kind, "x*"])));
    wait_for("the first token", || ask(url, "get", "/v1/status", None) == StatusCode::UNAUTHORIZED);
    wait_for("the last token", || ask(url, "get", "/openapi.json", Some(&limited[3].1)) == StatusCode::OK);

    let described: Value = Client::new()
        .get(format!("{url}/openapi.json"))
        .bearer_auth(admin)
        .send()
        .and_then(|answer| answer.json())
        .expect("described");
    for (path, methods) in described["paths"].as_object().expect("paths") {
        for method in methods.as_object().expect("methods").keys().filter(|name| name.as_str() != "parameters") {
            let known = RULES.iter().any(|(m, p, _)| m == method && p == path);
            assert!(known, "nobody decided what {method} {path} needs");
        }
    }

    let wrong = format!("weir_{}", "0".repeat(72));
    let strangers = [None, Some(""), Some("x"), Some(wrong.as_str()), Some(&revoked), Some(&short)];
    for (method, path, needed) in RULES {
        for stranger in strangers {
            let status = ask(url, method, path, stranger);
            let expected = if needed.is_empty() { StatusCode::OK } else { StatusCode::UNAUTHORIZED };
            // Whoever comes too often without a valid token is told to wait.
            let slowed = !needed.is_empty() && status == StatusCode::TOO_MANY_REQUESTS;
            assert!(slowed || status == expected, "{method} {path} with {stranger:?}: {status}");
        }
        for (scope, token) in SCOPES.iter().zip(&tokens) {
            let status = ask(url, method, path, Some(token));
            assert_ne!(status, StatusCode::UNAUTHORIZED, "{method} {path} with {scope}");
            let allowed = needed.is_empty() || *scope == needed || *scope == "admin";
            assert_eq!(status != StatusCode::FORBIDDEN, allowed, "{method} {path} with {scope}: {status}");
        }
        for (scope, token) in &limited {
            let status = ask(url, method, path, Some(token));
            let allowed = needed.is_empty() || *scope == needed && OPEN_TO_LIMITED.contains(&path);
            assert_eq!(status != StatusCode::FORBIDDEN, allowed, "{method} {path} with a limited {scope}: {status}");
        }
    }
    assert_eq!(server.stop().expect("stops"), Some(0));
}

/// The answer to a question, as JSON.
fn answer(url: &str, path: &str, token: &str) -> Value {
    let answer = Client::new().get(format!("{url}{path}")).bearer_auth(token).send().expect("answered");
    assert_eq!(answer.status(), StatusCode::OK, "{path}");
    answer.json().expect("JSON")
}

#[test]
fn a_limited_token_writes_and_reads_its_own_series_only() {
    let dir = scratch();
    let server = Server::start(dir.path(), &[]).expect("starts");
    let url = server.url.as_str();
    let all = create(dir.path(), "write,read,batch", &[]);
    let limits = ["--metric", "temperature", "--metric", "press_*", "--device", "press-7"];
    let mine = create(dir.path(), "write,read", &limits);
    wait_for("the tokens", || ask(url, "get", "/v1/series", Some(&mine)) == StatusCode::OK);
    let (list, _) = weir(dir.path(), &["token", "list"], None);
    assert!(list.contains("metrics temperature, press_* of devices press-7"), "{list}");
    for (scope, limit) in [("admin", ["--metric", "x"]), ("batch", ["--device", "x"]), ("read", ["--metric", "a*b"])] {
        let refused =
            weir(dir.path(), &[&["token", "create", "--name", "t", "--scope", scope], &limit[..]].concat(), None);
        assert!(refused.0.is_empty() && refused.1.contains("limit"), "{scope}: {}", refused.1);
    }

    // Spellings that are known from others' bodies open no way round.
    let lines = "temperature,device_id=press-7 value=1 1700000000000000000\n\
                 temperature,device_id=saw-1 value=2 1700000000000000000\n\
                 vibration,device_id=press-7 value=3 1700000000000000000\n\
                 press_force,device_id=press-7 value=4 1700000000000000000\n";
    let post = |path: &str, token: &str, body: &str| {
        let sent = Client::new().post(format!("{url}{path}")).bearer_auth(token).body(body.to_owned()).send();
        let answer = sent.expect("answered");
        (answer.status().as_u16(), answer.text().expect("text"))
    };
    assert_eq!(post("/api/v2/write", &all, lines).0, 204);
    for path in ["/api/v2/write", "/write"] {
        let (status, told) = post(path, &mine, lines);
        assert!(status == 400 && told.contains("does not allow to write") && told.contains("line 2"), "{path}: {told}");
    }
    let (status, told) = post("/api/v3/write_lp", &mine, &lines.replace("00 ", "01 ").replace("000\n", "001\n"));
    let told: Value = serde_json::from_str(&told).expect("JSON");
    let refused: Vec<i64> =
        told["data"].as_array().expect("lines").iter().filter_map(|l| l["line_number"].as_i64()).collect();
    assert_eq!((status, refused), (400, vec![2, 3]), "{told}");
    let rows = r#"[{"metric":"temperature","device_id":"saw-1","value":9},{"metric":"temperature","device_id":"press-7","value":5}]"#;
    let (status, told) = post("/v1/readings", &mine, rows);
    let told: Value = serde_json::from_str(&told).expect("JSON");
    assert_eq!((status, &told["accepted"], &told["errors"][0]["index"]), (400, &1.into(), &0.into()), "{told}");
    let (_, told) = post("/v1/readings?partial=false", &mine, rows);
    assert!(told.contains("\"accepted\":0"), "{told}");

    // History and what is not in it yet.
    let job =
        Client::new().post(format!("{url}/v1/jobs")).bearer_auth(&all).json(&serde_json::json!({"kind": "recompute"}));
    assert_eq!(job.send().expect("answered").status(), StatusCode::ACCEPTED);
    let jobs = || answer(url, "/v1/jobs", &all)["jobs"][0]["state"] == "succeeded";
    let deadline = Instant::now() + Duration::from_secs(30);
    while !jobs() {
        assert!(Instant::now() < deadline, "the job does not end");
        std::thread::sleep(Duration::from_millis(20));
    }
    let own = [r#"press_force{device_id="press-7"}"#, r#"temperature{device_id="press-7"}"#];
    let keys = |told: &Value| -> Vec<String> {
        let series = told["series"].as_array().expect("series");
        let mut keys: Vec<String> = series
            .iter()
            .map(|one| match one["metric_key"].as_str() {
                Some(key) => key.to_owned(),
                None => format!("{}{{device_id={}}}", one["metric"].as_str().expect("text"), one["tags"]["device_id"]),
            })
            .collect();
        keys.sort_unstable();
        keys
    };
    let range = "from=2023-11-14T00:00:00Z&to=2023-11-15T00:00:00Z";
    for path in [
        "/v1/series".to_owned(),
        "/v1/realtime".to_owned(),
        "/v1/series?match=%7Bdevice_id%3D~%22.*%22%7D".to_owned(),
        format!("/v1/query?{range}&match=%7B%7D"),
        format!("/v1/query?{range}&match=%7B%7D&view=batch"),
        format!("/v1/explain?{range}&match=%7B%7D"),
    ] {
        assert_eq!(keys(&answer(url, &path, &mine)), own, "{path}");
        assert_eq!(keys(&answer(url, &path, &all)).len(), 4, "{path}");
    }
    let foreign = answer(url, &format!("/v1/query?{range}&match=vibration"), &mine);
    assert_eq!(foreign["series"], serde_json::json!([]));
    let together = answer(url, &format!("/v1/query?{range}&match=%7B%7D&by=&agg=count,max"), &mine);
    assert_eq!(together["series"][0]["points"][0]["max"], 4.0, "{together}");
    let names = answer(url, "/v1/metrics", &mine);
    let expected = serde_json::json!([{"metric": "press_force", "series": 1}, {"metric": "temperature", "series": 1}]);
    assert_eq!(names["metrics"], expected);
    let views = |token: &str| answer(url, &format!("/v1/explain?{range}&match=temperature"), token).to_string();
    assert!(views(&all).contains("\"readings\":") && views(&mine).contains("\"views\":[{"), "{}", views(&mine));
    assert!(!views(&mine).contains("\"cells\":"), "{}", views(&mine));

    let (status, told) = post("/v1/sql", &mine, r#"{"sql":"SELECT 1"}"#);
    assert!(status == 403 && told.contains("limited to metrics temperature, press_* of devices press-7"), "{told}");
    let metrics = Client::new().get(format!("{url}/metrics")).bearer_auth(&all).send().and_then(|a| a.text());
    let metrics = metrics.expect("text");
    assert!(
        metrics.contains("weir_http_refused_total{reason=\"limits\"}") && metrics.contains("forbidden"),
        "{metrics}"
    );
    assert_eq!(server.stop().expect("stops"), Some(0));
}

#[test]
fn pages_of_other_sites_read_answers_only_where_they_are_named() {
    let ask = |url: &str, method: Method, origin: &str, asks: bool| {
        let mut request = Client::new().request(method, format!("{url}/v1/status")).header("origin", origin);
        if asks {
            request = request.header("access-control-request-method", "GET");
        }
        let answer = request.send().expect("answered");
        let headers = answer.headers().iter().filter(|(name, _)| name.as_str().starts_with("access-control-"));
        let names: Vec<String> = headers.map(|(name, _)| name.as_str()["access-control-".len()..].to_owned()).collect();
        let header =
            |name: &str| answer.headers().get_all(name).iter().filter_map(|v| v.to_str().ok()).collect::<Vec<_>>();
        (answer.status().as_u16(), names, header("access-control-allow-origin").join(","), header("vary").join(","))
    };
    let (grafana, other) = ("https://grafana.example", "https://grafana.example.evil.example");

    let dir = scratch();
    let server = Server::start(dir.path(), &[]).expect("starts");
    create(dir.path(), "read", &[]);
    wait_for("the token", || ask_raw(&server.url, "GET /v1/status") == 401);
    for (method, asks) in [(Method::OPTIONS, true), (Method::GET, false)] {
        let (status, names, _, vary) = ask(&server.url, method, grafana, asks);
        assert!(
            status == 401 && names.is_empty() && !vary.contains("origin"),
            "off unless set: {status} {names:?} {vary}"
        );
    }
    assert_eq!(server.stop().expect("stops"), Some(0));

    let server = Server::start(dir.path(), &["--cors-origins", grafana]).expect("starts");
    let (status, names, allowed, vary) = ask(&server.url, Method::OPTIONS, grafana, true);
    assert_eq!((status, allowed.as_str()), (204, grafana), "a preflight needs no token");
    assert!(names.iter().any(|name| name == "allow-headers") && vary.contains("origin"), "{names:?} {vary}");
    assert!(!names.iter().any(|name| name == "allow-credentials"), "{names:?}");
    let (status, _, allowed, _) = ask(&server.url, Method::GET, grafana, false);
    assert_eq!((status, allowed.as_str()), (401, grafana), "but everything else does");
    let (status, ..) = ask(&server.url, Method::OPTIONS, grafana, false);
    assert_eq!(status, 401, "this is no preflight");
    for (method, asks) in [(Method::OPTIONS, true), (Method::GET, false)] {
        let (status, names, _, vary) = ask(&server.url, method, other, asks);
        assert!(status == 401 && names.is_empty() && vary.contains("origin"), "{status} {names:?} {vary}");
    }
    assert_eq!(server.stop().expect("stops"), Some(0));
}

#[test]
fn pages_of_other_sites_change_nothing() {
    let dir = scratch();
    let named = "https://named.example";
    let server = Server::start(dir.path(), &["--cors-origins", named]).expect("starts");
    let own = server.url.trim_start_matches("http://").to_owned();
    let client = Client::new();
    let send = |headers: &[(&str, &str)]| {
        // As a form of a page can send it without asking first.
        let form = "{\"metric\":\"m\",\"device_id\":\"d\",\"value\":1}";
        let request = client.post(format!("{}/v1/readings", server.url)).body(form);
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        request.send().expect("an answer").status().as_u16()
    };
    let same = server.url.clone();
    for (headers, expected) in [
        (vec![], 200),
        (vec![("origin", same.as_str())], 200),
        (vec![("origin", named)], 200),
        (vec![("origin", "https://evil.example")], 403),
        (vec![("origin", "null")], 403),
        (vec![("host", "evil.example"), ("origin", "http://evil.example")], 403),
        (vec![("host", "evil.example")], 403),
        (vec![("host", own.as_str())], 200),
    ] {
        assert_eq!(send(&headers), expected, "{headers:?}");
    }
    let read = client.get(format!("{}/v1/status", server.url)).header("host", "evil.example").send();
    assert_eq!(read.expect("an answer").status(), StatusCode::FORBIDDEN, "a name that leads here is no way in");
    // Whoever has a token comes by any name, and a page that has one may use it; a remembered password is none.
    let token = create(dir.path(), "write,read", &[]);
    wait_for("the token counts", || send(&[]) == 401);
    let basic = client.get(&same).basic_auth("me", Some(&token)).build().expect("a request");
    let basic = basic.headers()["authorization"].to_str().expect("text").to_owned();
    let bearer = format!("Bearer {token}");
    assert_eq!(send(&[("authorization", &bearer), ("host", "weir.example"), ("origin", "https://evil.example")]), 200);
    assert_eq!(send(&[("authorization", &basic)]), 200);
    assert_eq!(send(&[("authorization", &basic), ("origin", "https://evil.example")]), 403);
}

#[test]
fn no_spelling_of_a_path_leads_round_the_door() {
    let dir = scratch();
    let server = Server::start(dir.path(), &[]).expect("starts");
    create(dir.path(), "read", &[]);
    wait_for("the token", || ask_raw(&server.url, "GET /v1/status") != 200);
    for path in [
        "/v1/status",
        "/v1/nothing",
        "//v1/status",
        "/v1//status",
        "/v1/status/",
        "/v1/./status",
        "/v1/status/.",
        "/V1/STATUS",
        "/v1/status;.",
        "/;/v1/status",
        "/%76%31/status",
        "/v1%2fstatus",
        "/health/../v1/status",
        "/health/%2e%2e/v1/status",
        "/health%2f..%2fv1%2fstatus",
        "/ready;/v1/status",
        "/health/",
        "/health;",
        "/healthz",
        "/health%00",
        "/ready.json",
        "/metrics",
        "/openapi.json",
        "/",
        "/v1/jobs/{id}",
        "/v1/jobs/:id",
        "/console",
        "http://localhost/v1/status",
        "*",
    ] {
        for method in ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "BREW"] {
            let status = ask_raw(&server.url, &format!("{method} {path}"));
            assert!(matches!(status, 400 | 401 | 429), "{method} {path}: {status}");
        }
    }
    for path in ["/health", "/ready", "/health?x=/v1/status"] {
        assert_eq!(ask_raw(&server.url, &format!("GET {path}")), 200, "{path}");
    }
}

#[test]
fn tokens_come_and_go_while_the_server_runs() {
    let dir = scratch();
    let server = Server::start(dir.path(), &["--log-level", "debug"]).expect("starts");
    let url = server.url.clone();
    let secret = create(dir.path(), "write,read,batch", &[]);
    wait_for("a stranger is asked", || ask(&url, "get", "/v1/status", None) == StatusCode::UNAUTHORIZED);

    let client = Client::new();
    let line = "temperature,device_id=press-1 value=21.5\n";
    let write = || client.post(format!("{url}/api/v2/write")).body(line);
    let influx = write().header("authorization", format!("Token {secret}")).send().expect("answered");
    let basic = write().basic_auth("anybody", Some(&secret)).send().expect("answered");
    assert_eq!((influx.status().as_u16(), basic.status().as_u16()), (204, 204));
    let stranger = write().send().expect("answered");
    assert_eq!(stranger.status(), StatusCode::UNAUTHORIZED);
    assert!(stranger.headers()["www-authenticate"].to_str().expect("text").contains("Bearer"));

    // The command line asks the running server, and shows what the variable holds.
    let question = ["sql", "SELECT count(*) AS readings FROM readings", "--format", "csv"];
    assert_eq!(weir(dir.path(), &question, Some(&secret)).0, "readings\n2\n");
    assert!(weir(dir.path(), &question, None).1.contains("WEIR_TOKEN"));

    let job = client.post(format!("{url}/v1/jobs")).bearer_auth(&secret).json(&serde_json::json!({"kind": "fold"}));
    assert_eq!(job.send().expect("answered").status(), StatusCode::ACCEPTED);

    for _ in 0..40 {
        ask(&url, "get", "/v1/status", Some("guess"));
    }
    assert_eq!(ask(&url, "get", "/v1/status", Some("guess")), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(ask(&url, "get", "/v1/status", Some(&secret)), StatusCode::OK, "whoever is known is not slowed down");
    let metrics =
        client.get(format!("{url}/metrics")).bearer_auth(&secret).send().and_then(|a| a.text()).expect("text");
    assert!(metrics.contains("weir_http_refused_total{reason=\"unknown_token\"}"), "{metrics}");

    weir(dir.path(), &["token", "revoke", &newest(dir.path())], None);
    wait_for("a revoked token", || ask(&url, "get", "/v1/status", Some(&secret)) != StatusCode::OK);
    let (list, _) = weir(dir.path(), &["token", "list"], None);
    assert!(list.contains("revoked") && !list.contains(&secret[5..]), "{list}");
    let log = server.log();
    assert!(log.contains("somebody was not let in"), "{log}");
    assert!(!log.contains(&secret[5..]), "the secret is in the log");
    assert_eq!(server.stop().expect("stops"), Some(0));

    // Without a server the command line reads the directory by itself; whoever can do that needs no token.
    assert_eq!(weir(dir.path(), &question, None).0, "readings\n2\n");
    let (checked, _) = weir(dir.path(), &["check"], None);
    assert!(checked.starts_with("ok"), "{checked}");
    let server = Server::start(dir.path(), &[]).expect("starts");
    let admin = create(dir.path(), "admin", &[]);
    wait_for("the admin", || ask(&server.url, "get", "/v1/audit", Some(&admin)) == StatusCode::OK);
    assert_eq!(ask(&server.url, "get", "/v1/status", None), StatusCode::UNAUTHORIZED, "tokens outlive a restart");
    let audit = client.get(format!("{}/v1/audit", server.url)).bearer_auth(&admin).send().and_then(|a| a.text());
    let audit: Value = serde_json::from_str(&audit.expect("text")).expect("JSON");
    let told: Vec<(&str, &str)> = audit["audit"]
        .as_array()
        .expect("entries")
        .iter()
        .map(|entry| (entry["actor"].as_str().expect("text"), entry["action"].as_str().expect("text")))
        .collect();
    assert_eq!(told.len(), 4, "{audit}");
    assert_eq!(
        (told[0], told[1], told[3]),
        (("command line", "create token"), ("command line", "revoke token"), ("command line", "create token"),)
    );
    assert!(told[2].0.starts_with("token ") && told[2].1 == "POST", "{audit}");
    assert!(!audit.to_string().contains(&secret[5..]));
}
