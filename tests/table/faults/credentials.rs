//! Tests credentials that another program renews while a command works. Also tests a wrong clock, which makes valid
//! credentials fail.

use super::*;

/// The source of the tool's credentials: a file that is rewritten, or a command.
#[derive(Clone, Copy, Debug)]
enum Source {
    File,
    Process,
}

/// Issues tokens. Exactly one token is valid at a time.
struct Issuer {
    source: Source,
    home: PathBuf,
    valid: Mutex<String>,
}

impl Issuer {
    fn new(source: Source, home: &std::path::Path) -> Issuer {
        let aws = home.join(".aws");
        std::fs::create_dir_all(&aws).unwrap();
        let issuer = Issuer { source, home: home.to_owned(), valid: Mutex::default() };
        if let Source::Process = source {
            let config = format!("[profile ops]\ncredential_process = cat {}\n", aws.join("token").display());
            std::fs::write(aws.join("config"), config).unwrap();
        }
        issuer.issue("T0");
        issuer
    }

    /// Makes this token the only valid token, without notifying the tool.
    fn issue(&self, token: &str) {
        let aws = self.home.join(".aws");
        let (path, text) = match self.source {
            Source::File => {
                let keys = "aws_access_key_id = AKIDEXAMPLE\naws_secret_access_key = S3CRET";
                (aws.join("credentials"), format!("[ops]\n{keys}\naws_session_token = {token}\n"))
            }
            // The token's expiry time is far away, so the tool learns only from DynamoDB's reply that the token was
            // revoked.
            Source::Process => {
                let json = json!({ "Version": 1, "AccessKeyId": "AKIDEXAMPLE", "SecretAccessKey": "S3CRET",
                                   "SessionToken": token, "Expiration": "2099-01-01T00:00:00Z" });
                (aws.join("token"), json.to_string())
            }
        };
        // Replace the file atomically, as real tools do.
        std::fs::write(self.home.join("next"), text).unwrap();
        std::fs::rename(self.home.join("next"), path).unwrap();
        *self.valid.lock().unwrap() = token.to_owned();
    }

    fn is_valid(&self, token: &str) -> bool {
        *self.valid.lock().unwrap() == token
    }
}

fn expired() -> Fault {
    reply(400, "ExpiredTokenException", "The security token included in the request is expired")
}

/// Creates a scene with a flag. The tool signs its requests with the credentials of the returned issuer.
async fn with_issuer(source: Source, more: &str) -> (Scene, Arc<Issuer>) {
    let mut scene = Scene::with_harness(Harness::embedded(), items(240), "", "").await;
    let flags = scene.harness.create_flag_table().await;
    let rest = format!(
        "profile = \"ops\"\nregion = \"us-east-1\"\n{MOVE}{SMALL_PAGES}{QUICK}[capacity]\nwrite = 120\n[cutover]\n\
         table = \"{flags}\"\nmax_cache_seconds = 1\n{more}"
    );
    scene.plan = scene.harness.plan("faults", &scene.table, "", &rest);
    let issuer = Arc::new(Issuer::new(source, scene.harness.dir()));
    (scene, issuer)
}

/// Two tokens expire during the run, and each time a new token is available. Calls to the table, to the flag and to the
/// lease all recover.
#[tokio::test(flavor = "multi_thread")]
async fn renewed_credentials_are_used_during_a_run() {
    for (source, client) in [(Source::File, "sdk"), (Source::Process, "sdk"), (Source::File, "lean")] {
        let (scene, issuer) = with_issuer(source, "").await;
        let client = format!("client.dynamodb={client}");
        let writes = AtomicU64::new(0);
        let rejected = Arc::new(Mutex::new(BTreeSet::new()));
        let accepted = Arc::new(Mutex::new(BTreeSet::new()));
        let seen_rejected = Arc::clone(&rejected);
        let seen_accepted = Arc::clone(&accepted);
        scene.fault(move |request| {
            if request.operation == "UpdateItem" {
                match writes.fetch_add(1, Ordering::SeqCst) {
                    60 => issuer.issue("T1"),
                    150 => issuer.issue("T2"),
                    _ => {}
                }
            }
            let call = (request.operation.clone(), request.session_token().to_owned());
            if issuer.is_valid(request.session_token()) {
                seen_accepted.lock().unwrap().insert(call);
                return Fault::Pass;
            }
            seen_rejected.lock().unwrap().insert(call);
            expired()
        });
        let tool = |args: &[&str]| tool(&scene.harness, &[args, &["--set", &client]].concat());
        tool(&["cutover", scene.plan(), "--to", "dual-write", "--yes"]).exits(0);
        let ran = tool(&["run", scene.plan(), "--yes", "--output", "json"]).exits(0);
        assert_eq!(counts(&ran.json())["applied"], 240, "{source:?}, {client}");
        let rejected = rejected.lock().unwrap().clone();
        let accepted = accepted.lock().unwrap().clone();
        for operation in ["UpdateItem", "GetItem"] {
            assert!(rejected.iter().any(|(call, _)| call == operation), "{source:?}: {operation}: {rejected:?}");
            assert!(
                accepted.contains(&(operation.to_owned(), "T2".to_owned())),
                "{source:?}: {operation}: {accepted:?}"
            );
        }
        scene.remove_faults();
        scene.assert_table(moved).await;
    }
}

/// The renewed credentials belong to another account. A table with the same name in that account is a different table,
/// so the tool writes nothing to it.
#[tokio::test(flavor = "multi_thread")]
async fn renewed_credentials_of_another_account_are_not_used() {
    let (scene, issuer) = with_issuer(Source::File, "").await;
    tool(&scene.harness, &["cutover", scene.plan(), "--to", "dual-write", "--yes"]).exits(0);
    let renewed = Arc::clone(&issuer);
    let writes = AtomicU64::new(0);
    let misdirected = Arc::new(AtomicU64::new(0));
    let seen = Arc::clone(&misdirected);
    scene.fault(move |request| {
        if request.operation == "UpdateItem" && writes.fetch_add(1, Ordering::SeqCst) == 60 {
            renewed.issue("OTHER");
        }
        match (request.operation.as_str(), request.session_token()) {
            (_, token) if !renewed.is_valid(token) => expired(),
            ("DescribeTable", "OTHER") => {
                let arn = json!("arn:aws:dynamodb:us-east-1:999999999999:table/faults");
                Fault::Corruption(backfill::internals::local::proxy::Corruption::ChangedMember("/Table/TableArn", arn))
            }
            // All other requests with this token go to the table, the flag or the lease of the other account.
            (_, "OTHER") => {
                seen.fetch_add(1, Ordering::SeqCst);
                Fault::Pass
            }
            _ => Fault::Pass,
        }
    });
    let ran = scene.run().exits(6);
    assert_eq!(misdirected.load(Ordering::SeqCst), 0, "requests went to another account");
    assert!(ran.stderr.contains("999999999999"), "{}", ran.stderr);
    scene.resumes_correctly().await;
}

/// `--back` accesses only the flag, and does not change a flag in another account. If the plan contains the complete
/// key of the flag item, `--back` never describes the flag's table. In this case, it does not know the account, so it
/// refuses renewed credentials.
#[tokio::test(flavor = "multi_thread")]
async fn renewed_credentials_of_another_account_do_not_move_a_flag() {
    for (key, says) in
        [("", "999999999999"), ("key = { id = \"FLAG\" }\n", "it is unknown whether they belong to the same account")]
    {
        let (scene, issuer) = with_issuer(Source::File, key).await;
        tool(&scene.harness, &["cutover", scene.plan(), "--to", "dual-write", "--yes"]).exits(0);
        let renewed = Arc::clone(&issuer);
        let misdirected = Arc::new(AtomicU64::new(0));
        let seen = Arc::clone(&misdirected);
        scene.fault(move |request| {
            if request.operation == "PutItem" && renewed.is_valid("T0") {
                renewed.issue("OTHER");
            }
            match (request.operation.as_str(), request.session_token()) {
                (_, token) if !renewed.is_valid(token) => expired(),
                ("DescribeTable", "OTHER") => {
                    let arn = json!("arn:aws:dynamodb:us-east-1:999999999999:table/flags");
                    Fault::Corruption(backfill::internals::local::proxy::Corruption::ChangedMember(
                        "/Table/TableArn",
                        arn,
                    ))
                }
                (_, "OTHER") => {
                    seen.fetch_add(1, Ordering::SeqCst);
                    Fault::Pass
                }
                _ => Fault::Pass,
            }
        });
        let ran = tool(&scene.harness, &["cutover", scene.plan(), "--back"]);
        assert_eq!(misdirected.load(Ordering::SeqCst), 0, "requests went to another account");
        assert!(ran.code != 0 && ran.stderr.contains(says), "{key:?}: {}: {}", ran.code, ran.stderr);
        issuer.issue("T1");
        scene.remove_faults();
        tool(&scene.harness, &["cutover", scene.plan(), "--back"]).exits(0);
    }
}

/// Without new credentials, the run stops after one attempt to renew the credentials, and prints a remedy.
#[tokio::test(flavor = "multi_thread")]
async fn expired_credentials_that_are_not_renewed_stop_the_run() {
    let (scene, issuer) = with_issuer(Source::File, "").await;
    tool(&scene.harness, &["cutover", scene.plan(), "--to", "dual-write", "--yes"]).exits(0);
    scene.harness.proxy().reset_tally();
    let ended = Arc::clone(&issuer);
    let writes = AtomicU64::new(0);
    scene.fault(move |request| {
        if request.operation == "UpdateItem" && writes.fetch_add(1, Ordering::SeqCst) == 60 {
            *ended.valid.lock().unwrap() = "none".to_owned();
        }
        if ended.is_valid(request.session_token()) { Fault::Pass } else { expired() }
    });
    let ran = scene.run().exits(6);
    let stopped = ran.json()["stopped"].as_str().unwrap().to_owned();
    assert!(stopped.contains("ExpiredTokenException") && stopped.contains("Renew the credentials"), "{stopped}");
    let written = scene.harness.proxy().tally().operation("UpdateItem");
    assert!(
        written.injected <= 2 * (written.requests - written.injected).max(64),
        "each write is sent once more: {written:?}"
    );
    // There are two connections, one to the table and one to the flag. Each connection has tried once to renew the
    // credentials for all its requests in flight.
    let described = scene.harness.proxy().tally().operation("DescribeTable");
    assert!((1..=2).contains(&described.injected), "{described:?} of {written:?}");
    issuer.issue("T1");
    scene.resumes_correctly().await;
}

/// The tool distinguishes a wrong clock from wrong credentials, and reports the difference between this host's clock
/// and the correct time.
#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_clock_is_distinguished_from_bad_credentials() {
    let scene = Scene::with_move(20, QUICK).await;
    let late = "Signature expired: 20260101T000000Z is now earlier than 20260101T001500Z (20260101T002000Z - 5 min.)";
    let early = "Signature not yet current: 20260101T002000Z is still later than 20260101T001000Z";
    for (error, message, seconds, says) in [
        ("InvalidSignatureException", late, 1_000, "16 min 40 s behind"),
        ("InvalidSignatureException", early, -7_200, "120 min 0 s ahead"),
        (
            "RequestTimeTooSkewed",
            "The difference between the request time and the current time is too large.",
            900,
            "15 min 0 s behind",
        ),
    ] {
        scene.fault(move |_| Fault::WithDate(seconds, Box::new(reply(400, error, message))));
        for args in [&["check", scene.plan()][..], &["run", scene.plan(), "--yes"]] {
            let refused = tool(&scene.harness, args).exits(3);
            let said = refused.messages();
            assert!(said.contains(says) && said.contains("the clock of this host"), "{said}");
            assert!(said.contains("Set this host's clock") && !said.contains("Renew the credentials"), "{said}");
        }
    }
    // The clocks agree, but the request was signed long before it was sent, as if the machine had slept in between. The
    // tool resends the request with a new signature.
    let first = first_occurrence();
    scene.fault(move |request| match first(format!("{} {}", request.operation, sort_key(request))) {
        true => reply(400, "InvalidSignatureException", late),
        false => Fault::Pass,
    });
    assert_eq!(counts(&scene.run().exits(0).json())["applied"], 20);
}
