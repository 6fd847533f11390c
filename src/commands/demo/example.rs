//! The sample item that the demo shows before and after each step that changes items.

use std::fmt::Write as _;

use anyhow::Context as _;
use serde_json::{Value as Json, json};

use backfill::internals::item::{Item, ItemKey, Value};
use backfill::internals::local::sample::{self, EmailClass};
use backfill::internals::migration::Driver;

/// The key of the sample item.
pub(crate) struct Example(ItemKey);

impl Example {
    /// Chooses the first item in the sample table that has a string in the old attribute and no new attribute. Returns
    /// `None` if a very small table contains no such item.
    pub(crate) fn choose(driver: &Driver, seed: u64, items: u64) -> Option<Example> {
        let fits = |item: &Item| matches!(item.get(sample::OLD_ATTRIBUTE), Some(Value::S(_)));
        let row =
            sample::classified_items(seed, items).find(|(item, email)| *email == EmailClass::Plain && fits(item))?;
        driver.description.key.key_of(&row.0).map(Example)
    }

    /// Reads the item. Returns its key and both attributes as text, and both attributes as JSON. The sample data is
    /// generated, so the values are not secret.
    pub(crate) async fn read(&self, driver: &Driver) -> anyhow::Result<(String, Json)> {
        let got = driver.tables.sink.get(&self.0).await.context("cannot read the item that the demo shows")?;
        let item = got.item.unwrap_or_default();
        let mut text = String::new();
        for name in ["pk", "sk", sample::OLD_ATTRIBUTE, sample::NEW_ATTRIBUTE] {
            if let Some(Value::S(value)) = item.get(name) {
                // A write to memory cannot fail.
                let _ = write!(text, "{}{name}: {value:?}", if text.is_empty() { "{ " } else { ", " });
            }
        }
        text.push_str(" }");
        let value = |name: &str| match item.get(name) {
            Some(Value::S(value)) => json!(value),
            Some(_) | None => Json::Null,
        };
        Ok((text, json!({ "old": value(sample::OLD_ATTRIBUTE), "new": value(sample::NEW_ATTRIBUTE) })))
    }
}
