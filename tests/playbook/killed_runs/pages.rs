//! Which pages the server gave out, which of them the state file has as committed, and which were given out again.

use std::collections::BTreeMap;
use std::path::Path;

use backfill::internals::item::Position;
use backfill::internals::local::front::ScanPage;
use backfill::internals::state::SegmentStatus;
use backfill::internals::state::sqlite::StateFile;

/// Pages of one segment that may be read and not committed, where items are set aside or the lane is large: eight, and the
/// one that is written, and the one that is fetched.
pub(crate) const OPEN_AT_MOST: usize = 10;

/// The pages of a run over all its sessions.
///
/// The table does not change its keys meanwhile and pages have a fixed `Limit`, so a segment is one chain of pages, each
/// known by its start key, and a session that goes on behind page n reads pages n+1, n+2, ….
#[derive(Debug, Default)]
pub(crate) struct Pages {
    /// Entries of the server's log that are accounted for.
    seen: usize,
    /// Start keys of the pages that were ever given out, by segment.
    chains: BTreeMap<u32, Vec<Option<String>>>,
    committed: BTreeMap<u32, Committed>,
    /// Pages of a segment that may be read and not committed.
    most_open: usize,
}

/// Where a segment stands in the state file.
#[derive(Debug, Clone, Default, PartialEq)]
struct Committed {
    pages: usize,
    start_key: Option<String>,
    done: bool,
}

/// How the pages stand when a session has ended.
#[derive(Debug, Default)]
pub(crate) struct Standing {
    /// Pages of the segments that this session worked on that were given out and are not committed: written in part, or
    /// prefetched. (Where a kill came before a segment's first commit, a later session may begin with another one: nothing
    /// tells it of the first, and the survey changes the order.)
    pub(crate) open: usize,
    /// Segments with such pages.
    pub(crate) segments: usize,
    /// Pages of this session that had been given out before.
    pub(crate) read_again: usize,
    /// Pages committed so far.
    pub(crate) committed: usize,
    /// Pages of one segment that may be open.
    most_open: usize,
}

impl Standing {
    /// Pages that may be open in so many segments, one of them in a large lane.
    pub(crate) fn at_most(&self, active: usize) -> usize {
        self.most_open * (active - 1) + OPEN_AT_MOST
    }

    pub(crate) fn line(&self, active: usize) -> String {
        format!(
            "{} pages committed; {} read and not committed, in {} segments (at most {} in {active}); {} read again since \
             the kill before",
            self.committed,
            self.open,
            self.segments,
            self.at_most(active),
            self.read_again
        )
    }
}

impl Pages {
    /// Of so many pages of a segment that may be read and not committed.
    pub(crate) fn with_open(most_open: usize) -> Pages {
        Pages { most_open, ..Pages::default() }
    }

    /// Holds what a session read against what it committed. Panics where it read a committed page again, skipped one, or
    /// had more pages of a segment open than it may.
    pub(crate) fn session_ended(&mut self, log: &[ScanPage], state: &Path) -> Standing {
        let mut read: BTreeMap<u32, Vec<Option<String>>> = BTreeMap::new();
        // The survey's looks at keys are no progress, and no page of the work.
        for page in log[self.seen..].iter().filter(|page| !page.keys_only) {
            read.entry(page.segment.unwrap()).or_default().push(page.start_key.clone());
        }
        self.seen = log.len();
        let mut standing = Standing { most_open: self.most_open, ..Standing::default() };
        for (segment, keys) in &read {
            standing.read_again += self.follow(*segment, keys);
        }
        let before = std::mem::replace(&mut self.committed, committed(state));
        for (segment, before) in &before {
            let now = self.committed.get(segment).unwrap_or_else(|| panic!("segment {segment} lost its checkpoint"));
            assert!(now.pages >= before.pages, "segment {segment} went back: {before:?}, {now:?}");
        }
        for (segment, now) in &self.committed {
            let chain = self.chains.get(segment).map_or(&[][..], Vec::as_slice);
            assert!(now.pages <= chain.len(), "segment {segment}: committed pages that were never read");
            assert!(!now.done || now.pages == chain.len(), "segment {segment} is done, with pages left");
            if let Some(next) = chain.get(now.pages) {
                assert_eq!(
                    *next, now.start_key,
                    "segment {segment}: the committed start key is not that of its next page"
                );
            }
            standing.committed += now.pages;
        }
        let mut beyond = 0;
        for (segment, chain) in &self.chains {
            let open = chain.len() - self.committed.get(segment).map_or(0, |c| c.pages);
            assert!(open <= OPEN_AT_MOST, "segment {segment}: {open} pages were read and not committed");
            beyond += usize::from(open > self.most_open);
            if read.contains_key(segment) {
                standing.open += open;
                standing.segments += usize::from(open > 0);
            }
        }
        // The one in a large lane begins a page before the last writes of the one before it are answered.
        assert!(
            beyond <= 1 || self.most_open == OPEN_AT_MOST,
            "{beyond} segments with more than {} pages",
            self.most_open
        );
        standing
    }

    /// Lays the pages of a session along the chain of its segment, from where the checkpoint was; gives how many of them
    /// had been read before.
    fn follow(&mut self, segment: u32, keys: &[Option<String>]) -> usize {
        let from = self.committed.get(&segment).cloned().unwrap_or_default();
        assert!(!from.done, "segment {segment} was done, and was read again");
        assert_eq!(keys[0], from.start_key, "segment {segment} did not go on at its checkpoint {from:?}");
        let chain = self.chains.entry(segment).or_default();
        let mut again = 0;
        for (i, key) in keys.iter().enumerate() {
            match chain.get(from.pages + i) {
                Some(known) => {
                    assert_eq!(known, key, "segment {segment}: page {} began elsewhere before", from.pages + i + 1);
                    again += 1;
                }
                None => {
                    // Given out for the first time: neither a committed page nor any other may come twice.
                    assert!(!chain.contains(key), "segment {segment}: a page was read twice in one session");
                    chain.push(key.clone());
                }
            }
        }
        again
    }
}

/// What the state file has as committed; nothing before it exists.
fn committed(state: &Path) -> BTreeMap<u32, Committed> {
    if !state.exists() {
        return BTreeMap::new();
    }
    let file = StateFile::open(state).unwrap();
    let Some(current) = file.summary().unwrap().current else { return BTreeMap::new() };
    let segments = file.segments_after(current.run.id, None, u32::MAX).unwrap();
    segments
        .into_iter()
        .map(|(segment, state)| {
            let start_key = match &state.status {
                SegmentStatus::Scanning(Position::Key(key)) => Some(key.to_text()),
                SegmentStatus::Pending | SegmentStatus::Done => None,
            };
            let done = state.status == SegmentStatus::Done;
            (segment, Committed { pages: usize::try_from(state.pages).unwrap(), start_key, done })
        })
        .collect()
}
