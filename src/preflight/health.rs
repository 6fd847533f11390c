//! Makes the findings about the plan's health checks. This module is pure, because the caller runs the checks.

use super::finding::Finding;
use super::finding::Severity::{Note, Warning};
use crate::health::Answer;
use crate::plan::{FailMode, HealthCheck, OnUnhealthy};

/// Returns one finding for each health check, based on its answer.
pub fn health_findings(checks: &[HealthCheck], answers: &[Answer]) -> Vec<Finding> {
    checks.iter().zip(answers).map(|(check, answer)| finding(check, answer)).collect()
}

fn finding(check: &HealthCheck, answer: &Answer) -> Finding {
    let name = &check.name;
    let effect = match check.on_unhealthy {
        OnUnhealthy::Pause => "pauses".to_owned(),
        OnUnhealthy::Slow(percent) => format!("uses only {percent}% of its budgets"),
    };
    match answer {
        Answer::Healthy => {
            let why = format!("While it is unhealthy, a pass {effect}");
            Finding::new(Note, "health-check", format!("The health check {name:?} is healthy")).with_reason(why)
        }
        Answer::Unhealthy(why) => Finding::new(Warning, "health-check", format!("The health check {name:?} {why}"))
            .with_reason(format!("A pass that begins now {effect} until the check is healthy"))
            .with_action("Wait until the application is healthy, or correct the check in the plan"),
        Answer::Unknown(why) => {
            let meaning = match check.fail_mode {
                FailMode::Closed => format!("It fails closed, so a pass that begins now {effect}"),
                FailMode::Open => "It fails open, so a pass ignores the check until the check answers".to_owned(),
            };
            Finding::new(Warning, "health-check", format!("The health check {name:?} {why}"))
                .with_reason(meaning)
                .with_action("Make the check answer on this host, or correct it in the plan")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::load;

    #[test]
    fn each_answer_is_a_finding() {
        let text = "[migration]\nname = \"m\"\n[table]\nname = \"shop\"\n[[change]]\nmove = \"a\"\nto = \"b\"\n\
                    [[health_check]]\nname = \"api\"\ncommand = [\"/bin/true\"]\n\
                    [[health_check]]\nname = \"slow\"\nalarm = \"x\"\non_unhealthy = \"slow\"\n\
                    [[health_check]]\nname = \"open\"\nalarm = \"x\"\nfail_mode = \"open\"\n";
        let checks = load("p", text).unwrap().plan.health_checks;
        let silent = || Answer::Unknown("did not answer within 5 s".to_owned());
        let sick = Answer::Unhealthy("failed: HTTP 503".to_owned());
        let texts = |answers: &[Answer]| -> Vec<(&str, String)> {
            health_findings(&checks, answers).iter().map(|found| (found.severity.name(), found.text())).collect()
        };
        let found = texts(&[Answer::Healthy, sick, silent()]);
        let expected = [
            ("note", "The health check \"api\" is healthy. While it is unhealthy, a pass pauses"),
            (
                "warning",
                "The health check \"slow\" failed: HTTP 503. A pass that begins now uses only 25% of its budgets until the \
                 check is healthy. Wait until the application is healthy, or correct the check in the plan",
            ),
            (
                "warning",
                "The health check \"open\" did not answer within 5 s. It fails open, so a pass ignores the check \
                 until the check answers. Make the check answer on this host, or correct it in the plan",
            ),
        ];
        assert_eq!(found, expected.map(|(severity, text)| (severity, text.to_owned())));
        let closed = texts(&[silent(), silent(), silent()]);
        assert!(closed[0].1.contains("It fails closed, so a pass that begins now pauses."), "{}", closed[0].1);
    }
}
