//! What can go wrong on this side of the socket.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

/// Why the embedded engine, or the layer in front of it, did not start or did not do as it was asked.
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    /// Somebody else listens on the port.
    #[error("Port {port} on {address} is taken by another program. Name another with --port, or 0 for any free one")]
    PortTaken {
        /// The address to listen on.
        address: IpAddr,
        /// The port that was asked for.
        port: u16,
    },
    /// The port cannot be listened on for another reason.
    #[error("Cannot listen on {at}: {why}")]
    Listen {
        /// The address and port that were asked for.
        at: SocketAddr,
        /// What the operating system said.
        why: io::Error,
    },
    /// The upstream's address is not one that can be forwarded to.
    #[error("{upstream:?} is not an address to forward to; it has the form http://127.0.0.1:8000")]
    Upstream {
        /// As it was given.
        upstream: String,
    },
    /// The database file (or its lock beside it) cannot be created, read or written.
    #[error("Cannot use the database file {}: {why}. Nothing was changed; name a file in a directory that you can write to", path.display())]
    File {
        /// The database file.
        path: PathBuf,
        /// What the operating system or SQLite said.
        why: String,
    },
    /// The file exists and is something else.
    #[error("{} is not a database of the embedded engine ({what}). It was left as it is; name another file", path.display())]
    Foreign {
        /// The database file.
        path: PathBuf,
        /// What it is instead.
        what: &'static str,
    },
    /// Another process serves this file.
    #[error("The database file {} is in use by another process. Stop that one, or use its endpoint", path.display())]
    InUse {
        /// The database file.
        path: PathBuf,
    },
    /// The engine refused a request, in DynamoDB's words.
    #[error("The embedded engine refused it: {0}")]
    Engine(String),
    /// SQLite refused something beneath the engine.
    #[error("SQLite, beneath the embedded engine, refused it: {0}")]
    Sqlite(String),
    /// A thread or a runtime could not be started, or died.
    #[error("Cannot run the server's thread: {0}")]
    Thread(io::Error),
}

impl From<dynoxide::DynoxideError> for LocalError {
    fn from(why: dynoxide::DynoxideError) -> LocalError {
        LocalError::Engine(why.to_string())
    }
}
