//! Proxies whose word counts: everybody else could make up what they forward.

use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;

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
