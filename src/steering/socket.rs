//! The Unix socket through which `ctl` reaches the process that works on a migration.
//!
//! The socket lies beside the state file and has mode 0600. Each connection carries one request and one reply, each as
//! one line. The server also gets the connecting user from the kernel. It accepts only root and the user who started
//! the process.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use nix::unistd::{Uid, geteuid};
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use super::command::{Reply, Request};

/// The longest path of a Unix socket in bytes, on Linux (`sun_path` has 108 bytes and ends with a zero byte).
const MAX_PATH: usize = 107;

/// The name of the folder for sockets that are not beside their state file.
const FOLDER: &str = "backfill";

/// The longest request or reply in bytes.
const MAX_LINE: u64 = 256 * 1024;

/// The time within which a connection must carry its request, and within which a process must reply.
const PATIENCE: Duration = Duration::from_secs(5);

/// The wait after a failed attempt to accept a connection.
const RETRY: Duration = Duration::from_millis(100);

/// Carries out a request and returns the reply.
pub type Handler = Arc<dyn Fn(Request) -> BoxFuture<'static, Reply> + Send + Sync>;

/// A server that listens on a socket. When it is dropped, it stops listening and removes the socket.
pub struct Server {
    path: PathBuf,
    _task: AbortOnDropHandle<()>,
}

/// The error of a request.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// No process listens.
    #[error("no process listens on {0}")]
    NoProcess(String),
    /// The socket belongs to another user.
    #[error(
        "the socket {0} belongs to another user. Nothing was done. Run the command as the user who started the \
         migration"
    )]
    Denied(String),
    /// The process accepted the connection and did not answer.
    #[error(
        "the process did not answer on {path}: {error}. The command may have been carried out: check with `backfill \
         ctl status`"
    )]
    NoAnswer {
        /// The socket.
        path: String,
        /// What went wrong.
        error: String,
    },
}

/// Returns the path at which a process of this user listens for a state file. If the path beside the state file is too
/// long for a socket, the socket lies in a private folder of this user.
pub fn socket_path(state: &Path) -> PathBuf {
    beside(state).unwrap_or_else(|| {
        let runtime = runtime_folder().unwrap_or_else(|| temporary_folder(geteuid()));
        runtime.join(short_name(state))
    })
}

/// Returns the socket that exists for a state file; `None` if no process listens.
pub fn existing_socket(state: &Path) -> Option<PathBuf> {
    candidates(state).into_iter().find(|path| path.exists())
}

/// Returns every path at which a process can listen for a state file. The process can belong to the owner of the state
/// file, and its `XDG_RUNTIME_DIR` can differ from this process's.
fn candidates(state: &Path) -> Vec<PathBuf> {
    if let Some(beside) = beside(state) {
        return vec![beside];
    }
    let owner = owner(state).map(Uid::from_raw).filter(|owner| *owner != geteuid());
    let folders = [geteuid()]
        .into_iter()
        .chain(owner)
        .flat_map(|user| [PathBuf::from(format!("/run/user/{user}")).join(FOLDER), temporary_folder(user)]);
    runtime_folder().into_iter().chain(folders).map(|folder| folder.join(short_name(state))).collect()
}

/// Returns the path beside the state file; `None` if it is too long for a socket.
fn beside(state: &Path) -> Option<PathBuf> {
    let mut path = absolute(state).into_os_string();
    path.push(".sock");
    (path.as_bytes().len() <= MAX_PATH).then(|| path.into())
}

fn absolute(state: &Path) -> PathBuf {
    std::path::absolute(state).unwrap_or_else(|_| state.to_owned())
}

/// Returns the name of a socket that is not beside its state file.
fn short_name(state: &Path) -> String {
    let digest = Sha256::digest(absolute(state).as_os_str().as_bytes());
    let name: String = digest[..8].iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{name}.sock")
}

/// Returns the folder for sockets in `XDG_RUNTIME_DIR`; `None` if the variable is not set or too long.
fn runtime_folder() -> Option<PathBuf> {
    let folder = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from)?;
    (folder.is_absolute() && folder.as_os_str().len() < 60).then(|| folder.join(FOLDER))
}

fn temporary_folder(user: Uid) -> PathBuf {
    PathBuf::from(format!("/tmp/{FOLDER}-{user}"))
}

impl Server {
    /// Listens on the socket of a state file. The caller must hold the lock of the state file. So the process that
    /// created an existing socket has ended, and the socket is replaced.
    ///
    /// # Errors
    ///
    /// Fails if the socket cannot be created, or if its folder belongs to another user.
    pub fn listen(state: &Path, handler: Handler) -> io::Result<Server> {
        let path = socket_path(state);
        let beside = path.parent() == std::path::absolute(state)?.parent();
        if let Some(folder) = path.parent().filter(|_| !beside) {
            create_private(folder)?;
        }
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let listener = UnixListener::bind(&path)?;
        // Until this call, other users might be able to connect. `serve` checks the user and refuses them.
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
        let task = tokio::spawn(async move {
            loop {
                match listener.accept().await {
                    Ok((stream, _)) => drop(tokio::spawn(timeout(4 * PATIENCE, serve(stream, Arc::clone(&handler))))),
                    Err(error) => {
                        tracing::warn!("a connection of `ctl` failed: {error}");
                        tokio::time::sleep(RETRY).await;
                    }
                }
            }
        });
        Ok(Server { path, _task: AbortOnDropHandle::new(task) })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // If the removal fails, the remaining socket does no harm: the next process replaces it.
        let _ = fs::remove_file(&self.path);
    }
}

/// Creates a folder that only this user can open. If the folder exists, checks that only this user can open it.
fn create_private(folder: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let found = fs::symlink_metadata(folder)?;
    let is_private = found.is_dir() && found.uid() == geteuid().as_raw() && found.mode() & 0o077 == 0;
    let why = || format!("{} is not a folder that only this user can open", folder.display());
    if is_private { Ok(()) } else { Err(io::Error::new(io::ErrorKind::PermissionDenied, why())) }
}

/// Serves one connection.
async fn serve(mut stream: UnixStream, handler: Handler) -> io::Result<()> {
    let user = stream.peer_cred()?.uid();
    // Read the request even if another user sent it. If the connection ended before the request was read, the sender
    // would not see the reply.
    let line = read_line(&mut stream).await;
    let reply = if user != geteuid().as_raw() && user != 0 {
        tracing::warn!("user {user} tried to steer this migration: refused");
        Reply::refusal("another user started this process. Nothing was done")
    } else {
        match line.map(|line| Request::parse(&line)) {
            // Carry out the request in its own task, so that it is completed even if the connection takes too long.
            Ok(Ok(request)) => match tokio::spawn(handler(request)).await {
                Ok(reply) => reply,
                Err(_) => Reply::refusal("the command failed because of a bug. See the log of the process"),
            },
            Ok(Err(why)) => Reply::refusal(format!("{why}. Nothing was done")),
            Err(error) => Reply::refusal(format!("the request could not be read: {error}. Nothing was done")),
        }
    };
    let mut line = serde_json::to_vec(&reply)?;
    line.push(b'\n');
    stream.write_all(&line).await?;
    stream.shutdown().await
}

async fn read_line(stream: &mut UnixStream) -> io::Result<String> {
    let mut line = String::new();
    let mut reader = BufReader::new(stream.take(MAX_LINE));
    timeout(PATIENCE, reader.read_line(&mut line)).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    Ok(line)
}

/// Returns the user that owns the state file.
fn owner(state: &Path) -> Option<u32> {
    fs::metadata(state).ok().map(|found| found.uid())
}

/// Sends a request to the process that works on the migration of this state file.
///
/// # Errors
///
/// Fails if no process listens, if this user is not allowed to connect, or if the process does not answer.
pub async fn send(state: &Path, request: &Request) -> Result<Reply, SendError> {
    let mut users = vec![0, geteuid().as_raw()];
    users.extend(owner(state));
    let (path, mut stream) = connect(&candidates(state), &users).await.map_err(|denied| match denied {
        Some(path) => SendError::Denied(path.display().to_string()),
        None => SendError::NoProcess(socket_path(state).display().to_string()),
    })?;
    let shown = path.display().to_string();
    let answer = async {
        let mut line = serde_json::to_vec(request)?;
        line.push(b'\n');
        stream.write_all(&line).await?;
        let reply = read_line(&mut stream).await?;
        serde_json::from_str(&reply).map_err(io::Error::from)
    };
    let no_answer = |error: String| SendError::NoAnswer { path: shown.clone(), error };
    match timeout(2 * PATIENCE, answer).await {
        Ok(answer) => answer.map_err(|error| no_answer(error.to_string())),
        Err(_) => Err(no_answer("no reply within 10 seconds".to_owned())),
    }
}

/// Connects to the first of these sockets at which a process of one of these users listens. Everybody can create a
/// socket in the folder for temporary files, so the socket of another user must not hide the right one. If no process
/// of these users listens, the error names the last socket that belongs to another user, if there is one.
async fn connect(paths: &[PathBuf], users: &[u32]) -> Result<(PathBuf, UnixStream), Option<PathBuf>> {
    let mut denied = None;
    for path in paths {
        match UnixStream::connect(path).await {
            Ok(stream) if stream.peer_cred().is_ok_and(|peer| users.contains(&peer.uid())) => {
                return Ok((path.clone(), stream));
            }
            Ok(_) => denied = Some(path.clone()),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => denied = Some(path.clone()),
            Err(_) => {}
        }
    }
    Err(denied)
}

#[cfg(test)]
mod tests {
    use super::super::Command;
    use super::*;

    fn echo() -> Handler {
        Arc::new(|request| {
            Box::pin(async move {
                Reply { refused: None, text: request.actor, state: serde_json::to_value(request.command).unwrap() }
            })
        })
    }

    #[tokio::test]
    async fn a_request_is_answered_and_the_socket_disappears() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("m.db");
        let request = Request::new("abc", "ann@h", Command::Resume);
        assert!(matches!(send(&state, &request).await, Err(SendError::NoProcess(_))));
        fs::write(socket_path(&state), "left by a process that is gone").unwrap();
        let server = Server::listen(&state, echo()).unwrap();
        let mode = fs::metadata(socket_path(&state)).unwrap().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(send(&state, &request).await.unwrap().text, "ann@h");
        let mut stream = UnixStream::connect(socket_path(&state)).await.unwrap();
        stream.write_all(b"nonsense\n").await.unwrap();
        let refused: Reply = serde_json::from_str(&read_line(&mut stream).await.unwrap()).unwrap();
        assert!(refused.refused.unwrap().contains("not JSON"));
        drop(server);
        assert!(!socket_path(&state).exists());
    }

    #[tokio::test]
    async fn a_long_path_moves_into_a_private_folder() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("a".repeat(120));
        fs::create_dir(&folder).unwrap();
        let state = folder.join("m.db");
        let path = socket_path(&state);
        assert!(path.as_os_str().len() <= MAX_PATH && !path.starts_with(&folder), "{}", path.display());
        assert_ne!(path, socket_path(&folder.join("n.db")), "each state file has its own socket");
        let _server = Server::listen(&state, echo()).unwrap();
        assert_eq!(fs::metadata(path.parent().unwrap()).unwrap().mode() & 0o077, 0);
        assert!(send(&state, &Request::new("abc", "a", Command::Drain)).await.is_ok());
        assert_eq!(existing_socket(&state), Some(path));
        assert_eq!(existing_socket(&folder.join("n.db")), None);
    }

    /// `XDG_RUNTIME_DIR` can be unset for a process that cron or a service started.
    #[tokio::test]
    async fn a_process_with_another_runtime_folder_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("a".repeat(120));
        fs::create_dir(&folder).unwrap();
        let state = folder.join("m.db");
        for folder in [format!("/run/user/{}/{FOLDER}", geteuid()).into(), temporary_folder(geteuid())] {
            assert!(candidates(&state).contains(&folder.join(short_name(&state))), "{}", folder.display());
        }
    }

    /// Another user can listen at a path in the folder for temporary files. The socket has the owner of the process
    /// that listens, so the test changes the owner that it accepts.
    #[tokio::test]
    async fn a_socket_of_another_user_does_not_hide_the_right_one() {
        let dir = tempfile::tempdir().unwrap();
        let paths = ["missing", "first", "second"].map(|name| dir.path().join(name));
        let _listeners = [&paths[1], &paths[2]].map(|path| UnixListener::bind(path).unwrap());
        let us = geteuid().as_raw();
        assert_eq!(connect(&paths, &[us]).await.unwrap().0, paths[1]);
        let denied = connect(&paths, &[us + 1]).await.map(|(path, _)| path);
        assert_eq!(denied, Err(Some(paths[2].clone())), "it tried every path");
        assert_eq!(connect(&paths[..1], &[us]).await.map(|(path, _)| path), Err(None));
    }

    #[test]
    fn a_folder_that_others_can_open_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let open = dir.path().join("open");
        fs::create_dir(&open).unwrap();
        fs::set_permissions(&open, fs::Permissions::from_mode(0o755)).unwrap();
        assert!(create_private(&open).is_err());
        std::os::unix::fs::symlink(dir.path(), dir.path().join("link")).unwrap();
        assert!(create_private(&dir.path().join("link")).is_err());
        assert!(create_private(&dir.path().join("new")).is_ok());
    }
}
