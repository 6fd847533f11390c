//! What an application did to one item, and what a read of it may return then.
//!
//! Requests take their effect at some instant between their beginning and their end. A read is right if there is an order
//! of all requests that agrees with all their times, in which it returns what was written last before it. So a write is
//! outdated for a read where another one took its effect for certain before the read began, and began itself after the
//! outdated one had taken its effect for certain: because it had ended by then, or because somebody had read its value.

use std::time::Instant;

/// What an item has of the value that moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Content {
    /// There is no item.
    Gone,
    /// There is one, without a value.
    Without,
    /// This value; no two writes of an item write the same.
    Value(u64),
}

/// Everything that was done to one item.
#[derive(Debug)]
pub(crate) struct History {
    writes: Vec<Write>,
    values: u64,
}

/// A write, by its place in the history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WriteId(usize);

#[derive(Debug)]
struct Write {
    content: Content,
    began: Instant,
    /// By when it had taken its effect; none where that is not known.
    effective: Option<Instant>,
    /// Its condition did not hold: it never takes effect.
    refused: bool,
}

impl History {
    /// Of an item as it was found. Its values are counted on from there.
    pub(crate) fn of(content: Content) -> History {
        let now = Instant::now();
        let first = Write { content, began: now, effective: Some(now), refused: false };
        let values = if let Content::Value(n) = content { n + 1 } else { 1 };
        History { writes: vec![first], values }
    }

    /// A value that no write had before.
    pub(crate) fn fresh(&mut self) -> Content {
        self.values += 1;
        Content::Value(self.values)
    }

    /// A write is about to be sent.
    pub(crate) fn begin(&mut self, content: Content) -> WriteId {
        self.writes.push(Write { content, began: Instant::now(), effective: None, refused: false });
        WriteId(self.writes.len() - 1)
    }

    /// It was answered at this time: it was done.
    pub(crate) fn done(&mut self, id: WriteId, at: Instant) {
        let effective = &mut self.writes[id.0].effective;
        *effective = Some(effective.map_or(at, |before| before.min(at)));
    }

    /// It was refused: it was not done, and will not be.
    pub(crate) fn refused(&mut self, id: WriteId) {
        self.writes[id.0].refused = true;
    }

    /// Somebody read this; says what is wrong with it, if anything is.
    pub(crate) fn read(&mut self, content: Content, began: Instant, ended: Instant) -> Result<(), String> {
        let fits = |w: &Write| w.content == content && !w.refused && w.began < ended;
        let found = (0..self.writes.len()).filter(|n| fits(&self.writes[*n])).collect::<Vec<_>>();
        if found.is_empty() {
            return Err(format!("{content:?} was read, and nobody wrote that"));
        }
        let Some(read) = found.into_iter().find(|n| self.outdated_by(&self.writes[*n], began).is_none()) else {
            let last = self.possible(began, ended);
            return Err(format!("{content:?} was read, where it could only be one of {last:?}"));
        };
        if matches!(content, Content::Value(_)) {
            self.done(WriteId(read), ended);
        }
        Ok(())
    }

    /// What a read of this time may return.
    pub(crate) fn possible(&self, began: Instant, ended: Instant) -> Vec<Content> {
        let may = |w: &&Write| !w.refused && w.began < ended && self.outdated_by(w, began).is_none();
        self.writes.iter().filter(may).map(|w| w.content).collect()
    }

    /// A write that outdates this one for whoever reads after this time.
    fn outdated_by(&self, old: &Write, reading: Instant) -> Option<&Write> {
        let after = |w: &&Write| old.effective.is_some_and(|effective| effective < w.began);
        let before_read = |w: &&Write| !w.refused && w.effective.is_some_and(|effective| effective < reading);
        self.writes.iter().rev().filter(before_read).find(after)
    }
}

#[cfg(test)]
mod tests {
    use super::Content::{Gone, Value, Without};
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
    fn what_was_written_last_is_read_and_nothing_older() {
        let mut history = History::of(Value(1));
        read(&mut history, Value(1)).unwrap();
        write(&mut history, Value(3));
        read(&mut history, Value(3)).unwrap();
        for stale in [Value(1), Without, Gone, Value(7)] {
            read(&mut history, stale).unwrap_err();
        }
        write(&mut history, Without);
        read(&mut history, Value(3)).unwrap_err();
        read(&mut history, Without).unwrap();
        write(&mut history, Gone);
        read(&mut history, Without).unwrap_err();
        read(&mut history, Gone).unwrap();
        // It is there again, without a value: as it was once before.
        write(&mut history, Without);
        read(&mut history, Without).unwrap();
    }

    #[test]
    fn what_overlaps_comes_in_either_order() {
        let mut history = History::of(Value(1));
        let (one, other) = (history.begin(Value(2)), history.begin(Value(3)));
        for value in [Value(1), Value(3)] {
            read(&mut history, value).unwrap();
        }
        // Somebody has seen 3 in place of 1.
        read(&mut history, Value(1)).unwrap_err();
        history.done(one, Instant::now());
        history.done(other, Instant::now());
        for value in [Value(2), Value(3)] {
            read(&mut history, value).unwrap();
        }
        read(&mut history, Value(1)).unwrap_err();
    }

    #[test]
    fn a_read_that_began_before_a_write_may_miss_it() {
        let mut history = History::of(Value(1));
        let began = Instant::now();
        write(&mut history, Value(2));
        history.read(Value(1), began, Instant::now()).unwrap();
        read(&mut history, Value(1)).unwrap_err();
    }

    #[test]
    fn a_write_without_a_reply_may_come_at_any_time_and_a_refused_one_never() {
        let mut history = History::of(Value(1));
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
