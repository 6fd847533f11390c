//! A server with its own thread and runtime. It stops in bounded time, even if clients keep connections open.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Mutex, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

use tokio::sync::oneshot;

use super::LocalError;

/// The maximum time for which a request in progress delays the shutdown of the runtime. Idle connections and incomplete
/// requests do not delay the shutdown, because their tasks are dropped.
const REQUEST_GRACE: Duration = Duration::from_secs(3);

/// The maximum time that `stop` waits for the thread. It is slightly longer than the maximum time that the runtime
/// needs to shut down.
const MAX_STOP_TIME: Duration = Duration::from_secs(4);

/// A port that is bound but does not answer requests yet.
pub(super) struct Port {
    listener: std::net::TcpListener,
    address: SocketAddr,
}

impl Port {
    /// Binds a port on 127.0.0.1; 0 picks any available port.
    pub(super) fn bind_loopback(port: u16) -> Result<Port, LocalError> {
        Port::bind(Ipv4Addr::LOCALHOST.into(), port)
    }

    /// Binds a port on this address.
    pub(super) fn bind(address: IpAddr, port: u16) -> Result<Port, LocalError> {
        let failed = |why: io::Error| match why.kind() {
            io::ErrorKind::AddrInUse => LocalError::PortTaken { address, port },
            _ => LocalError::Listen { at: SocketAddr::new(address, port), why },
        };
        let listener = std::net::TcpListener::bind((address, port)).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Port { listener, address })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }
}

/// The running server thread. Dropping this value stops the thread.
pub(super) struct Server {
    stop: Option<oneshot::Sender<()>>,
    // The mutex only allows threads to share the server. No thread ever waits for the mutex.
    ended: Mutex<mpsc::Receiver<()>>,
}

impl Server {
    /// Runs `serve` on a new thread until [`Server::stop`]. The thread's runtime has `workers` worker threads.
    pub(super) fn spawn<F>(
        name: &str,
        workers: usize,
        port: Port,
        serve: impl FnOnce(tokio::net::TcpListener) -> F + Send + 'static,
    ) -> Result<Server, LocalError>
    where
        F: Future<Output = ()>,
    {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(workers)
            .thread_name(name)
            .enable_all()
            .build()
            .map_err(LocalError::Thread)?;
        let listener = {
            let _context = runtime.enter();
            tokio::net::TcpListener::from_std(port.listener).map_err(LocalError::Thread)?
        };
        let (stop, stopped) = oneshot::channel();
        let (end, ended) = mpsc::channel();
        let run = move || {
            runtime.block_on(async move {
                tokio::select! {
                    () = serve(listener) => {}
                    _ = stopped => {}
                }
            });
            runtime.shutdown_timeout(REQUEST_GRACE);
            // The send fails if the owner no longer waits for the result.
            end.send(()).ok();
        };
        thread::Builder::new().name(name.to_owned()).spawn(run).map_err(LocalError::Thread)?;
        Ok(Server { stop: Some(stop), ended: Mutex::new(ended) })
    }

    /// Closes the port and every connection, and waits at most a few seconds for the thread to end.
    pub(super) fn stop(&mut self) {
        if let Some(stop) = self.stop.take() {
            // The send fails if the thread has already ended.
            stop.send(()).ok();
            let ended = self.ended.get_mut().unwrap_or_else(PoisonError::into_inner);
            ended.recv_timeout(MAX_STOP_TIME).ok();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}
