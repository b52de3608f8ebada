//! The addresses that callbacks may go to: public ones that do not belong to this machine. They are
//! checked after the name is resolved, and the connection goes to the checked address.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use crate::error::ServiceError;

/// Checks the parts of a callback's URL that can be checked without resolving it.
pub(crate) fn check(url: &str) -> Result<Url, ServiceError> {
    let wrong = |why: &str| ServiceError::invalid(format!("callback.url: {why}"));
    if url.len() > 2048 {
        return Err(wrong("it exceeds 2,048 bytes"));
    }
    let url = Url::parse(url).map_err(|error| wrong(&error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(wrong("expected https:// or http://"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(wrong(
            "it must not contain a user or password, which would be stored in plain text",
        ));
    }
    if url.host_str().is_none_or(str::is_empty) {
        return Err(wrong("it has no host"));
    }
    Ok(url)
}

/// Returns whether an address is public: not loopback, private, link-local, shared, multicast,
/// reserved, or one of these mapped into IPv6.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let [a, b, c, _] = v4.octets();
            !(v4.is_loopback()
                || v4.is_private()
                || v4.is_link_local()
                || v4.is_multicast()
                || v4.is_broadcast()
                || v4.is_documentation()
                || a == 0
                || a >= 240
                || (a == 100 && (64..128).contains(&b))
                || (a == 192 && b == 0 && c == 0)
                || (a == 198 && (18..20).contains(&b)))
        }
        IpAddr::V6(v6) => {
            if let Some(v4) = v6.to_ipv4_mapped() {
                return is_public(IpAddr::V4(v4));
            }
            let segments = v6.segments();
            // Only 2000::/3 is allocated (RFC 4291). Excluded from it are addresses that contain an
            // IPv4 address (6to4, Teredo) and those for documentation.
            (segments[0] & 0xe000) == 0x2000
                && segments[0] != 0x2002
                && !(segments[0] == 0x2001 && (segments[1] < 0x200 || segments[1] == 0x0db8))
                && !(segments[0] == 0x3fff && segments[1] < 0x1000)
        }
    }
}

/// Returns whether an address belongs to this machine, even if it is public: a service that listens
/// on it may trust the machine. Nothing is sent. The kernel is asked for the source address of a
/// connection, and the source of a connection to an own address is that address (ip-route(8), table
/// `local`).
fn is_own(address: IpAddr) -> bool {
    let any: IpAddr =
        if address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let spoken_from = || {
        let socket = UdpSocket::bind((any, 0))?;
        // Any port works, because nothing is sent.
        socket.connect((address, 9))?;
        socket.local_addr()
    };
    spoken_from().is_ok_and(|local| local.ip().to_canonical() == address.to_canonical())
}

/// Returns whether a callback may go to an address.
pub(crate) fn is_allowed(address: IpAddr) -> bool {
    is_public(address) && !is_own(address)
}

/// A resolver that returns only the addresses that callbacks may go to.
pub(crate) struct PublicResolver;

impl Resolve for PublicResolver {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let public: Vec<SocketAddr> =
                found.filter(|address| is_allowed(address.ip())).collect();
            if public.is_empty() {
                return Err(format!(
                    "{} has no public address that is not this machine's own",
                    name.as_str()
                )
                .into());
            }
            Ok(Box::new(public.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_ones_own_network_are_not_public() {
        for text in [
            "127.0.0.1",
            "127.9.9.9",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "224.0.0.1",
            "255.255.255.255",
            "240.0.0.1",
            "192.0.0.1",
            "198.18.0.1",
            "::1",
            "::",
            "fe80::1",
            "fc00::1",
            "fd00:ec2::254",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "64:ff9b::7f00:1",
            "2002:7f00:1::",
            "2001::1",
            "ff02::1",
            "2001:db8::1",
            "::127.0.0.1",
        ] {
            assert!(!is_public(text.parse().unwrap()), "{text}");
        }
        for text in ["93.184.216.34", "8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8"] {
            assert!(is_public(text.parse().unwrap()), "{text}");
        }
    }

    #[test]
    fn the_machines_own_addresses_are_known_and_no_others() {
        assert!(is_own(Ipv4Addr::LOCALHOST.into()));
        for text in ["192.0.2.1", "93.184.216.34", "2606:4700::1111", "::ffff:192.0.2.1"] {
            assert!(!is_own(text.parse().unwrap()), "{text}");
        }
    }

    #[test]
    fn addresses_that_keep_secrets_or_speak_no_http_are_refused() {
        for url in [
            "ftp://a/",
            "file:///etc/passwd",
            "https://user:secret@a/",
            "https://",
            "nonsense",
            "http://",
        ] {
            assert!(check(url).is_err(), "{url}");
        }
        assert!(check("https://example.com/done?x=1").is_ok());
    }
}
