//! Who calls: the address that quotas count, and as little of it as a log needs.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use axum::http::HeaderMap;
use ipnet::IpNet;

use crate::forwarded::Proxy;

/// What proxies write who asked them into.
const FORWARDED_FOR: &str = "x-forwarded-for";

/// An address that calls. It shows itself without its last part: a whole one is personal data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Peer(IpAddr);

impl Peer {
    /// Who asks over this connection: the other end, or, where that is one of the proxies that are `trusted`, who asked
    /// it. Of a chain of proxies, the last address that no trusted one is counts: what stands before it anybody may have
    /// written.
    pub(crate) fn of(socket: SocketAddr, headers: &HeaderMap, trusted: &[Proxy]) -> Self {
        let mut peer = socket.ip().to_canonical();
        let lists: Vec<&str> = headers.get_all(FORWARDED_FOR).iter().filter_map(|value| value.to_str().ok()).collect();
        let mut chain = lists.iter().rev().flat_map(|list| list.rsplit(',')).map(str::trim);
        while trusted.iter().any(|proxy| proxy.is(peer)) {
            match chain.next().and_then(address) {
                Some(before) => peer = before.to_canonical(),
                None => break,
            }
        }
        Self(peer)
    }

    /// What quotas count as one caller: an address of IPv4, or a network of 64 bits of IPv6, which is what one household
    /// is given.
    pub(crate) fn household(self) -> IpAddr {
        match self.0 {
            IpAddr::V4(address) => address.into(),
            IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let prefix = if self.0.is_ipv4() { 24 } else { 48 };
        match IpNet::new(self.0, prefix) {
            Ok(net) => write!(f, "{}", net.trunc()),
            Err(_) => f.write_str("unknown"),
        }
    }
}

/// An address as proxies write it: alone, or with a port.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    bare.parse().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|with_port| with_port.ip()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(socket: &str, forwarded: &[&str], trusted: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        for value in forwarded {
            headers.append(FORWARDED_FOR, value.parse().unwrap());
        }
        let trusted: Vec<Proxy> = trusted.iter().map(|proxy| proxy.parse().unwrap()).collect();
        Peer::of(SocketAddr::new(socket.parse().unwrap(), 1), &headers, &trusted).0.to_string()
    }

    #[test]
    fn only_proxies_that_are_trusted_may_say_who_calls() {
        assert_eq!(peer("10.0.0.2", &["203.0.113.9"], &[]), "10.0.0.2");
        assert_eq!(peer("198.51.100.7", &["203.0.113.9"], &["10.0.0.0/8"]), "198.51.100.7");
        assert_eq!(peer("10.0.0.2", &["203.0.113.9"], &["10.0.0.0/8"]), "203.0.113.9");
        assert_eq!(peer("::ffff:10.0.0.2", &["203.0.113.9:4711"], &["10.0.0.0/8"]), "203.0.113.9");
        assert_eq!(peer("10.0.0.2", &["[2001:db8::1]:80"], &["10.0.0.0/8"]), "2001:db8::1");
        assert_eq!(peer("10.0.0.2", &["1.2.3.4, 203.0.113.9, 10.0.0.3"], &["10.0.0.0/8"]), "203.0.113.9");
        assert_eq!(peer("10.0.0.2", &["1.2.3.4", "203.0.113.9"], &["10.0.0.0/8"]), "203.0.113.9");
        assert_eq!(peer("10.0.0.2", &["203.0.113.9, unknown"], &["10.0.0.0/8"]), "10.0.0.2");
        assert_eq!(peer("10.0.0.2", &[], &["10.0.0.0/8"]), "10.0.0.2");
        assert_eq!(peer("10.0.0.2", &["10.0.0.9"], &["10.0.0.0/8"]), "10.0.0.9");
        assert_eq!(peer("10.0.0.2", &["1.2.3.4, 203.0.113.9"], &["*"]), "1.2.3.4");
    }

    #[test]
    fn a_household_is_one_caller_and_a_log_does_not_know_which() {
        let of = |ip: &str| Peer(ip.parse().unwrap());
        assert_eq!(of("2001:db8:1:2:3::4").household(), of("2001:db8:1:2::9").household());
        assert_ne!(of("2001:db8:1:2::4").household(), of("2001:db8:1:3::4").household());
        assert_ne!(of("203.0.113.9").household(), of("203.0.113.8").household());
        assert_eq!(of("203.0.113.9").to_string(), "203.0.113.0/24");
        assert_eq!(of("2001:db8:1:2::4").to_string(), "2001:db8:1::/48");
    }
}
