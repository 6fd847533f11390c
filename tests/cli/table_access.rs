//! Tests unusable tables. The tool exits with code 3 before it does any work.

use super::*;

/// Runs each command that needs the table. Asserts that no command scans the table, writes to it, or creates a state
/// file.
fn assert_each_refused(harness: &Harness, plan: &str, check: impl Fn(RefusalOutput)) {
    for args in [vec!["check", plan], vec!["run", plan, "--yes"], vec!["run", plan, "--dry-run"]] {
        check(refused(harness, 3, &args).in_one_paragraph());
    }
    assert_eq!(harness.proxy().tally().operation("Scan").requests, 0);
    nothing_was_written(harness);
    assert!(!harness.dir().join(".backfill").exists(), "a refused run leaves no state behind");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_table_or_another_region_is_refused() {
    let harness = Harness::embedded();
    let plan = harness.plan("missing", "orders", "", MOVE);
    assert_each_refused(&harness, text(&plan), |refused| {
        refused.says(&["`orders`", "ResourceNotFoundException", "Nothing was done", "`region`", "another region"]);
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn another_account_is_refused() {
    let (harness, ..) = setup(3, "").await;
    let table = harness.create_table().await;
    let plan = harness.plan("account", &table, "", &format!("account = \"123456789012\"\n{MOVE}"));
    assert_each_refused(&harness, text(&plan), |refused| {
        refused.says(&[
            "for account 123456789012",
            "arn:aws:dynamodb:",
            "000000000000",
            "`profile`",
            "`account` in [table]",
        ]);
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn an_inactive_table_is_refused() {
    let (harness, table, plan) = setup(3, "").await;
    answer_describe_table(&harness, description(&table, "arn:aws:dynamodb:us-east-1:000000000000:table/t", "CREATING"));
    assert_each_refused(&harness, text(&plan), |refused| {
        refused.says(&["is CREATING, not ACTIVE", "Wait until it is"]);
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn rejected_credentials_are_refused_with_a_remedy() {
    let (harness, _, plan) = setup(3, "").await;
    for (error, message) in [
        ("UnrecognizedClientException", "The security token included in the request is invalid."),
        ("ExpiredTokenException", "The security token included in the request is expired"),
        ("InvalidSignatureException", "The request signature we calculated does not match."),
        ("MissingAuthenticationTokenException", "Request must contain a valid access key id."),
    ] {
        answer(&harness, "DescribeTable", 400, error, message);
        assert_each_refused(&harness, text(&plan), |refused| {
            refused.says(&[error, "Renew the credentials", "`profile`"]);
        });
    }
    answer(
        &harness,
        "DescribeTable",
        400,
        "AccessDeniedException",
        "User is not authorized to perform: dynamodb:DescribeTable",
    );
    assert_each_refused(&harness, text(&plan), |refused| {
        refused.says(&["dynamodb:DescribeTable", "Grant the permission"]);
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_credentials_or_a_missing_region_are_refused() {
    let (harness, table, _) = setup(3, "").await;
    // The tool uses the plan's profile even for an engine on loopback, so a missing profile is an error.
    let none = harness.plan("none", &table, "", &format!("region = \"eu-west-1\"\nprofile = \"nobody\"\n{MOVE}"));
    assert_each_refused(&harness, text(&none), |refused| {
        refused.says(&["credentials", "profile", "Renew the credentials"]);
    });
    std::fs::create_dir_all(harness.dir().join(".aws")).unwrap();
    let config = "[profile ops]\naws_access_key_id = AKIDEXAMPLE\naws_secret_access_key = S3CRET\n";
    std::fs::write(harness.dir().join(".aws/config"), config).unwrap();
    let nowhere = harness.plan("nowhere", &table, "", &format!("profile = \"ops\"\n{MOVE}"));
    assert_each_refused(&harness, text(&nowhere), |refused| {
        refused.says(&["no AWS region is configured", "`region`"]);
    });
    // Options on the command line supply the fields that are missing from the plan.
    tool(&harness, &["check", text(&nowhere), "--region", "eu-west-1"]).exits(0);
    tool(&harness, &["check", text(&none), "--profile", "ops"]).exits(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_is_not_dynamodb_is_refused() {
    let (harness, _, plan) = setup(3, "").await;
    let web = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", web.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in web.incoming() {
            use std::io::{Read as _, Write as _};
            let Ok(mut stream) = stream else { return };
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 5\r\nconnection: close\r\n\r\nhello");
        }
    });
    let ran = refused(&harness, 3, &["run", text(&plan), "--yes", "--endpoint-url", &endpoint]);
    ran.in_one_paragraph().says(&["404", "without a DynamoDB error", "`endpoint_url`"]);
    nothing_was_written(&harness);
}

/// Runs `check` without log options.
fn check(harness: &Harness, plan: &std::path::Path, more: &[&str], environment: &[(&str, &str)]) -> String {
    let mut command = harness.command();
    command.arg("check").arg(plan).args(more).envs(environment.iter().copied());
    let ran = tool::run(command).exits(3);
    assert_eq!(ran.stdout, "");
    ran.stderr
}

/// If credentials, profile, region or endpoint cannot be used, the tool prints one paragraph with a remedy. The SDK's
/// log lines do not appear.
#[tokio::test(flavor = "multi_thread")]
async fn configuration_errors_are_one_paragraph() {
    let (harness, table, plan) = setup(3, "").await;
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let with = |name: &str, table_options: &str| harness.plan(name, &table, "", &format!("{table_options}{MOVE}"));
    let elsewhere = ["--endpoint-url", "http://dynamodb.eu-nowhere-1.invalid", "--region", "eu-west-1"];
    let keys = [("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"), ("AWS_SECRET_ACCESS_KEY", "S3CRET")];
    std::fs::create_dir_all(harness.dir().join(".aws")).unwrap();
    let broken = "[profile broken]\ncredential_process = false\n[profile chained]\nrole_arn = arn:aws:iam::1:role/x\n\
                  source_profile = gone\n[profile sso]\nsso_session = gone\nsso_account_id = 1\nsso_role_name = x\n";
    std::fs::write(harness.dir().join(".aws/config"), broken).unwrap();
    let of_profile = |profile: &str| with(profile, &format!("region = \"eu-west-1\"\nprofile = \"{profile}\"\n"));
    let region = with("region", "profile = \"broken\"\n");
    let gone = format!("http://{free}");
    let cases: [(&str, String, &[&str]); 8] = [
        ("no region", check(&harness, &region, &[], &[]), &["no AWS region is configured", "--region"]),
        (
            "no profile",
            check(&harness, &of_profile("nobody"), &[], &[]),
            &["profile", "nobody", "Renew the credentials"],
        ),
        ("no credentials", check(&harness, &plan, &elsewhere, &[]), &["credentials", "Renew the credentials"]),
        (
            "a process that fails",
            check(&harness, &of_profile("broken"), &[], &[]),
            &["credentials", "Renew the credentials"],
        ),
        (
            "a chain that is broken",
            check(&harness, &of_profile("chained"), &[], &[]),
            &["gone", "Renew the credentials"],
        ),
        ("no SSO session", check(&harness, &of_profile("sso"), &[], &[]), &["credentials", "Renew the credentials"]),
        (
            "nobody there",
            check(&harness, &plan, &["--endpoint-url", &gone], &[]),
            &[&table, "onnection refused", "run the same command again", "`endpoint_url`"],
        ),
        (
            "no such name",
            check(&harness, &plan, &elsewhere, &keys),
            &["connection could not be opened", "`region`", "`endpoint_url`"],
        ),
    ];
    for (what, said, parts) in cases {
        let lines: Vec<&str> = said.lines().filter(|line| !line.starts_with("plan ")).collect();
        assert_eq!(lines.len(), 1, "{what}: {said}");
        assert!(lines[0].starts_with("error: ") && lines[0].len() < 700, "{what}: {said}");
        for part in parts.iter().chain(&["Nothing was done"]) {
            assert!(lines[0].contains(part), "{what}: {part:?} is missing in: {said}");
        }
    }
}
