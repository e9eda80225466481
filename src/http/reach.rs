//! Where a connection may lead.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::Address;

/// Which addresses may be connected to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// All.
    Anywhere,
    /// Those of the public internet: neither this machine, nor a network behind a router, nor what a cloud keeps its secrets at.
    Public,
}

impl Reach {
    /// The addresses of a host that may be connected to. What is looked up here is what is connected to: a name that stands for another address a
    /// moment later leads nowhere else.
    pub(super) async fn addresses(self, address: &Address) -> Result<Vec<SocketAddr>, String> {
        let found = tokio::net::lookup_host((address.host.as_str(), address.port)).await;
        let found: Vec<SocketAddr> = found.map_err(|error| error.to_string())?.collect();
        let allowed = |found: &&SocketAddr| self == Reach::Anywhere || is_public(found.ip());
        let addresses: Vec<SocketAddr> = found.iter().filter(allowed).copied().collect();
        match (addresses.is_empty(), found.first()) {
            (true, Some(private)) => Err(format!(
                "{} is {}, which is no public address (allow_private = true, if it is meant)",
                address.host,
                private.ip()
            )),
            (true, None) => Err(format!("{} has no address", address.host)),
            (false, _) => Ok(addresses),
        }
    }
}

fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

/// By the registry of special-purpose addresses (RFC 6890).
fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let special = address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_broadcast()
        || address.is_documentation()
        || address.is_multicast();
    let reserved = matches!(
        (a, b, c),
        (0, ..) | (100, 64..=127, _) | (192, 0, 0) | (192, 88, 99) | (198, 18..=19, _) | (240.., ..)
    );
    !special && !reserved
}

/// Addresses that stand for one of version 4 are judged by that.
fn is_public_v6(address: Ipv6Addr) -> bool {
    let segments = address.segments();
    let [a, b, ..] = segments;
    let embedded = |at: usize| {
        let part = |at: usize| segments.get(at).copied().unwrap_or_default().to_be_bytes();
        let ([a, b], [c, d]) = (part(at), part(at.saturating_add(1)));
        Ipv4Addr::new(a, b, c, d)
    };
    if let Some(mapped) = address.to_ipv4() {
        // Also `::` and `::1`.
        return is_public_v4(mapped);
    }
    match (a, b) {
        (0x64, 0xff9b) => is_public_v4(embedded(6)),
        (0x2002, _) => is_public_v4(embedded(1)),
        // Teredo, benchmarks, documentation.
        (0x2001, 0 | 2 | 0xdb8) => false,
        // What is given out to the internet at all.
        _ => a & 0xe000 == 0x2000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_internet_routes_is_public() {
        let public = [
            "1.1.1.1",
            "93.184.216.34",
            "172.32.0.1",
            "2606:4700::1111",
            "::ffff:8.8.8.8",
            "64:ff9b::808:808",
            "2002:808:808::1",
        ];
        let private = [
            "127.0.0.1",
            "10.0.0.1",
            "172.16.9.9",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "192.0.0.8",
            "198.18.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "240.0.0.1",
            "::1",
            "::",
            "fe80::1",
            "fc00::1",
            "fd00:ec2::254",
            "ff02::1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "64:ff9b::a00:1",
            "2002:7f00:1::1",
            "2001::1",
            "2001:db8::1",
            "::10.0.0.1",
        ];
        for (addresses, expected) in [(&public[..], true), (&private[..], false)] {
            for text in addresses {
                assert_eq!(is_public(text.parse().expect("an address")), expected, "{text}");
            }
        }
    }

    #[tokio::test]
    async fn a_name_is_judged_by_what_it_stands_for() {
        let address = Address::parse("http://localhost:1").expect("an address");
        let refused = Reach::Public.addresses(&address).await.expect_err("refused");
        assert!(refused.contains("no public address"), "{refused}");
        assert!(Reach::Anywhere.addresses(&address).await.is_ok());
    }
}
