//! The arguments that select where a command sends its metrics.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;

/// Where a command sends its metrics while it runs.
#[derive(Debug, Args)]
#[group(id = "exports", multiple = true)]
pub(crate) struct ExportArgs {
    /// Serve Prometheus metrics at http://ADDRESS/metrics while the command runs, without a password (example:
    /// 127.0.0.1:9464; port 0 selects a free port)
    #[arg(long, value_name = "ADDRESS", value_parser = address)]
    pub metrics: Option<SocketAddr>,
    /// Append CloudWatch metrics to this file, one line of JSON (EMF) at each interval and at the end; `-` writes to
    /// stdout, `/dev/stderr` to stderr
    #[arg(long, value_name = "FILE")]
    pub emf: Option<PathBuf>,
    /// Seconds between two lines of --emf
    #[arg(long, value_name = "SECONDS", default_value_t = 60, requires = "emf",
        value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub emf_interval: u64,
    /// Send metrics to the OpenTelemetry collector at this address, as OTLP over HTTP [default: the collector in
    /// OTEL_EXPORTER_OTLP_ENDPOINT, if it is set]
    #[cfg(feature = "otlp")]
    #[arg(long, value_name = "URL")]
    pub otlp: Option<String>,
}

/// Parses an address.
fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "it must be an IP address and a port, such as 127.0.0.1:9464".to_owned())
}
