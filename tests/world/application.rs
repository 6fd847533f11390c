//! The live application. It changes, deletes and inserts items while the tool works, and obeys the flag that it read
//! last.

use std::sync::Arc;
use std::time::Duration;

use backfill::internals::cutover::WriteTo;
use backfill::internals::dynamodb::memory::{Author, MemoryTable};
use backfill::internals::item::{Item, ItemKey, Num, Value};
use backfill::internals::plan::Plan;
use fastrand::Rng;
use tokio::time::{Instant, sleep};

use super::claims::next_version;
use super::flag::MemoryFlag;
use super::{delete, elements, plan, put, select, values};

/// One instance of the application.
pub(crate) struct Application {
    pub(crate) table: MemoryTable,
    pub(crate) keys: Vec<ItemKey>,
    pub(crate) flag: Arc<MemoryFlag>,
    /// The time after which the application rereads the flag.
    pub(crate) cache_time: Duration,
    /// The flag that the application read last, and the time of that read.
    pub(crate) cached: Option<(WriteTo, Instant)>,
    pub(crate) plan: Arc<Plan>,
    /// Whether the application writes the plan's derived items.
    pub(crate) writes_derived: bool,
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
        let flagged = self.write_to();
        let plan = Arc::clone(&self.plan);
        let (in_place, replaces) = (plan::in_place(&plan), plan::replaces(&plan));
        let changes_group = select::changes_group(&plan);
        let has_elements = values::changes_elements(&plan);
        let rng = &mut self.rng;
        if self.writes_derived && rng.u8(..4) == 0 {
            return put::change(&self.table, key, rng);
        }
        // Only selected items have a new attribute. In a plan with a cutover, the selection depends on the key and on
        // the group. The key determines the group of a new item.
        let mut seed = key.attributes().clone();
        select::set_group(&mut seed);
        let write = if in_place || select::is_selected(&plan, &seed) == Some(true) { flagged } else { WriteTo::Old };
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
            (Some(mut item), 6..=7) if has_elements && rng.bool() => {
                elements::change(&mut item, rng);
                Some(item)
            }
            (Some(mut item), 6..=7) if plan.puts_items() && rng.bool() => {
                let name = put::input(rng);
                values::change_attribute(&mut item, name, rng);
                Some(item)
            }
            (Some(mut item), 6..=7) => {
                match values::ATTRIBUTES.get(rng.usize(..=values::ATTRIBUTES.len())) {
                    Some(name) => values::change_attribute(&mut item, name, rng),
                    None if changes_group => select::change_group(&mut item, rng),
                    None => {}
                }
                Some(item)
            }
            (Some(mut item), _) => {
                put(&mut item, "n", Value::S(format!("touched{n}")));
                Some(item)
            }
            (None, _) => {
                let mut item = plan::item(1_000 + n, replaces, rng);
                if has_elements {
                    elements::change(&mut item, rng);
                }
                item.extend(key.attributes().clone());
                select::set_group(&mut item);
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
            let before = item.cloned();
            let mut item = changed(item, rng)?;
            if delete::raises_version(&plan) {
                delete::raise_version(&mut item, rng);
            } else if plan::keeps_version(&plan) {
                let before = before.and_then(|before| next_version(&before));
                put(&mut item, "version", before.unwrap_or_else(|| Value::N(Num::parse("1").unwrap())));
            }
            Some(item)
        });
    }
}

fn put(item: &mut Item, name: &str, value: Value) {
    item.insert(name.to_owned(), value);
}
