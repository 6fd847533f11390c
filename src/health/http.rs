//! Gets the status of an HTTP address.

use std::time::Duration;

use super::Answer;
use crate::plan::SecretUrl;
use crate::web::{Address, AddressError};

/// An HTTP address and its healthy statuses.
pub(super) struct Http {
    /// The address, or the reason why no request can be sent to it. Each answer then contains this reason.
    address: Result<Address, AddressError>,
    expect_status: Option<u16>,
}

impl Http {
    pub(super) fn new(url: &SecretUrl, expect_status: Option<u16>) -> Http {
        Http { address: Address::new(url.as_secret()), expect_status }
    }

    /// Sends one request. The status determines the answer, so the body is not read.
    pub(super) async fn ask(&self, limit: Duration) -> Answer {
        let address = match &self.address {
            Ok(address) => address,
            Err(error) => return Answer::Unknown(format!("could not run: {error}")),
        };
        match address.status(limit).await {
            Ok(status) => {
                let is_success = status.is_success();
                let status = status.as_u16();
                let is_healthy = self.expect_status.map_or(is_success, |expected| status == expected);
                let expected = self.expect_status.map_or_else(String::new, |status| format!(", not HTTP {status}"));
                if is_healthy { Answer::Healthy } else { Answer::Unhealthy(format!("failed: HTTP {status}{expected}")) }
            }
            Err(error) => Answer::Unknown(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::http::StatusCode;
    use axum::routing::get;

    use super::*;

    const LONG: Duration = Duration::from_secs(20);

    async fn serve() -> String {
        let hangs = get(async || tokio::time::sleep(Duration::from_secs(1_000)).await);
        let router = Router::new()
            .route("/ok", get(async || "S3CRET"))
            .route("/created", get(async || (StatusCode::CREATED, "S3CRET")))
            .route("/sick", get(async || (StatusCode::SERVICE_UNAVAILABLE, "S3CRET")))
            .route("/large", get(async || "x".repeat(1 << 20)))
            .route("/moved", get(async || (StatusCode::FOUND, [("location", "/ok")])))
            .route("/hangs", hangs);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        format!("http://{address}")
    }

    fn http(url: String, expect_status: Option<u16>) -> Http {
        Http { address: Address::new(&url), expect_status }
    }

    #[tokio::test]
    async fn the_status_decides() {
        let base = serve().await;
        let unhealthy = |text: &str| Answer::Unhealthy(text.to_owned());
        for (path, expected, answer) in [
            ("/ok?token=S3CRET", None, Answer::Healthy),
            ("/created", None, Answer::Healthy),
            ("/large", None, Answer::Healthy),
            ("/created", Some(201), Answer::Healthy),
            ("/sick", Some(503), Answer::Healthy),
            ("/ok", Some(204), unhealthy("failed: HTTP 200, not HTTP 204")),
            ("/sick?token=S3CRET", None, unhealthy("failed: HTTP 503")),
            ("/moved", None, unhealthy("failed: HTTP 302")),
            ("/none", None, unhealthy("failed: HTTP 404")),
        ] {
            assert_eq!(http(format!("{base}{path}"), expected).ask(LONG).await, answer, "{path}");
        }
    }

    #[tokio::test]
    async fn without_an_answer_nothing_is_known() {
        let base = serve().await;
        let hangs = http(format!("{base}/hangs?token=S3CRET"), None);
        let answer = hangs.ask(Duration::from_millis(100)).await;
        assert_eq!(answer, Answer::Unknown("did not answer within 0.1 s".to_owned()));
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let refused = http(format!("http://{free}/?token=S3CRET"), None).ask(LONG).await;
        let Answer::Unknown(text) = refused else { panic!("{refused:?}") };
        assert!(text.starts_with("could not be reached (") && !text.contains("S3CRET"), "{text}");
    }
}
