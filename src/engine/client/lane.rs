//! The two kinds of lanes, in which segments are processed.

/// The number of requests that an ordinary segment keeps outstanding. With sixteen lanes and 50 ms per request, this
/// number is enough for more than 1,000 WCU/s. A large segment keeps eight times this number of requests outstanding.
const SHARED_OUTSTANDING: usize = 8;

/// The number of requests that a large segment keeps outstanding. At 50 ms per request, this number is enough for a
/// little more than 1,000 WCU/s. A partition does not serve a higher rate.
const LARGE_OUTSTANDING: usize = 64;

/// The kind of lane in which a segment is processed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    /// One of many lanes, each with a small rate.
    Shared,
    /// One of a few lanes, which are reserved for the segments that take longest.
    Large,
}

impl Lane {
    /// Returns the largest number of write requests that a segment in this lane keeps outstanding. This number includes
    /// both requests that wait for permits and requests in flight.
    pub fn outstanding(self) -> usize {
        match self {
            Lane::Shared => SHARED_OUTSTANDING,
            Lane::Large => LARGE_OUTSTANDING,
        }
    }
}
