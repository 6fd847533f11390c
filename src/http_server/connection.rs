//! Limits the number of connections to a server and the lifetime of each connection. So a client that sends nothing or
//! reads nothing cannot exhaust the process's file descriptors or memory. Such a client cannot keep other clients
//! waiting either: a new connection replaces the oldest connection that has sent nothing.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::serve::Listener;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, Sleep};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// The limits of a server's connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// The largest number of open connections. A further connection closes the oldest one that has sent nothing. If
    /// every connection has sent something, it closes the oldest one.
    pub connections: usize,
    /// A connection is closed if no byte of an answer could be sent for this time.
    pub idle: Duration,
    /// A connection is closed after this time.
    pub lifetime: Duration,
}

/// The pause after an error of `accept`, such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Accepts connections within the limits.
pub struct LimitedListener {
    listener: TcpListener,
    limits: ConnectionLimits,
    accepted: u64,
    open: OpenConnections,
}

/// A connection that ends when it reaches a limit, or when it must make room for a newer connection.
pub struct LimitedConnection {
    stream: TcpStream,
    expires: Pin<Box<Sleep>>,
    idle: Duration,
    end: Instant,
    displaced: Pin<Box<WaitForCancellationFutureOwned>>,
    number: u64,
    open: OpenConnections,
}

/// The open connections, oldest first.
#[derive(Clone, Default)]
struct OpenConnections(Arc<Mutex<Vec<OpenConnection>>>);

struct OpenConnection {
    number: u64,
    has_sent: bool,
    displace: CancellationToken,
}

impl OpenConnections {
    /// Adds a connection. If there are too many connections, closes the oldest one that has sent nothing. If every
    /// connection has sent something, closes the oldest one.
    fn add(&self, number: u64, most: usize) -> CancellationToken {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while !open.is_empty() && open.len() >= most {
            let place = open.iter().position(|connection| !connection.has_sent).unwrap_or_default();
            open.remove(place).displace.cancel();
        }
        let displace = CancellationToken::new();
        open.push(OpenConnection { number, has_sent: false, displace: displace.clone() });
        displace
    }

    fn note_sent(&self, number: u64) {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        open.iter_mut().filter(|connection| connection.number == number).for_each(|found| found.has_sent = true);
    }

    fn remove(&self, number: u64) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|connection| connection.number != number);
    }
}

impl LimitedListener {
    /// Limits the connections that a listener accepts from now on.
    pub fn new(listener: TcpListener, limits: ConnectionLimits) -> LimitedListener {
        LimitedListener { listener, limits, accepted: 0, open: OpenConnections::default() }
    }

    fn limited(&mut self, stream: TcpStream) -> LimitedConnection {
        let ConnectionLimits { connections, idle, lifetime } = self.limits;
        self.accepted += 1;
        let (number, open) = (self.accepted, self.open.clone());
        LimitedConnection {
            stream,
            expires: Box::pin(tokio::time::sleep(idle.min(lifetime))),
            idle,
            end: Instant::now() + lifetime,
            displaced: Box::pin(open.add(number, connections).cancelled_owned()),
            number,
            open,
        }
    }
}

impl Listener for LimitedListener {
    type Io = LimitedConnection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (LimitedConnection, SocketAddr) {
        loop {
            match self.listener.accept().await {
                Ok((stream, from)) => return (self.limited(stream), from),
                Err(error) => {
                    tracing::debug!(%error, "a server cannot accept a connection");
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
    /// Returns an error if this connection must end. Also wakes the task when this becomes true.
    fn check(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        let expired = self.expires.as_mut().poll(context).is_ready();
        let displaced = self.displaced.as_mut().poll(context).is_ready();
        if expired || displaced { Err(io::ErrorKind::TimedOut.into()) } else { Ok(()) }
    }

    /// The client has received a part of an answer, so the connection is not idle.
    fn extend(&mut self, context: &mut Context<'_>) {
        let deadline = self.end.min(Instant::now() + self.idle);
        self.expires.as_mut().reset(deadline);
        // Register the waker for the new deadline. If the deadline has passed, the next call finds it.
        let _ = self.expires.as_mut().poll(context);
    }
}

impl Drop for LimitedConnection {
    fn drop(&mut self) {
        self.open.remove(self.number);
    }
}

impl AsyncRead for LimitedConnection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check(context)?;
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if buffer.filled().len() > before {
            self.open.note_sent(self.number);
        }
        read
    }
}

impl AsyncWrite for LimitedConnection {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.check(context)?;
        let written = ready!(Pin::new(&mut self.stream).poll_write(context, bytes))?;
        self.extend(context);
        Poll::Ready(Ok(written))
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
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    const LIMITS: ConnectionLimits =
        ConnectionLimits { connections: 8, idle: Duration::from_secs(15), lifetime: Duration::from_secs(60) };

    async fn listen() -> LimitedListener {
        LimitedListener::new(TcpListener::bind("127.0.0.1:0").await.unwrap(), LIMITS)
    }

    async fn connect(limited: &mut LimitedListener) -> (TcpStream, LimitedConnection) {
        let client = TcpStream::connect(limited.local_addr().unwrap()).await.unwrap();
        (client, limited.accept().await.0)
    }

    async fn ends(connection: &mut LimitedConnection) -> bool {
        let read = connection.read_u8().await;
        read.is_err_and(|error| error.kind() == io::ErrorKind::TimedOut)
    }

    /// A client that sends nothing keeps its connection for a limited time, but only until another client needs its
    /// place.
    #[tokio::test(start_paused = true)]
    async fn idle_connections_are_limited_and_expire() {
        let mut limited = listen().await;
        let mut all = Vec::new();
        // The oldest connection has sent something, so it stays open.
        let (mut client, mut active) = connect(&mut limited).await;
        client.write_all(b"GET").await.unwrap();
        assert_eq!(active.read_u8().await.unwrap(), b'G');
        for _ in 0..3 * LIMITS.connections {
            all.push(connect(&mut limited).await);
        }
        let open = limited.open.0.lock().unwrap().len();
        assert_eq!(open, LIMITS.connections);
        let before = Instant::now();
        for (_, displaced) in &mut all[..=2 * LIMITS.connections] {
            assert!(ends(displaced).await);
        }
        assert!(before.elapsed() < LIMITS.idle, "a displaced connection ends at once");
        assert_eq!(active.read_u8().await.unwrap(), b'E');
        // The other connections end after the time for idle connections, and each of them makes room for a new one.
        let (_, last) = all.last_mut().unwrap();
        assert!(ends(last).await && before.elapsed() >= LIMITS.idle);
        drop((active, all));
        assert!(limited.open.0.lock().unwrap().is_empty());
    }

    /// If every connection has sent something, the oldest one is closed.
    #[tokio::test(start_paused = true)]
    async fn slow_senders_are_displaced_in_turn() {
        let mut limited = listen().await;
        let mut all = Vec::new();
        for _ in 0..=LIMITS.connections {
            let (mut client, mut accepted) = connect(&mut limited).await;
            client.write_all(b"G").await.unwrap();
            assert_eq!(accepted.read_u8().await.unwrap(), b'G');
            all.push((client, accepted));
        }
        let before = Instant::now();
        assert!(ends(&mut all[0].1).await && before.elapsed() < LIMITS.idle);
        let (client, second) = &mut all[1];
        client.write_all(b"E").await.unwrap();
        assert_eq!(second.read_u8().await.unwrap(), b'E');
    }

    /// A stream of small answers stays open longer than `idle`, but not longer than `lifetime`.
    #[tokio::test(start_paused = true)]
    async fn a_connection_that_sends_lives_until_its_lifetime_ends() {
        let mut limited = listen().await;
        let (_client, mut connection) = connect(&mut limited).await;
        let began = Instant::now();
        let error = loop {
            if let Err(error) = connection.write_all(b"still here").await {
                break error;
            }
            tokio::time::sleep(Duration::from_secs(5)).await;
        };
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        let lived = began.elapsed();
        assert!(lived >= LIMITS.lifetime && lived <= LIMITS.lifetime + Duration::from_secs(6), "{lived:?}");
    }

    /// A client that reads nothing does not keep an answer in memory.
    #[tokio::test(start_paused = true)]
    async fn a_connection_to_a_client_that_reads_nothing_expires() {
        let mut limited = listen().await;
        let (_client, mut connection) = connect(&mut limited).await;
        let began = Instant::now();
        let error = connection.write_all(&vec![b'x'; 64 << 20]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(began.elapsed() >= LIMITS.idle && began.elapsed() < LIMITS.lifetime, "{:?}", began.elapsed());
    }
}
