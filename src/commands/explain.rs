//! `explain`: what a pass does with single items, and why.

use std::fs::File;
use std::io::{Read, stdin};
use std::path::Path;

use crate::cli::{ExplainArgs, Global, PassArg};
use crate::commands::shared::command_result::CommandResult;
use crate::commands::shared::exit::{Exit, Refusal};
use crate::commands::shared::{output, terminal};
use backfill::internals::explain::{ExplainedPass, Explanation, InputItems, ItemInputError, read_items};
use backfill::internals::item::KeyTextError;
use backfill::internals::migration::{Explainer, Migration};

/// Maximum number of items that one command explains. The command keeps their explanations in memory until it prints
/// them.
const MAX_ITEMS: usize = 1_000;

/// Explains the item with the given key, or each item of a file.
pub(crate) async fn explain(global: &Global, args: ExplainArgs) -> anyhow::Result<Exit> {
    let migration = terminal::open(global, &args.plan, false)?;
    let pass = match args.pass {
        PassArg::Expand => ExplainedPass::Expand,
        PassArg::Contract => ExplainedPass::Contract,
        PassArg::Undo => ExplainedPass::Undo,
        PassArg::OldFromNew => ExplainedPass::OldFromNew,
    };
    let (explainer, explanations, more) = match (&args.key, &args.item) {
        (Some(key), _) => {
            let (explainer, explanation) = Box::pin(explain_key(&migration, pass, key)).await?;
            (explainer, vec![explanation], false)
        }
        (None, Some(path)) => Box::pin(explain_items(&migration, pass, path)).await?,
        (None, None) => return Err(Refusal::error(Exit::Usage, "neither --key nor --item is given. Nothing was done")),
    };
    let report = explainer.report(&explanations, more, args.show_values);
    output::write_data(global, &CommandResult::done(), || report.to_json(), |out| report.write(out))
}

async fn explain_key<'m>(
    migration: &'m Migration,
    pass: ExplainedPass,
    key: &str,
) -> anyhow::Result<(Explainer<'m>, Explanation)> {
    let (explainer, table) = migration.explainer(pass).await?;
    let key = table.parse_key(key).map_err(|error| {
        let form = match &error {
            KeyTextError::NotAKey => format!("Write --key '{}'", table.suggested_key(key)),
            KeyTextError::OtherAttributes(_) | KeyTextError::Value { .. } | KeyTextError::Ambiguous => {
                "Write the key as JSON, such as '{\"pk\": \"a\", \"sk\": 1}'".to_owned()
            }
        };
        let text = format!(
            "the key in --key cannot be used: {error}. Nothing was read. {form}, or copy it from `backfill failures list`"
        );
        Refusal::error(Exit::Usage, text)
    })?;
    let explanation = match table.read(&key).await? {
        Some(item) => explainer.explain(&item).await?,
        None => explainer.explain_missing(key).await?,
    };
    Ok((explainer, explanation))
}

async fn explain_items<'m>(
    migration: &'m Migration,
    pass: ExplainedPass,
    path: &Path,
) -> anyhow::Result<(Explainer<'m>, Vec<Explanation>, bool)> {
    let InputItems { items, more } = input_items(migration, path)?;
    let explainer = migration.offline_explainer(pass).await?;
    let mut explanations = Vec::with_capacity(items.len());
    for item in &items {
        explanations.push(explainer.explain(item).await?);
    }
    Ok((explainer, explanations, more))
}

/// Reads the items of a file, or of stdin.
fn input_items(migration: &Migration, path: &Path) -> anyhow::Result<InputItems> {
    let Some(key) = &migration.plan().table.key else {
        let text = "--item needs the names of the key attributes, but the plan does not state them. Nothing was read. Add \
                    them to [table], such as `key = [\"pk\", \"sk\"]`";
        return Err(Refusal::error(Exit::Usage, text));
    };
    let input: Result<Box<dyn Read>, std::io::Error> = match path.as_os_str() == "-" {
        true => Ok(Box::new(stdin().lock())),
        false => File::open(path).map(|file| Box::new(file) as Box<dyn Read>),
    };
    input.map_err(ItemInputError::Io).and_then(|input| read_items(input, key, MAX_ITEMS)).map_err(|error| {
        let text = format!("the file {} in --item cannot be used: {error}. Nothing was explained", path.display());
        Refusal::error(Exit::Usage, text)
    })
}
