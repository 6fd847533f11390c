//! A server on a thread and a runtime of its own, which stops in bounded time whatever its clients do.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Mutex, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

use tokio::sync::oneshot;

use super::LocalError;

/// How long a request that is being worked on may hold up the end of the runtime. Idle connections and half-sent
/// requests do not: their tasks are dropped.
const FINISH_REQUESTS: Duration = Duration::from_secs(3);

/// How long `stop` waits for the thread: a little longer than the runtime's own bound.
const STOP_AT_MOST: Duration = Duration::from_secs(4);

/// A port that is taken but not yet served.
pub(super) struct Port {
    listener: std::net::TcpListener,
    address: SocketAddr,
}

impl Port {
    /// Takes a port of 127.0.0.1; 0 means any free one.
    pub(super) fn take(port: u16) -> Result<Port, LocalError> {
        Port::take_of(Ipv4Addr::LOCALHOST.into(), port)
    }

    /// Takes a port of this address.
    pub(super) fn take_of(address: IpAddr, port: u16) -> Result<Port, LocalError> {
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

/// The running thread. Dropping it stops it.
pub(super) struct Server {
    stop: Option<oneshot::Sender<()>>,
    // A mutex only so that servers may be shared between threads; it is never contended.
    ended: Mutex<mpsc::Receiver<()>>,
}

impl Server {
    /// Runs `serve` on a new thread, whose runtime has so many workers, until [`Server::stop`].
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
            runtime.shutdown_timeout(FINISH_REQUESTS);
            // Nobody listens if the owner gave up waiting.
            end.send(()).ok();
        };
        thread::Builder::new().name(name.to_owned()).spawn(run).map_err(LocalError::Thread)?;
        Ok(Server { stop: Some(stop), ended: Mutex::new(ended) })
    }

    /// Closes the port and every connection, and waits for it, at most a few seconds.
    pub(super) fn stop(&mut self) {
        if let Some(stop) = self.stop.take() {
            // The thread is gone already if nobody receives.
            stop.send(()).ok();
            let ended = self.ended.get_mut().unwrap_or_else(PoisonError::into_inner);
            ended.recv_timeout(STOP_AT_MOST).ok();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}
