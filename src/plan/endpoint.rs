//! Checks whether an endpoint URL is valid, and whether it refers to this machine.

use std::net::IpAddr;

use super::names::endpoint_url;

/// Returns whether an endpoint URL names a loopback address. Such an endpoint is a local engine, never production.
///
/// Checks only the text of the URL, and does not resolve names. Returns false for a name that only resolves to
/// loopback. Also returns false for an address that resolvers interpret differently (`127.1`, `0177.0.0.1`,
/// `2130706433`). In these doubtful cases, false is the safe result, because the tool then applies the checks for a
/// production table.
pub fn is_loopback(url: &str) -> bool {
    url.split_once("://").is_some_and(|(_, rest)| host(rest).is_some_and(|host| is_loopback_host(&host)))
}

/// Checks an endpoint URL by the rule for `endpoint_url` in a plan. The error text includes the remedy.
pub fn check_endpoint(url: &str) -> Result<(), String> {
    endpoint_url(url).map_err(|(what, help)| format!("{what}: {help}"))
}

/// Returns the host, in lower case. `rest` is the URL after its scheme.
fn host(rest: &str) -> Option<String> {
    let authority = rest.split(['/', '?', '#', '\\']).next()?;
    // Everything before an `@` is user information, even if it looks like a host.
    let address = authority.rsplit('@').next()?;
    let (host, port) = match address.strip_prefix('[') {
        Some(v6) => v6.split_once(']')?,
        None => address.split_at(address.find(':').unwrap_or(address.len())),
    };
    // Only a port is allowed after the host. Clients interpret any other text there differently.
    let port = port.strip_prefix(':').unwrap_or(port);
    port.chars().all(|c| c.is_ascii_digit()).then(|| host.to_ascii_lowercase())
}

/// Returns whether a host is loopback. RFC 6761 reserves `localhost` and every name that ends in `.localhost` for
/// loopback, with or without a final dot.
fn is_loopback_host(host: &str) -> bool {
    let name = host.strip_suffix('.').unwrap_or(host);
    let below = |name: &str| name.strip_suffix(".localhost").is_some_and(|below| !below.is_empty());
    name == "localhost" || below(name) || host.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_loopback_is_local() {
        for url in [
            "http://127.0.0.1:8000",
            "http://127.9.9.9",
            "https://127.0.0.1/path",
            "http://localhost:8000/",
            "http://LocalHost:8000",
            "HTTP://localhost",
            "http://localhost.:8000",
            "http://dynamodb.localhost:4566",
            "http://Dynamo.DB.LocalHost.:4566/",
            "http://[::1]:8000",
            "http://[0:0:0:0:0:0:0:1]",
            "http://[::ffff:127.0.0.1]:8000",
            "http://somebody:secret@127.0.0.1:8000",
            "http://localhost?x=y",
        ] {
            assert!(is_loopback(url), "{url}");
        }
    }

    #[test]
    fn every_other_url_is_not_local() {
        for url in [
            "https://dynamodb.eu-west-1.amazonaws.com",
            "http://10.0.0.1:8000",
            "http://0.0.0.0:8000",
            "http://128.0.0.1",
            "http://[::2]:8000",
            "http://[::ffff:10.0.0.1]:8000",
            "http://[::1:8000",
            "http://engine:8000",
            "http://localhost.example.com",
            "http://mylocalhost:8000",
            "http://.localhost",
            "http://localhost..",
            "http://127.0.0.1.example.com",
            "http://127.0.0.1:80@example.com",
            "http://example.com/@127.0.0.1",
            "http://example.com?@127.0.0.1",
            "http://example.com#@127.0.0.1/",
            "http://example.com\\@127.0.0.1",
            "http://127.0.0.1:8000.example.com",
            "http://[::1].example.com",
            // Only some resolvers treat the following addresses as loopback.
            "http://127.1",
            "http://0177.0.0.1",
            "http://0x7f.0.0.1",
            "http://2130706433",
            "http://3232235777",
            "127.0.0.1:8000",
            "localhost:8000",
            "",
        ] {
            assert!(!is_loopback(url), "{url}");
        }
    }
}
