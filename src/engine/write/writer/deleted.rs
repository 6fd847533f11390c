//! Confirms deletes in the journal. Detects writers that change items although the plan states that no writer does.

use super::item_outcomes::ItemResult;
use super::{Writer, give_up};
use crate::change::{GuardedWrite, ItemMark, Outcome, PreImage, changed_names};
use crate::engine::client::Requests;
use crate::engine::stop::Stopped;
use crate::item::Item;
use crate::state::PreImageRow;

impl Writer {
    /// Records that DynamoDB accepted a write. For a delete, the record confirms the delete. If the removed item
    /// differs from the planned one, the record also contains the removed item. A rollback restores only items whose
    /// delete was confirmed. For a put that restores an item, the record is a mark that the item is restored. Every
    /// record is durable when this function returns.
    ///
    /// `removed` is the item that the delete removed, if the server returned it.
    ///
    /// If the removed item differs, a writer changed it although the plan states that no writer does. The item is gone,
    /// so it becomes a failure, and the operator sees its key.
    pub(super) async fn confirm(
        &self,
        requests: &Requests,
        write: &GuardedWrite,
        removed: Option<Item>,
    ) -> Result<ItemResult, Stopped> {
        if write.derived_item().is_some() {
            return self.confirm_derived(requests, write).await;
        }
        if self.changes().removes_derived_items() {
            return self.confirm_removed(requests, write, removed).await;
        }
        if write.created_item().is_some() {
            self.record_put_back(requests, [&write.key]).await?;
        }
        let Some(planned) = write.deleted_item() else { return Ok(ItemResult::Outcome(Outcome::Applied)) };
        let other = removed.filter(|removed| removed != planned);
        let is_journaled = !write.pre_images.is_empty();
        let result = match &other {
            None => ItemResult::Outcome(Outcome::Applied),
            Some(removed) => {
                ItemResult::Failed(Outcome::Conflict, late_change(planned, removed, self.copy_of(is_journaled)))
            }
        };
        if is_journaled {
            let partition_key = &self.changes().key().partition.name;
            let rows = match &other {
                None => vec![PreImage::confirmed_delete(partition_key)],
                Some(removed) => vec![
                    PreImage::of_item(partition_key, removed),
                    PreImage::mark(partition_key, ItemMark::DeletedChanged),
                ],
            };
            let rows = rows.into_iter().map(|pre| PreImageRow { key: write.key.clone(), pre }).collect();
            self.history
                .append_pre_images(self.session, rows)
                .await
                .map_err(|error| give_up(requests, error.to_string()))?;
        }
        Ok(result)
    }

    fn copy_of(&self, is_journaled: bool) -> DeletedCopy {
        match (is_journaled, self.is_journal_purged) {
            (false, _) => DeletedCopy::None,
            (true, true) => DeletedCopy::ForOperator,
            (true, false) => DeletedCopy::ForRollback,
        }
    }
}

/// Where a copy of a deleted item is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum DeletedCopy {
    /// In the journal, from which a rollback restores the item.
    ForRollback,
    /// In the journal, but only the operator can restore the item. A rollback is refused, because the operator purged
    /// the journal before this delete.
    ForOperator,
    /// Nowhere, because the plan keeps no journal.
    None,
}

/// Describes the attributes that a writer changed between the read and the delete. The text contains no values.
fn late_change(planned: &Item, removed: &Item, copy: DeletedCopy) -> String {
    let listed = changed_names(planned, removed);
    let kept = match copy {
        DeletedCopy::ForRollback => {
            "The journal contains the deleted item with this change, and a rollback restores it"
        }
        DeletedCopy::ForOperator => {
            "A rollback is refused, because the journal was purged before this delete. The journal has this item, so \
             you can restore it by hand: `backfill journal PLAN --show-values` shows it"
        }
        DeletedCopy::None => "The plan keeps no journal, so the changed attributes are lost",
    };
    format!(
        "the item was deleted, but another writer had changed {listed} after it was read. The plan's \
         `version`, `attributes` or `writers` should rule this out, but this writer does not comply with it. {kept}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::item::Value;

    #[test]
    fn a_late_change_names_attributes_and_no_values() {
        let item = |pairs: &[(&str, &str)]| -> Item {
            pairs.iter().map(|(name, value)| ((*name).to_owned(), Value::S((*value).to_owned()))).collect()
        };
        let planned = item(&[("pk", "k"), ("a", "before"), ("same", "x"), ("gone", "y")]);
        let removed = item(&[("pk", "k"), ("a", "after"), ("same", "x"), ("new", "z")]);
        let text = late_change(&planned, &removed, DeletedCopy::ForRollback);
        assert!(text.contains("`a`, `gone`, `new` after"), "{text}");
        assert!(!["same", "before", "after\""].iter().any(|part| text.contains(part)), "{text}");
        assert!(text.contains("restores it"), "{text}");
        assert!(late_change(&planned, &removed, DeletedCopy::None).contains("lost"));
        let after_purge = late_change(&planned, &removed, DeletedCopy::ForOperator);
        assert!(after_purge.contains("A rollback is refused") && !after_purge.contains("restores it"), "{after_purge}");
        let many: Item = (0..9).map(|n| (format!("n{n}"), Value::Null)).collect();
        assert!(late_change(&many, &Item::new(), DeletedCopy::ForRollback).contains("`n4`, 4 more after"));
    }
}
