//! The live application. The application changes, deletes and inserts items while the tool works, and obeys the flag
//! that it read last.

use std::sync::Arc;
use std::time::Duration;

use backfill::internals::cutover::WriteTo;
use backfill::internals::dynamodb::memory::{Author, MemoryTable};
use backfill::internals::item::{Item, ItemKey, Value};
use fastrand::Rng;
use tokio::time::{Instant, sleep};

use super::flag::MemoryFlag;
use super::{delete, plan, values};

/// One instance of the application.
pub(crate) struct Application {
    pub(crate) table: MemoryTable,
    pub(crate) keys: Vec<ItemKey>,
    pub(crate) flag: Arc<MemoryFlag>,
    /// The time after which the application rereads the flag.
    pub(crate) cache_time: Duration,
    /// The flag that the application read last, and the time of that read.
    pub(crate) cached: Option<(WriteTo, Instant)>,
    pub(crate) in_place: bool,
    /// Whether each write of an item gives it a new version.
    pub(crate) raises_version: bool,
    /// Whether the new value is computed from the old one.
    pub(crate) replaces: bool,
    pub(crate) rng: Rng,
}

impl Application {
    /// Makes `changes` changes, with a few milliseconds between them.
    pub(crate) async fn work(mut self, changes: u32) {
        for n in 0..changes {
            sleep(Duration::from_micros(self.rng.u64(1_000..60_000))).await;
            let key = self.keys[self.rng.usize(..self.keys.len())].clone();
            self.change(&key, n);
        }
    }

    /// Returns the attributes that the application currently writes.
    fn write_to(&mut self) -> WriteTo {
        let fresh = self.cached.filter(|(_, at)| at.elapsed() < self.cache_time);
        let (write, at) = fresh.unwrap_or_else(|| (self.flag.write_to(), Instant::now()));
        self.cached = Some((write, at));
        write
    }

    fn change(&mut self, key: &ItemKey, n: u32) {
        let what = self.rng.u8(..10);
        let write = self.write_to();
        let (in_place, replaces) = (self.in_place, self.replaces);
        let raises_version = self.raises_version;
        let rng = &mut self.rng;
        let changed = |item: Option<&Item>, rng: &mut Rng| match (item.cloned(), what) {
            (Some(_), 0 | 1) => None,
            (Some(mut item), 2..=5) => {
                let value = Value::S(format!("app{n}"));
                let in_new = item.contains_key("new") && !item.contains_key("old");
                match write {
                    WriteTo::Old if in_place && in_new => put(&mut item, "new", value),
                    WriteTo::Old => put(&mut item, "old", value),
                    WriteTo::Both => {
                        put(&mut item, "new", plan::new_value(replaces, &value));
                        put(&mut item, "old", value);
                    }
                    WriteTo::New => put(&mut item, "new", plan::new_value(replaces, &value)),
                }
                Some(item)
            }
            (Some(mut item), 6..=7) => {
                let name = ["kind", "status", "price", "version", "label", "tags"][rng.usize(..6)];
                values::change_attribute(&mut item, name, rng);
                Some(item)
            }
            (Some(mut item), _) => {
                put(&mut item, "n", Value::S(format!("touched{n}")));
                Some(item)
            }
            (None, _) => {
                let mut item = plan::item(1_000 + n, replaces, rng);
                item.extend(key.attributes().clone());
                match (write, item.get("old").cloned()) {
                    (WriteTo::Both, Some(old)) => put(&mut item, "new", plan::new_value(replaces, &old)),
                    (WriteTo::New, Some(old)) => {
                        item.remove("old");
                        put(&mut item, "new", plan::new_value(replaces, &old));
                    }
                    (WriteTo::Old, _) | (WriteTo::Both | WriteTo::New, None) => drop(item.remove("new")),
                }
                Some(item)
            }
        };
        self.table.change(key, Author::Application, |item| {
            let mut item = changed(item, rng)?;
            if raises_version {
                delete::raise_version(&mut item, rng);
            }
            Some(item)
        });
    }
}

fn put(item: &mut Item, name: &str, value: Value) {
    item.insert(name.to_owned(), value);
}
