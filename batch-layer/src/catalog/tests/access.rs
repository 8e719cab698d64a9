//! Tokens and the audit log.

use super::*;
use schemas::limits::Limits;

use crate::access::{NewToken, Scope, TokenHash};

const NOW: ArrivalTime = ArrivalTime(1_000);

fn new(name: &str, scopes: &[Scope]) -> NewToken {
    NewToken { name: name.to_owned(), scopes: scopes.to_vec(), limits: Limits::default(), expires_at: None }
}

#[tokio::test]
async fn tokens_are_kept_without_their_secret() {
    let directory = Directory::new();
    let catalog = Catalog::open(&directory.file()).await.expect("opens");
    let scopes = [Scope::Read, Scope::Write, Scope::Read];
    let (token, secret) = catalog.create_token("a test", new("grafana", &scopes), NOW).await.expect("made");
    assert_eq!(token.scopes, [Scope::Write, Scope::Read]);
    assert_eq!(token.hash, TokenHash::of(secret.reveal()));
    assert_eq!(catalog.tokens().await.expect("listed"), std::slice::from_ref(&token));
    catalog.revoke_token("a test", &token.id, ArrivalTime(2_000)).await.expect("revoked");
    catalog.revoke_token("a test", &token.id, ArrivalTime(3_000)).await.expect("revoked again");
    assert_eq!(catalog.tokens().await.expect("listed")[0].revoked_at, Some(ArrivalTime(2_000)), "the first time");
    assert!(matches!(catalog.revoke_token("a test", "nobody", NOW).await, Err(Error::NotFound(_))));
    catalog.close().await;
    for entry in std::fs::read_dir(&directory.0).expect("a directory") {
        let bytes = std::fs::read(entry.expect("an entry").path()).expect("readable");
        let random = &secret.reveal().as_bytes()["weir_".len()..];
        assert!(!bytes.windows(random.len()).any(|window| window == random), "the secret is in the catalog");
    }
}

#[tokio::test]
async fn limits_are_kept_and_a_damaged_one_does_not_look_like_none() {
    let catalog = Catalog::memory().await.expect("a catalog");
    let limits = Limits::new(["temperature", "press *"], ["press-7"]).expect("good");
    let made = catalog.create_token("a test", NewToken { limits: limits.clone(), ..new("t", &[Scope::Read]) }, NOW);
    let (token, _) = made.await.expect("made");
    assert_eq!(token.limits.as_deref(), Some(&limits));
    assert_eq!(catalog.tokens().await.expect("listed"), [token]);
    let told = catalog.audit(None, 1).await.expect("read").remove(0).subject;
    assert!(told.ends_with("for read within metrics temperature, press * of devices press-7"), "{told}");
    for scope in [Scope::Batch, Scope::Rules, Scope::Admin] {
        let new = NewToken { limits: limits.clone(), ..new("t", &[Scope::Read, scope]) };
        assert!(matches!(catalog.create_token("a test", new, NOW).await, Err(Error::Refused(_))), "{scope:?}");
    }
    sqlx::query("UPDATE tokens SET metrics = ''").execute(&catalog.writer).await.expect("damaged");
    assert!(matches!(catalog.tokens().await, Err(Error::Corrupt { .. })));
}

#[tokio::test]
async fn tokens_that_allow_nothing_are_refused() {
    let catalog = Catalog::memory().await.expect("a catalog");
    let long = "x".repeat(129);
    for (name, scopes, expires_at) in [
        ("", &[Scope::Read][..], None),
        (&long, &[Scope::Read], None),
        ("a\nb", &[Scope::Read], None),
        ("t", &[], None),
        ("t", &[Scope::Read], Some(NOW)),
    ] {
        let made = catalog.create_token("a test", NewToken { expires_at, ..new(name, scopes) }, NOW).await;
        assert!(matches!(made, Err(Error::Refused(_))), "{name:?} {scopes:?} {expires_at:?}");
    }
    assert_eq!(catalog.audit(None, 10).await.expect("read"), []);
}

#[tokio::test]
async fn an_audit_log_that_was_altered_is_found() {
    let catalog = Catalog::memory().await.expect("a catalog");
    assert_eq!(catalog.broken_audit().await.expect("read"), None);
    let (token, _) = catalog.create_token("ann", new("t", &[Scope::Batch]), NOW).await.expect("made");
    catalog.add_audit(NOW, "ben", "POST", "/v1/jobs").await.expect("noted");
    catalog.revoke_token("cleo", &token.id, NOW).await.expect("revoked");
    let told: Vec<(u64, String)> =
        catalog.audit(None, 2).await.expect("read").into_iter().map(|row| (row.seq, row.actor)).collect();
    assert_eq!(told, [(3, "cleo".to_owned()), (2, "ben".to_owned())]);
    assert_eq!(catalog.audit(Some(2), 10).await.expect("read").len(), 1);
    assert_eq!(catalog.broken_audit().await.expect("read"), None);
    let alterations = [
        ("UPDATE audit SET actor = 'dan' WHERE seq = 2", "UPDATE audit SET actor = 'ben' WHERE seq = 2", 2),
        ("UPDATE audit SET at = 0 WHERE seq = 1", "UPDATE audit SET at = 1000 WHERE seq = 1", 1),
        // A letter that moves from one column into the next.
        (
            "UPDATE audit SET actor = 'benP', action = 'OST' WHERE seq = 2",
            "UPDATE audit SET actor = 'ben', action = 'POST' WHERE seq = 2",
            2,
        ),
        ("DELETE FROM audit WHERE seq = 2", "", 2),
    ];
    for (alter, undo, found) in alterations {
        sqlx::query(alter).execute(&catalog.writer).await.expect("altered");
        assert_eq!(catalog.broken_audit().await.expect("read"), Some(found), "{alter}");
        sqlx::query(undo).execute(&catalog.writer).await.expect("undone");
    }
}
