//! The report as a live page: `report --serve`.
//!
//! The server only reads. It makes the page anew from the state file and the plan file when one of them has changed, and
//! tells each open page. The page then requests the new figures and shows them in place.
//!
//! | file | purpose |
//! | --- | --- |
//! | `server.rs` | the addresses, the headers, and who may ask |
//! | `events.rs` | the stream that tells a page about new figures |
//! | `current.rs` | one task that keeps the page current for all clients |
//! | `look.rs` | reads the files and makes the page |
//! | `stamp.rs` | finds out, without reading the files, whether they have changed |
//!
//! The work is bounded. One task reads the files, only while somebody asks, and at most a fifth of the time. All clients
//! share its result. The number of connections and of streams is limited, and a client that reads nothing loses its
//! connection.

mod current;
mod events;
mod look;
mod server;
mod stamp;

pub use look::{FirstPage, LiveSource, PlanReader};
pub use server::{LiveListener, LiveServer};
