//! Facts about the table before a run. Each fact comes from one read-only request, and no fact is guessed.

use std::time::Duration;

use crate::dynamodb::patience::ask;
use crate::dynamodb::{Describe, FatalKind, Recovery, TableDescription, TableError};
use crate::machine::Random;

/// The answer to a request for a fact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fact<T> {
    /// The fact is known.
    Known(T),
    /// The credentials do not allow the request. The text is DynamoDB's message.
    Denied(String),
    /// The endpoint does not support the request.
    NotSupported,
    /// There was no answer. The text is the reason.
    Failed(String),
}

/// Known facts about a table.
#[derive(Debug, Clone, PartialEq)]
pub struct Facts {
    /// The table's description.
    pub table: TableDescription,
    /// Whether the endpoint is on loopback, which means that it is a local engine.
    pub loopback: bool,
    /// The state of point-in-time recovery.
    pub recovery: Fact<Recovery>,
    /// The attribute that expires items, if the table has one.
    pub time_to_live: Fact<Option<String>>,
}

impl Facts {
    /// Requests the facts that the description does not contain. Each request is retried until `patience` is over, with
    /// jitter from `random`; see [`ask`].
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
        let recovery = Fact::of(recovery);
        let time_to_live = Fact::of(time_to_live);
        Facts { table: description.clone(), loopback, recovery, time_to_live }
    }
}

impl<T> Fact<T> {
    /// Turns an answer into a fact.
    pub fn of(answer: Result<T, TableError>) -> Fact<T> {
        match answer {
            Ok(known) => Fact::Known(known),
            Err(TableError::Fatal { kind: FatalKind::Permission, message }) => Fact::Denied(message),
            Err(TableError::Fatal { kind: FatalKind::Unsupported, .. }) => Fact::NotSupported,
            Err(error) => Fact::Failed(error.to_string()),
        }
    }

    /// Why the fact is unknown, in words, or `None` if it is known.
    pub fn unknown(&self) -> Option<String> {
        match self {
            Fact::Known(_) => None,
            Fact::Denied(message) => Some(format!("the credentials do not allow this request ({message})")),
            Fact::NotSupported => Some("the endpoint does not support this request".to_owned()),
            Fact::Failed(message) => Some(format!("there was no answer ({message})")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_answer_is_distinguished() {
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
