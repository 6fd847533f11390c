//! Collects facts about the table before a run. Each fact comes from one read-only request, and no fact is guessed.

use std::time::Duration;

use crate::dynamodb::retry::retry_request;
use crate::dynamodb::{Describe, FatalKind, Recovery, TableDescription, TableError};
use crate::machine::Random;

/// The answer to a request for a fact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FactLookup<T> {
    /// The fact is known.
    Known(T),
    /// The credentials do not allow the request. The text is DynamoDB's message.
    Denied(String),
    /// The endpoint does not support the request.
    NotSupported,
    /// The request failed. The text is the reason.
    Failed(String),
}

/// The facts about a table on which findings are based.
#[derive(Debug, Clone, PartialEq)]
pub struct TableFacts {
    /// The table's description.
    pub table: TableDescription,
    /// Whether the endpoint is on loopback, which means that it is a local engine.
    pub loopback: bool,
    /// The state of point-in-time recovery.
    pub recovery: FactLookup<Recovery>,
    /// The attribute that expires items, if the table has one.
    pub time_to_live: FactLookup<Option<String>>,
    /// The facts about the table that gets derived items. `None` if it is the same table.
    pub derived: Option<Box<TableFacts>>,
}

impl TableFacts {
    /// Requests the facts that the description does not contain. Retries each request until the timeout `patience`,
    /// with jitter from `random` ([`retry_request`]).
    pub async fn gather(
        table: &dyn Describe,
        loopback: bool,
        description: &TableDescription,
        patience: Duration,
        random: &Random,
    ) -> TableFacts {
        let recovery = retry_request(patience, random, || table.recovery());
        let time_to_live = retry_request(patience, random, || table.time_to_live());
        let (recovery, time_to_live) = tokio::join!(recovery, time_to_live);
        let recovery = FactLookup::from_result(recovery);
        let time_to_live = FactLookup::from_result(time_to_live);
        TableFacts { table: description.clone(), loopback, recovery, time_to_live, derived: None }
    }

    /// Returns the same facts, with those about the table that gets derived items.
    #[must_use]
    pub fn with_derived(self, derived: Option<TableFacts>) -> TableFacts {
        TableFacts { derived: derived.map(Box::new), ..self }
    }
}

impl<T> FactLookup<T> {
    /// Converts an answer into a fact.
    pub fn from_result(answer: Result<T, TableError>) -> FactLookup<T> {
        match answer {
            Ok(known) => FactLookup::Known(known),
            Err(TableError::Fatal { kind: FatalKind::Permission, message }) => FactLookup::Denied(message),
            Err(TableError::Fatal { kind: FatalKind::Unsupported, .. }) => FactLookup::NotSupported,
            Err(error) => FactLookup::Failed(error.to_string()),
        }
    }

    /// Returns a text that explains why the fact is unknown. Returns `None` if the fact is known.
    pub fn unknown_reason(&self) -> Option<String> {
        match self {
            FactLookup::Known(_) => None,
            FactLookup::Denied(message) => Some(format!("the credentials do not allow this request ({message})")),
            FactLookup::NotSupported => Some("the endpoint does not support this request".to_owned()),
            FactLookup::Failed(message) => Some(format!("the request failed: {message}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_answer_is_distinguished() {
        let fatal = |kind| TableError::Fatal { kind, message: "m".into() };
        assert_eq!(FactLookup::<()>::from_result(Err(fatal(FatalKind::Permission))), FactLookup::Denied("m".into()));
        assert_eq!(FactLookup::<()>::from_result(Err(TableError::unsupported("x"))), FactLookup::NotSupported);
        let throttled = TableError::Throttled { reasons: Vec::new(), message: "rate exceeded".into() };
        let FactLookup::Failed(why) = FactLookup::<()>::from_result(Err(throttled)) else {
            panic!("no answer is a failure")
        };
        assert!(why.contains("rate exceeded"), "{why}");
        assert_eq!(FactLookup::<()>::from_result(Err(fatal(FatalKind::Request))), FactLookup::Failed("m".into()));
        assert_eq!(FactLookup::Known(1).unknown_reason(), None);
        assert!(FactLookup::<()>::NotSupported.unknown_reason().is_some());
    }
}
