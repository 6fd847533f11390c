//! Errors of the embedded engine and of the layer in front of it.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

/// Why the embedded engine, or the layer in front of it, did not start or could not carry out a call.
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    /// Another program listens on the port.
    #[error(
        "Port {port} on {address} is taken by another program. Choose another port with --port, or 0 for any free port"
    )]
    PortTaken {
        /// The address to listen on.
        address: IpAddr,
        /// The requested port.
        port: u16,
    },
    /// The server cannot listen on the port for another reason.
    #[error("Cannot listen on {at}: {why}")]
    Listen {
        /// The requested address and port.
        at: SocketAddr,
        /// The error of the operating system.
        why: io::Error,
    },
    /// The layer in front cannot forward to this upstream address.
    #[error("Cannot forward to {upstream:?}: the address must have the form http://127.0.0.1:8000")]
    Upstream {
        /// The rejected address.
        upstream: String,
    },
    /// The database file (or its lock beside it) cannot be created, read or written.
    #[error("Cannot use the database file {}: {why}. Nothing was changed; name a file in a directory that you can write to", path.display())]
    File {
        /// The database file.
        path: PathBuf,
        /// The error of the operating system or of SQLite.
        why: String,
    },
    /// The file exists but is not a database of the embedded engine.
    #[error("{} is not a database of the embedded engine ({what}). It was not changed; name another file", path.display())]
    Foreign {
        /// The database file.
        path: PathBuf,
        /// What the file is instead.
        what: &'static str,
    },
    /// Another process serves this file.
    #[error("The database file {} is in use by another process. Stop that process, or use its endpoint", path.display())]
    InUse {
        /// The database file.
        path: PathBuf,
    },
    /// The engine refused a request with this DynamoDB message.
    #[error("The embedded engine refused the request: {0}")]
    Engine(String),
    /// SQLite refused an operation on the engine's database.
    #[error("SQLite refused an operation on the embedded engine's database: {0}")]
    Sqlite(String),
    /// A thread or a runtime did not start, or has died.
    #[error("Cannot run the server's thread: {0}")]
    Thread(io::Error),
}

impl From<dynoxide::DynoxideError> for LocalError {
    fn from(why: dynoxide::DynoxideError) -> LocalError {
        LocalError::Engine(why.to_string())
    }
}
