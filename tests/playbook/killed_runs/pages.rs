//! Compares the pages that the server returned with the pages that the state file records as committed. Also finds the
//! pages that the server returned more than once.

use std::collections::BTreeMap;
use std::path::Path;

use backfill::internals::item::Position;
use backfill::internals::local::proxy::ScanPage;
use backfill::internals::state::SegmentStatus;
use backfill::internals::state::sqlite::StateFile;

/// The maximum number of open pages in a segment if items are set aside or the lane is large. A page is open if it was
/// read but is not committed. The limit allows eight waiting pages, the page that is being written, and the page that
/// is being fetched.
pub(crate) const OPEN_AT_MOST: usize = 10;

/// The pages of a run, across all its sessions.
///
/// The table's keys do not change during the run, and pages have a fixed `Limit`. So each segment is one chain of
/// pages, and the start key identifies each page. A session that resumes after page n reads the pages n+1, n+2 and so
/// on.
#[derive(Debug, Default)]
pub(crate) struct Pages {
    /// Number of entries in the server's log that have been processed.
    seen: usize,
    /// Start keys of all pages that the server has returned, by segment.
    chains: BTreeMap<u32, Vec<Option<String>>>,
    committed: BTreeMap<u32, Committed>,
    /// The maximum number of open pages in a segment. Only a segment in a large lane can exceed it.
    most_open: usize,
}

/// The progress of a segment in the state file.
#[derive(Debug, Clone, Default, PartialEq)]
struct Committed {
    pages: usize,
    start_key: Option<String>,
    done: bool,
}

/// The state of the pages after a session has ended.
#[derive(Debug, Default)]
pub(crate) struct SessionPages {
    /// Number of open pages, which are partly written or prefetched. The number includes only segments that this
    /// session read. Other segments can have open pages too, because a session that follows an early kill can begin
    /// with a different segment.
    pub(crate) open: usize,
    /// Number of segments with open pages, which are pages that were read but not committed.
    pub(crate) segments: usize,
    /// Number of pages in this session that the server had already returned before.
    pub(crate) read_again: usize,
    /// Number of pages committed so far.
    pub(crate) committed: usize,
    /// The maximum number of open pages in one segment.
    most_open: usize,
}

impl SessionPages {
    /// Returns the maximum number of open pages in `active` segments, one of which is in a large lane.
    pub(crate) fn at_most(&self, active: usize) -> usize {
        self.most_open * (active - 1) + OPEN_AT_MOST
    }

    pub(crate) fn line(&self, active: usize) -> String {
        format!(
            "{} pages committed; {} read but not committed, in {} segments (at most {} in {active}); {} read again since \
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
    /// Starts without pages. `most_open` is the maximum number of open pages of a segment in a shared lane.
    pub(crate) fn with_open(most_open: usize) -> Pages {
        Pages { most_open, ..Pages::default() }
    }

    /// Compares the pages that a session read with the pages that it committed. Panics if the session reread a
    /// committed page, skipped a page, or had too many open pages in a segment.
    pub(crate) fn session_ended(&mut self, log: &[ScanPage], state: &Path) -> SessionPages {
        let mut read: BTreeMap<u32, Vec<Option<String>>> = BTreeMap::new();
        // Ignore the pages that the survey reads, because the survey needs only their keys.
        for page in log[self.seen..].iter().filter(|page| !page.keys_only) {
            read.entry(page.segment.unwrap()).or_default().push(page.start_key.clone());
        }
        self.seen = log.len();
        let mut session_pages = SessionPages { most_open: self.most_open, ..SessionPages::default() };
        for (segment, keys) in &read {
            session_pages.read_again += self.match_chain(*segment, keys);
        }
        let before = std::mem::replace(&mut self.committed, committed(state));
        for (segment, before) in &before {
            let now =
                self.committed.get(segment).unwrap_or_else(|| panic!("segment {segment} has lost its checkpoint"));
            assert!(now.pages >= before.pages, "segment {segment} went back: {before:?}, {now:?}");
        }
        for (segment, now) in &self.committed {
            let chain = self.chains.get(segment).map_or(&[][..], Vec::as_slice);
            assert!(now.pages <= chain.len(), "segment {segment}: more pages are committed than were read");
            assert!(!now.done || now.pages == chain.len(), "segment {segment} is done, but has uncommitted pages");
            if let Some(next) = chain.get(now.pages) {
                assert_eq!(
                    *next, now.start_key,
                    "segment {segment}: the committed start key is not that of its next page"
                );
            }
            session_pages.committed += now.pages;
        }
        let mut beyond = 0;
        for (segment, chain) in &self.chains {
            let open = chain.len() - self.committed.get(segment).map_or(0, |c| c.pages);
            assert!(open <= OPEN_AT_MOST, "segment {segment}: {open} pages were read but not committed");
            beyond += usize::from(open > self.most_open);
            if read.contains_key(segment) {
                session_pages.open += open;
                session_pages.segments += usize::from(open > 0);
            }
        }
        // A segment in a large lane begins its next page before the previous page's last writes are answered.
        assert!(
            beyond <= 1 || self.most_open == OPEN_AT_MOST,
            "{beyond} segments have more than {} open pages",
            self.most_open
        );
        session_pages
    }

    /// Matches a session's pages in one segment with the segment's chain, starting at the checkpoint. Returns how many
    /// of these pages had been read before.
    fn match_chain(&mut self, segment: u32, keys: &[Option<String>]) -> usize {
        let from = self.committed.get(&segment).cloned().unwrap_or_default();
        assert!(!from.done, "segment {segment} was done, but was read again");
        assert_eq!(keys[0], from.start_key, "segment {segment} did not resume at its checkpoint {from:?}");
        let chain = self.chains.entry(segment).or_default();
        let mut again = 0;
        for (i, key) in keys.iter().enumerate() {
            match chain.get(from.pages + i) {
                Some(known) => {
                    assert_eq!(
                        known,
                        key,
                        "segment {segment}: page {} had another start key before",
                        from.pages + i + 1
                    );
                    again += 1;
                }
                None => {
                    // The server returns this page for the first time, so its key must not be in the chain.
                    assert!(!chain.contains(key), "segment {segment}: a page was read twice in one session");
                    chain.push(key.clone());
                }
            }
        }
        again
    }
}

/// Returns the committed progress of each segment in the state file. The result is empty if the file does not exist
/// yet.
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
                SegmentStatus::Scanning(Position::Offset(offset)) => panic!("no file is read: {offset}"),
                SegmentStatus::Pending | SegmentStatus::Done => None,
            };
            let done = state.status == SegmentStatus::Done;
            (segment, Committed { pages: usize::try_from(state.pages).unwrap(), start_key, done })
        })
        .collect()
}
