//! Which web pages may call.

use std::net::IpAddr;

use axum::http::{HeaderMap, Uri, header};

/// Whether the page that asks may call: pages of this server, pages on this machine if the server is addressed on this
/// machine, and the configured ones. Programs send no origin and may call.
pub(crate) fn allowed(headers: &HeaderMap, allowed: &[String]) -> bool {
    let Some(origin) = headers.get(header::ORIGIN) else { return true };
    let Ok(origin) = origin.to_str() else { return false };
    if allowed.iter().any(|a| a == "*" || a.trim_end_matches('/').eq_ignore_ascii_case(origin)) {
        return true;
    }
    let page = origin.parse::<Uri>().ok().and_then(|uri| uri.authority().cloned());
    let host = headers.get(header::HOST).and_then(|h| h.to_str().ok()).and_then(|h| h.parse::<Uri>().ok());
    let (Some(page), Some(server)) = (page, host.as_ref().and_then(Uri::authority)) else { return false };
    page.as_str().eq_ignore_ascii_case(server.as_str()) || (is_loopback(page.host()) && is_loopback(server.host()))
}

fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok_and(|a| a.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(origin: &str, host: &str) -> HeaderMap {
        let mut map = HeaderMap::new();
        map.insert(header::ORIGIN, origin.parse().unwrap());
        map.insert(header::HOST, host.parse().unwrap());
        map
    }

    #[test]
    fn pages_of_this_server_and_of_this_machine_may_call_and_strangers_may_not() {
        assert!(allowed(&HeaderMap::new(), &[]));
        assert!(allowed(&headers("https://talk.example:8998", "talk.example:8998"), &[]));
        assert!(allowed(&headers("http://localhost:5173", "127.0.0.1:8998"), &[]));
        assert!(allowed(&headers("http://[::1]:1", "localhost"), &[]));
        assert!(!allowed(&headers("https://evil.example", "localhost:8998"), &[]));
        assert!(!allowed(&headers("http://localhost:5173", "talk.example"), &[]));
        assert!(!allowed(&headers("null", "localhost:8998"), &[]));
        let friends = ["https://friend.example/".to_owned()];
        assert!(allowed(&headers("https://friend.example", "talk.example"), &friends));
        assert!(allowed(&headers("https://any.example", "talk.example"), &["*".to_owned()]));
    }
}
