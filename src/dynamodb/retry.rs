//! Retries requests that are sent before a run begins. Such requests need no permits, and their errors cannot stop a
//! run.

use std::future::Future;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{Directive, TableError};
use crate::backoff::Backoff;
use crate::machine::Random;

/// The minimum number of attempts, regardless of the time that each attempt takes. A single attempt without a reply
/// takes 5 s, which can use up the whole time limit. Even then, more attempts must follow.
pub const MIN_ATTEMPTS: u32 = 3;

const BACKOFF: Backoff = Backoff { base: Duration::from_millis(100), cap: Duration::from_secs(1) };

/// Sends a request until it succeeds, or until it fails with an error that a retry cannot resolve. Once `time_limit`
/// has passed and at least three attempts have failed, gives up and returns the last error. `random` supplies the
/// jitter between attempts.
pub async fn retry_request<T, F>(
    time_limit: Duration,
    random: &Random,
    request: impl Fn() -> F,
) -> Result<T, TableError>
where
    F: Future<Output = Result<T, TableError>>,
{
    let start = Instant::now();
    let mut failed = 0;
    loop {
        let error = match request().await {
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        failed += 1;
        let is_over = start.elapsed() >= time_limit && failed >= MIN_ATTEMPTS;
        if error.directive() != Directive::Retry || is_over {
            return Err(error);
        }
        tracing::debug!(%error, "the request failed and is retried");
        sleep(BACKOFF.wait(failed, random.fraction())).await;
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(5);

    /// The time limit of one attempt.
    const HANG: Duration = Duration::from_secs(5);

    fn timed_out() -> TableError {
        TableError::Transient { message: "the request timed out".into(), ambiguous: true }
    }

    #[tokio::test(start_paused = true)]
    async fn one_hanging_reply_is_not_the_last_attempt() {
        let attempts = Cell::new(0);
        let random = Random::with_seed(1);
        let answer = retry_request(PATIENCE, &random, || {
            attempts.set(attempts.get() + 1);
            let first = attempts.get() == 1;
            async move {
                if first {
                    sleep(HANG).await;
                    return Err(timed_out());
                }
                Ok(7)
            }
        });
        assert_eq!((answer.await, attempts.get()), (Ok(7), 2));
    }

    #[tokio::test(start_paused = true)]
    async fn patience_ends_and_a_permanent_error_ends_it_immediately() {
        let attempts = Cell::new(0);
        let began = Instant::now();
        let never: Result<(), _> = retry_request(PATIENCE, &Random::with_seed(1), || {
            attempts.set(attempts.get() + 1);
            async {
                sleep(HANG).await;
                Err(timed_out())
            }
        })
        .await;
        assert_eq!((never, attempts.get()), (Err(timed_out()), MIN_ATTEMPTS));
        assert!(began.elapsed() < HANG * MIN_ATTEMPTS + Duration::from_secs(3), "{:?}", began.elapsed());

        let attempts = Cell::new(0);
        let began = Instant::now();
        let refused: Result<(), _> = retry_request(PATIENCE, &Random::with_seed(1), || {
            attempts.set(attempts.get() + 1);
            async { Err(timed_out()) }
        })
        .await;
        assert!(refused.is_err() && attempts.get() > MIN_ATTEMPTS);
        assert!((PATIENCE..PATIENCE * 2).contains(&began.elapsed()), "{:?}", began.elapsed());

        let attempts = Cell::new(0);
        let fatal: Result<(), _> = retry_request(PATIENCE, &Random::with_seed(1), || {
            attempts.set(attempts.get() + 1);
            async { Err(TableError::unsupported("x")) }
        })
        .await;
        assert_eq!((fatal, attempts.get()), (Err(TableError::unsupported("x")), 1));
    }
}
