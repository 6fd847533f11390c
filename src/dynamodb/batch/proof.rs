//! Proves that an endpoint obeys the conditions of statements. Some engines ignore them, and then every batch would
//! overwrite what live writers wrote. Other engines have no PartiQL at all.
//!
//! The proof is a statement whose condition is false. Its assignment removes an attribute that no item has, so it changes
//! nothing even if the engine ignores the condition. The statement is for an item that the run is about to write. It takes
//! the place of the item's first attempt and uses its permits. The reply contains the current image, and the caller writes
//! the item with the next attempt.

use super::{Answer, BatchTable, SendStatements, answers};
use crate::change::{GuardedWrite, refused_statement};
use crate::dynamodb::{Directive, FatalKind, Sink as _, TableError, WriteReply};
use crate::item::Item;

/// The name of an attribute that no item has.
const ABSENT: &str = "backfill-proof-4c1f0b7a9e2d4f6b";

/// The number of statements that an endpoint must refuse: one tests whether an attribute exists, and one compares an
/// attribute with a value.
const NEEDED: u32 = 2;

/// The number of failed conditions without an image after which the proof is given up. The item may be gone, so such a
/// reply proves nothing. An endpoint that never returns an image would cost twice the requests.
const MAX_WITHOUT_IMAGE: u32 = 20;

/// What is known about the endpoint.
#[derive(Debug, Default)]
pub(super) struct Proof {
    refused: u32,
    without_image: u32,
    /// Whether a request of the proof is in flight. Until its reply arrives, other writes go by `UpdateItem`.
    is_busy: bool,
    /// Whether all writes go by `UpdateItem`.
    is_given_up: bool,
}

impl Proof {
    /// Returns whether writes may go in batches.
    pub(super) fn is_complete(&self) -> bool {
        self.refused >= NEEDED && !self.is_given_up
    }

    /// Sends all writes by `UpdateItem` from now on. Returns whether this was not so before.
    pub(super) fn refuse(&mut self) -> bool {
        !std::mem::replace(&mut self.is_given_up, true)
    }

    /// Begins the next request of the proof. Returns its number, or `None` if none is needed now.
    fn begin(&mut self) -> Option<u32> {
        let is_due = !self.is_busy && !self.is_given_up && self.refused < NEEDED;
        self.is_busy |= is_due;
        is_due.then_some(self.refused)
    }
}

/// A request of the proof. If its future is dropped, another request may take its place.
struct Attempt<'t, T: SendStatements>(&'t BatchTable<T>);

impl<T: SendStatements> Drop for Attempt<'_, T> {
    fn drop(&mut self) {
        self.0.proof().is_busy = false;
    }
}

/// What the reply to a request of the proof means.
enum Finding {
    /// The endpoint refused the statement, as it must. The image is the current item, if the endpoint returned it.
    Refused(Option<Item>),
    /// The reply shows nothing. The error is retried, or stops the run.
    Unknown(TableError),
    /// The endpoint cannot be trusted with batches, for this reason.
    Unfit(FatalKind, String),
}

impl<T: SendStatements> BatchTable<T> {
    /// Sends the next request of the proof for the item of this write, and returns its reply. Returns `None` if the write
    /// must go by `UpdateItem`.
    pub(super) async fn prove(&self, write: &GuardedWrite) -> Option<Result<WriteReply, TableError>> {
        // A write that no statement can express may concern an item that does not exist.
        let name = self.table.table_name();
        if !self.can_share_request(write) {
            return None;
        }
        let number = self.proof().begin()?;
        let _attempt = Attempt(self);
        let other = write.key.attributes().values().next().filter(|_| number % 2 == 1);
        let statement = refused_statement(write, name, ABSENT, other)?;
        let finding = match self.table.execute(&[statement]).await {
            Err(error) => of_error(error),
            Ok(reply) => match answers(&[write], reply).pop() {
                Some(Answer::Reply(Ok(WriteReply::Applied { .. }))) => {
                    Finding::Unfit(FatalKind::Unsupported, "the endpoint ignores conditions in PartiQL".to_owned())
                }
                Some(Answer::Reply(Ok(WriteReply::ConditionFailed { image }))) => Finding::Refused(image),
                Some(Answer::Reply(Ok(WriteReply::EndpointChecked { .. } | WriteReply::DerivedExists { .. })))
                | None => Finding::Unknown(super::missing_reply()),
                Some(Answer::Reply(Err(error))) => of_error(error),
                Some(Answer::Rejected(why)) => Finding::Unfit(FatalKind::Request, why),
            },
        };
        match finding {
            Finding::Refused(image) => {
                self.record(image.is_some());
                Some(Ok(WriteReply::EndpointChecked { image }))
            }
            Finding::Unknown(error) => Some(Err(error)),
            Finding::Unfit(kind, why) if self.is_required => {
                let message = format!(
                    "[write] transport = \"batch\" cannot be used: {why}. Set transport = \"update\", or \"auto\""
                );
                Some(Err(TableError::Fatal { kind, message }))
            }
            Finding::Unfit(_, why) => {
                self.give_up(&why);
                None
            }
        }
    }

    /// Records a refused statement.
    fn record(&self, has_image: bool) {
        let is_hopeless = {
            let mut proof = self.proof();
            proof.refused += u32::from(has_image);
            proof.without_image += u32::from(!has_image);
            proof.without_image >= MAX_WITHOUT_IMAGE && proof.refused < NEEDED
        };
        if is_hopeless {
            self.give_up("the endpoint does not return the items of failed conditions in PartiQL");
        }
    }
}

fn of_error(error: TableError) -> Finding {
    let TableError::Fatal { kind, message } = error else {
        return match error.directive() {
            Directive::FailItem => Finding::Unfit(FatalKind::Request, error.to_string()),
            Directive::Retry | Directive::StopRun => Finding::Unknown(error),
        };
    };
    match kind {
        FatalKind::Permission => Finding::Unfit(kind, format!("{message}. Batches need dynamodb:PartiQLUpdate")),
        FatalKind::Unsupported | FatalKind::Request => Finding::Unfit(kind, message),
        FatalKind::Credentials
        | FatalKind::Clock
        | FatalKind::TableMissing
        | FatalKind::Endpoint
        | FatalKind::KeysFile => Finding::Unknown(TableError::Fatal { kind, message }),
    }
}
