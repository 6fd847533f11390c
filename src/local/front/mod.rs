//! The HTTP layer in front of a DynamoDB endpoint: it counts what the server did, injects faults, and applies a capacity
//! model.
//!
//! It stands in front of the embedded engine or of any other endpoint that is spoken to in plain HTTP and does not check
//! signatures. What is done to a request, a hook decides ([`Front::set_faults`]), and then the capacity
//! model ([`Front::set_model`]): it admits a request by the items that it names, and charges its reply. A page of a scan is
//! charged evenly to the range from its start to its last key, a PartiQL statement to the whole table; a batch or a
//! transaction is throttled as a whole.

mod advertise;
mod demand;
mod fault;
mod meter;
mod proxy;
mod spoil;
mod tally;
mod wire;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hyper::Uri;

pub use fault::{Fault, FaultRule, Gate, RequestInfo};
pub use spoil::Spoil;
pub use tally::{OperationTally, ScanPage, Tally};

use super::LocalError;
use super::capacity::Model;
use super::server::{Port, Server};
use proxy::Proxy;

/// Workers of the layer's runtime: one more than a hook that blocks can hold up.
const WORKERS: usize = 2;

/// Called with the name of each table that was created through the layer, before its client learns of it.
pub type TableHook = Arc<dyn Fn(&str) + Send + Sync>;

/// Where the layer listens and what it stands in front of.
#[derive(Clone, Default)]
pub struct FrontOptions {
    /// Port on 127.0.0.1; 0 takes any free one.
    pub port: u16,
    /// The endpoint behind it, for example `http://127.0.0.1:8000`.
    pub upstream: String,
    /// Called for each table created through the layer.
    pub on_table_created: Option<TableHook>,
    /// The `Limit` of a `Scan` that has none; `None` leaves it so.
    pub page_limit: Option<u32>,
}

/// A running layer. Dropping it stops it.
pub struct Front {
    _server: Server,
    proxy: Arc<Proxy>,
    address: SocketAddr,
}

impl Front {
    /// Starts it. Errors name a port that is taken or an upstream that is no `http://` address; whether anybody answers
    /// there shows with the first request.
    pub fn start(options: FrontOptions) -> Result<Front, LocalError> {
        Front::serve(Port::take(options.port)?, options)
    }

    pub(super) fn serve(port: Port, options: FrontOptions) -> Result<Front, LocalError> {
        let upstream = upstream(&options.upstream)?;
        let address = port.address();
        let proxy = Arc::new(Proxy::new(upstream, options.on_table_created, options.page_limit));
        let serving = Arc::clone(&proxy);
        let server = Server::spawn("local-front", WORKERS, port, move |listener| proxy::accept(listener, serving))?;
        Ok(Front { _server: server, proxy, address })
    }

    /// The endpoint URL, for example `http://127.0.0.1:40002`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", reachable(self.address))
    }

    /// What was counted since the start or the last [`Front::reset_tally`]. A client that has a reply finds it counted.
    pub fn tally(&self) -> Tally {
        self.proxy.tally().clone()
    }

    /// Counts from zero again.
    pub fn reset_tally(&self) {
        *self.proxy.tally() = Tally::default();
    }

    /// Asks `rule` about every request from now on, or about none. Sequence numbers begin at 0 again.
    pub fn set_faults(&self, rule: Option<FaultRule>) {
        self.proxy.set_faults(rule);
    }

    /// Throttles by this model from now on, or by none. Its time begins now.
    pub fn set_model(&self, model: Option<Model>) {
        self.proxy.meter().set(model);
    }

    /// Looks at the model in force, with its time: what it served and throttled. None if there is none. Requests wait
    /// meanwhile.
    pub fn model<T>(&self, look: impl FnOnce(&mut Model, Duration) -> T) -> Option<T> {
        self.proxy.meter().look(look)
    }

    /// Closes the port and every connection, in bounded time.
    pub fn stop(self) {}
}

/// Where this machine reaches what listens there: "every address" is no address to connect to.
fn reachable(mut listening: SocketAddr) -> SocketAddr {
    match listening.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => listening.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => listening.set_ip(Ipv6Addr::LOCALHOST.into()),
        IpAddr::V4(_) | IpAddr::V6(_) => {}
    }
    listening
}

fn upstream(text: &str) -> Result<Uri, LocalError> {
    let wrong = || LocalError::Upstream { upstream: text.to_owned() };
    let uri: Uri = text.parse().map_err(|_| wrong())?;
    if uri.scheme_str() == Some("http") && uri.authority().is_some() { Ok(uri) } else { Err(wrong()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_can_be_connected_to() {
        for (listening, shown) in [
            ("0.0.0.0:8000", "127.0.0.1:8000"),
            ("[::]:8000", "[::1]:8000"),
            ("127.0.0.1:1", "127.0.0.1:1"),
            ("192.0.2.1:1", "192.0.2.1:1"),
        ] {
            assert_eq!(reachable(listening.parse().unwrap()).to_string(), shown);
        }
    }
}
