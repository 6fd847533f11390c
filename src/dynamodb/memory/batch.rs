//! Carries out batches of statements on the table in memory.

use async_trait::async_trait;

use super::faults::Request;
use super::history::ChargedUnits;
use super::rules::{self, WriteEffect};
use super::statement::{Refusal, Update};
use super::{MemoryConnection, MemoryTable, Sender, SimulatedFault};
use crate::change::{MAX_STATEMENTS, Statement};
use crate::dynamodb::TableError;
use crate::dynamodb::batch::{BatchConsumption, BatchReply, SendStatements, StatementReply};
use crate::item::{Item, ItemKey, Units, Value};

/// A statement that has reached the table: its text and its parameters.
type Arrived = (String, Vec<Value>);

#[async_trait]
impl SendStatements for MemoryConnection {
    fn table_name(&self) -> &str {
        &self.table.description.name
    }

    async fn execute(&self, statements: &[Statement<'_>]) -> Result<BatchReply, TableError> {
        let owned = |statement: &Statement<'_>| {
            (statement.text.clone(), statement.parameters.iter().map(|value| (*value).clone()).collect())
        };
        let arrived: Vec<Arrived> = statements.iter().map(owned).collect();
        let sender = self.sender();
        let at_table = move |table: &MemoryTable, _| table.execute(&arrived, sender);
        self.table.send(Request::Write, "BatchExecuteStatement", at_table).await
    }
}

impl MemoryTable {
    fn execute(&self, statements: &[Arrived], sender: Sender) -> Result<BatchReply, TableError> {
        let rejected = |why: &str| Err(TableError::Rejected { message: why.to_owned() });
        if statements.is_empty() || statements.len() > MAX_STATEMENTS {
            return rejected("Member must have length between 1 and 25");
        }
        let mut updates = Vec::new();
        let mut keys: Vec<ItemKey> = Vec::new();
        for (text, parameters) in statements {
            let update = Update::parse(text, &parameters.iter().collect::<Vec<_>>());
            let read = update.and_then(|update| Ok((update.key(&self.description.key)?, update)));
            if let Err(Refusal::Request(why)) = read {
                return rejected(why);
            }
            if let Ok((key, _)) = &read {
                if keys.contains(key) {
                    return rejected("Provided list of item keys contains duplicates");
                }
                keys.push(key.clone());
            }
            updates.push(read);
        }
        let mut consumed: Option<BatchConsumption> = None;
        let mut failed = 0.0;
        let mut replies = Vec::new();
        for read in updates {
            let (reply, units) = match read {
                Ok((key, update)) if update.table == self.description.name => self.carry_out(&key, &update, sender),
                Ok(_) => (failure("ResourceNotFound", None), Charged::Failed(0.0)),
                Err(Refusal::Request(_) | Refusal::Statement(_)) => {
                    (failure("ValidationError", None), Charged::Failed(0.0))
                }
            };
            replies.push(reply);
            match units {
                Charged::Failed(units) => failed += units,
                Charged::Applied(table, indexes) => {
                    let consumed = consumed.get_or_insert_default();
                    consumed.table = Some(consumed.table.unwrap_or_default() + table);
                    consumed.total += table;
                    for (name, units) in indexes {
                        consumed.total += units;
                        match consumed.indexes.iter_mut().find(|(known, _)| *known == name) {
                            Some((_, sum)) => *sum += units,
                            None => consumed.indexes.push((name, units)),
                        }
                    }
                }
            }
        }
        // The service reports no capacity if every statement failed.
        if let Some(consumed) = &mut consumed {
            consumed.total += failed;
        }
        Ok(BatchReply { replies, consumed })
    }

    /// Carries out one statement. A fault can concern a single statement of a batch.
    fn carry_out(&self, key: &ItemKey, update: &Update, sender: Sender) -> (StatementReply, Charged) {
        let place = self.place(key);
        let mut guard = self.inner();
        let fault = guard.faults.draw(Request::Write);
        if let Some((fault, code)) = fault.and_then(|fault| Some((fault, injected_code(fault)?))) {
            guard.faults.fired(fault);
            return (failure(code, None), Charged::Failed(0.0));
        }
        let before = guard.history.current(&place).cloned();
        let schema = &self.description.key;
        let effect = update.effect(before.as_ref(), schema, &self.indexes);
        let after = match effect {
            Ok(WriteEffect::Applied(after)) => after,
            Ok(WriteEffect::Rejected(_)) | Err(_) => return (failure("ValidationError", None), Charged::Failed(0.0)),
            Ok(WriteEffect::ConditionFailed) => {
                let units = rules::consumed(before.as_ref(), before.as_ref(), schema, &self.indexes);
                let total = units.total();
                guard.history.charge(sender.sent, sender.author, ChargedUnits::Write(key.clone(), units));
                let hidden = fault == Some(SimulatedFault::NoImage) && before.is_some();
                if hidden {
                    guard.faults.fired(SimulatedFault::NoImage);
                }
                return (failure("ConditionalCheckFailed", before.filter(|_| !hidden)), Charged::Failed(total));
            }
        };
        let units = rules::consumed(before.as_ref(), after.as_ref(), schema, &self.indexes);
        guard.history.charge(sender.sent, sender.author, ChargedUnits::Write(key.clone(), units.clone()));
        guard.history.put(place, key, self.began.elapsed(), sender.author, after);
        (StatementReply::Applied, Charged::Applied(units.table, units.indexes))
    }
}

/// The units that one statement is charged.
enum Charged {
    /// The units of a failed statement are only in the total of the batch.
    Failed(Units),
    /// The units of the table and of each global index.
    Applied(Units, Vec<(String, Units)>),
}

/// Returns the code of a statement's error if this fault concerns a single statement.
fn injected_code(fault: SimulatedFault) -> Option<&'static str> {
    match fault {
        SimulatedFault::Throttle => Some("ProvisionedThroughputExceeded"),
        SimulatedFault::ServerError => Some("InternalServerError"),
        SimulatedFault::LostRequest
        | SimulatedFault::LostReply
        | SimulatedFault::LateRequest
        | SimulatedFault::UnusableReply
        | SimulatedFault::NoImage
        | SimulatedFault::StaleRead
        | SimulatedFault::ShortPage
        | SimulatedFault::EmptyPage
        | SimulatedFault::Slow => None,
    }
}

fn failure(code: &str, image: Option<Item>) -> StatementReply {
    StatementReply::Failed { code: code.to_owned(), message: String::new(), image }
}
