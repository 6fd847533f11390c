//! Records the operations of an application on one item, and determines the values that a read of the item can return.
//!
//! A request takes effect at some instant between its beginning and its end. A read is correct if there is a possible
//! order of all requests in which the read returns the value of the last write before it. An order is possible if it
//! fits the times of the requests. So a read must not return the value of a write A if a write B has certainly replaced
//! A. This is the case if two conditions are met. First, B certainly took effect before the read began. Second, A
//! certainly took effect before B began: A had succeeded, or a read had returned A's value.

use std::time::Instant;

/// The content of an item, reduced to the value that the plan moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Content {
    /// The item does not exist.
    NoItem,
    /// The item exists, but has no value.
    NoValue,
    /// The item has this value. All writes to an item write different values.
    Value(u64),
}

/// All operations on one item.
#[derive(Debug)]
pub(crate) struct History {
    writes: Vec<Write>,
    values: u64,
}

/// Identifies a write by its index in the history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WriteId(usize);

#[derive(Debug)]
struct Write {
    content: Content,
    began: Instant,
    /// The time by which the write has certainly taken effect, if known.
    effective: Option<Instant>,
    /// Whether the write's condition failed. If so, the write never takes effect.
    refused: bool,
}

impl History {
    /// Creates the history of an item with this initial content. Later writes write larger numbers.
    pub(crate) fn new(content: Content) -> History {
        let now = Instant::now();
        let first = Write { content, began: now, effective: Some(now), refused: false };
        let values = if let Content::Value(n) = content { n + 1 } else { 1 };
        History { writes: vec![first], values }
    }

    /// Returns a value that no earlier write has written.
    pub(crate) fn fresh(&mut self) -> Content {
        self.values += 1;
        Content::Value(self.values)
    }

    /// Records a write that is about to be sent.
    pub(crate) fn begin(&mut self, content: Content) -> WriteId {
        self.writes.push(Write { content, began: Instant::now(), effective: None, refused: false });
        WriteId(self.writes.len() - 1)
    }

    /// Records that the write succeeded, and that its answer arrived at this time.
    pub(crate) fn done(&mut self, id: WriteId, at: Instant) {
        let effective = &mut self.writes[id.0].effective;
        *effective = Some(effective.map_or(at, |before| before.min(at)));
    }

    /// Records that the write was refused. A refused write never takes effect.
    pub(crate) fn refused(&mut self, id: WriteId) {
        self.writes[id.0].refused = true;
    }

    /// Records a read that returned this content. Returns an error if the content is impossible.
    pub(crate) fn read(&mut self, content: Content, began: Instant, ended: Instant) -> Result<(), String> {
        let fits = |w: &Write| w.content == content && !w.refused && w.began < ended;
        let found = (0..self.writes.len()).filter(|n| fits(&self.writes[*n])).collect::<Vec<_>>();
        if found.is_empty() {
            return Err(format!("{content:?} was read, but nobody wrote it"));
        }
        let Some(read) = found.into_iter().find(|n| self.outdated_by(&self.writes[*n], began).is_none()) else {
            let last = self.possible(began, ended);
            return Err(format!("{content:?} was read, but the only possible contents are {last:?}"));
        };
        if matches!(content, Content::Value(_)) {
            self.done(WriteId(read), ended);
        }
        Ok(())
    }

    /// Returns the contents that a read between these times can return.
    pub(crate) fn possible(&self, began: Instant, ended: Instant) -> Vec<Content> {
        let may = |w: &&Write| !w.refused && w.began < ended && self.outdated_by(w, began).is_none();
        self.writes.iter().filter(may).map(|w| w.content).collect()
    }

    /// Returns a write that has certainly replaced `old` before a read that begins at `reading`. Returns `None` if
    /// there is no such write.
    fn outdated_by(&self, old: &Write, reading: Instant) -> Option<&Write> {
        let after = |w: &&Write| old.effective.is_some_and(|effective| effective < w.began);
        let before_read = |w: &&Write| !w.refused && w.effective.is_some_and(|effective| effective < reading);
        self.writes.iter().rev().filter(before_read).find(after)
    }
}

#[cfg(test)]
mod tests {
    use super::Content::{NoItem, NoValue, Value};
    use super::*;

    fn write(history: &mut History, content: Content) {
        let id = history.begin(content);
        history.done(id, Instant::now());
    }

    fn read(history: &mut History, content: Content) -> Result<(), String> {
        let began = Instant::now();
        history.read(content, began, Instant::now())
    }

    #[test]
    fn only_the_last_write_can_be_read() {
        let mut history = History::new(Value(1));
        read(&mut history, Value(1)).unwrap();
        write(&mut history, Value(3));
        read(&mut history, Value(3)).unwrap();
        for stale in [Value(1), NoValue, NoItem, Value(7)] {
            read(&mut history, stale).unwrap_err();
        }
        write(&mut history, NoValue);
        read(&mut history, Value(3)).unwrap_err();
        read(&mut history, NoValue).unwrap();
        write(&mut history, NoItem);
        read(&mut history, NoValue).unwrap_err();
        read(&mut history, NoItem).unwrap();
        // The item has no value, as at an earlier time in this test.
        write(&mut history, NoValue);
        read(&mut history, NoValue).unwrap();
    }

    #[test]
    fn overlapping_writes_can_take_effect_in_either_order() {
        let mut history = History::new(Value(1));
        let one = history.begin(Value(2));
        let other = history.begin(Value(3));
        for value in [Value(1), Value(3)] {
            read(&mut history, value).unwrap();
        }
        // A read has returned 3, so 1 is no longer possible.
        read(&mut history, Value(1)).unwrap_err();
        history.done(one, Instant::now());
        history.done(other, Instant::now());
        for value in [Value(2), Value(3)] {
            read(&mut history, value).unwrap();
        }
        read(&mut history, Value(1)).unwrap_err();
    }

    #[test]
    fn a_read_that_began_before_a_write_can_miss_it() {
        let mut history = History::new(Value(1));
        let began = Instant::now();
        write(&mut history, Value(2));
        history.read(Value(1), began, Instant::now()).unwrap();
        read(&mut history, Value(1)).unwrap_err();
    }

    #[test]
    fn a_write_without_a_reply_can_take_effect_at_any_time_and_a_refused_one_never() {
        let mut history = History::new(Value(1));
        let _lost = history.begin(Value(2));
        let refused = history.begin(Value(3));
        history.refused(refused);
        read(&mut history, Value(3)).unwrap_err();
        write(&mut history, Value(4));
        read(&mut history, Value(2)).unwrap();
        write(&mut history, Value(5));
        read(&mut history, Value(2)).unwrap_err();
    }
}
