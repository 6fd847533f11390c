//! Sends announcements to a Slack-compatible webhook: `{"text": "…"}`, as a POST request. The address comes from an
//! environment variable, because it is a secret. No error and no log line contains it.

use std::time::Duration;

use serde_json::{Value as Json, json};
use tokio::time::{Instant, sleep};

use crate::backoff::Backoff;
use crate::machine::Random;
use crate::web::{Address, AddressError, WebError};

/// The wait between two attempts.
const RETRY: Backoff = Backoff { base: Duration::from_millis(500), cap: Duration::from_secs(5) };

/// The maximum number of attempts for one message.
const MAX_ATTEMPTS: u32 = 4;

/// A webhook.
#[derive(Debug)]
pub struct Webhook {
    address: Address,
    random: Random,
}

/// Why a message was not delivered, or why there is no webhook. The text completes the sentence "the webhook …".
#[derive(Debug, thiserror::Error)]
pub enum WebhookError {
    /// The environment variable is not set.
    #[error("has no address: the environment variable {0} is not set")]
    NotSet(String),
    /// The environment variable does not contain a valid address.
    #[error("has no address: the environment variable {0} is not valid: {1}")]
    NotAnAddress(String, AddressError),
    /// The webhook refused the message.
    #[error("answered with HTTP status {0}")]
    Status(u16),
    /// The webhook gave no answer.
    #[error(transparent)]
    NoAnswer(#[from] WebError),
}

impl WebhookError {
    /// Returns whether another attempt can succeed.
    fn is_temporary(&self) -> bool {
        match self {
            WebhookError::Status(status) => matches!(status, 408 | 425 | 429 | 500..),
            WebhookError::NoAnswer(_) => true,
            WebhookError::NotSet(_) | WebhookError::NotAnAddress(..) => false,
        }
    }
}

impl Webhook {
    /// Creates the webhook whose address is in this environment variable. Sends nothing.
    ///
    /// # Errors
    ///
    /// Fails if the variable is not set or does not contain an HTTP address. The error does not contain the value.
    pub fn from_env(variable: &str, random: Random) -> Result<Webhook, WebhookError> {
        let text = std::env::var(variable).map_err(|_| WebhookError::NotSet(variable.to_owned()))?;
        let address = Address::new(text.trim());
        let address = address.map_err(|error| WebhookError::NotAnAddress(variable.to_owned(), error))?;
        Ok(Webhook { address, random })
    }

    /// Sends a line of text. After a temporary problem, repeats the request until the time `limit` has passed. After a
    /// lost answer, the webhook can receive the message twice.
    ///
    /// # Errors
    ///
    /// Fails with the last problem if the webhook did not accept the message.
    pub async fn send(&self, text: &str, limit: Duration) -> Result<(), WebhookError> {
        let message = slack_message(text);
        let ends = Instant::now() + limit;
        let mut attempt = 1;
        loop {
            let left = ends.saturating_duration_since(Instant::now());
            let error = match self.address.post_json(&message, left).await {
                Ok(answer) if answer.status.is_success() => return Ok(()),
                Ok(answer) => WebhookError::Status(answer.status.as_u16()),
                Err(error) => error.into(),
            };
            let wait = RETRY.wait(attempt, self.random.fraction());
            if !error.is_temporary() || attempt >= MAX_ATTEMPTS || Instant::now() + wait >= ends {
                return Err(error);
            }
            sleep(wait).await;
            attempt += 1;
        }
    }
}

/// Returns the message for a line of text. Slack treats `&`, `<` and `>` as markup. Replaces them with `&amp;`, `&lt;`
/// and `&gt;` (Slack's documentation, "Formatting text for app surfaces"), so that no text can mention a channel or
/// hide a link.
pub fn slack_message(text: &str) -> Json {
    json!({ "text": text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;") })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use axum::Router;
    use axum::http::StatusCode;
    use axum::routing::post;

    use super::*;

    /// Starts a server that gives these answers in this order, and then repeats the last one. Returns a webhook whose
    /// address is this server's.
    async fn server(answers: &'static [u16]) -> (Webhook, Arc<AtomicUsize>) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = Address::new(&format!("http://{}/T0/secret", listener.local_addr().unwrap())).unwrap();
        let requests = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&requests);
        let answer = move || {
            let index = counted.fetch_add(1, Ordering::Relaxed).min(answers.len() - 1);
            std::future::ready(StatusCode::from_u16(answers[index]).unwrap())
        };
        let router = Router::new().route("/T0/secret", post(answer));
        tokio::spawn(async move { axum::serve(listener, router).await });
        (Webhook { address, random: Random::with_seed(7) }, requests)
    }

    const LONG: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn a_temporary_problem_is_retried_and_a_refusal_is_not() {
        let (webhook, requests) = server(&[500, 429, 200]).await;
        webhook.send("x", LONG).await.unwrap();
        assert_eq!(requests.load(Ordering::Relaxed), 3);

        let (webhook, requests) = server(&[404]).await;
        assert_eq!(webhook.send("x", LONG).await.unwrap_err().to_string(), "answered with HTTP status 404");
        assert_eq!(requests.load(Ordering::Relaxed), 1);

        let (webhook, requests) = server(&[503]).await;
        assert_eq!(webhook.send("x", LONG).await.unwrap_err().to_string(), "answered with HTTP status 503");
        assert_eq!(requests.load(Ordering::Relaxed), MAX_ATTEMPTS as usize);
    }

    #[tokio::test]
    async fn no_error_shows_the_address() {
        let address = Address::new("http://127.0.0.1:9/T0/secret").unwrap();
        let webhook = Webhook { address, random: Random::with_seed(7) };
        let error = webhook.send("x", Duration::from_millis(300)).await.unwrap_err();
        for text in [error.to_string(), format!("{error:?}"), format!("{webhook:?}")] {
            assert!(!text.contains("secret") && !text.contains("127.0.0.1"), "{text}");
        }
        let unset = Webhook::from_env("BACKFILL_NO_SUCH_VARIABLE", Random::with_seed(7)).unwrap_err();
        assert!(unset.to_string().contains("BACKFILL_NO_SUCH_VARIABLE is not set"), "{unset}");
    }

    #[test]
    fn slack_gets_no_markup() {
        let message = slack_message("<!channel> a & b");
        assert_eq!(message, json!({ "text": "&lt;!channel&gt; a &amp; b" }));
    }
}
