//! The two kinds of lane that a segment is worked on in.

/// Requests that an ordinary segment keeps outstanding: with sixteen lanes enough for 1,000 WCU/s at 50 ms a request and
/// more, and an eighth of a large lane's.
const SHARED_OUTSTANDING: usize = 8;

/// Requests that a large segment keeps outstanding: 1,000 WCU/s, which is all that a partition serves, at 50 ms a request,
/// and some more.
const LARGE_OUTSTANDING: usize = 64;

/// What kind of lane a segment is worked on in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    /// One of many, each at a small rate.
    Shared,
    /// One of few, for segments that take longest.
    Large,
}

impl Lane {
    /// Write requests that a segment in this lane keeps outstanding at most: those that wait for permits and those in
    /// flight.
    pub fn outstanding(self) -> usize {
        match self {
            Lane::Shared => SHARED_OUTSTANDING,
            Lane::Large => LARGE_OUTSTANDING,
        }
    }
}
