//! Which web pages may call.
//!
//! A page may call if its origin was allowed, or if it is this server's own: then it comes from the address that was
//! asked for, and this address is one of this server's. Without the second half, whoever owns a name could let it point
//! to this machine after its page was loaded (DNS rebinding) and call in the name of the person who looks at the page.
//! Programs send no origin and may call; what keeps them out are keys.

use std::sync::{Arc, PoisonError, RwLock};

use axum::http::{HeaderMap, HeaderValue, header};
use url::Host;

use crate::address::{Authority, Origin, host_of, is_localhost};
use crate::forwarded;
use crate::tls::CertificateNames;

/// Why a page may not call.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Stranger {
    /// It is not one of this server's, nor allowed.
    #[error("this page's origin may not call this server; see allowed_origins or --allow-origin")]
    Page,
    /// The same, and something in between tells of another address than it asks for.
    #[error(
        "this page's origin may not call this server; a proxy in between changes the Host header: have it passed on, \
         or name the proxy in trusted_proxies or --trust-proxy"
    )]
    Proxy,
    /// It was loaded from here, under a name that nobody gave this server.
    #[error(
        "this server does not know the name {0}; if it is one of its own, start it with --allow-host {0}, or set \
         allowed_hosts"
    )]
    Name(String),
}

/// An origin that may call, as it was configured.
#[derive(Debug)]
enum Allowed {
    /// Every one.
    Every,
    /// A page on a host.
    Page(Origin),
    /// Something that browsers send as it is, such as `null`.
    Word(String),
}

/// A name of this server.
#[derive(Debug, PartialEq, Eq)]
enum Name {
    /// Whatever it is called.
    Every,
    /// One host.
    Host(Host<String>),
    /// Every name below this one.
    Below(String),
}

/// The pages that may call one server, and the names it goes by.
#[derive(Debug)]
pub(crate) struct Welcome {
    allowed: Vec<Allowed>,
    names: Vec<Name>,
    certificate: RwLock<Arc<CertificateNames>>,
    /// Whether the server itself speaks TLS: then a `Host` without a port means 443, else it may be a proxy's.
    tls: bool,
}

impl Welcome {
    /// Pages of the origins `allowed`, and the server's own under the names `known` and that of the `host` it listens on;
    /// `certificate` is what the server shows, if it speaks TLS.
    pub(crate) fn new(allowed: &[String], known: &[String], host: &str, certificate: Option<CertificateNames>) -> Self {
        let allowed: Vec<Allowed> = allowed.iter().map(|text| Allowed::new(text)).collect();
        let of_pages = allowed.iter().filter_map(|allowed| match allowed {
            Allowed::Page(page) => Some(Name::Host(page.authority.host.clone())),
            _ => None,
        });
        let configured = known.iter().filter_map(|text| Name::parse(text));
        let own = [host_of(host)].into_iter().chain(names_of_this_machine()).flatten().map(Name::Host);
        let names = of_pages.chain(configured).chain(own).collect();
        let tls = certificate.is_some();
        Self { allowed, names, certificate: RwLock::new(Arc::new(certificate.unwrap_or_default())), tls }
    }

    /// Takes the names of another certificate, which is shown from now on.
    pub(crate) fn renew(&self, certificate: CertificateNames) {
        *self.certificate.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(certificate);
    }

    /// Whether the page that asks may call.
    ///
    /// # Errors
    /// [`Stranger`] says why not.
    pub(crate) fn check(&self, headers: &HeaderMap) -> Result<(), Stranger> {
        let Some(origin) = headers.get(header::ORIGIN) else { return Ok(()) };
        let text = text(origin).ok_or(Stranger::Page)?;
        let page = Origin::parse(text);
        if self.allowed.iter().any(|allowed| allowed.covers(text, page.as_ref())) {
            return Ok(());
        }
        let server = headers.get(header::HOST).and_then(text_of_host);
        let stranger = || if forwarded::tells(headers) { Stranger::Proxy } else { Stranger::Page };
        let (Some(page), Some(server)) = (page, server) else { return Err(stranger()) };
        if page.authority.is_loopback() && server.is_loopback() {
            return Ok(());
        }
        let scheme = if self.tls { "https" } else { page.scheme.as_str() };
        if page.authority.host != server.host || page.port() != server.port_in(scheme) {
            return Err(stranger());
        }
        if self.knows(&server.host) { Ok(()) } else { Err(Stranger::Name(server.host.to_string())) }
    }

    /// Whether this server goes by this name. An address cannot be made to point elsewhere, so every one is good.
    fn knows(&self, host: &Host<String>) -> bool {
        let Host::Domain(name) = host else { return true };
        let covers = |known: &Name| match known {
            Name::Every => true,
            Name::Host(known) => known == host,
            Name::Below(parent) => name.strip_suffix(parent.as_str()).is_some_and(|rest| rest.ends_with('.')),
        };
        let certificate = || Arc::clone(&self.certificate.read().unwrap_or_else(PoisonError::into_inner));
        is_localhost(name) || self.names.iter().any(covers) || certificate().include(name)
    }
}

impl Allowed {
    fn new(text: &str) -> Self {
        let text = text.trim();
        match Origin::parse(text.trim_end_matches('/')) {
            _ if text == "*" => Self::Every,
            Some(page) => Self::Page(page),
            None => Self::Word(text.to_owned()),
        }
    }

    fn covers(&self, text: &str, page: Option<&Origin>) -> bool {
        match self {
            Self::Every => true,
            Self::Page(allowed) => page.is_some_and(|page| page.is(allowed)),
            Self::Word(word) => word.eq_ignore_ascii_case(text),
        }
    }
}

impl Name {
    fn parse(text: &str) -> Option<Self> {
        match text.trim() {
            "*" => Some(Self::Every),
            text => match text.strip_prefix("*.") {
                Some(parent) => match Authority::parse(parent)?.host {
                    Host::Domain(parent) => Some(Self::Below(parent)),
                    _ => None,
                },
                None if text.contains('*') => None,
                None => Authority::parse(text).map(|authority| Self::Host(authority.host)),
            },
        }
    }
}

/// What an entry of `allowed_origins` has to be.
///
/// # Errors
/// What is expected, in words.
pub(crate) fn check_origin(text: &str) -> Result<(), String> {
    match Allowed::new(text) {
        Allowed::Word(word) if !word.eq_ignore_ascii_case("null") => {
            let hint = if Authority::parse(&word).is_some() {
                format!("; did you mean https://{word}?")
            } else {
                String::new()
            };
            Err(format!("origins such as https://example.org, without a path, or *{hint}"))
        }
        _ => Ok(()),
    }
}

/// What an entry of `allowed_hosts` has to be.
///
/// # Errors
/// What is expected, in words.
pub(crate) fn check_host(text: &str) -> Result<(), String> {
    let expected = || "names such as talk.example.org, *.example.org or *, without https:// and path".to_owned();
    Name::parse(text).map(|_| ()).ok_or_else(expected)
}

/// The name that people in the same network know this machine by, also as multicast DNS says it (RFC 6762).
fn names_of_this_machine() -> Vec<Option<Host<String>>> {
    let Some(name) = crate::tls::machine_name() else { return Vec::new() };
    vec![host_of(&name), host_of(&format!("{name}.local"))]
}

/// A header in UTF-8: some proxies write international names as they are.
fn text(value: &HeaderValue) -> Option<&str> {
    std::str::from_utf8(value.as_bytes()).ok()
}

fn text_of_host(value: &HeaderValue) -> Option<Authority> {
    Authority::parse(text(value)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn welcome(origins: &[&str], hosts: &[&str]) -> Welcome {
        let owned = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        Welcome::new(&owned(origins), &owned(hosts), "localhost", None)
    }

    fn asked(welcome: &Welcome, origin: &str, host: &str) -> Result<(), Stranger> {
        let headers = [(header::ORIGIN, origin), (header::HOST, host)];
        welcome.check(&headers.into_iter().map(|(name, value)| (name, value.parse().unwrap())).collect())
    }

    #[test]
    fn pages_of_this_server_and_of_this_machine_may_call_and_strangers_may_not() {
        let talk = welcome(&[], &["talk.example"]);
        assert!(talk.check(&HeaderMap::new()).is_ok(), "a program");
        for (origin, host) in [
            ("https://talk.example:8998", "talk.example:8998"),
            ("https://talk.example", "talk.example:443"),
            ("http://talk.example", "Talk.Example.:80"),
            ("http://localhost:5173", "127.0.0.1:8998"),
            ("http://[::1]:1", "localhost"),
            ("http://192.0.2.7:8998", "192.0.2.7:8998"),
            ("http://[2001:db8::7]", "[2001:DB8:0::7]:80"),
        ] {
            assert_eq!(asked(&talk, origin, host), Ok(()), "{origin} on {host}");
        }
        for (origin, host) in [
            ("https://evil.example", "localhost:8998"),
            ("https://evil.example", "talk.example"),
            ("http://localhost:5173", "talk.example"),
            ("https://talk.example:8443", "talk.example"),
            ("https://talk.example", "talk.example:80"),
            ("null", "localhost:8998"),
            ("https://talk.example", "talk.example, talk.example"),
        ] {
            assert_eq!(asked(&talk, origin, host), Err(Stranger::Page), "{origin} on {host}");
        }
    }

    #[test]
    fn a_page_that_has_its_own_name_point_here_is_a_stranger() {
        let here = welcome(&[], &[]);
        for host in
            ["evil.example:8998", "EVIL.example.:8998", "localhost.evil.example:8998", "evil.example.local:8998"]
        {
            let answer = asked(&here, &format!("http://{host}"), host);
            assert!(matches!(&answer, Err(Stranger::Name(name)) if name.contains("evil")), "{host}: {answer:?}");
        }
        assert_eq!(asked(&here, "http://evil.example:8998", "evil.example:8998").unwrap_err(), {
            Stranger::Name("evil.example".to_owned())
        });
        let any = welcome(&[], &["*"]);
        assert_eq!(asked(&any, "http://evil.example:8998", "evil.example:8998"), Ok(()));
        let below = welcome(&[], &["*.talk.example"]);
        assert_eq!(asked(&below, "https://a.b.talk.example", "a.b.talk.example"), Ok(()));
        assert!(asked(&below, "https://talk.example", "talk.example").is_err());
        assert!(asked(&below, "https://smalltalk.example", "smalltalk.example").is_err());
    }

    #[test]
    fn configured_pages_may_call_from_wherever_they_are() {
        let friends = welcome(&["https://friend.example/", "https://b\u{fc}cher.example", "app://x", "NULL"], &[]);
        for origin in
            ["https://friend.example", "https://friend.example:443", "https://xn--bcher-kva.example", "app://X", "null"]
        {
            assert_eq!(asked(&friends, origin, "unknown.example"), Ok(()), "{origin}");
        }
        assert_eq!(asked(&friends, "http://friend.example", "friend.example"), Ok(()), "its name is known now");
        assert_eq!(asked(&friends, "http://friend.example", "unknown.example"), Err(Stranger::Page));
        assert_eq!(asked(&welcome(&["*"], &[]), "https://any.example", "talk.example"), Ok(()));
    }

    #[test]
    fn what_is_no_origin_and_no_name_is_told() {
        for good in ["*", "null", "https://a.example", "https://a.example/", "http://[::1]:80", "capacitor://localhost"]
        {
            assert_eq!(check_origin(good), Ok(()), "{good}");
        }
        for (bad, words) in [
            ("", "such as"),
            ("a.example", "did you mean https://a.example?"),
            ("https://a.example/b", "without a path"),
        ] {
            assert!(check_origin(bad).unwrap_err().contains(words), "{bad}");
        }
        for good in ["*", "a.example", "*.a.example", "a.example:8998", "192.0.2.7", "[::1]:80"] {
            assert_eq!(check_host(good), Ok(()), "{good}");
        }
        for bad in ["", "https://a.example", "a.example/b", "*.", "*a.example"] {
            assert!(check_host(bad).is_err(), "{bad}");
        }
    }
}
