//! An application beside the job: its own requests, at its own rates, and what it suffers.

mod spec;

pub use spec::TrafficSpec;
