//! `weir backup` and `weir restore` with the real binary: a backup of a server under load holds every reading that was
//! acknowledged before it began, once; a backup that was tampered with is refused, and nothing is written.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use reqwest::blocking::Client;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tests::damage::{Data, ask, entries, flip, open_copy};
use tests::load::{Sent, check, request_recompute};
use tests::parts::scratch;
use tests::server::{Server, binary};

const CONNECTIONS: usize = 3;

fn weir(arguments: &[&str]) -> Output {
    Command::new(binary()).args(arguments).output().expect("weir runs")
}

fn told(output: &Output) -> String {
    format!(
        "{:?} {}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

fn text(path: &Path) -> &str {
    path.to_str().expect("paths of tests are text")
}

#[track_caller]
fn back_up(data: &Path, to: &Path) {
    let output = weir(&["backup", "--data-dir", text(data), "--to", text(to)]);
    assert!(output.status.success(), "{}", told(&output));
}

fn restore(from: &Path, data: &Path) -> Output {
    weir(&["restore", "--from", text(from), "--data-dir", text(data)])
}

#[test]
fn a_backup_under_load_holds_all_that_was_acknowledged_before_it_once() {
    let dir = scratch();
    let (data, series): (PathBuf, [Sent; CONNECTIONS]) = (dir.path().join("data"), Default::default());
    // Small epochs and segments and no grace, so that a backup meets flushes, publishes and deletions.
    let settings = ["--seal-age", "300ms", "--hot-retention", "300ms", "--segment-bytes", "64KiB"];
    let graces = ["--file-grace", "0s", "--generation-grace", "0s"];
    let server = Server::start(&data, &[settings.as_slice(), &graces].concat()).expect("starts");
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for (i, sent) in series.iter().enumerate() {
            let (url, stop) = (server.url.clone(), &stop);
            scope.spawn(move || assert_eq!(sent.load(&url, i, stop), None, "refused"));
        }
        for round in 0..4 {
            std::thread::sleep(Duration::from_millis(900));
            request_recompute(&server.url);
            let (to, restored) = (dir.path().join(format!("to{round}")), dir.path().join(format!("restored{round}")));
            let promised: Vec<i64> = series.iter().map(Sent::acked).collect();
            back_up(&data, &to);
            let kept: Vec<Sent> =
                series.iter().zip(&promised).map(|(sent, promised)| sent.promised(*promised)).collect();
            let output = restore(&to, &restored);
            assert!(output.status.success(), "{}", told(&output));
            let second = Server::start(&restored, &[]).expect("starts");
            check(&second, &kept, round);
            assert!(promised.iter().all(|acked| *acked > 0), "the load ran: {promised:?}");
            // History may be ahead of the log, which was copied before: it goes on all the same.
            assert!(kept[0].send(&Client::new(), &second.url, 0, 500).is_ok_and(|status| status.is_success()));
            second.kill().expect("killed");
            let third = Server::start(&restored, &[]).expect("starts again");
            check(&third, &kept, round);
            third.kill().expect("killed");
            std::fs::remove_dir_all(&restored).expect("removed");
        }
        stop.store(true, Ordering::SeqCst);
    });
    assert_eq!(server.stop().expect("stops"), Some(0));
}

#[tokio::test]
async fn a_restored_directory_answers_as_the_one_that_was_backed_up() {
    let (dir, data) = (scratch(), Data::make().await);
    let (copy, to, restored) = (data.copy(), dir.path().join("to"), dir.path().join("restored"));
    back_up(copy.path(), &to);
    let output = restore(&to, &restored);
    assert!(output.status.success() && told(&output).contains("ok: "), "{}", told(&output));
    let engine = open_copy(&restored).await.expect("opens");
    for (question, truth) in &data.truth {
        assert_eq!(&ask(&engine, question).await.expect("answers"), truth, "{question:?}");
    }
    engine.abandon().await;
    // Nobody's files are written over.
    let again = weir(&["backup", "--data-dir", text(copy.path()), "--to", text(&to)]);
    assert!(!again.status.success() && told(&again).contains("is not empty"), "{}", told(&again));
    let again = restore(&to, &restored);
    assert!(!again.status.success() && told(&again).contains("is not empty"), "{}", told(&again));
    // What is damaged is not carried on.
    let object = entries(&entries(&copy.path().join("history/views"))[0])[0].clone();
    flip(&object, 800);
    let refused = weir(&["backup", "--data-dir", text(copy.path()), "--to", text(&dir.path().join("damaged"))]);
    let name = object.file_name().expect("a name").to_str().expect("text");
    assert!(!refused.status.success() && told(&refused).contains(name), "{}", told(&refused));
    let unfinished = restore(&dir.path().join("damaged"), &dir.path().join("new"));
    assert!(!unfinished.status.success() && !dir.path().join("new").exists(), "{}", told(&unfinished));
}

/// Changes the manifest and makes its hash right again: whoever tampers knows how.
fn alter_manifest(backup: &Path, alter: impl FnOnce(&mut Value)) {
    let path = backup.join("manifest.json");
    let mut manifest: Value = serde_json::from_slice(&std::fs::read(&path).expect("readable")).expect("JSON");
    alter(&mut manifest);
    let text = manifest.to_string();
    std::fs::write(&path, &text).expect("written");
    let hash: String = Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
    std::fs::write(backup.join("manifest.sha256"), hash).expect("written");
}

/// Moves a file of the backup elsewhere and leaves a link in its place.
fn replace_by_link(backup: &Path, name: &str) {
    let (path, elsewhere) = (backup.join(name), backup.with_file_name("elsewhere"));
    std::fs::rename(&path, &elsewhere).expect("moved");
    symlink(&elsewhere, &path).expect("linked");
}

#[tokio::test]
async fn hostile_and_damaged_backups_are_refused_and_nothing_is_written() {
    let (dir, data) = (scratch(), Data::make().await);
    let whole = dir.path().join("whole");
    back_up(data.copy().path(), &whole);
    let segment = format!("log/{}", entries(&whole.join("log"))[0].file_name().expect("a name").to_string_lossy());
    let named = |path: &str| json!({"path": path, "bytes": 3, "sha256": "00"});
    type Tamper<'a> = Box<dyn Fn(&Path) + 'a>;
    let renamed = |to: &'static str| -> Tamper<'_> {
        Box::new(move |backup| alter_manifest(backup, |manifest| manifest["files"][0]["path"] = json!(to)))
    };
    let mut tampered: Vec<(&str, Tamper<'_>)> = vec![
        ("can't read", Box::new(|b| std::fs::remove_file(b.join("manifest.json")).expect("removed"))),
        ("can't read", Box::new(|b| std::fs::remove_file(b.join("manifest.sha256")).expect("removed"))),
        ("is not what", Box::new(|b| flip(&b.join("manifest.json"), 1000))),
        ("is not what", Box::new(|b| flip(&b.join("manifest.sha256"), 5))),
        ("SHA-256", Box::new(|b| flip(&b.join("catalog.db"), 40_000))),
        ("SHA-256", Box::new(|b| flip(&b.join(&segment), 1_000))),
        ("is missing", Box::new(|b| std::fs::remove_file(b.join(&segment)).expect("removed"))),
        ("not in manifest", Box::new(|b| std::fs::write(b.join("more"), "more").expect("written"))),
        ("not in manifest", Box::new(|b| std::fs::write(b.join("log/x.log"), "more").expect("written"))),
        ("is a link", Box::new(|b| replace_by_link(b, "catalog.db"))),
        ("is a link", Box::new(|b| replace_by_link(b, "log"))),
        ("is a link", Box::new(|b| replace_by_link(b, "manifest.json"))),
        ("is a link", Box::new(|b| symlink("/etc/passwd", b.join("history/link")).expect("linked"))),
        ("version 2", Box::new(|b| alter_manifest(b, |m| m["version"] = json!(2)))),
        ("not that of a backup", Box::new(|b| alter_manifest(b, |m| m["format"] = json!("other")))),
        ("unknown field", Box::new(|b| alter_manifest(b, |m| m["more"] = json!(1)))),
        ("no catalog", Box::new(|b| alter_manifest(b, |m| m["files"] = json!([])))),
        (
            "twice",
            Box::new(|b| {
                alter_manifest(b, |m| {
                    let first = m["files"][0].clone();
                    m["files"].as_array_mut().expect("a list").push(first);
                });
            }),
        ),
        (
            "no file of a backup",
            Box::new(|b| {
                alter_manifest(b, |m| m["files"].as_array_mut().expect("a list").push(named("../outside")));
            }),
        ),
        (
            "bytes of SHA-256",
            Box::new(|b| {
                std::fs::OpenOptions::new()
                    .write(true)
                    .open(b.join("catalog.db"))
                    .and_then(|f| f.set_len(9))
                    .expect("cut");
            }),
        ),
    ];
    for name in ["../../etc/cron.d/weir", "/etc/passwd", "log/../../x", "LOCK", "history/views/part=a/../../x.parquet"]
    {
        tampered.push(("no file of a backup", renamed(name)));
    }
    for (i, (reason, tamper)) in tampered.iter().enumerate() {
        let place = dir.path().join(format!("case{i}"));
        let (backup, target) = (place.join("backup"), place.join("restored"));
        tests::damage::copy_dir(&whole, &backup);
        tamper(&backup);
        let before = entries(&place);
        let output = restore(&backup, &target);
        let told = told(&output);
        assert!(!output.status.success() && told.contains(reason), "case {i}, {reason}: {told}");
        assert_eq!(entries(&place), before, "case {i}, {reason}: something was written");
    }
    let output = restore(&whole, &dir.path().join("restored"));
    assert!(output.status.success(), "{}", told(&output));
}
