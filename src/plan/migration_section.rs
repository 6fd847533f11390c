//! Reads `[migration]`.

use toml::Spanned;

use super::changes::{self, WrittenChange};
use super::diagnostic::{Problems, TextSpan};
use super::fields::{Fields, check};
use super::names::migration_name;
use super::section::section;
use crate::change::{Change, OnExisting, OnNotComputable, Strategy};

/// `[migration]`
pub(super) struct MigrationSection {
    pub(super) name: String,
    pub(super) strategy: Strategy,
    /// Position of `strategy`. `None` if the plan does not set it.
    pub(super) strategy_at: Option<TextSpan>,
    pub(super) on_existing: OnExisting,
    /// `None` if the plan does not set it.
    pub(super) on_not_computable: Option<Spanned<OnNotComputable>>,
    /// Whether the plan has the field `on_not_computable`, even with an invalid value or a misspelt name.
    pub(super) has_not_computable_rule: bool,
    /// Position of `split`, if it is true.
    pub(super) split: Option<TextSpan>,
}

impl MigrationSection {
    /// Returns whether readers or writers move from old to new attributes, or `contract` removes attributes.
    pub(super) fn has_cutover(&self, changes: &[WrittenChange]) -> bool {
        self.strategy_for(changes) == Strategy::ExpandContract
            && !changes.iter().map(|written| &written.change).all(Change::only_writes_values)
    }

    /// Returns the strategy for these changes. A plan that deletes items always works in place.
    pub(super) fn strategy_for(&self, changes: &[WrittenChange]) -> Strategy {
        let deletes = changes.iter().any(|written| written.change.deletes_items());
        if deletes { Strategy::InPlace } else { self.strategy }
    }

    /// Returns the position of `strategy = "in-place"`, or `None` if the plan does not contain it.
    pub(super) fn stated_in_place(&self) -> Option<TextSpan> {
        self.strategy_at.clone().filter(|_| self.strategy == Strategy::InPlace)
    }

    /// Returns the position of `strategy = "expand-contract"`, or `None` if the plan does not contain it.
    pub(super) fn stated_expand_contract(&self) -> Option<TextSpan> {
        self.strategy_at.clone().filter(|_| self.strategy == Strategy::ExpandContract)
    }
}

pub(super) fn read(root: &Fields<'_, '_>, problems: &mut Problems) -> Option<MigrationSection> {
    const NAMES: [&str; 5] = ["name", "strategy", "on_existing", "on_not_computable", "split"];
    let help = "write\n[migration]\nname = \"rename-email\"";
    let fields = section(root, "migration", "[migration]", &NAMES, Some(help), problems)?;
    let name = fields.required_text("name", "\"rename-email\"", problems);
    let name = name.and_then(|name| check(&name, problems, migration_name));
    let strategies = [("expand-contract", Strategy::ExpandContract), ("in-place", Strategy::InPlace)];
    let strategy = fields.choice("strategy", &strategies, problems).unwrap_or(Strategy::ExpandContract);
    let strategy_at = fields.get("strategy").map(|(_, value)| value.span());
    let on_existing = fields.choice("on_existing", &changes::ON_EXISTING_VALUES, problems).unwrap_or(OnExisting::Keep);
    let choices = [("fail", OnNotComputable::Fail), ("skip", OnNotComputable::Skip)];
    let on_not_computable = fields.choice("on_not_computable", &choices, problems);
    let at = fields.get("on_not_computable").map(|(_, value)| value.span());
    let on_not_computable = on_not_computable.zip(at).map(|(choice, at)| Spanned::new(at, choice));
    let has_not_computable_rule =
        fields.get("on_not_computable").is_some() || fields.has_misspelt(&["on_not_computable"]);
    let split = fields.flag("split", problems).unwrap_or(false);
    let split = fields.get("split").map(|(at, _)| at).filter(|_| split);
    Some(MigrationSection {
        name: name?,
        strategy,
        strategy_at,
        on_existing,
        on_not_computable,
        has_not_computable_rule,
        split,
    })
}
