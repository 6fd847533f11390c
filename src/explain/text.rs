//! The output of `explain` for people.

use std::io::{Result, Write};

use super::write::{ExplainedValue, ExplainedWrite, IndexCost, STABLE};
use super::{ExplainReport, ExplainedImage, Explanation, ItemRecord, RecordSource};
use crate::figure::{count, labelled, units};
use crate::item::{Path, Value, item_bytes, value_bytes};

impl ExplainReport<'_> {
    /// Writes the report as text for people. The values of expressions are data, so the text must not be wrapped.
    pub fn write(&self, out: &mut impl Write) -> Result<()> {
        writeln!(out, "{}", labelled("plan", 12, &self.plan.meaning()))?;
        match self.table_arn {
            Some(arn) => line(out, "table", arn)?,
            None => {
                line(out, "table", &format!("{} was not contacted, so its indexes are unknown", self.plan.table.name))?
            }
        }
        line(out, "pass", self.pass.name())?;
        let state = self.state_path.display();
        match self.records {
            RecordSource::NotNeeded => {}
            RecordSource::State => line(out, "records", &format!("from {state}"))?,
            RecordSource::NoState => {
                line(out, "records", &format!("none, because the state file {state} does not exist"))?
            }
        }
        self.explanations.iter().try_for_each(|explanation| self.write_item(out, explanation))?;
        if self.more {
            let shown = count(self.explanations.len() as u64, "item is", "items are");
            writeln!(
                out,
                "\nThe input has more items: only the first {shown} explained. `run --dry-run` counts all items."
            )?;
        }
        Ok(())
    }

    fn write_item(&self, out: &mut impl Write, explanation: &Explanation) -> Result<()> {
        let Explanation { key, verdict, image } = explanation;
        let key = key.as_ref().map_or_else(|| "(without its key attributes)".to_owned(), ToString::to_string);
        writeln!(out)?;
        line(out, "item", &key)?;
        line(out, "decision", &format!("{}: {}", verdict.label(), verdict.summary))?;
        if let Some(image) = image {
            self.write_image(out, image, verdict.later.last().or(verdict.write.as_ref()))?;
        }
        let writes = 1 + verdict.later.len();
        for (place, write) in verdict.write.iter().chain(&verdict.later).enumerate() {
            if writes > 1 {
                line(out, "write", &format!("{} of {writes}", place + 1))?;
            }
            self.write_write(out, write)?;
        }
        Ok(())
    }

    fn write_image(&self, out: &mut impl Write, image: &ExplainedImage, write: Option<&ExplainedWrite>) -> Result<()> {
        match (self.records, &image.record) {
            (_, ItemRecord::Unreadable(why)) => line(out, "record", &format!("cannot be read: {why}"))?,
            (RecordSource::State, ItemRecord::Recorded) => {
                line(out, "record", "the state file has records of the item")?
            }
            (RecordSource::State, ItemRecord::Nothing) => {
                line(out, "record", "the state file has no record of the item")?
            }
            (RecordSource::NotNeeded | RecordSource::NoState, ItemRecord::Nothing | ItemRecord::Recorded) => {}
        }
        let now = bytes(image.bytes);
        let size = match write {
            Some(write) if write.derived.is_some() => format!(
                "{now}, and it stays unchanged. The derived item has {} (by DynamoDB's rules)",
                bytes(write.bytes_after)
            ),
            Some(write) => format!("{now} now, {} after the write (by DynamoDB's rules)", bytes(write.bytes_after)),
            None => format!("{now} (by DynamoDB's rules)"),
        };
        line(out, "size", &size)?;
        let width = image.values.iter().map(|(path, _)| path.to_string().chars().count()).max().unwrap_or(0);
        let mut label = "values now";
        for (path, value) in &image.values {
            let value = value.as_ref().map_or_else(|| "missing".to_owned(), |value| describe(value, self.show_values));
            // Width counts the characters of a text, so convert the path first.
            line(out, label, &format!("{:<width$}  {value}", path.to_string()))?;
            label = "";
        }
        Ok(())
    }

    fn write_write(&self, out: &mut impl Write, write: &ExplainedWrite) -> Result<()> {
        line(out, "cost", &self.cost(write))?;
        if write.update.is_empty() {
            line(out, "request", write.request)?;
        } else {
            line(out, "update", &write.update)?;
        }
        line(out, "condition", &write.condition)?;
        let names: Vec<String> =
            write.names.iter().map(|(placeholder, name)| format!("{placeholder} = {name}")).collect();
        line(out, "names", &names.join(", "))?;
        let mut label = "values";
        for value in &write.values {
            let ExplainedValue { placeholder, value, is_constant } = value;
            let shown = describe(value, *is_constant || self.show_values);
            line(out, label, &format!("{placeholder} = {shown}{}", if *is_constant { " (a constant)" } else { "" }))?;
            label = "";
        }
        if let Some(derived) = &write.derived {
            let into = derived.table.as_ref().map_or_else(String::new, |table| format!(" into table {table}"));
            line(out, "put", &format!("an item of {}{into}", bytes(item_bytes(&derived.item))))?;
            for (name, value) in &derived.item {
                let name = Path::attribute(name.as_str());
                line(out, "", &format!("{name} = {}", describe(value, self.show_values)))?;
            }
            line(out, "condition", &format!("{}, of the put", derived.condition))?;
        }
        if !write.journal.is_empty() {
            let names = |is_stable: bool| {
                let of_kind = write.journal.iter().filter(|(_, kind)| (*kind == STABLE) == is_stable);
                of_kind.map(|(path, _)| path.to_string()).collect::<Vec<_>>().join(", ")
            };
            let (written, stable) = (names(false), names(true));
            let what = match write.request {
                "DeleteItem" => "the whole item".to_owned(),
                "PutItem" => "that the item is being restored".to_owned(),
                "TransactWriteItems" => "the derived item".to_owned(),
                _ if written.is_empty() => format!("{stable}, which never changes"),
                _ if stable.is_empty() => format!("the state of {written}"),
                _ => format!("the state of {written}, and {stable}, which never changes,"),
            };
            line(out, "journal", &format!("records {what} before the write"))?;
        }
        Ok(())
    }

    fn cost(&self, write: &ExplainedWrite) -> String {
        let table = units(write.table_units);
        if self.table_arn.is_none() {
            return format!("estimate: {table} WCU for the table. The cost on its indexes is unknown");
        }
        let of = |index: &IndexCost| match index.units {
            Some(wcu) => format!(", {} for the index `{}`", units(wcu), index.name),
            None => format!(" (with the local index `{}`)", index.name),
        };
        if let Some((derived, other)) =
            write.derived.as_ref().and_then(|derived| Some((derived, derived.table.as_ref()?)))
        {
            let put = units(derived.units_elsewhere);
            return format!("estimate: {} WCU: {table} for the check, {put} for table {other}", units(write.units()));
        }
        let (local, global): (Vec<_>, Vec<_>) = write.indexes.iter().partition(|index| index.units.is_none());
        let indexes: String = local.into_iter().chain(global).map(of).collect();
        format!("estimate: {} WCU: {table} for the table{indexes}", units(write.units()))
    }
}

/// Describes a value: its type and its size. Also shows the value itself, if that is allowed.
fn describe(value: &Value, shows_value: bool) -> String {
    let facts = format!("{}, {}", value.type_name(), bytes(value_bytes(value)));
    if shows_value { format!("{facts}: {}", value.to_json()) } else { facts }
}

fn bytes(number: usize) -> String {
    count(number as u64, "byte", "bytes")
}

fn line(out: &mut impl Write, label: &str, text: &str) -> Result<()> {
    writeln!(out, "{label:<12} {text}")
}
