//! Errors of the embedded engine and of the proxy.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

/// The reason why the embedded engine or the proxy did not start, or could not carry out a call.
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    /// The port is in use by another program.
    #[error(
        "Port {port} on {address} is in use by another program. Nothing was started. Choose another port with --port, or use \
         --port 0 for any free port"
    )]
    PortTaken {
        /// The address to listen on.
        address: IpAddr,
        /// The requested port.
        port: u16,
    },
    /// The server cannot listen on the port, although no other program uses the port.
    #[error(
        "Cannot listen on {at}: {why}. Nothing was started. Choose another address with --listen, or another port with \
         --port"
    )]
    Listen {
        /// The requested address and port.
        at: SocketAddr,
        /// The error of the operating system.
        why: io::Error,
    },
    /// The proxy cannot forward requests to this upstream address.
    #[error("Cannot forward to {upstream:?}: the address must have the form http://127.0.0.1:8000")]
    Upstream {
        /// The rejected address.
        upstream: String,
    },
    /// The database file or its lock file cannot be created, read or written.
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
        /// A description of what the file really is.
        what: &'static str,
    },
    /// The file is in use by another process.
    #[error("The database file {} is in use by another process. Stop that process, or use its endpoint", path.display())]
    InUse {
        /// The database file.
        path: PathBuf,
    },
    /// The engine refused a request. The text is DynamoDB's error message.
    #[error("The embedded engine refused the request: {0}")]
    Engine(String),
    /// SQLite refused an operation on the engine's database.
    #[error("SQLite refused an operation on the embedded engine's database: {0}")]
    Sqlite(String),
    /// A thread or a runtime did not start, or ended unexpectedly.
    #[error("Cannot run the server's thread: {0}")]
    Thread(io::Error),
}

impl From<dynoxide::DynoxideError> for LocalError {
    fn from(why: dynoxide::DynoxideError) -> LocalError {
        LocalError::Engine(why.to_string())
    }
}
