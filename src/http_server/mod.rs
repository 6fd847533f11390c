//! What the program's own HTTP servers share: limits on their connections, and the check of the `Host` header.
//!
//! A server on loopback is not private: every web page that a browser on this machine shows can send it requests. The
//! owner of a page can change the DNS entry of the page's name to a loopback address (DNS rebinding). The page can then
//! also read the answers. The `Host` header of such a request contains the page's name, so a server refuses names that
//! are not its own.

mod connection;
mod host;

pub use connection::{ConnectionLimits, LimitedConnection, LimitedListener};
pub use host::{is_literal, names_address};
