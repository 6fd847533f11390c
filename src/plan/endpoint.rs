//! Where the table is: on this machine, or elsewhere.

use std::net::IpAddr;

use super::TableRef;

impl TableRef {
    /// Whether the stated endpoint is on loopback: a local engine, and nobody's production. Decided by the text of the URL
    /// alone, so a name that resolves to loopback is elsewhere.
    pub fn is_on_loopback(&self) -> bool {
        self.endpoint_url.as_deref().is_some_and(is_loopback)
    }
}

fn is_loopback(url: &str) -> bool {
    let host = url.split("://").nth(1).unwrap_or(url);
    let host = host.split('/').next().unwrap_or(host);
    // What stands before an @ is a user's name, whatever it looks like.
    let host = host.rsplit('@').next().unwrap_or(host);
    let host = match host.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or(v6),
        None => host.split(':').next().unwrap_or(host),
    };
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_is_local() {
        for url in ["http://127.0.0.1:8000", "http://localhost:8000/", "http://[::1]:8000", "http://127.9.9.9"] {
            assert!(is_loopback(url), "{url}");
        }
        for url in [
            "https://dynamodb.eu-west-1.amazonaws.com",
            "http://localhost.example.com",
            "http://10.0.0.1:8000",
            "http://127.0.0.1.example.com",
            "http://127.0.0.1:80@example.com",
            "http://dynamodb-local:8000",
        ] {
            assert!(!is_loopback(url), "{url}");
        }
    }
}
