//! What proxies say about the address that was asked for: `Forwarded` (RFC 7239), `X-Forwarded-Host`, `-Proto` and
//! `-Port`. It counts where it comes from a proxy that the configuration trusts; everybody else could make it up.
//!
//! Once, at the door, it takes the place of the `Host` header, so that nothing behind needs to know of proxies.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use axum::Router;
use axum::extract::{ConnectInfo, Request};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::middleware::{self, Next};
use ipnet::IpNet;

use crate::address::Authority;

const HOST: &str = "x-forwarded-host";
const PROTO: &str = "x-forwarded-proto";
const PORT: &str = "x-forwarded-port";

/// Proxies whose word counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proxy {
    /// Whoever connects: nothing but proxies can reach this server.
    Any,
    /// Those of a network, or one address.
    Network(IpNet),
}

impl FromStr for Proxy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let one = || text.trim_matches(['[', ']']).parse::<IpAddr>().ok().map(IpNet::from);
        match text {
            "*" => Ok(Self::Any),
            _ => text
                .parse()
                .ok()
                .or_else(one)
                .map(Self::Network)
                .ok_or_else(|| "addresses or networks of proxies, such as 127.0.0.1 or 10.0.0.0/8, or *".to_owned()),
        }
    }
}

impl Proxy {
    /// Whether this address is that of such a proxy.
    pub(crate) fn is(&self, peer: IpAddr) -> bool {
        match self {
            Self::Any => true,
            Self::Network(network) => network.contains(&peer) || network.contains(&peer.to_canonical()),
        }
    }
}

/// Puts the address that trusted proxies were asked for into the `Host` header of every request that comes from them.
pub(crate) fn believe(routes: Router, proxies: &[Proxy]) -> Router {
    if proxies.is_empty() {
        return routes;
    }
    let proxies = proxies.to_vec();
    routes.layer(middleware::from_fn(move |mut request: Request, next: Next| {
        let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip());
        if peer.is_some_and(|peer| proxies.iter().any(|proxy| proxy.is(peer)))
            && let Some(host) = asked_for(request.headers())
        {
            request.headers_mut().insert(header::HOST, host);
        }
        next.run(request)
    }))
}

/// Whether somebody says that another address was asked for.
pub(crate) fn tells(headers: &HeaderMap) -> bool {
    headers.contains_key(header::FORWARDED) || headers.contains_key(HOST)
}

/// The address that the first of the proxies was asked for, with its port where one is known.
fn asked_for(headers: &HeaderMap) -> Option<HeaderValue> {
    let forwarded = first(headers, header::FORWARDED.as_str());
    let said = |name: &str| forwarded.and_then(|element| parameter(element, name));
    let listed = |name| first(headers, name).map(|value| value.trim_matches('"').to_owned());
    let host = said("host").or_else(|| listed(HOST)).or_else(|| listed(header::HOST.as_str()))?;
    let mut authority = Authority::parse(&host)?;
    let port = || listed(PORT).and_then(|port| port.parse().ok());
    let scheme = said("proto").or_else(|| listed(PROTO)).unwrap_or_default().to_ascii_lowercase();
    authority.port = authority.port.or_else(port).or_else(|| authority.port_in(&scheme));
    authority.to_string().parse().ok()
}

/// The first entry of a list that may go over several headers: every further proxy puts its own behind it.
fn first<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let value = std::str::from_utf8(headers.get(name)?.as_bytes()).ok()?;
    let mut quoted = false;
    let end = value.find(|c: char| {
        quoted ^= c == '"';
        c == ',' && !quoted
    });
    Some(value[..end.unwrap_or(value.len())].trim()).filter(|entry| !entry.is_empty())
}

/// A parameter of one element of `Forwarded`: `host=talk.example`, `host="[::1]:80"`.
fn parameter(element: &str, name: &str) -> Option<String> {
    element.split(';').find_map(|pair| {
        let (key, value) = pair.split_once('=')?;
        let value = value.trim().trim_matches('"');
        (key.trim().eq_ignore_ascii_case(name) && !value.is_empty()).then(|| value.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(headers: &[(&'static str, &str)]) -> Option<String> {
        let with_own = std::iter::once(&("host", "moshi:8998")).chain(headers);
        let mut map = HeaderMap::new();
        for (name, value) in with_own {
            map.insert(*name, value.parse().unwrap());
        }
        asked_for(&map).map(|value| value.to_str().unwrap().to_owned())
    }

    #[test]
    fn every_way_to_forward_an_address_is_understood() {
        for (headers, expected) in [
            (&[][..], "moshi:8998"),
            (&[(HOST, "talk.example")], "talk.example"),
            (&[(HOST, "Talk.Example:8443")], "talk.example:8443"),
            (&[(HOST, "talk.example, inner.example")], "talk.example"),
            (&[(HOST, "talk.example"), (PROTO, "https")], "talk.example:443"),
            (&[(HOST, "talk.example"), (PROTO, "HTTPS, http")], "talk.example:443"),
            (&[(HOST, "talk.example"), (PROTO, "wss")], "talk.example:443"),
            (&[(HOST, "talk.example"), (PROTO, "http")], "talk.example:80"),
            (&[(HOST, "talk.example"), (PORT, "8443"), (PROTO, "https")], "talk.example:8443"),
            (&[(HOST, "talk.example:443"), (PORT, "80")], "talk.example:443"),
            (&[(HOST, "[::1]"), (PORT, "443")], "[::1]:443"),
            (&[("forwarded", "for=192.0.2.1;host=talk.example;proto=https")], "talk.example:443"),
            (&[("forwarded", "Host=\"talk.example:8443\" ; Proto=\"https\"")], "talk.example:8443"),
            (&[("forwarded", "for=\"[::1]:1, 2\";host=\"[2001:db8::7]:8443\", host=b")], "[2001:db8::7]:8443"),
            (&[("forwarded", "for=a"), (HOST, "talk.example")], "talk.example"),
            (&[("forwarded", "host=talk.example"), (HOST, "other.example")], "talk.example"),
        ] {
            assert_eq!(host(headers).as_deref(), Some(expected), "{headers:?}");
        }
        assert_eq!(host(&[(HOST, "not a host")]), None);
    }

    #[test]
    fn proxies_are_addresses_and_networks() {
        let is = |proxy: &str, peer: &str| proxy.parse::<Proxy>().unwrap().is(peer.parse().unwrap());
        assert!(is("127.0.0.1", "127.0.0.1") && is("127.0.0.1", "::ffff:127.0.0.1") && is("*", "192.0.2.7"));
        assert!(is("10.0.0.0/8", "10.200.3.4") && !is("10.0.0.0/8", "11.0.0.1") && !is("10.0.0.0/8", "::1"));
        assert!(is("::1", "::1") && is("[::1]", "::1") && is("2001:db8::/32", "2001:db8:1::2"));
        for wrong in ["", "nginx", "10.0.0.0/33", "10.0.0.0/8,::1"] {
            assert!(wrong.parse::<Proxy>().unwrap_err().contains("10.0.0.0/8"), "{wrong}");
        }
    }
}
