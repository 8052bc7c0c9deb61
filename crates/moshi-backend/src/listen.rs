//! The address to listen on: every way to write one, and every place that shows one.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, ToSocketAddrs};

/// What a person wrote as the address to listen on, the way the operating system wants it: `[::1]` is `::1`, and an IPv4
/// address in the clothes of IPv6 is that IPv4 address.
///
/// # Errors
/// What stands there instead of a name or an address, in words.
pub(crate) fn bare(text: &str) -> Result<String, String> {
    let expected = "a name or address to listen on, such as localhost, 0.0.0.0 or ::1";
    let text = text.trim();
    let inner = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    if let Ok(address) = inner.unwrap_or(text).parse::<IpAddr>() {
        let bracketed_v4 = inner.is_some() && address.is_ipv4();
        return if bracketed_v4 { Err(expected.to_owned()) } else { Ok(address.to_canonical().to_string()) };
    }
    // The address of one network card: fe80::1%eth0.
    if let Some((address, _)) = inner.unwrap_or(text).split_once('%')
        && address.parse::<std::net::Ipv6Addr>().is_ok()
    {
        return Ok(inner.unwrap_or(text).to_owned());
    }
    if text == "*" {
        return Err(format!("{expected}; 0.0.0.0 is every address of this machine, :: those of IPv6 too"));
    }
    if text.contains("://") || text.contains('/') {
        return Err(format!("{expected}, without http:// and path"));
    }
    if text.rsplit_once(':').is_some_and(|(_, port)| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit())) {
        return Err(format!("{expected}; the port is set apart, by --port or \"port\""));
    }
    let strange = |c: char| c.is_whitespace() || c.is_control() || ":[]@?#\\*,".contains(c);
    if text.is_empty() || text.contains(strange) { Err(expected.to_owned()) } else { Ok(text.to_owned()) }
}

/// Listens on the first address of `host` that this machine has.
///
/// # Errors
/// When the name is not known or no address can be listened on. An address whose port is taken is an error even where
/// the name has a second one: callers who ask for the name would reach the other program.
pub(crate) fn bind(host: &str, port: u16) -> io::Result<TcpListener> {
    let mut addresses: Vec<SocketAddr> = (host, port).to_socket_addrs()?.collect();
    // `localhost` is both; clients that try IPv6 first go on to IPv4, but not all do the reverse.
    addresses.sort_by_key(SocketAddr::is_ipv6);
    let mut first = None;
    for address in addresses {
        match TcpListener::bind(address) {
            Ok(listener) => return Ok(listener),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => return Err(error),
            Err(error) => first = first.or(Some(error)),
        }
    }
    Err(first.unwrap_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the name has no address")))
}

/// What a person can do about an address that cannot be listened on; begins with a semicolon.
pub(crate) fn advice(error: &io::Error, port: u16) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => "; another program listens there: stop it, or choose another port with --port \
             (0 takes a free one)"
            .to_owned(),
        io::ErrorKind::PermissionDenied if port < 1024 && port > 0 => {
            "; ports below 1024 need rights that this user does not have: choose another with --port".to_owned()
        }
        io::ErrorKind::AddrNotAvailable => {
            "; this machine does not have this address: --host 0.0.0.0 is every address that it has".to_owned()
        }
        _ => String::new(),
    }
}

/// An address as it stands in a URL: one of IPv6 has brackets.
pub(crate) fn in_url(address: IpAddr) -> String {
    match address {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) => format!("[{v6}]"),
    }
}

/// The host of a URL that answers on this machine, when `host` was asked for and `address` is listened on.
///
/// `localhost` is 127.0.0.1 everywhere, but not everywhere ::1, and nowhere another address.
pub(crate) fn shown(host: &str, address: SocketAddr) -> String {
    let ip = address.ip();
    let asked_by_name = host.parse::<IpAddr>().is_err() && !host.contains('%');
    if ip.is_unspecified() || ip == IpAddr::V4(Ipv4Addr::LOCALHOST) && !asked_by_name {
        "localhost".to_owned()
    } else if asked_by_name {
        host.to_owned()
    } else {
        in_url(ip)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_write_an_address_is_understood() {
        for (written, meant) in [
            ("localhost", "localhost"),
            (" localhost ", "localhost"),
            ("talk.example", "talk.example"),
            ("talk.example.", "talk.example."),
            ("127.0.0.2", "127.0.0.2"),
            ("0.0.0.0", "0.0.0.0"),
            ("::1", "::1"),
            ("[::1]", "::1"),
            ("[0:0:0:0:0:0:0:1]", "::1"),
            ("::", "::"),
            ("[::]", "::"),
            ("::ffff:127.0.0.1", "127.0.0.1"),
            ("[::ffff:7f00:1]", "127.0.0.1"),
            ("[fe80::1%eth0]", "fe80::1%eth0"),
            ("fe80::1%2", "fe80::1%2"),
        ] {
            assert_eq!(bare(written).as_deref(), Ok(meant), "{written}");
        }
    }

    #[test]
    fn what_is_more_or_less_than_an_address_is_told_apart() {
        for (written, words) in [
            ("", "a name or address"),
            ("  ", "a name or address"),
            ("[127.0.0.1]", "a name or address"),
            ("[::1", "a name or address"),
            ("::1]", "a name or address"),
            ("a b", "a name or address"),
            ("a,b", "a name or address"),
            ("a\0b", "a name or address"),
            ("localhost:8998", "--port"),
            ("127.0.0.1:80", "--port"),
            ("[::1]:8998", "--port"),
            ("http://localhost", "without http://"),
            ("localhost/", "without http://"),
            ("*", "0.0.0.0 is every address"),
        ] {
            let error = bare(written).expect_err(written);
            assert!(error.contains(words), "{written:?}: {error}");
        }
    }

    #[test]
    fn the_address_that_is_shown_is_one_that_answers() {
        for (host, address, url) in [
            ("localhost", "127.0.0.1:1", "localhost"),
            ("localhost", "[::1]:1", "localhost"),
            ("127.0.0.1", "127.0.0.1:1", "localhost"),
            ("127.0.0.2", "127.0.0.2:1", "127.0.0.2"),
            ("0.0.0.0", "0.0.0.0:1", "localhost"),
            ("::", "[::]:1", "localhost"),
            ("::1", "[::1]:1", "[::1]"),
            ("192.0.2.7", "192.0.2.7:1", "192.0.2.7"),
            ("2001:db8::7", "[2001:db8::7]:1", "[2001:db8::7]"),
            ("talk.example", "192.0.2.7:1", "talk.example"),
            ("talk.example", "127.0.0.1:1", "talk.example"),
        ] {
            assert_eq!(shown(host, address.parse().unwrap()), url, "{host} on {address}");
        }
    }

    #[test]
    fn a_taken_port_is_not_left_for_the_names_other_address() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        let error = bind("localhost", port).unwrap_err();
        assert!(advice(&error, port).contains("--port"), "{error}");
    }
}
