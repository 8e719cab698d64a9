//! Requests that the pages of other sites make somebody's browser send.
//!
//! Owns how they are told from others. A browser sends them with whatever lets its user in unasked: an address that only
//! this machine reaches, a certificate, a password that it remembers. So nothing of that kind is taken for consent
//! (ACC-5). Does not own who may read answers (cors).

use axum::http::header::{AUTHORIZATION, HOST, ORIGIN};
use axum::http::{HeaderMap, Method};
use url::{Host, Url};

/// Whether a page of another site sends this and would change something by it.
pub(super) fn is_foreign(method: &Method, headers: &HeaderMap) -> bool {
    let Some(origin) = headers.get(ORIGIN) else { return false };
    if matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS) || shows_token(headers) {
        return false;
    }
    let own = headers.get(HOST).and_then(|host| host.to_str().ok());
    let from = origin.to_str().ok().and_then(|origin| origin.split_once("://")).map(|(_, from)| from);
    match (from, own) {
        (Some(from), Some(own)) => !from.eq_ignore_ascii_case(own),
        _ => true,
    }
}

/// A page that shows a token was given it: a browser adds none by itself, but a password.
fn shows_token(headers: &HeaderMap) -> bool {
    let scheme = |text: &str| text.split(' ').next().unwrap_or_default().to_ascii_lowercase();
    headers.get(AUTHORIZATION).and_then(|header| header.to_str().ok()).is_some_and(|text| scheme(text) != "basic")
}

/// Whether whoever asks calls this server by a name that somebody else may own, and let lead to this machine once a page of
/// theirs is open (DNS rebinding). Nobody owns addresses, `localhost`, names of one word, nor those ending in `.local`.
pub(super) fn is_rebound(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(HOST) else { return false };
    let url = host.to_str().ok().and_then(|host| Url::parse(&format!("http://{host}")).ok());
    match url.as_ref().and_then(Url::host) {
        Some(Host::Ipv4(_) | Host::Ipv6(_)) => false,
        Some(Host::Domain(name)) => {
            let name = name.trim_end_matches('.');
            let private = [".localhost", ".local", ".internal"].iter().any(|end| name.ends_with(end));
            name.contains('.') && !private
        }
        None => true,
    }
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderName, HeaderValue};

    use super::*;

    fn headers(pairs: &[(HeaderName, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn pages_of_other_sites_change_nothing() {
        let own = (HOST, "127.0.0.1:7474");
        for (method, origin, expected) in [
            (Method::POST, "http://evil.example", true),
            (Method::POST, "null", true),
            (Method::DELETE, "http://127.0.0.1:8080", true),
            (Method::POST, "http://127.0.0.1:7474", false),
            (Method::GET, "http://evil.example", false),
        ] {
            assert_eq!(is_foreign(&method, &headers(&[own.clone(), (ORIGIN, origin)])), expected, "{method} {origin}");
        }
        assert!(!is_foreign(&Method::POST, &headers(std::slice::from_ref(&own))), "no browser");
        let foreign = [own, (ORIGIN, "http://evil.example")];
        for (shown, expected) in [("Bearer abc", false), ("token abc", false), ("Basic abc", true)] {
            let shown = [foreign.as_slice(), &[(AUTHORIZATION, shown)]].concat();
            assert_eq!(is_foreign(&Method::POST, &headers(&shown)), expected);
        }
    }

    #[test]
    fn names_that_somebody_may_own_are_told() {
        for good in
            ["127.0.0.1", "127.0.0.1:7474", "[::1]:7474", "localhost:7474", "weir:7474", "plant.local", "a.localhost."]
        {
            assert!(!is_rebound(&headers(&[(HOST, good)])), "{good}");
        }
        for bad in ["evil.example", "evil.example:7474", "localhost.evil.example", "127.0.0.1.evil.example", "", "a b"]
        {
            assert!(is_rebound(&headers(&[(HOST, bad)])), "{bad}");
        }
        assert!(!is_rebound(&HeaderMap::new()), "no browser");
    }
}
