//! Strict-Transport-Security (RFC 6797): browsers that have seen this server's TLS once do not come without it again.
//!
//! The header speaks for a host name and all of its ports, so it is never sent to who called this machine `localhost`:
//! everything else that a developer serves there would stop to work. Browsers ignore it on addresses, and where they do
//! not trust the certificate.

use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, Uri, header};
use axum::middleware::{self, Next};
use axum::response::Response;

/// Adds the header to every answer of a server that speaks TLS; `wish` is how long browsers shall remember, none where
/// it does not speak TLS.
pub(crate) fn insist(routes: Router, wish: Option<Duration>) -> Router {
    let Some(seconds) = wish.map(|wish| wish.as_secs()).filter(|seconds| *seconds > 0) else { return routes };
    let Ok(value) = HeaderValue::from_str(&format!("max-age={seconds}")) else { return routes };
    routes.layer(middleware::from_fn(move |request: Request, next: Next| {
        let named = has_a_name(request.uri(), request.headers());
        answer(next, request, named.then(|| value.clone()))
    }))
}

async fn answer(next: Next, request: Request, value: Option<HeaderValue>) -> Response {
    let mut response = next.run(request).await;
    if let Some(value) = value {
        response.headers_mut().insert(header::STRICT_TRANSPORT_SECURITY, value);
    }
    response
}

/// Whether the caller knows this server by a name of its own. HTTP/2 has the name in the address, HTTP/1 in a header.
fn has_a_name(uri: &Uri, headers: &HeaderMap) -> bool {
    let header = || headers.get(header::HOST)?.to_str().ok()?.parse::<Authority>().ok();
    let Some(authority) = uri.authority().cloned().or_else(header) else { return false };
    let host = authority.host().trim_end_matches('.').to_ascii_lowercase();
    let address = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok();
    !(address || host == "localhost" || host.ends_with(".localhost"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_ones_own_are_insisted_on() {
        let named = |host: &str| {
            let headers = HeaderMap::from_iter([(header::HOST, host.parse().unwrap())]);
            has_a_name(&Uri::from_static("/"), &headers)
        };
        assert!(named("moshi.example") && named("moshi.example.:8998"));
        for host in ["localhost", "LocalHost:8998", "a.localhost", "127.0.0.1:1", "[::1]:8998", "192.0.2.7", "a b"] {
            assert!(!named(host), "{host}");
        }
        assert!(!has_a_name(&Uri::from_static("/"), &HeaderMap::new()));
        assert!(has_a_name(&Uri::from_static("https://moshi.example/"), &HeaderMap::new()), "HTTP/2");
    }
}
