use batch_layer::access::NewToken;

use super::*;

fn headers(values: &[&str]) -> HeaderMap {
    values.iter().map(|value| (AUTHORIZATION, HeaderValue::from_str(value).expect("a header"))).collect()
}

#[test]
fn tokens_are_shown_in_three_ways() {
    for (header, expected) in [
        ("Bearer abc", Ok("abc")),
        ("bearer   abc ", Ok("abc")),
        ("Token abc", Ok("abc")),
        // me:abc, :a:b
        ("Basic bWU6YWJj", Ok("abc")),
        ("BASIC OmE6Yg==", Ok("a:b")),
        // me, and me with an empty password
        ("Basic bWU=", Err(Reason::Malformed)),
        ("Basic bWU6", Err(Reason::Malformed)),
        ("Basic !", Err(Reason::Malformed)),
        ("Bearer", Err(Reason::Malformed)),
        ("Bearer ", Err(Reason::Malformed)),
        ("Digest abc", Err(Reason::Malformed)),
        ("", Err(Reason::Malformed)),
    ] {
        assert_eq!(shown(&headers(&[header])), expected.map(str::to_owned), "{header:?}");
    }
    assert_eq!(shown(&HeaderMap::new()), Err(Reason::NoToken));
    assert_eq!(shown(&headers(&["Bearer a", "Bearer b"])), Err(Reason::Malformed), "which of them?");
    assert_eq!(shown(&headers(&[&format!("Bearer {}", "a".repeat(SECRET_MAX + 1))])), Err(Reason::Malformed));
}

#[derive(Debug)]
struct Stopped;

impl Clock for Stopped {
    fn now(&self) -> ArrivalTime {
        ArrivalTime(1_000)
    }
}

#[tokio::test]
async fn a_token_counts_from_when_it_is_made_to_when_it_ends() {
    let catalog = Catalog::memory().await.expect("a catalog");
    let access = Access::new(Admit::Tokens, catalog.clone(), Arc::new(Stopped));
    let access = Access { known_for: Duration::ZERO, ..access };
    let asked = async |shown: &str| {
        let headers = if shown.is_empty() { HeaderMap::new() } else { headers(&[&format!("Bearer {shown}")]) };
        access.principal(&headers).await.expect("the catalog is read").map(|principal| principal.name())
    };
    assert_eq!(asked("").await.as_deref(), Ok("anyone"));
    assert_eq!(asked("whatever").await.as_deref(), Ok("anyone"));

    let now = Stopped.now();
    let make = async |name: &str, end: Option<i64>| {
        let (name, scopes, limits) = (name.to_owned(), vec![Scope::Read], Limits::default());
        let new = NewToken { name, scopes, limits, expires_at: end.map(ArrivalTime) };
        catalog.create_token("a test", new, ArrivalTime(0)).await.expect("made")
    };
    let (token, secret) = make("one", None).await;
    let (_, expired) = make("two", Some(1_000)).await;
    let (_, valid) = make("three", Some(1_001)).await;
    assert_eq!(asked("").await, Err(Reason::NoToken));
    assert_eq!(asked("whatever").await, Err(Reason::Unknown));
    assert_eq!(asked(&secret.hash().to_hex()).await, Err(Reason::Unknown), "a hash is no secret");
    assert_eq!(asked(secret.reveal()).await, Ok(format!("token {} \"one\"", token.id)));
    assert_eq!(asked(expired.reveal()).await, Err(Reason::Expired));
    assert!(asked(valid.reveal()).await.is_ok());

    catalog.revoke_token("a test", &token.id, now).await.expect("revoked");
    assert_eq!(asked(secret.reveal()).await, Err(Reason::Revoked));
    catalog.close().await;
    let problem = access.principal(&headers(&[&format!("Bearer {}", valid.reveal())])).await;
    assert!(problem.is_err(), "where tokens can't be read, nobody is let in");
}

#[tokio::test]
async fn a_server_of_ones_own_takes_one_secret() {
    let catalog = Catalog::memory().await.expect("a catalog");
    let access = Access::new(Admit::Only(TokenHash::of("mine")), catalog, Arc::new(Stopped));
    let asked = async |values: &[&str]| access.principal(&headers(values)).await.expect("known").map(|p| p.name());
    assert_eq!(asked(&["Bearer mine"]).await.as_deref(), Ok("command line"));
    assert_eq!(asked(&["Bearer yours"]).await, Err(Reason::Unknown));
    assert_eq!(asked(&[]).await, Err(Reason::NoToken));
}
