//! A server that records every request and sends a prepared reply.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

pub(super) struct Stub {
    pub(super) endpoint: String,
    requests: Arc<Mutex<Vec<Recorded>>>,
    reply: Arc<Mutex<Canned>>,
    listening: AbortHandle,
}

/// A request as it arrived.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Recorded {
    /// The method, the path and the version.
    pub(super) line: String,
    /// The headers; their names are in lower case.
    pub(super) headers: BTreeMap<String, String>,
    pub(super) body: Vec<u8>,
}

/// The server's reaction to a request.
#[derive(Debug, Clone)]
pub(super) enum Canned {
    /// It sends this reply. If `length` differs from the length of the body, it then closes the connection.
    Reply { status: u16, headers: Vec<(&'static str, String)>, body: Vec<u8>, length: usize },
    /// It closes the connection without a reply.
    Close,
    /// It keeps the connection open, and never replies.
    Hang,
    /// It sends this text, which is not HTTP, and closes the connection.
    Text(&'static str),
}

impl Canned {
    pub(super) fn json(status: u16, body: impl Into<Vec<u8>>) -> Canned {
        Canned::with(status, vec![("content-type", "application/x-amz-json-1.0".to_owned())], body)
    }

    pub(super) fn with(status: u16, headers: Vec<(&'static str, String)>, body: impl Into<Vec<u8>>) -> Canned {
        let body = body.into();
        Canned::Reply { status, headers, length: body.len(), body }
    }
}

impl Stub {
    pub(super) async fn start() -> Stub {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::default();
        let reply = Arc::new(Mutex::new(Canned::Close));
        let shared = (Arc::clone(&requests), Arc::clone(&reply));
        let listening = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&shared.0), Arc::clone(&shared.1)));
            }
        });
        Stub { endpoint, requests, reply, listening: listening.abort_handle() }
    }

    /// Refuses every later connection.
    pub(super) fn stop_listening(&self) {
        self.listening.abort();
    }

    /// Sets the reply to all later requests.
    pub(super) fn answer(&self, reply: Canned) {
        *self.reply.lock().unwrap() = reply;
    }

    /// Returns the requests that arrived since the last call.
    pub(super) fn take(&self) -> Vec<Recorded> {
        std::mem::take(&mut self.requests.lock().unwrap())
    }
}

async fn serve(stream: TcpStream, requests: Arc<Mutex<Vec<Recorded>>>, reply: Arc<Mutex<Canned>>) {
    let mut stream = BufReader::new(stream);
    while let Some(request) = read(&mut stream).await {
        requests.lock().unwrap().push(request);
        let reply = reply.lock().unwrap().clone();
        let (bytes, ends) = match reply {
            Canned::Close => return,
            Canned::Hang => return std::future::pending().await,
            Canned::Text(text) => (text.as_bytes().to_vec(), true),
            Canned::Reply { status, headers, body, length } => {
                let mut head = format!("HTTP/1.1 {status} X\r\ncontent-length: {length}\r\n");
                for (name, value) in headers {
                    head += &format!("{name}: {value}\r\n");
                }
                let ends = length != body.len();
                ([head.as_bytes(), b"\r\n", &body].concat(), ends)
            }
        };
        if stream.write_all(&bytes).await.is_err() || stream.flush().await.is_err() || ends {
            return;
        }
    }
}

async fn read(stream: &mut BufReader<TcpStream>) -> Option<Recorded> {
    let mut line = String::new();
    stream.read_line(&mut line).await.ok().filter(|length| *length > 0)?;
    let mut headers = BTreeMap::new();
    loop {
        let mut header = String::new();
        stream.read_line(&mut header).await.ok()?;
        let Some((name, value)) = header.trim_end().split_once(": ") else { break };
        headers.insert(name.to_ascii_lowercase(), value.to_owned());
    }
    let mut body = vec![0; headers.get("content-length")?.parse().ok()?];
    stream.read_exact(&mut body).await.ok()?;
    Some(Recorded { line: line.trim_end().to_owned(), headers, body })
}
