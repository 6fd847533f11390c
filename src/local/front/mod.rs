//! An HTTP proxy in front of a DynamoDB endpoint. The proxy counts requests and replies, injects faults, and applies a
//! capacity model.
//!
//! The proxy works with the embedded engine, and with every endpoint that uses plain HTTP and does not check
//! signatures. For each request, a rule may first inject a fault ([`Front::set_faults`]). Then the capacity model
//! ([`Front::set_model`]) decides whether to admit the request, from the keys of the items in the request. After the
//! reply, the model charges the units that the reply states. A page of a scan is charged evenly to the range from its
//! start to its last key; a PartiQL statement is charged to the whole table. A batch or a transaction is throttled as a
//! whole.

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

/// Number of worker threads of the proxy's runtime. If a hook blocks one worker, the other one continues to work.
const WORKERS: usize = 2;

/// A function that the proxy calls after it forwarded a `CreateTable`, with the name of the new table. The client
/// receives the reply after this call.
pub type TableHook = Arc<dyn Fn(&str) + Send + Sync>;

/// The options of the proxy.
#[derive(Clone, Default)]
pub struct FrontOptions {
    /// The port on 127.0.0.1; 0 picks any available port.
    pub port: u16,
    /// The endpoint to which the proxy forwards requests, for example `http://127.0.0.1:8000`.
    pub upstream: String,
    /// The function to call for each table that is created through the proxy.
    pub on_table_created: Option<TableHook>,
    /// The `Limit` that the proxy adds to a `Scan` that has no `Limit`. If this is `None`, the proxy adds nothing.
    pub page_limit: Option<u32>,
}

/// A running proxy. Dropping this value stops the proxy.
pub struct Front {
    _server: Server,
    proxy: Arc<Proxy>,
    address: SocketAddr,
}

impl Front {
    /// Starts the proxy. Fails if the port is in use or if the upstream is not an `http://` address. Does not check
    /// whether the upstream answers. If the upstream does not answer, the first request fails.
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

    /// The counts since the start or the last [`Front::reset_tally`]. A reply is counted before the client receives it.
    pub fn tally(&self) -> Tally {
        self.proxy.tally().clone()
    }

    /// Resets the counts to zero.
    pub fn reset_tally(&self) {
        *self.proxy.tally() = Tally::default();
    }

    /// Sets the rule that injects faults into all later requests; `None` removes the rule. Sequence numbers restart at
    /// 0.
    pub fn set_faults(&self, rule: Option<FaultRule>) {
        self.proxy.set_faults(rule);
    }

    /// Sets the capacity model that may throttle all later requests; `None` removes the model. The time of the model
    /// starts now.
    pub fn set_model(&self, model: Option<Model>) {
        self.proxy.meter().set(model);
    }

    /// Calls `look` with the current model and the time since the model's start. Returns `None` if there is no model.
    /// Requests wait until the call has ended.
    pub fn model<T>(&self, look: impl FnOnce(&mut Model, Duration) -> T) -> Option<T> {
        self.proxy.meter().look(look)
    }

    /// Closes the port and every connection, in bounded time.
    pub fn stop(self) {}
}

/// The address at which this machine reaches the listener. If the listener accepts connections on all addresses, its
/// own address is unspecified. Nobody can connect to an unspecified address, so the result is the loopback address.
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
    fn the_shown_endpoint_is_reachable() {
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
