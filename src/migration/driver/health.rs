//! Runs the plan's health checks during a pass.

use std::sync::Arc;

use super::Driver;
use crate::health::Prober;
use crate::migration::health::{Effects, HealthWatch};

impl Driver {
    /// Starts the health checks. They can pause or slow down this driver's passes until the result is dropped. Call
    /// this function before a pass begins, because it returns only after each check has run once. Returns `None` if the
    /// plan has no checks, or if the command is `rollback` or `cutover --back`.
    pub(super) async fn watch_health(&self) -> Option<HealthWatch> {
        let checks = &self.plan.health_checks;
        if checks.is_empty() {
            return None;
        }
        if self.is_way_back {
            // If the application is unhealthy, the migration may be the cause. So a rollback or a step back must not
            // wait until the application is healthy.
            tracing::warn!(
                "the plan's health checks do not run, because they must not block a rollback or a step back"
            );
            return None;
        }
        let prober = |check| Prober::new(check, &self.plan.table, Arc::clone(&self.clock));
        let checks = checks.iter().map(|check| (check.clone(), prober(check))).collect();
        let (steerer, metrics) = (self.steerer.clone(), self.metrics.clone());
        let effects = Effects {
            pause: self.steerer.pause(),
            slow_down: Box::new(move |slowdown| steerer.slow_down(slowdown)),
            show: Box::new(move |checks| metrics.iter().for_each(|metrics| metrics.show_health(checks.clone()))),
        };
        Some(HealthWatch::begin(checks, effects, &self.stop).await)
    }
}
