//! The check of the `Host` header. This module is pure.

use std::net::{IpAddr, SocketAddr};

/// The port of a `Host` header without a port: the default port of HTTP.
const HTTP_PORT: u16 = 80;

/// Returns whether a `Host` header contains an IP address or `localhost`, with or without a port.
pub fn is_literal(host: &str) -> bool {
    match split(host) {
        Some((name, _)) => is_localhost(name) || name.parse::<IpAddr>().is_ok(),
        None => false,
    }
}

/// Returns whether a `Host` header names this address, or `localhost`, with the port of this address.
pub fn names_address(host: &str, address: SocketAddr) -> bool {
    let Some((name, port)) = split(host) else { return false };
    let is_own_name = is_localhost(name) || name.parse() == Ok(address.ip());
    is_own_name && port.unwrap_or(HTTP_PORT) == address.port()
}

fn is_localhost(name: &str) -> bool {
    name.eq_ignore_ascii_case("localhost")
}

/// Splits a `Host` header into its name, without the brackets of an IPv6 address, and its port.
fn split(host: &str) -> Option<(&str, Option<u16>)> {
    let (name, port) = match host.rsplit_once(':') {
        // `parse` alone would accept a sign.
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => (name, Some(port.parse().ok()?)),
        Some(_) | None => (host, None),
    };
    Some((name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_address_or_localhost_is_literal() {
        for literal in ["127.0.0.1", "127.0.0.1:9464", "localhost:9464", "LOCALHOST", "[::1]:9464", "[::1]"] {
            assert!(is_literal(literal), "{literal}");
        }
        for name in ["evil.example", "evil.example:9464", "127.0.0.1.evil.example", "", "localhost:", "localhost:99999"]
        {
            assert!(!is_literal(name), "{name}");
        }
    }

    #[test]
    fn a_host_names_an_address_only_with_its_port() {
        let four = "127.0.0.1:9000".parse().unwrap();
        let six = "[::1]:9000".parse().unwrap();
        let http = "127.0.0.1:80".parse().unwrap();
        for (host, address) in [
            ("127.0.0.1:9000", four),
            ("localhost:9000", four),
            ("LocalHost:9000", six),
            ("[::1]:9000", six),
            ("127.0.0.1", http),
            ("localhost:80", http),
        ] {
            assert!(names_address(host, address), "{host} {address}");
        }
        for (host, address) in [
            ("127.0.0.1", four),
            ("127.0.0.1:9001", four),
            ("127.0.0.2:9000", four),
            ("[::1]:9000", four),
            ("0.0.0.0:9000", four),
            ("127.0.0.1:+9000", four),
            ("127.0.0.1:9000:9000", four),
            ("user@127.0.0.1:9000", four),
            ("evil.example:9000", four),
            ("localhost.evil.example:9000", four),
            ("127.0.0.1:9000", six),
            ("", http),
        ] {
            assert!(!names_address(host, address), "{host} {address}");
        }
    }
}
