//! Reads and writes the attributes that the migration rename moves in the table shop.
//!
//! `backfill shim` generated this code from the plan. Do not edit it: if the plan changes, generate it again. docs/flag.md of
//! backfill explains the rules that the code obeys.
//!
//! It needs the crate `sha2`. `V` is the type of an attribute value, for example `AttributeValue` of aws-sdk-dynamodb:
//!
//! ```ignore
//! let flag = cached.current(Instant::now, || fetch_flag(&dynamodb, FLAG_TABLE, FLAG_ID))?; // ConsistentRead: true
//! let value = read_new(&item, &flag, Key::S("CUSTOMER#1")); // the partition key
//! let update = writes_for_new(AttributeValue::S("…".into()), &flag);
//! ```
//!
//! The partition key is pk. Call `current` again before each request, and give the request, with its retries, a time
//! limit of a third of the flag's `max_cache_seconds`.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

/// The state of the flag is unknown: do not read or write the attributes that move.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unknown(pub &'static str);

/// The state that an application obeys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flag {
    pub write: Write,
    pub read_new: bool,
    pub read_percent: u8,
    pub old_stale: bool,
    pub max_cache: Duration,
}

/// Which attributes the application writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Write {
    Old,
    Both,
    New,
}

/// The attributes of the flag's item. An attribute is `None` if it is missing or has another type.
#[derive(Debug, Clone, Default)]
pub struct Fields<'a> {
    pub schema_version: Option<&'a str>,
    pub version: Option<&'a str>,
    pub write: Option<&'a str>,
    pub read: Option<&'a str>,
    pub read_percent: Option<&'a str>,
    pub max_cache_seconds: Option<&'a str>,
    pub old_stale: Option<bool>,
}

/// Reads the flag from its item. If the item does not exist, the migration has not begun. Refuses unknown values.
pub fn parse(fields: Option<&Fields<'_>>) -> Result<Flag, Unknown> {
    let Some(fields) = fields else {
        let max_cache = Duration::from_secs(1);
        return Ok(Flag { write: Write::Old, read_new: false, read_percent: 0, old_stale: false, max_cache });
    };
    if fields.schema_version != Some("1") {
        return Err(Unknown("the flag has another schema_version"));
    }
    let number = |text: Option<&str>| text.and_then(|text| text.parse::<u64>().ok()).ok_or(Unknown("not a number"));
    let write = match fields.write {
        Some("old") => Write::Old,
        Some("both") => Write::Both,
        Some("new") => Write::New,
        _ => return Err(Unknown("an unknown `write`")),
    };
    let read_new = match fields.read {
        Some("old") => false,
        Some("new") => true,
        _ => return Err(Unknown("an unknown `read`")),
    };
    let percent = number(fields.read_percent)?;
    let seconds = number(fields.max_cache_seconds)?;
    let possible = number(fields.version)? > 0
        && seconds > 0
        && percent <= 100
        && (percent > 0) == read_new
        && !(read_new && write == Write::Old)
        && !(write == Write::New && percent < 100);
    match (possible, fields.old_stale, u8::try_from(percent)) {
        (true, Some(old_stale), Ok(read_percent)) => {
            Ok(Flag { write, read_new, read_percent, old_stale, max_cache: Duration::from_secs(seconds) })
        }
        _ => Err(Unknown("the flag has an invalid value or combination")),
    }
}

/// A partition key.
#[derive(Debug, Clone, Copy)]
pub enum Key<'a> {
    S(&'a str),
    N(&'a str),
    B(&'a [u8]),
}

/// Returns the bucket (0 to 99) of a partition key.
pub fn bucket(key: Key<'_>) -> u8 {
    let mut hash = Sha256::new();
    match key {
        Key::S(text) => hash.update([b"S", text.as_bytes()].concat()),
        Key::N(number) => hash.update(format!("N{}", plain(number))),
        Key::B(bytes) => hash.update([b"B", bytes].concat()),
    }
    let first = hash.finalize().iter().take(8).fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
    (first % 100) as u8
}

/// Returns a number without exponent and without redundant zeros: 15 for 1.50E1, -0.5 for -0.50, 0 for -0.
fn plain(number: &str) -> String {
    let (mantissa, exponent) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
    let sign = if mantissa.starts_with('-') { "-" } else { "" };
    let (before, after) = mantissa
        .trim_start_matches(['+', '-'])
        .split_once('.')
        .unwrap_or((mantissa.trim_start_matches(['+', '-']), ""));
    let mut digits = format!("{before}{after}");
    // The position of the decimal point, counted from the first digit.
    let mut point = before.len() as i64 + exponent.parse::<i64>().unwrap_or(0);
    if point < 0 {
        digits = format!("{}{digits}", "0".repeat(point.unsigned_abs() as usize));
        point = 0;
    }
    let point = point as usize;
    digits.push_str(&"0".repeat(point.saturating_sub(digits.len())));
    let (whole, fraction) = digits.split_at(point);
    match (whole.trim_start_matches('0'), fraction.trim_end_matches('0')) {
        ("", "") => "0".to_owned(),
        (whole, "") => format!("{sign}{whole}"),
        ("", fraction) => format!("{sign}0.{fraction}"),
        (whole, fraction) => format!("{sign}{whole}.{fraction}"),
    }
}

/// Caches the flag for at most `max_cache`. This time begins when the request for the flag is sent.
///
/// After a third of this time, it reads the flag again. If the read fails, it returns the cached flag for another third.
/// After that, it returns [`Unknown`]. The last third is for the request that obeys the flag and for the retries of that
/// request: give the request a timeout of a third of `max_cache`. To share the cache between threads, put it behind a
/// `Mutex`.
#[derive(Debug, Default)]
pub struct Cached(Option<(Flag, Instant)>);

impl Cached {
    /// Returns the flag to obey now. `fetch` must read the flag strongly consistently. `clock` is `Instant::now`.
    pub fn current(
        &mut self,
        clock: impl Fn() -> Instant,
        fetch: impl FnOnce() -> Result<Flag, Unknown>,
    ) -> Result<Flag, Unknown> {
        let sent = clock();
        if let Some((flag, since)) = &self.0
            && sent - *since < flag.max_cache / 3
        {
            return Ok(flag.clone());
        }
        match (fetch(), &self.0) {
            // A reply that took too long may be out of date.
            (Ok(flag), _) if clock() - sent >= flag.max_cache * 2 / 3 => Err(Unknown("reading the flag took too long")),
            (Ok(flag), _) => {
                self.0 = Some((flag.clone(), sent));
                Ok(flag)
            }
            (Err(_), Some((flag, since))) if clock() - *since < flag.max_cache * 2 / 3 => Ok(flag.clone()),
            (Err(why), _) => Err(why),
        }
    }
}

/// The name of the table's partition key.
pub const PARTITION_KEY: &str = "pk";
/// The table of the flag.
pub const FLAG_TABLE: &str = "flags";
/// The value of the partition key of the flag's table.
pub const FLAG_ID: &str = "rename";

/// An attribute that moves.
struct Move {
    old: &'static str,
    new: &'static str,
    /// Makes the placeholders of several moves distinct.
    number: &'static str,
    /// The path of the map that contains both attributes.
    prefix: &'static str,
    prefix_names: &'static [(&'static str, &'static str)],
}

impl Move {
    fn read<'a, V>(&self, flag: &Flag, key: Key<'_>, container: &'a HashMap<String, V>) -> Option<&'a V> {
        if !flag.read_new || bucket(key) >= flag.read_percent {
            return container.get(self.old);
        }
        // Items that backfill has not processed yet have only the old value. After new-only writes, an old value may be
        // stale, so do not fall back to it.
        let fall_back = flag.write == Write::Both && !flag.old_stale;
        container.get(self.new).or_else(|| container.get(self.old).filter(|_| fall_back))
    }

    /// Returns the attributes that the application writes: the side of each, and its name.
    fn written(&self, flag: &Flag) -> Vec<(&'static str, &'static str)> {
        match flag.write {
            Write::Old => vec![("#old", self.old)],
            Write::Both => vec![("#old", self.old), ("#new", self.new)],
            Write::New => vec![("#new", self.new)],
        }
    }

    fn update<V>(&self, clause: &str, sides: &[(&str, &str)], value: Option<V>) -> Update<V> {
        let placeholder = format!(":value{}", self.number);
        let names = sides.iter().map(|(side, name)| (format!("{side}{}", self.number), (*name).to_owned()));
        let prefix_names = self.prefix_names.iter().map(|(placeholder, name)| ((*placeholder).to_owned(), (*name).to_owned()));
        let assigned = if value.is_some() { format!(" = {placeholder}") } else { String::new() };
        let actions: Vec<String> =
            sides.iter().map(|(side, _)| format!("{}{side}{}{assigned}", self.prefix, self.number)).collect();
        Update {
            expression: format!("{clause} {}", actions.join(", ")),
            names: names.chain(prefix_names).collect(),
            values: value.into_iter().map(|value| (placeholder.clone(), value)).collect(),
        }
    }

    fn writes<V>(&self, flag: &Flag, value: V) -> Update<V> {
        self.update("SET", &self.written(flag), Some(value))
    }

    fn attributes<V: Clone>(&self, flag: &Flag, value: &V) -> HashMap<String, V> {
        self.written(flag).into_iter().map(|(_, name)| (name.to_owned(), value.clone())).collect()
    }

    fn removes<V>(&self) -> Update<V> {
        self.update("REMOVE", &[("#old", self.old), ("#new", self.new)], None)
    }
}

/// The expression of an `UpdateItem` request, and the names and values in the expression.
#[derive(Debug, Clone, PartialEq)]
pub struct Update<V> {
    pub expression: String,
    pub names: HashMap<String, String>,
    pub values: HashMap<String, V>,
}

/// Joins updates into one. Each update must have one clause, `SET` or `REMOVE`.
pub fn combine<V>(updates: impl IntoIterator<Item = Update<V>>) -> Update<V> {
    let mut clauses: Vec<(String, Vec<String>)> = Vec::new();
    let (mut names, mut values) = (HashMap::new(), HashMap::new());
    for update in updates {
        let (clause, actions) = update.expression.split_once(' ').unwrap_or((&update.expression, ""));
        match clauses.iter_mut().find(|(known, _)| known == clause) {
            Some((_, all)) => all.push(actions.to_owned()),
            None => clauses.push((clause.to_owned(), vec![actions.to_owned()])),
        }
        names.extend(update.names);
        values.extend(update.values);
    }
    let clauses: Vec<String> =
        clauses.into_iter().map(|(clause, actions)| format!("{clause} {}", actions.join(", "))).collect();
    Update { expression: clauses.join(" "), names, values }
}

const MOVE_NEW: Move = Move { old: "old", new: "new", number: "", prefix: "", prefix_names: &[] };

/// Returns the value of old or new, as the flag requires. `key` is the item's partition
/// key.
pub fn read_new<'a, V>(item: &'a HashMap<String, V>, flag: &Flag, key: Key<'_>) -> Option<&'a V> {
    MOVE_NEW.read(flag, key, item)
}

/// Builds an update that writes a value to old, new or both, as the flag requires.
pub fn writes_for_new<V>(value: V, flag: &Flag) -> Update<V> {
    MOVE_NEW.writes(flag, value)
}

/// Returns what a `PutItem` must contain: old, new or both, as the flag requires.
pub fn attributes_for_new<V: Clone>(value: &V, flag: &Flag) -> HashMap<String, V> {
    MOVE_NEW.attributes(flag, value)
}

/// Builds an update that deletes a value. The update always deletes both attributes.
pub fn removes_for_new<V>() -> Update<V> {
    MOVE_NEW.removes()
}
