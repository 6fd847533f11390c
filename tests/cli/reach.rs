//! Tables that cannot be used: exit 3, before anything is begun.

use super::*;

/// Commands that need the table; none of them may leave a trace.
fn each(bed: &Bed, plan: &str, check: impl Fn(Refused)) {
    for args in [vec!["check", plan], vec!["run", plan, "--yes"], vec!["run", plan, "--dry-run"]] {
        check(refused(bed, 3, &args).in_one_paragraph());
    }
    assert_eq!(bed.front().tally().operation("Scan").requests, 0);
    nothing_was_written(bed);
    assert!(!bed.dir().join(".backfill").exists(), "a refused run leaves no state behind");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_missing_or_in_another_region() {
    let bed = Bed::embedded();
    let plan = bed.plan("missing", "orders", "", MOVE);
    each(&bed, text(&plan), |refused| {
        refused.says(&["`orders`", "ResourceNotFoundException", "Nothing was done", "`region`", "another region"]);
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn another_account() {
    let (bed, ..) = scene(3, "").await;
    let table = bed.create_table().await;
    let plan = bed.plan("account", &table, "", &format!("account = \"123456789012\"\n{MOVE}"));
    each(&bed, text(&plan), |refused| {
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
async fn a_table_that_is_not_active() {
    let (bed, table, plan) = scene(3, "").await;
    described(&bed, description(&table, "arn:aws:dynamodb:us-east-1:000000000000:table/t", "CREATING"));
    each(&bed, text(&plan), |refused| {
        refused.says(&["is CREATING, not ACTIVE", "Wait until it is"]);
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_that_are_rejected() {
    let (bed, _, plan) = scene(3, "").await;
    for (error, message) in [
        ("UnrecognizedClientException", "The security token included in the request is invalid."),
        ("ExpiredTokenException", "The security token included in the request is expired"),
        ("InvalidSignatureException", "The request signature we calculated does not match."),
        ("MissingAuthenticationTokenException", "Request must contain a valid access key id."),
    ] {
        answer(&bed, "DescribeTable", 400, error, message);
        each(&bed, text(&plan), |refused| {
            refused.says(&[error, "Renew the credentials", "`profile`"]);
        });
    }
    answer(
        &bed,
        "DescribeTable",
        400,
        "AccessDeniedException",
        "User is not authorized to perform: dynamodb:DescribeTable",
    );
    each(&bed, text(&plan), |refused| {
        refused.says(&["dynamodb:DescribeTable", "Grant the permission"]);
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn no_credentials_and_no_region() {
    let (bed, table, _) = scene(3, "").await;
    // A stated profile is used as it stands, even on loopback.
    let none = bed.plan("none", &table, "", &format!("region = \"eu-west-1\"\nprofile = \"nobody\"\n{MOVE}"));
    each(&bed, text(&none), |refused| {
        refused.says(&["credentials", "profile", "Renew the credentials"]);
    });
    std::fs::create_dir_all(bed.dir().join(".aws")).unwrap();
    let config = "[profile ops]\naws_access_key_id = AKIDEXAMPLE\naws_secret_access_key = S3CRET\n";
    std::fs::write(bed.dir().join(".aws/config"), config).unwrap();
    let nowhere = bed.plan("nowhere", &table, "", &format!("profile = \"ops\"\n{MOVE}"));
    each(&bed, text(&nowhere), |refused| {
        refused.says(&["no AWS region is configured", "`region`"]);
    });
    // The command line completes the plan.
    tool(&bed, &["check", text(&nowhere), "--region", "eu-west-1"]).exits(0);
    tool(&bed, &["check", text(&none), "--profile", "ops"]).exits(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_where_nobody_listens() {
    let (bed, table, plan) = scene(3, "").await;
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let endpoint = format!("http://{free}");
    let ran = refused(&bed, 3, &["run", text(&plan), "--yes", "--endpoint-url", &endpoint]);
    ran.in_one_paragraph().says(&[&table, "onnection refused", "Nothing was done", "`endpoint_url`"]);

    // A name that nobody has: a region that does not exist looks like this.
    let mut command = bed.command();
    command.args([
        "check",
        text(&plan),
        "--endpoint-url",
        "http://dynamodb.eu-nowhere-1.invalid",
        "--region",
        "eu-west-1",
    ]);
    command.env("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE").env("AWS_SECRET_ACCESS_KEY", "S3CRET");
    let ran = tool::run(command).exits(3);
    assert!(ran.stderr.contains("Nothing was done") && ran.stderr.contains("`region`"), "{}", ran.stderr);
    assert!(ran.stderr.contains("the connection could not be opened"), "it never left: {}", ran.stderr);

    // Somebody who speaks another language.
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
    let ran = refused(&bed, 3, &["run", text(&plan), "--yes", "--endpoint-url", &endpoint]);
    ran.in_one_paragraph().says(&["404", "without a DynamoDB error", "`endpoint_url`"]);
    nothing_was_written(&bed);
}
