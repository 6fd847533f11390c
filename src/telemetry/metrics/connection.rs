//! Limits the connections to the endpoint: their number, and how long each of them lives. So a client that opens
//! connections and sends nothing can use neither the process's files nor its memory without bound, and cannot keep a
//! probe or a scraper waiting: a new connection takes the place of the one that has sent nothing for the longest time.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::serve::Listener;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Sleep;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// The largest number of open connections: enough for several scrapers and probes at once.
const MAX_CONNECTIONS: usize = 32;

/// A connection is closed after this time. It serves one request, because the answer closes it.
const LIFETIME: Duration = Duration::from_secs(15);

/// The pause after an error of `accept`, such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Accepts connections within the limits.
pub(super) struct LimitedListener {
    listener: TcpListener,
    open: OpenConnections,
}

/// A connection that ends after [`LIFETIME`], or when a newer connection needs its place.
pub(super) struct LimitedConnection {
    stream: TcpStream,
    expires: Pin<Box<Sleep>>,
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
    /// Adds a connection. If there are too many, closes the oldest one that has sent nothing, or else the oldest one.
    fn add(&self, number: u64) -> CancellationToken {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while open.len() >= MAX_CONNECTIONS {
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
    pub(super) fn new(listener: TcpListener) -> LimitedListener {
        LimitedListener { listener, open: OpenConnections::default() }
    }
}

impl Listener for LimitedListener {
    type Io = LimitedConnection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (LimitedConnection, SocketAddr) {
        loop {
            match self.listener.accept().await {
                Ok((stream, from)) => return (LimitedConnection::new(stream, &self.open), from),
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
    fn new(stream: TcpStream, open: &OpenConnections) -> LimitedConnection {
        static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
        let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let displaced = Box::pin(open.add(number).cancelled_owned());
        let expires = Box::pin(tokio::time::sleep(LIFETIME));
        LimitedConnection { stream, expires, displaced, number, open: open.clone() }
    }

    /// Returns an error if this connection must end. Also wakes the task when this becomes true.
    fn check(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        let expired = self.expires.as_mut().poll(context).is_ready();
        let displaced = self.displaced.as_mut().poll(context).is_ready();
        if expired || displaced { Err(io::ErrorKind::TimedOut.into()) } else { Ok(()) }
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
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    async fn connect(limited: &mut LimitedListener) -> (TcpStream, LimitedConnection) {
        let client = TcpStream::connect(limited.local_addr().unwrap()).await.unwrap();
        (client, limited.accept().await.0)
    }

    async fn ends(connection: &mut LimitedConnection) -> bool {
        let read = connection.read_u8().await;
        read.is_err_and(|error| error.kind() == io::ErrorKind::TimedOut)
    }

    /// A client that sends nothing holds its connection only for a limited time, and only while nobody needs its place.
    #[tokio::test(start_paused = true)]
    async fn idle_connections_are_limited_and_expire() {
        let mut limited = LimitedListener::new(TcpListener::bind("127.0.0.1:0").await.unwrap());
        let mut all = Vec::new();
        // The oldest connection has sent something, so it stays.
        let (mut client, mut active) = connect(&mut limited).await;
        client.write_all(b"GET").await.unwrap();
        assert_eq!(active.read_u8().await.unwrap(), b'G');
        for _ in 0..3 * MAX_CONNECTIONS {
            all.push(connect(&mut limited).await);
        }
        let open = limited.open.0.lock().unwrap().len();
        assert_eq!(open, MAX_CONNECTIONS);
        let before = tokio::time::Instant::now();
        for (_, displaced) in &mut all[..=2 * MAX_CONNECTIONS] {
            assert!(ends(displaced).await);
        }
        assert!(before.elapsed() < LIFETIME, "a displaced connection ends at once");
        assert_eq!(active.read_u8().await.unwrap(), b'E');
        // The others end after their lifetime, and each of them leaves its place.
        let (_, last) = all.last_mut().unwrap();
        assert!(ends(last).await && before.elapsed() >= LIFETIME);
        drop((active, all));
        assert!(limited.open.0.lock().unwrap().is_empty());
    }

    /// If every connection has sent something, the oldest one makes place.
    #[tokio::test(start_paused = true)]
    async fn slow_senders_are_displaced_in_turn() {
        let mut limited = LimitedListener::new(TcpListener::bind("127.0.0.1:0").await.unwrap());
        let mut all = Vec::new();
        for _ in 0..=MAX_CONNECTIONS {
            let (mut client, mut accepted) = connect(&mut limited).await;
            client.write_all(b"G").await.unwrap();
            assert_eq!(accepted.read_u8().await.unwrap(), b'G');
            all.push((client, accepted));
        }
        let before = tokio::time::Instant::now();
        assert!(ends(&mut all[0].1).await && before.elapsed() < LIFETIME);
        let (client, second) = &mut all[1];
        client.write_all(b"E").await.unwrap();
        assert_eq!(second.read_u8().await.unwrap(), b'E');
    }
}
