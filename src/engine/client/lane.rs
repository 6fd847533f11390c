//! The two kinds of lane for a segment.

/// Requests that an ordinary segment keeps outstanding. With sixteen lanes, this is enough for more than 1,000 WCU/s at
/// 50 ms a request. It is an eighth of a large lane's.
const SHARED_OUTSTANDING: usize = 8;

/// Requests that a large segment keeps outstanding. This is enough for a little more than 1,000 WCU/s, the most that a
/// partition serves, at 50 ms a request.
const LARGE_OUTSTANDING: usize = 64;

/// The kind of lane that a segment is worked on in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    /// One of many, each at a small rate.
    Shared,
    /// One of few, for the segments that take longest.
    Large,
}

impl Lane {
    /// The largest number of write requests that a segment in this lane keeps outstanding: those that wait for permits
    /// and those in flight.
    pub fn outstanding(self) -> usize {
        match self {
            Lane::Shared => SHARED_OUTSTANDING,
            Lane::Large => LARGE_OUTSTANDING,
        }
    }
}
