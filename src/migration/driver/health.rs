//! Asks the plan's health checks during a pass.

use std::sync::Arc;

use super::Driver;
use crate::health::Prober;
use crate::migration::health::{Effects, HealthWatch};

impl Driver {
    /// Starts to ask the health checks. They act on the passes of this driver until the result is dropped. When this
    /// function returns, each check was asked once, so call it before a pass begins. Returns `None` if the plan has no
    /// checks, or if this is the way back.
    pub(super) async fn watch_health(&self) -> Option<HealthWatch> {
        let checks = &self.plan.health_checks;
        if checks.is_empty() {
            return None;
        }
        if self.is_way_back {
            // The migration may be the reason why the application is unhealthy. The way back must then not wait for it.
            tracing::warn!("the plan's health checks are not asked, because nothing may block the way back");
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
