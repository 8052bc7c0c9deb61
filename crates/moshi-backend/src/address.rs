//! Addresses of pages and servers as browsers and proxies write them, brought to one form.
//!
//! Names are compared in lower case, in the ASCII form of international names (UTS 46), and without the dot at their
//! end; addresses by their value; ports as numbers, where a scheme's own port is the same as none.

use std::net::{IpAddr, Ipv6Addr};

use url::Host;

/// The host of a `Host` header, or of what stands after `//` in a URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Authority {
    /// A name or an address.
    pub(crate) host: Host<String>,
    /// The port, where one is said.
    pub(crate) port: Option<u16>,
}

/// Where a web page comes from (RFC 6454).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Origin {
    /// In lower case, such as `https`.
    pub(crate) scheme: String,
    /// Host and port.
    pub(crate) authority: Authority,
}

impl Authority {
    /// Reads `host`, `host:port`, `[::1]:port`; an address of IPv6 may also stand there without brackets. None when it
    /// is something else.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        if text.contains(['/', '\\', '?', '#', '@']) {
            return None;
        }
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) if !host.contains(':') || host.ends_with(']') => (host, port_of(port)?),
            _ => (text, None),
        };
        Some(Self { host: host_of(host)?, port })
    }

    /// The port, where none is said that of the scheme; none of a scheme that has no port of its own.
    pub(crate) fn port_in(&self, scheme: &str) -> Option<u16> {
        self.port.or(match scheme {
            "http" | "ws" => Some(80),
            "https" | "wss" => Some(443),
            _ => None,
        })
    }

    /// Whether this is the machine that asks: an address that loops back, or a name that is reserved for one (RFC 6761).
    pub(crate) fn is_loopback(&self) -> bool {
        match &self.host {
            Host::Domain(name) => is_localhost(name),
            Host::Ipv4(address) => address.is_loopback(),
            Host::Ipv6(address) => address.is_loopback(),
        }
    }
}

impl std::fmt::Display for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.port {
            Some(port) => write!(f, "{}:{port}", self.host),
            None => self.host.fmt(f),
        }
    }
}

impl Origin {
    /// Reads an `Origin` header; none of one without a place (`null`).
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (scheme, rest) = text.trim().split_once("://")?;
        let word = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
        if !scheme.starts_with(|c: char| c.is_ascii_alphabetic()) || !scheme.chars().all(word) {
            return None;
        }
        Some(Self { scheme: scheme.to_ascii_lowercase(), authority: Authority::parse(rest)? })
    }

    /// The port of its URL.
    pub(crate) fn port(&self) -> Option<u16> {
        self.authority.port_in(&self.scheme)
    }

    /// Whether both are the same place (RFC 6454, section 5).
    pub(crate) fn is(&self, other: &Self) -> bool {
        self.scheme == other.scheme && self.authority.host == other.authority.host && self.port() == other.port()
    }
}

/// Whether a name means the machine that asks, in lower case and without a dot at the end.
pub(crate) fn is_localhost(name: &str) -> bool {
    name == "localhost" || name.ends_with(".localhost")
}

/// A host in its one form.
pub(crate) fn host_of(text: &str) -> Option<Host<String>> {
    let text = text.strip_suffix('.').unwrap_or(text);
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    if let Ok(address) = bare.parse::<Ipv6Addr>() {
        return Some(match address.to_canonical() {
            IpAddr::V4(v4) => Host::Ipv4(v4),
            IpAddr::V6(v6) => Host::Ipv6(v6),
        });
    }
    Host::parse(text).ok()
}

/// A port's digits; none of nothing, as browsers read `host:`.
#[expect(clippy::option_option, reason = "no port and no number are two things")]
fn port_of(digits: &str) -> Option<Option<u16>> {
    match digits {
        "" => Some(None),
        _ if digits.bytes().all(|b| b.is_ascii_digit()) => digits.parse().ok().map(Some),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn same(one: &str, other: &str) -> bool {
        Origin::parse(one).zip(Origin::parse(other)).is_some_and(|(one, other)| one.is(&other))
    }

    #[test]
    fn every_way_to_write_an_origin_is_the_same_origin() {
        for (one, other) in [
            ("https://talk.example", "https://talk.example:443"),
            ("https://talk.example", "HTTPS://Talk.Example"),
            ("https://talk.example", "https://talk.example."),
            ("https://talk.example", "https://talk.example.:443"),
            ("https://talk.example", "https://talk.example:"),
            ("http://talk.example:80", "http://talk.example"),
            ("http://talk.example:080", "http://talk.example"),
            ("http://[::1]", "http://[0:0:0:0:0:0:0:1]:80"),
            ("http://[2001:DB8::7]:8998", "http://[2001:db8:0::7]:8998"),
            ("http://[::ffff:192.0.2.7]", "http://192.0.2.7"),
            ("https://b\u{fc}cher.example", "https://xn--bcher-kva.example"),
            ("https://B\u{dc}CHER.example", "https://XN--BCHER-KVA.example"),
        ] {
            assert!(same(one, other) && same(other, one), "{one} and {other}");
        }
        for (one, other) in [
            ("https://talk.example", "http://talk.example"),
            ("https://talk.example", "https://talk.example:80"),
            ("https://talk.example", "https://talk.example:8443"),
            ("https://talk.example", "https://www.talk.example"),
            ("https://talk.example", "https://talk.example.evil"),
            ("http://127.0.0.1", "http://localhost"),
            ("null", "null"),
        ] {
            assert!(!same(one, other), "{one} and {other}");
        }
    }

    #[test]
    fn what_is_no_address_is_none() {
        for text in
            ["", " ", ":80", "a b", "a/b", "me@a", "a?b", "a#b", "a\\b", "[::1", "::1]", "a:b", "a:+1", "a:99999"]
        {
            assert_eq!(Authority::parse(text), None, "{text:?}");
        }
        for text in
            ["", "null", "talk.example", "//talk.example", "https:/talk.example", "https://", "1://a", "h s://a"]
        {
            assert_eq!(Origin::parse(text), None, "{text:?}");
        }
        assert!(Authority::parse("::1").is_some_and(|a| a.is_loopback() && a.port.is_none()));
        for text in ["localhost:1", "LocalHost.", "app.localhost", "127.9.9.9", "[::1]:8998", "[::ffff:127.0.0.1]"] {
            assert!(Authority::parse(text).is_some_and(|a| a.is_loopback()), "{text}");
        }
        for text in ["localhost.example", "notlocalhost", "128.0.0.1", "0.0.0.0"] {
            assert!(Authority::parse(text).is_some_and(|a| !a.is_loopback()), "{text}");
        }
    }
}
