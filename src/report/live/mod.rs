//! The report as a live page: `report --serve`.
//!
//! The server only reads. A *look* is one check of the state file and the plan file. If a file has changed, the look
//! makes a new page from both files, and the server notifies each open page. The page then requests the new figures and
//! shows them in place.
//!
//! | file | purpose |
//! | --- | --- |
//! | `server.rs` | the addresses, the headers, and the checks of requests |
//! | `events.rs` | the stream that tells a page about new figures |
//! | `current.rs` | one task that keeps the page current for all clients |
//! | `look.rs` | reads the files and makes the page |
//! | `stamp.rs` | finds out, without reading the files, whether they have changed |
//!
//! The work is bounded. One task reads the files. It reads them only while clients request pages, and for at most a
//! fifth of the time. All clients share its result. The number of connections and of streams is limited, and a client
//! that reads nothing loses its connection.

mod current;
mod events;
mod look;
mod server;
mod stamp;

pub use look::{FirstPage, LiveSource, PlanReader};
pub use server::{LiveListener, LiveServer};
