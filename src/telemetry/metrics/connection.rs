//! Limits the connections to the endpoint: their number, and how long each of them lives. So a client that opens
//! connections and sends nothing can use neither the process's files nor its memory without bound.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::serve::Listener;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Sleep;

/// The largest number of open connections: enough for several scrapers and probes at once.
const MAX_CONNECTIONS: usize = 32;

/// A connection is closed after this time. It serves one request, because the answer closes it.
const LIFETIME: Duration = Duration::from_secs(15);

/// The pause after an error of `accept`, such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Accepts connections within the limits.
pub(super) struct LimitedListener {
    listener: TcpListener,
    free: Arc<Semaphore>,
}

/// A connection that ends after [`LIFETIME`].
pub(super) struct LimitedConnection {
    stream: TcpStream,
    expires: Pin<Box<Sleep>>,
    _permit: Option<OwnedSemaphorePermit>,
}

impl LimitedListener {
    pub(super) fn new(listener: TcpListener) -> LimitedListener {
        LimitedListener { listener, free: Arc::new(Semaphore::new(MAX_CONNECTIONS)) }
    }
}

impl Listener for LimitedListener {
    type Io = LimitedConnection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (LimitedConnection, SocketAddr) {
        // The semaphore is never closed, so this is always a permit.
        let permit = Arc::clone(&self.free).acquire_owned().await.ok();
        loop {
            match self.listener.accept().await {
                Ok((stream, from)) => {
                    let expires = Box::pin(tokio::time::sleep(LIFETIME));
                    return (LimitedConnection { stream, expires, _permit: permit }, from);
                }
                Err(error) => {
                    tracing::debug!(%error, "the metrics endpoint cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

impl LimitedConnection {
    fn check_lifetime(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        match self.expires.as_mut().poll(context) {
            Poll::Ready(()) => Err(io::ErrorKind::TimedOut.into()),
            Poll::Pending => Ok(()),
        }
    }
}

impl AsyncRead for LimitedConnection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check_lifetime(context)?;
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for LimitedConnection {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.check_lifetime(context)?;
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt as _;
    use tokio::time::timeout;

    use super::*;

    /// A client that sends nothing holds its connection only for a limited time, and cannot open more than the limit.
    #[tokio::test(start_paused = true)]
    async fn idle_connections_are_limited_and_expire() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut limited = LimitedListener::new(listener);
        let mut clients = Vec::new();
        let mut accepted = Vec::new();
        for _ in 0..MAX_CONNECTIONS {
            clients.push(std::net::TcpStream::connect(address).unwrap());
            accepted.push(limited.accept().await.0);
        }
        let _waiting = std::net::TcpStream::connect(address).unwrap();
        assert!(timeout(Duration::from_secs(5), limited.accept()).await.is_err(), "one connection too many");
        let mut first = accepted.remove(0);
        let error = first.read_u8().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        drop(first);
        limited.accept().await;
    }
}
