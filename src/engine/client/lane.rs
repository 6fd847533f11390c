//! The two kinds of lanes in which segments are worked on.

/// The number of requests that an ordinary segment keeps outstanding. With sixteen lanes, this number is enough for
/// more than 1,000 WCU/s if a request takes 50 ms. A large segment keeps eight times this number of requests
/// outstanding.
const SHARED_OUTSTANDING: usize = 8;

/// The number of requests that a large segment keeps outstanding. This number is enough for a little more than 1,000
/// WCU/s if a request takes 50 ms. A partition does not serve a higher rate.
const LARGE_OUTSTANDING: usize = 64;

/// The kind of lane in which a segment is worked on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    /// One of many lanes, each with a small rate.
    Shared,
    /// One of a few lanes for the segments that take longest.
    Large,
}

impl Lane {
    /// The largest number of write requests that a segment in this lane keeps outstanding. This number includes
    /// requests that wait for permits and requests in flight.
    pub fn outstanding(self) -> usize {
        match self {
            Lane::Shared => SHARED_OUTSTANDING,
            Lane::Large => LARGE_OUTSTANDING,
        }
    }
}
