//! What is known of the table before a run: asked for once, read-only, and never guessed.

use std::future::Future;
use std::time::Duration;

use tokio::time::Instant;

use crate::table::{Directive, FatalKind, Recovery, Table, TableDescription, TableError};
use crate::throttle::backoff::Backoff;

/// What came of a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fact<T> {
    /// This.
    Known(T),
    /// The credentials may not ask; DynamoDB's words.
    Denied(String),
    /// What answers at the endpoint does not know the question.
    NotSupported,
    /// No answer; why.
    Failed(String),
}

/// What is known of a table.
#[derive(Debug, Clone, PartialEq)]
pub struct Facts {
    /// Its description.
    pub table: TableDescription,
    /// Whether the endpoint is on loopback: a local engine.
    pub loopback: bool,
    /// Point-in-time recovery.
    pub recovery: Fact<Recovery>,
    /// The attribute by which items expire, if they do.
    pub time_to_live: Fact<Option<String>>,
}

impl Facts {
    /// Asks what the description does not say; each question for `patience` at most.
    pub async fn gather(
        table: &dyn Table,
        loopback: bool,
        description: &TableDescription,
        patience: Duration,
    ) -> Facts {
        let recovery = ask(patience, || table.recovery());
        let time_to_live = ask(patience, || table.time_to_live());
        let (recovery, time_to_live) = tokio::join!(recovery, time_to_live);
        Facts { table: description.clone(), loopback, recovery, time_to_live }
    }
}

impl<T> Fact<T> {
    /// What an answer tells.
    pub fn of(answer: Result<T, TableError>) -> Fact<T> {
        match answer {
            Ok(known) => Fact::Known(known),
            Err(TableError::Fatal { kind: FatalKind::Permission, message }) => Fact::Denied(message),
            Err(TableError::Fatal { kind: FatalKind::Unsupported, .. }) => Fact::NotSupported,
            Err(error) => Fact::Failed(error.to_string()),
        }
    }

    /// Why it is not known, in words; none where it is.
    pub fn unknown(&self) -> Option<String> {
        match self {
            Fact::Known(_) => None,
            Fact::Denied(message) => Some(format!("the credentials may not ask ({message})")),
            Fact::NotSupported => Some("what answers at the endpoint does not know the question".to_owned()),
            Fact::Failed(message) => Some(format!("there was no answer ({message})")),
        }
    }
}

/// Asks until there is an answer, or for as long as the patience lasts.
async fn ask<T, F>(patience: Duration, question: impl Fn() -> F) -> Fact<T>
where
    F: Future<Output = Result<T, TableError>>,
{
    let start = Instant::now();
    let backoff = Backoff { base: Duration::from_millis(100), cap: Duration::from_secs(1) };
    let mut failed = 0;
    loop {
        match question().await {
            Err(error) if error.directive() == Directive::Retry && start.elapsed() < patience => {
                failed += 1;
                tokio::time::sleep(backoff.wait(failed, fastrand::f64())).await;
            }
            answer => return Fact::of(answer),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(5);

    fn throttled() -> TableError {
        TableError::Throttled { reasons: Vec::new(), message: "rate exceeded".into() }
    }

    #[tokio::test(start_paused = true)]
    async fn a_throttled_question_is_asked_again_and_not_for_ever() {
        let asked = Cell::new(0);
        let later = ask(PATIENCE, || {
            asked.set(asked.get() + 1);
            let answer = if asked.get() < 4 { Err(throttled()) } else { Ok(7) };
            async move { answer }
        });
        assert_eq!((later.await, asked.get()), (Fact::Known(7), 4));
        let never: Fact<()> = ask(PATIENCE, || async { Err(throttled()) }).await;
        let Fact::Failed(why) = &never else { panic!("{never:?}") };
        assert!(why.contains("rate exceeded"), "{why}");
    }

    #[test]
    fn every_answer_is_told_apart() {
        let fatal = |kind| TableError::Fatal { kind, message: "m".into() };
        assert_eq!(Fact::<()>::of(Err(fatal(FatalKind::Permission))), Fact::Denied("m".into()));
        assert_eq!(Fact::<()>::of(Err(TableError::unsupported("x"))), Fact::NotSupported);
        assert_eq!(Fact::<()>::of(Err(fatal(FatalKind::Request))), Fact::Failed("m".into()));
        assert_eq!(Fact::Known(1).unknown(), None);
        assert!(Fact::<()>::NotSupported.unknown().is_some());
    }
}
