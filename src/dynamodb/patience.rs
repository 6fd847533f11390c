//! Repeats a request until it is answered. The code in this module is for requests before a run begins, which need no
//! permits and have no run to stop.

use std::future::Future;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{Directive, TableError};
use crate::backoff::Backoff;
use crate::machine::Random;

/// A request is sent at least this number of times, however long each attempt takes. An attempt without a reply takes
/// its full time limit of 5 s, and it must not be the last attempt.
pub const LEAST_ATTEMPTS: u32 = 3;

const BACKOFF: Backoff = Backoff { base: Duration::from_millis(100), cap: Duration::from_secs(1) };

/// Repeats a request until it is answered, or until an error occurs that a retry cannot resolve. If the time `patience`
/// has passed and at least three attempts have failed, gives up and returns the last error. `random` supplies the
/// jitter between attempts.
pub async fn ask<T, F>(patience: Duration, random: &Random, question: impl Fn() -> F) -> Result<T, TableError>
where
    F: Future<Output = Result<T, TableError>>,
{
    let start = Instant::now();
    let mut failed = 0;
    loop {
        let error = match question().await {
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        failed += 1;
        let is_over = start.elapsed() >= patience && failed >= LEAST_ATTEMPTS;
        if error.directive() != Directive::Retry || is_over {
            return Err(error);
        }
        tracing::debug!(%error, "asked again");
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
        let asked = Cell::new(0);
        let random = Random::with_seed(1);
        let answer = ask(PATIENCE, &random, || {
            asked.set(asked.get() + 1);
            let first = asked.get() == 1;
            async move {
                if first {
                    sleep(HANG).await;
                    return Err(timed_out());
                }
                Ok(7)
            }
        });
        assert_eq!((answer.await, asked.get()), (Ok(7), 2));
    }

    #[tokio::test(start_paused = true)]
    async fn patience_ends_and_a_permanent_error_ends_it_immediately() {
        let asked = Cell::new(0);
        let began = Instant::now();
        let never: Result<(), _> = ask(PATIENCE, &Random::with_seed(1), || {
            asked.set(asked.get() + 1);
            async {
                sleep(HANG).await;
                Err(timed_out())
            }
        })
        .await;
        assert_eq!((never, asked.get()), (Err(timed_out()), LEAST_ATTEMPTS));
        assert!(began.elapsed() < HANG * LEAST_ATTEMPTS + Duration::from_secs(3), "{:?}", began.elapsed());

        let asked = Cell::new(0);
        let began = Instant::now();
        let refused: Result<(), _> = ask(PATIENCE, &Random::with_seed(1), || {
            asked.set(asked.get() + 1);
            async { Err(timed_out()) }
        })
        .await;
        assert!(refused.is_err() && asked.get() > LEAST_ATTEMPTS);
        assert!((PATIENCE..PATIENCE * 2).contains(&began.elapsed()), "{:?}", began.elapsed());

        let asked = Cell::new(0);
        let fatal: Result<(), _> = ask(PATIENCE, &Random::with_seed(1), || {
            asked.set(asked.get() + 1);
            async { Err(TableError::unsupported("x")) }
        })
        .await;
        assert_eq!((fatal, asked.get()), (Err(TableError::unsupported("x")), 1));
    }
}
