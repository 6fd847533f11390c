//! What is known of the table before a run: asked for once, read-only, and never guessed.

use std::time::Duration;

use crate::dynamodb::patience::ask;
use crate::dynamodb::{Describe, FatalKind, Recovery, TableDescription, TableError};
use crate::machine::Random;

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
    /// Asks for what the description does not say. Each question is retried as long as `patience` lasts, with jitter from
    /// `random`; see [`ask`].
    pub async fn gather(
        table: &dyn Describe,
        loopback: bool,
        description: &TableDescription,
        patience: Duration,
        random: &Random,
    ) -> Facts {
        let recovery = ask(patience, random, || table.recovery());
        let time_to_live = ask(patience, random, || table.time_to_live());
        let (recovery, time_to_live) = tokio::join!(recovery, time_to_live);
        let (recovery, time_to_live) = (Fact::of(recovery), Fact::of(time_to_live));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_answer_is_told_apart() {
        let fatal = |kind| TableError::Fatal { kind, message: "m".into() };
        assert_eq!(Fact::<()>::of(Err(fatal(FatalKind::Permission))), Fact::Denied("m".into()));
        assert_eq!(Fact::<()>::of(Err(TableError::unsupported("x"))), Fact::NotSupported);
        let throttled = TableError::Throttled { reasons: Vec::new(), message: "rate exceeded".into() };
        let Fact::Failed(why) = Fact::<()>::of(Err(throttled)) else { panic!("no answer is a failure") };
        assert!(why.contains("rate exceeded"), "{why}");
        assert_eq!(Fact::<()>::of(Err(fatal(FatalKind::Request))), Fact::Failed("m".into()));
        assert_eq!(Fact::Known(1).unknown(), None);
        assert!(Fact::<()>::NotSupported.unknown().is_some());
    }
}
