//! An HTTP proxy in front of a DynamoDB endpoint. The proxy counts requests and replies, injects faults, and applies a
//! capacity model.
//!
//! The proxy works with the embedded engine, and with every endpoint that uses plain HTTP and does not check
//! signatures. A rule can first inject a fault into each request ([`Proxy::set_faults`]). Then the capacity model
//! ([`Proxy::set_model`]) decides whether to admit the request. The decision depends on the keys of the items in the
//! request. After the reply, the model charges the units that the reply reports. The units of a scan page are spread
//! evenly over the range from the page's start to its last key. The units of a PartiQL statement are spread over the
//! whole table. A batch or a transaction is throttled as a whole.

mod advertise;
mod corruption;
mod demand;
mod fault;
mod meter;
mod service;
mod tally;
mod wire;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hyper::Uri;

pub use corruption::Corruption;
pub use fault::{Fault, FaultRule, RequestGate, RequestInfo};
pub use tally::{OperationTally, ProxyTally, ScanPage};

use super::LocalError;
use super::capacity::Model;
use super::server::{Port, Server};
use service::ProxyService;

/// Number of worker threads of the proxy's runtime. If a fault rule blocks one worker, the other worker continues to
/// work.
const WORKERS: usize = 2;

/// A function that the proxy calls after a `CreateTable` was forwarded, before the client receives the reply. The
/// argument is the new table's name.
pub type TableHook = Arc<dyn Fn(&str) + Send + Sync>;

/// The options of the proxy.
#[derive(Clone, Default)]
pub struct ProxyOptions {
    /// The port on 127.0.0.1; 0 picks any available port.
    pub port: u16,
    /// The endpoint to which the proxy forwards requests, for example `http://127.0.0.1:8000`.
    pub upstream: String,
    /// The function to call for each table that is created through the proxy.
    pub on_table_created: Option<TableHook>,
    /// The `Limit` that the proxy adds to each `Scan` without one. `None` means that the proxy adds no `Limit`.
    pub page_limit: Option<u32>,
}

/// A running proxy. Dropping this value stops the proxy.
pub struct Proxy {
    _server: Server,
    service: Arc<ProxyService>,
    address: SocketAddr,
}

impl Proxy {
    /// Starts the proxy. Fails if the port is in use or if the upstream is not an `http://` address. Does not check
    /// whether the upstream answers. If the upstream does not answer, the first request fails.
    pub fn start(options: ProxyOptions) -> Result<Proxy, LocalError> {
        Proxy::serve(Port::bind_loopback(options.port)?, options)
    }

    pub(super) fn serve(port: Port, options: ProxyOptions) -> Result<Proxy, LocalError> {
        let upstream = upstream(&options.upstream)?;
        let address = port.address();
        let service = Arc::new(ProxyService::new(upstream, options.on_table_created, options.page_limit));
        let serving = Arc::clone(&service);
        let server = Server::spawn("local-front", WORKERS, port, move |listener| service::accept(listener, serving))?;
        Ok(Proxy { _server: server, service, address })
    }

    /// Returns the endpoint URL, for example `http://127.0.0.1:40002`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", reachable(self.address))
    }

    /// Returns the counts since the start or the last [`Proxy::reset_tally`]. Each reply is counted before the client
    /// receives it.
    pub fn tally(&self) -> ProxyTally {
        self.service.tally().clone()
    }

    /// Resets the counts to zero.
    pub fn reset_tally(&self) {
        *self.service.tally() = ProxyTally::default();
    }

    /// Sets the rule that injects faults into all later requests; `None` removes the rule. Sequence numbers restart at
    /// 0.
    pub fn set_faults(&self, rule: Option<FaultRule>) {
        self.service.set_faults(rule);
    }

    /// Sets the capacity model that decides whether to admit each later request; `None` removes the model. The model's
    /// time starts now.
    pub fn set_model(&self, model: Option<Model>) {
        self.service.meter().set(model);
    }

    /// Calls `inspect` with the current model and the time since the model's start. Returns `None` if there is no
    /// model. Requests wait until `inspect` has returned.
    pub fn model<T>(&self, inspect: impl FnOnce(&mut Model, Duration) -> T) -> Option<T> {
        self.service.meter().inspect(inspect)
    }

    /// Closes the port and every connection, in bounded time.
    pub fn stop(self) {}
}

/// Returns the address at which this machine can reach the listener. A listener on all addresses has an unspecified
/// address, to which nobody can connect. For such a listener, returns the loopback address.
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
