//! Implements `explain`, which shows what a pass does with single items, and why.

use std::sync::Arc;

use crate::change::{Changes, HistoryLookup, ItemHistory};
use crate::dynamodb::retry::retry_request;
use crate::dynamodb::{TableDescription, Tables};
use crate::explain::{ExplainReport, ExplainedPass, Explanation, RecordSource};
use crate::item::{Item, ItemKey, KeyAttribute, KeySchema, KeyTextError, Value};
use crate::machine::Random;
use crate::migration::{Migration, MigrationError, Silent};
use crate::passes::{contract, expand, old_from_new, undo};
use crate::plan::{LoadedPlan, Plan, SelectedIndex};
use crate::preflight::{Acceptance, PATIENCE, PlanCheck, PreflightError, check_begun_plan, check_rollback_plan};
use crate::state::phase::EXPAND;
use crate::state::{self, Identity, StateReader, StoreError};

/// Explains what one pass does with single items. Writes nothing, neither to the table nor to the state file.
pub struct Explainer<'a> {
    migration: &'a Migration,
    /// The plan, with the files that the pass uses.
    loaded: LoadedPlan,
    pass: ExplainedPass,
    /// The table's description. `None` if the caller supplies the items and the table is not contacted.
    table: Option<TableDescription>,
    /// The recorded history. `None` if there is no state file, or if the state file cannot be used for this pass.
    records: Option<Arc<dyn StateReader>>,
    /// Whether the pass may write items that are signed or encrypted on the client, because the operator accepted it.
    writes_encrypted: bool,
}

/// Reads single items of the table.
pub struct ItemReader {
    tables: Tables,
    description: TableDescription,
}

impl Migration {
    /// Prepares to explain what a pass does with items of the table. Connects to the table, and reads its description.
    /// If there is a state file, also reads the records of the migration. The second result reads single items.
    ///
    /// # Errors
    ///
    /// Fails if the table cannot be reached, if the plan does not fit the table, or if the pass needs records and the
    /// state file cannot be read.
    pub async fn explainer(&self, pass: ExplainedPass) -> Result<(Explainer<'_>, ItemReader), MigrationError> {
        let plan_check: PlanCheck = match pass {
            ExplainedPass::Expand | ExplainedPass::Contract => check_begun_plan,
            ExplainedPass::Undo | ExplainedPass::OldFromNew => check_rollback_plan,
        };
        let loaded = self.explained_plan(pass).await?;
        let target = Box::pin(self.target_of(loaded.clone(), plan_check, &Silent)).await?;
        let identity = Identity::from_plan(&target.plan, &target.description);
        let explainer = self.explainer_of(pass, loaded, Some(target.description.clone()), Some(identity)).await?;
        // A rollback changes the derived items, which may be in another table.
        let is_undo = pass == ExplainedPass::Undo;
        if let (true, Some(tables), Some(derived)) = (is_undo, target.tables.of_derived(), &target.description.derived)
        {
            return Ok((explainer, ItemReader { tables, description: (**derived).clone() }));
        }
        Ok((explainer, ItemReader { tables: target.tables, description: target.description }))
    }

    /// Prepares to explain what a pass does with items that the caller supplies. Does not contact the table, so the
    /// table's indexes are unknown.
    ///
    /// # Errors
    ///
    /// Fails if the pass needs records and the state file cannot be read.
    pub async fn offline_explainer(&self, pass: ExplainedPass) -> Result<Explainer<'_>, MigrationError> {
        let loaded = self.explained_plan(pass).await?;
        self.explainer_of(pass, loaded, None, None).await
    }

    /// Returns the plan that a command with this pass would use. If a file of the plan has changed, a rollback or a
    /// step back uses the stored copy of the file.
    async fn explained_plan(&self, pass: ExplainedPass) -> Result<LoadedPlan, MigrationError> {
        match pass {
            ExplainedPass::Expand | ExplainedPass::Contract => self.forward_plan(),
            ExplainedPass::Undo | ExplainedPass::OldFromNew => Ok(self.way_back_plan(&Silent).await),
        }
    }

    async fn explainer_of(
        &self,
        pass: ExplainedPass,
        loaded: LoadedPlan,
        table: Option<TableDescription>,
        identity: Option<Identity>,
    ) -> Result<Explainer<'_>, MigrationError> {
        let explainer = Explainer { migration: self, loaded, pass, table, records: None, writes_encrypted: false };
        if state::is_absent(&self.state).await {
            return Ok(explainer);
        }
        match self.records(&explainer.loaded.plan, identity).await {
            Ok((records, writes_encrypted)) => Ok(Explainer { records: Some(records), writes_encrypted, ..explainer }),
            // Continue without the state file, because this pass does not need it for its decisions. The file may
            // belong to an earlier version of the plan.
            Err(_) if explainer.lookup().is_none() => Ok(explainer),
            Err(error) => Err(error.into()),
        }
    }

    /// Opens the state file for reading. Without an `identity`, checks only that the file belongs to this plan. The
    /// second result tells whether the operator has accepted writes to items that are signed or encrypted on the
    /// client.
    async fn records(
        &self,
        plan: &Plan,
        identity: Option<Identity>,
    ) -> Result<(Arc<dyn StateReader>, bool), StoreError> {
        let records = state::read(&self.state)?;
        let ours = match identity {
            Some(ours) => ours,
            None => {
                let fingerprint = plan.fingerprint().to_string();
                Identity {
                    migration: plan.name.clone(),
                    fingerprint,
                    meaning: plan.meaning(),
                    ..records.identity().await?
                }
            }
        };
        records.check_identity(&ours).await?;
        let accepted = records.current_run(EXPAND).await?.map(|(_, accepted)| accepted).unwrap_or_default();
        let encrypted = |name: &String| Acceptance::from_name(name) == Some(Acceptance::ClientEncryption);
        Ok((records, accepted.iter().any(encrypted)))
    }
}

impl ItemReader {
    /// Parses a key that an operator typed.
    ///
    /// # Errors
    ///
    /// Fails if the text is not a key of the table.
    pub fn parse_key(&self, text: &str) -> Result<ItemKey, KeyTextError> {
        self.description.key.parse_key(text)
    }

    /// Returns a key that an operator probably meant who typed this text instead of a key. Parts that are unknown are
    /// placeholders.
    pub fn suggested_key(&self, text: &str) -> String {
        self.description.key.suggested_key(text)
    }

    /// Reads the item with this key in a strongly consistent read. Returns `None` if there is no such item.
    ///
    /// # Errors
    ///
    /// Fails if DynamoDB does not answer, or refuses the request.
    pub async fn read(&self, key: &ItemKey) -> Result<Option<Item>, MigrationError> {
        let reply = retry_request(PATIENCE, &Random::from_entropy(), || self.tables.sink.get(key)).await;
        let table = self.description.written().name.clone();
        Ok(reply.map_err(|error| PreflightError::Unusable { table, error })?.item)
    }
}

impl Explainer<'_> {
    /// Explains what the pass does with an item.
    ///
    /// # Errors
    ///
    /// Fails if the records cannot be read.
    pub async fn explain(&self, item: &Item) -> Result<Explanation, MigrationError> {
        let plan = &self.loaded.plan;
        let changes = self.changes_for(item);
        let key = changes.key().key_of(item);
        let history = self.history(&changes, key.clone().unwrap_or_else(|| ItemKey::new(Item::new()))).await?;
        let mut explanation = Explanation::of_item(self.pass, plan, &changes, item, &history);
        if let Some(index) = self.assumed_index() {
            explanation = explanation.assuming_index(&index.name);
        }
        Ok(if self.is_listed(&changes, key.as_ref())? { explanation } else { explanation.not_listed() })
    }

    /// Explains what the pass does if the table has no item with this key.
    ///
    /// # Errors
    ///
    /// Fails if the records cannot be read.
    pub async fn explain_missing(&self, key: ItemKey) -> Result<Explanation, MigrationError> {
        let plan = &self.loaded.plan;
        let changes = self.changes_for(key.attributes());
        let history = self.history(&changes, key.clone()).await?;
        let is_listed = self.is_listed(&changes, Some(&key))?;
        let explanation = Explanation::of_missing_item(self.pass, &plan.changes, &changes, key, &history);
        Ok(if is_listed { explanation } else { explanation.not_listed() })
    }

    /// Returns the plan's index if the explanation must assume that the index contains every item. This is the case for
    /// `run` if the table is not contacted, because the index's key is then unknown. Other passes do not read the
    /// index.
    fn assumed_index(&self) -> Option<&SelectedIndex> {
        let index = self.loaded.plan.index.as_ref();
        index.filter(|_| self.table.is_none() && self.pass == ExplainedPass::Expand)
    }

    /// Returns the changes of the pass. `item` is an item of the table, or only its key.
    fn changes_for(&self, item: &Item) -> Changes {
        let plan = &self.loaded.plan;
        match &self.table {
            Some(table) => self.changes(table),
            None => self.changes(&offline_table(plan, item)),
        }
    }

    fn is_listed(&self, changes: &Changes, key: Option<&ItemKey>) -> Result<bool, MigrationError> {
        Ok(match key.filter(|_| !changes.removes_derived_items()) {
            Some(key) => self.loaded.lists_key(key, changes.key())?,
            None => true,
        })
    }

    async fn history(&self, changes: &Changes, key: ItemKey) -> Result<ItemHistory, MigrationError> {
        Ok(match (&self.records, changes.lookup()) {
            (_, None) => ItemHistory::default(),
            (
                None,
                Some(HistoryLookup::ForDecision | HistoryLookup::ForReport | HistoryLookup::ForUnfinishedWrites),
            ) => ItemHistory::default().without_baseline(),
            (Some(records), Some(lookup)) => {
                records.read_history(vec![key], lookup).await?.into_iter().next().unwrap_or_default()
            }
        })
    }

    /// Returns the report about these explanations. `more` is true if there are more items than explanations.
    pub fn report<'r>(&'r self, explanations: &'r [Explanation], more: bool, show_values: bool) -> ExplainReport<'r> {
        ExplainReport {
            plan: &self.loaded.plan,
            plan_path: &self.migration.path,
            pass: self.pass,
            table_arn: self.table.as_ref().map(|table| table.written().arn.as_str()),
            records: match (self.lookup(), &self.records) {
                (None, _) => RecordSource::NotNeeded,
                (Some(_), None) => RecordSource::NoState,
                (Some(_), Some(_)) => RecordSource::State,
            },
            state_path: &self.migration.state,
            explanations,
            more,
            show_values,
        }
    }

    /// Returns why the pass looks up the recorded history of items.
    fn lookup(&self) -> Option<HistoryLookup> {
        // The result does not depend on the table's key or indexes.
        let key = offline_key(&self.loaded.plan, &Item::new());
        self.changes(&TableDescription::new("", "", key)).lookup()
    }

    fn changes(&self, table: &TableDescription) -> Changes {
        let mut plan = self.loaded.plan.clone().with_index_key(&table.index_schemas());
        if self.assumed_index().is_some() {
            plan.index = None;
        }
        let plan = &plan;
        let changes = match self.pass {
            ExplainedPass::Expand => expand::changes(plan, table),
            ExplainedPass::Contract => contract::changes(plan, table),
            ExplainedPass::Undo => undo::changes(plan, table),
            ExplainedPass::OldFromNew => old_from_new::changes(plan, table),
        };
        let refuses_encrypted = changes.refuses_encrypted() && !self.writes_encrypted;
        changes.with_encrypted_refused(refuses_encrypted)
    }
}

/// Returns a description of the plan's table for an item of it, as far as the plan and the item show it.
fn offline_table(plan: &Plan, item: &Item) -> TableDescription {
    let table = TableDescription::new(&plan.table.name, "", offline_key(plan, item));
    let Some(name) = plan.other_table() else { return table };
    // The types of the key attributes are those of the derived item's values.
    let parts = plan.derived().into_iter().flat_map(|derived| &derived.key).map(|(name, expression)| KeyAttribute {
        name: name.clone(),
        kind: expression.evaluate(item, &plan.facts).map_or("S", |value| value.type_name()).to_owned(),
    });
    let mut parts = parts;
    let unnamed = || KeyAttribute { name: String::new(), kind: "S".to_owned() };
    let key = KeySchema { partition: parts.next().unwrap_or_else(unnamed), sort: parts.next() };
    TableDescription { derived: Some(Box::new(TableDescription::new(name, "", key))), ..table }
}

/// Returns the key schema that the plan states. The types of the key attributes are those of the item's values.
fn offline_key(plan: &Plan, item: &Item) -> KeySchema {
    let mut names =
        plan.table.key.iter().flatten().map(|name| KeyAttribute {
            name: name.clone(),
            kind: item.get(name).map_or("S", Value::type_name).to_owned(),
        });
    let unnamed = || KeyAttribute { name: String::new(), kind: "S".to_owned() };
    KeySchema { partition: names.next().unwrap_or_else(unnamed), sort: names.next() }
}
