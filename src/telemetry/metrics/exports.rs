//! Starts all exports of a command's metrics: the endpoint, EMF lines and OTLP requests.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use super::emf::{Emf, EmfOptions};
use super::export::RunningExport;
use super::server::{MetricsListener, MetricsServer};
use super::source::MetricsSource;

/// The ways in which a command exports its metrics. By default, a command exports no metrics.
#[derive(Default)]
pub struct Exports {
    /// The address of the endpoint.
    pub metrics: Option<SocketAddr>,
    /// Where EMF lines go.
    pub emf: Option<EmfOptions>,
    /// The OpenTelemetry collector.
    #[cfg(feature = "otlp")]
    pub otlp: Option<super::OtlpSettings>,
}

/// The running exports of a command's metrics. The endpoint ends when this value is dropped.
pub struct RunningExports {
    source: Arc<MetricsSource>,
    server: Option<MetricsServer>,
    running: Vec<RunningExport>,
}

impl Exports {
    /// Returns whether the command exports no metrics.
    pub fn is_empty(&self) -> bool {
        #[cfg(feature = "otlp")]
        let has_otlp = self.otlp.is_some();
        #[cfg(not(feature = "otlp"))]
        let has_otlp = false;
        self.metrics.is_none() && self.emf.is_none() && !has_otlp
    }

    /// Starts the exports. If the endpoint's address cannot be bound, starts the other exports and also returns the
    /// error. The caller decides whether the command may continue without the endpoint.
    pub async fn start(self, migration: &str, table: &str) -> (RunningExports, Option<(SocketAddr, io::Error)>) {
        let source = Arc::new(MetricsSource::new(migration, table));
        let mut failed = None;
        let mut server = None;
        if let Some(address) = self.metrics {
            match MetricsListener::bind(address).await {
                Ok(listener) => server = Some(listener.serve(Arc::clone(&source))),
                Err(error) => failed = Some((address, error)),
            }
        }
        let mut running = Vec::new();
        if let Some(EmfOptions { write, every }) = self.emf {
            let emf = Emf::new(migration, table, write);
            running.push(RunningExport::start(Arc::clone(&source), every, emf));
        }
        #[cfg(feature = "otlp")]
        if let Some(settings) = self.otlp {
            let every = settings.every();
            let otlp = super::otlp::Otlp::new(settings, migration, table);
            running.push(RunningExport::start(Arc::clone(&source), every, otlp));
        }
        (RunningExports { source, server, running }, failed)
    }
}

impl RunningExports {
    /// Returns the sources of the figures.
    pub fn source(&self) -> Arc<MetricsSource> {
        Arc::clone(&self.source)
    }

    /// Returns the address of the endpoint, with its real port.
    pub fn address(&self) -> Option<SocketAddr> {
        self.server.as_ref().map(MetricsServer::address)
    }

    /// Takes the exporters that send at regular intervals, so that the caller can finish them. The endpoint keeps
    /// running.
    pub fn take_running(&mut self) -> Vec<RunningExport> {
        std::mem::take(&mut self.running)
    }
}
