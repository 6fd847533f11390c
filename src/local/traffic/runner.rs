//! Runs the application traffic of `backfill local`. The traffic starts as soon as its table exists. The report on the
//! traffic is printed at regular intervals.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::{HttpApplication, Traffic, TrafficError, TrafficSpec};

/// The interval between two reports.
const REPORT_INTERVAL: Duration = Duration::from_secs(10);

/// The interval at which the runner checks whether the table exists.
const TABLE_POLL_INTERVAL: Duration = Duration::from_secs(1);

/// Runs the application on this table until `stop` is cancelled. If the table does not exist, waits for it first.
/// Reports every ten seconds and at the end.
pub async fn run_with_reports(
    spec: &TrafficSpec,
    table: &str,
    endpoint: &str,
    stop: CancellationToken,
    mut print: impl FnMut(&str),
) -> Result<(), TrafficError> {
    let Some(http) = connect(endpoint, table, &stop, &mut print).await? else { return Ok(()) };
    let traffic = Traffic::new(spec.clone());
    let running = traffic.run(Arc::new(http), stop);
    tokio::pin!(running);
    let mut ticks = tokio::time::interval(REPORT_INTERVAL);
    ticks.tick().await;
    loop {
        tokio::select! {
            () = &mut running => break,
            _ = ticks.tick() => print(&traffic.report().to_string()),
        }
    }
    print(&format!("the application has stopped\n{}", traffic.report()));
    Ok(())
}

/// Waits for the table and connects. Returns `None` if `stop` is cancelled before the table exists.
async fn connect(
    endpoint: &str,
    table: &str,
    stop: &CancellationToken,
    print: &mut impl FnMut(&str),
) -> Result<Option<HttpApplication>, TrafficError> {
    let mut announced = false;
    loop {
        match HttpApplication::connect(endpoint, table).await {
            Ok(http) => return Ok(Some(http)),
            Err(error) if !error.table_is_missing() => return Err(error),
            Err(_) => {}
        }
        if !announced {
            print(&format!("the application waits for its table {table:?} to be created"));
            announced = true;
        }
        tokio::select! {
            () = stop.cancelled() => return Ok(None),
            () = tokio::time::sleep(TABLE_POLL_INTERVAL) => {}
        }
    }
}
