//! Tests the field `dynamodb` in `[client]` with the real binary.

use super::*;

/// The requests of a run: the operation, and whether the lean client sent it.
type Senders = Arc<Mutex<BTreeSet<(String, bool)>>>;

impl Scene {
    fn run_with(&self, client: &str) -> ToolOutput {
        let client = format!("client.dynamodb={client}");
        tool(&self.harness, &["run", self.plan(), "--yes", "--output", "json", "--set", &client])
    }

    /// Records which client sends each request. After `writes` updates, the table refuses every update.
    fn record_senders(&self, writes: u64) -> Senders {
        let senders = Senders::default();
        let seen = Arc::clone(&senders);
        self.fault(move |request| {
            let is_lean = request.user_agent().starts_with("backfill/");
            seen.lock().unwrap().insert((request.operation.clone(), is_lean));
            let is_over = request.operation == "UpdateItem" && request.operation_sequence >= writes;
            if is_over { reply(400, "AccessDeniedException", "not authorized") } else { Fault::Pass }
        });
        senders
    }
}

fn has(senders: &Senders, operation: &str, is_lean: bool) -> bool {
    senders.lock().unwrap().contains(&(operation.to_owned(), is_lean))
}

/// RUNBOOK: "A run that one client began resumes with the other one".
#[tokio::test(flavor = "multi_thread")]
async fn a_run_resumes_with_the_other_client() {
    for (first, second) in [("lean", "sdk"), ("sdk", "lean")] {
        let scene = Scene::with_move(240, QUICK).await;
        for (client, writes, exit) in [(first, 100, 6), (second, u64::MAX, 0)] {
            let is_lean = client == "lean";
            let senders = scene.record_senders(writes);
            let ran = scene.run_with(client).exits(exit);
            assert_eq!(ran.messages().contains("resumes run 1"), client == second, "{}", ran.messages());
            for operation in ["Scan", "UpdateItem"] {
                assert!(has(&senders, operation, is_lean), "{client}: {operation}: {senders:?}");
                assert!(!has(&senders, operation, !is_lean), "{client}: {operation}: {senders:?}");
            }
            assert!(has(&senders, "DescribeTable", false) && !has(&senders, "DescribeTable", true), "{senders:?}");
        }
        scene.assert_table(moved).await;
    }
}
