//! Computes the fingerprint, which is a hash of the plan's meaning. A run resumes only if the fingerprint has not
//! changed.

use std::fmt;

use sha2::{Digest, Sha256};

use super::Plan;
use crate::change::{
    Addition, Change, ChangeOptions, ElementEdit, Formula, GapRule, OnExisting, OnNotComputable, Strategy,
};
use crate::convert::Conversion;
use crate::expr::Expr;
use crate::item::{Num, Path, PathStep, Value};
use crate::keys_file::KeysFile;

/// The prefix of the hashed bytes. If the encoding of the meaning changes, the prefix must change too.
const VERSION: &[u8] = b"backfill plan meaning 1\n";

/// Identifies the meaning of a plan by a SHA-256 hash, in lowercase hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Fingerprint(String);

impl Fingerprint {
    /// Returns all 64 digits. The tool stores and compares them.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the first 12 digits. The tool shows them to people.
    pub fn short(&self) -> &str {
        &self.0[..12]
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Plan {
    /// Returns the hash of the plan's meaning: table, selection, changes, strategy, `on_existing`, `on_not_computable`
    /// and `split`. All other settings may change between two starts of a run. These include capacity, limits, prices,
    /// retry, segments, region, endpoint and the name of the migration.
    pub fn fingerprint(&self) -> Fingerprint {
        let mut hash = MeaningEncoder(VERSION.to_vec());
        hash.text(&self.table.name);
        hash.tag(match self.strategy {
            Strategy::ExpandContract => b'e',
            Strategy::InPlace => b'i',
        });
        let shared = self.shared_on_existing();
        hash.tag(on_existing_tag(shared));
        // The order of changes has no meaning, because a plan's result never depends on it.
        let part = |change: &Change| {
            MeaningEncoder::encode(|meaning| {
                meaning.change(change);
                meaning.0.extend(change.on_existing().filter(|own| *own != shared).map(on_existing_tag));
                meaning.options(self.options.of_change(change));
            })
        };
        hash.unordered(self.changes.iter().map(part).collect());
        // A plan without these parts keeps the fingerprint that it had in earlier versions.
        if let Some(selection) = &self.select {
            hash.tag(b'w');
            hash.text(selection.condition.source());
            hash.unordered(selection.stable.iter().map(|name| name.clone().into_bytes()).collect());
        }
        if let Some(keys) = &self.keys {
            hash.tag(b'K');
            hash.text(keys.format().name());
            // If the plan's file of keys was not read, the fingerprint must differ from the fingerprint with the file.
            hash.text(keys.file().map_or("", KeysFile::sha256));
        }
        if let Some(index) = &self.index {
            hash.tag(b'I');
            hash.text(&index.name);
        }
        if self.on_not_computable == OnNotComputable::Skip {
            hash.tag(b'n');
        }
        if self.split {
            hash.tag(b'S');
        }
        let digest = Sha256::digest(&hash.0);
        Fingerprint(digest.iter().map(|byte| format!("{byte:02x}")).collect())
    }
}

impl Plan {
    /// Returns the `on_existing` that all changes have in common, or `keep` if the changes differ. So the fingerprint
    /// does not depend on whether the plan sets `on_existing` once or in every change.
    fn shared_on_existing(&self) -> OnExisting {
        let mut answers = self.changes.iter().filter_map(Change::on_existing);
        match answers.next() {
            None => self.on_existing,
            Some(first) if answers.all(|on_existing| on_existing == first) => first,
            Some(_) => OnExisting::Keep,
        }
    }
}

fn on_existing_tag(on_existing: OnExisting) -> u8 {
    match on_existing {
        OnExisting::Keep => b'k',
        OnExisting::Overwrite => b'o',
        OnExisting::Skip => b's',
    }
}

/// An encoding of a plan's meaning. Plans with different meanings have different bytes, because every part starts with
/// a tag or with its length.
#[derive(Default)]
struct MeaningEncoder(Vec<u8>);

impl MeaningEncoder {
    fn encode(write: impl FnOnce(&mut MeaningEncoder)) -> Vec<u8> {
        let mut part = MeaningEncoder::default();
        write(&mut part);
        part.0
    }

    fn tag(&mut self, tag: u8) {
        self.0.push(tag);
    }

    fn count(&mut self, n: usize) {
        self.0.extend((n as u64).to_be_bytes());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.count(bytes.len());
        self.0.extend(bytes);
    }

    fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    fn unordered(&mut self, mut parts: Vec<Vec<u8>>) {
        parts.sort();
        self.count(parts.len());
        parts.iter().for_each(|part| self.bytes(part));
    }

    fn change(&mut self, change: &Change) {
        match change {
            Change::Move { from, to, .. } => {
                self.tag(b'm');
                self.path(from);
                self.path(to);
            }
            Change::Copy { from, to, .. } => {
                self.tag(b'c');
                self.path(from);
                self.path(to);
            }
            Change::Set { to, value, .. } => {
                self.tag(b's');
                self.path(to);
                self.value(value);
            }
            Change::Remove { path } => {
                self.tag(b'r');
                self.path(path);
            }
            Change::Compute { to, formula, replaces, .. } => {
                self.formula(to, formula);
                if let Some(replaced) = replaces {
                    self.tag(b'R');
                    self.path(&replaced.path);
                    replaced.inverse.iter().for_each(|inverse| self.formula(&replaced.path, inverse.formula()));
                }
            }
            Change::Convert { path, conversion } => {
                self.tag(b'V');
                self.path(path);
                self.conversion(conversion);
            }
            Change::Append { to, addition } => {
                self.tag(match addition {
                    Addition::Members(_) => b'a',
                    Addition::Element(_) => b'l',
                });
                self.path(to);
                self.value(addition.value());
            }
            Change::Bump { path } => {
                self.tag(b'b');
                self.path(path);
            }
            Change::Exec { exec, .. } => {
                self.tag(b'x');
                self.count(exec.argv.len());
                exec.argv.iter().for_each(|argument| self.text(argument));
                self.unordered(exec.inputs.iter().map(|input| input.to_string().into_bytes()).collect());
                self.unordered(exec.outputs.iter().map(|output| output.to_string().into_bytes()).collect());
                match &exec.marker {
                    Some(marker) => self.path(marker),
                    // A path has at least one step.
                    None => self.count(0),
                }
                self.text(exec.program.as_ref().map_or("", |program| &program.digest));
            }
            Change::Each { each } => {
                self.tag(b'E');
                self.path(each.container());
                self.unordered(
                    each.edits().iter().map(|edit| MeaningEncoder::encode(|part| part.edit(edit))).collect(),
                );
            }
            Change::Put { derived } => {
                self.tag(b'D');
                for attributes in [&derived.key, &derived.attributes] {
                    let encode = |(name, expression): &(String, Expr)| {
                        MeaningEncoder::encode(|part| {
                            part.text(name);
                            part.text(expression.source());
                        })
                    };
                    self.unordered(attributes.iter().map(encode).collect());
                }
                // A plan without this field keeps the bytes that it had in earlier versions.
                if let Some(table) = &derived.table {
                    self.tag(b'T');
                    self.text(table);
                }
            }
            Change::Delete { gap, keeps_image } => {
                self.tag(b'd');
                self.tag(u8::from(*keeps_image));
                match gap {
                    GapRule::Version(path) => {
                        self.tag(b'v');
                        self.path(path);
                    }
                    GapRule::Attributes(names) => {
                        self.tag(b'a');
                        self.unordered(names.iter().map(|name| name.clone().into_bytes()).collect());
                    }
                    GapRule::WritersStopped => self.tag(b'w'),
                }
            }
        }
    }

    /// Encodes one change of the elements of a container.
    fn edit(&mut self, edit: &ElementEdit) {
        match edit {
            ElementEdit::Move { from, to, existing: _ } => {
                self.tag(b'm');
                self.path(from);
                self.path(to);
            }
            ElementEdit::Set { to, value, existing: _ } => {
                self.tag(b's');
                self.path(to);
                self.value(value);
            }
            ElementEdit::Remove { path } => {
                self.tag(b'r');
                self.path(path);
            }
            ElementEdit::Compute { to, expression, existing: _ } => {
                self.tag(b'p');
                self.path(to);
                self.text(expression.source());
            }
            ElementEdit::Convert { path, conversion } => {
                self.tag(b'V');
                self.path(path);
                self.conversion(conversion);
            }
            ElementEdit::ConvertInto { from, to, conversion, existing: _ } => {
                self.tag(b'v');
                self.path(to);
                self.path(from);
                self.conversion(conversion);
            }
        }
        if let Some(existing) = edit.existing() {
            self.tag(on_existing_tag(existing.on_existing));
            self.tag(u8::from(existing.null_is_missing));
        }
    }

    /// A change without options keeps the bytes that it had in earlier versions.
    fn options(&mut self, ChangeOptions { applies_to, null_is_missing }: &ChangeOptions) {
        if let Some(selection) = applies_to {
            self.tag(b'w');
            self.text(selection.condition.source());
            self.unordered(selection.stable.iter().map(|name| name.clone().into_bytes()).collect());
        }
        if *null_is_missing {
            self.tag(b'z');
        }
    }

    /// Encodes the formula that computes the value of a path.
    fn formula(&mut self, to: &Path, formula: &Formula) {
        match formula {
            Formula::Expression(expression) => {
                self.tag(b'p');
                self.path(to);
                self.text(expression.source());
            }
            Formula::Conversion { from, conversion } => {
                self.tag(b'v');
                self.path(to);
                self.path(from);
                self.conversion(conversion);
            }
            Formula::Inverse(inverse) => self.formula(to, inverse.formula()),
            Formula::Custom(custom) => {
                self.tag(b'u');
                self.path(to);
                self.text(&custom.name);
                self.text(custom.version());
                self.unordered(custom.inputs.iter().map(|input| input.to_string().into_bytes()).collect());
                self.unordered(custom.outputs.iter().map(|output| output.to_string().into_bytes()).collect());
            }
        }
    }

    fn conversion(&mut self, conversion: &Conversion) {
        self.text(conversion.name());
        let options = conversion.options();
        self.count(options.len());
        for (name, values) in options {
            self.text(name);
            self.count(values.len());
            values.iter().for_each(|value| self.text(value));
        }
    }

    fn path(&mut self, path: &Path) {
        self.count(path.steps().len());
        for step in path.steps() {
            match step {
                PathStep::Name(name) => {
                    self.tag(b'n');
                    self.text(name);
                }
                PathStep::Index(index) => {
                    self.tag(b'i');
                    self.count(*index);
                }
            }
        }
    }

    fn value(&mut self, value: &Value) {
        self.text(value.type_name());
        match value {
            Value::S(text) => self.text(text),
            Value::N(number) => self.text(&number.canonical()),
            Value::B(bytes) => self.bytes(bytes),
            Value::Bool(flag) => self.tag(u8::from(*flag)),
            Value::Null => {}
            Value::Ss(set) => self.unordered(set.iter().map(|text| text.clone().into_bytes()).collect()),
            Value::Ns(set) => self.unordered(set.iter().map(Num::canonical).map(String::into_bytes).collect()),
            Value::Bs(set) => self.unordered(set.clone()),
            Value::L(list) => {
                self.count(list.len());
                list.iter().for_each(|member| self.value(member));
            }
            Value::M(map) => {
                self.count(map.len());
                for (name, member) in map {
                    self.text(name);
                    self.value(member);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
