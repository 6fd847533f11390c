//! Tests `report`: its figures equal those in the state file, hostile text adds no markup, and the page loads no other
//! resource.

mod browser;
mod eventful;
mod serve;

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use backfill::internals::state::{RunId, StoredFact, sqlite::StateFile};
use backfill::internals::telemetry::PaceHistory;

use super::tool::SECRET;
use super::*;
use eventful::Eventful;

/// Returns the section or article with this id.
fn part<'a>(html: &'a str, tag: &str, id: &str) -> &'a str {
    let from = html.find(&format!("<{tag} id=\"{id}\"")).unwrap_or_else(|| panic!("no {tag} {id}"));
    let rest = &html[from..];
    &rest[..rest.find(&format!("</{tag}>")).unwrap()]
}

/// Returns the figure in the table row with this label.
fn figure<'a>(html: &'a str, label: &str) -> &'a str {
    let (_, row) = html.split_once(&format!("<th scope=\"row\">{label}")).unwrap_or_else(|| panic!("no row {label}"));
    let (_, cell) = row.split_once("<td class=\"figure\">").unwrap();
    cell.split_once('<').unwrap().0
}

/// Returns the value of a fact.
fn fact<'a>(html: &'a str, name: &str) -> &'a str {
    let (_, value) = html.split_once(&format!("<dt>{name}</dt><dd>")).unwrap_or_else(|| panic!("no fact {name}"));
    value.split_once("</dd>").unwrap().0
}

/// Formats a number as the report does.
fn grouped(number: &Json) -> String {
    backfill::internals::figure::number(number.as_u64().unwrap())
}

/// Checks the properties that every page must have.
#[track_caller]
fn check_page(html: &str) {
    let lower = html.to_lowercase();
    for never in ["<script", "<img", "<link", "<iframe", "<object", "<base", "<form", "@import", "url(", "javascript:"]
    {
        assert!(!lower.contains(never), "{never}");
    }
    for attribute in ["src", "srcset", "data", "poster", "action", "xlink:href", "onload", "onerror", "onclick"] {
        assert!(!in_a_tag(html, &format!(" {attribute}=")), "the attribute {attribute}");
    }
    assert!(!in_a_tag(html, "http://") && !in_a_tag(html, "https://"), "a tag contains an address");
    assert!(html.contains("content=\"default-src 'none'; style-src 'unsafe-inline'\""));
    let hidden = |c: char| {
        (c.is_control() && c != '\n')
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}')
    };
    assert!(!html.contains(hidden), "a control character");
    assert!(!html.contains(SECRET), "an attribute value");
    // Each link points to an element of the page, and each id is unique.
    let ids: Vec<&str> = html.split(" id=\"").skip(1).map(|rest| rest.split_once('"').unwrap().0).collect();
    let unique: std::collections::BTreeSet<&str> = ids.iter().copied().collect();
    assert_eq!(ids.len(), unique.len(), "{ids:?}");
    for target in html.split("href=\"").skip(1).map(|rest| rest.split_once('"').unwrap().0) {
        let id = target.strip_prefix('#').unwrap_or_else(|| panic!("a link to {target}"));
        assert!(unique.contains(id), "{id}");
    }
    for label in html.split("aria-labelledby=\"").skip(1).map(|rest| rest.split_once('"').unwrap().0) {
        assert!(unique.contains(label), "{label}");
    }
    for landmark in ["<header>", "<nav aria-label=", "<main id=", "<footer>", "<html lang=\"en\">"] {
        assert_eq!(html.matches(landmark).count(), 1, "{landmark}");
    }
    assert_eq!(html.matches("<table>").count(), html.matches("<caption>").count(), "each table has a caption");
    let drawings = html.matches("<svg ").count();
    let described = html.matches("role=\"img\" aria-label=\"").count() + html.matches("aria-hidden=\"true\"").count();
    assert_eq!(drawings, described, "each drawing has a text, or is decoration");
}

/// Returns whether a text occurs inside an HTML tag.
fn in_a_tag(html: &str, text: &str) -> bool {
    html.match_indices(text).any(|(at, _)| html[..at].rfind('<') > html[..at].rfind('>'))
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}

/// A run is killed, resumed and throttled, and an item fails. A verification finds the item, and the operator overrides
/// the gate. The report shows all of this, with the figures in the state file.
/// RUNBOOK: "The figures come from the state file, all from one moment"
#[tokio::test(flavor = "multi_thread")]
async fn the_report_shows_what_the_state_records() {
    let (eventful, killed) = Eventful::begin().await;
    let Eventful { harness, plan } = &eventful;
    let plan = text(plan);
    let live = tool(harness, &["report", plan, "--out", "live.html", "--output", "json"]).exits(0).json();
    eventful.crash(killed);
    assert_eq!((&live["file"], &live["phase"]), (&json!("live.html"), &json!("expand")), "{live:#}");
    let live = read(&harness.dir().join("live.html"));
    check_page(&live);
    assert!(fact(&live, "Process").starts_with("working when this report was made"), "{}", fact(&live, "Process"));
    assert_eq!(fact(part(&live, "article", "run-1"), "State"), "in progress when this report was made");

    let written = tool(harness, &["report", plan]).exits(0);
    let path = harness.dir().join(written.stdout.trim().strip_prefix("report written to ").unwrap());
    assert!(path.ends_with("plan.db.report.html"), "{}", path.display());
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let died = read(&path);
    check_page(&died);
    assert_eq!(fact(&died, "Process"), "the process of the newest run died; the next step resumes it");
    let status = tool(harness, &["status", plan, "--offline", "--output", "json"]).exits(0).json();
    let counts = &status["state"]["current"]["totals"]["counts"];
    assert_eq!(figure(part(&died, "article", "run-1"), "applied <small>at least"), grouped(&counts["applied"]));
    assert!(counts["applied"].as_u64().unwrap() < 60, "the run is incomplete");

    eventful.finish();

    // The report replaces an old file regardless of the file's mode.
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    tool(harness, &["report", plan]).exits(0);
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let html = read(&path);
    check_page(&html);
    let status = tool(harness, &["status", plan, "--offline", "--output", "json"]).exits(0).json();
    check_runs(harness, &html, &status);
    check_story(&html, &status);
    assert!(html.contains("Steered: ctl pause --reason ") && html.contains("Steered: ctl resume"), "{html}");

    // Keys are shown only on request.
    assert!(html.contains("item would exceed") || html.contains("400 KB"), "the reason of the failure is shown");
    assert!(!html.contains("sk=big"), "a key is shown");
    tool(harness, &["report", plan, "--show-keys"]).exits(0);
    let html = read(&path);
    check_page(&html);
    assert!(part(&html, "section", "failures").contains("sk=big"), "the key of the failed item");
    assert!(part(&html, "section", "verification").contains("sk=big"), "the key of the mismatch");

    let markdown = tool(harness, &["report", plan, "--format", "md", "--show-keys", "--out", "-"]).exits(0).stdout;
    assert!(!markdown.contains("<script") && !markdown.contains("<img"), "{markdown}");
    assert!(markdown.contains("gate overridden: accepted by the owner"), "{markdown}");
    let applied = grouped(&run_counts(harness, 1)["applied"]);
    assert!(markdown.contains("| applied (at least") && markdown.contains(&format!(" | {applied} |")));
}

/// Returns the counts of a run, directly from the state file's rows.
fn run_counts(harness: &Harness, run: i64) -> Json {
    let state = StateFile::open(&harness.dir().join(".backfill/plan.db")).unwrap();
    let mut counts = backfill::internals::state::Counts::default();
    for (_, segment) in state.segments_after(RunId::from_number(run), None, 1_000).unwrap() {
        counts.add(&segment.counts);
    }
    backfill::internals::telemetry::counts_json(&counts)
}

/// Checks the figures of the runs against the state.
fn check_runs(harness: &Harness, html: &str, status: &Json) {
    let state = StateFile::open(&harness.dir().join(".backfill/plan.db")).unwrap();
    for run in status["state"]["runs"].as_array().unwrap() {
        let id = run["id"].as_i64().unwrap();
        let article = part(html, "article", &format!("run-{id}"));
        assert!(fact(article, "State").starts_with(run["status"].as_str().unwrap()), "{article}");
        assert_eq!(fact(article, "Begun"), run["started_at"]);
        assert_eq!(fact(article, "Sessions"), grouped(&run["sessions"]));
        let counts = run_counts(harness, id);
        let labels = match run["phase"].as_str().unwrap() {
            "verify" => vec![("matching <", "already_applied"), ("not matching", "diverged"), ("repaired", "applied")],
            _ => vec![
                ("applied", "applied"),
                ("already applied", "already_applied"),
                ("nothing to do", "nothing_to_do"),
                ("gone", "gone"),
                ("diverged", "diverged"),
                ("conflict", "conflict"),
                ("rejected", "rejected"),
                ("not computable", "not_computable"),
            ],
        };
        for (label, outcome) in labels {
            assert_eq!(figure(article, label), grouped(&counts[outcome]), "{outcome} of run {id}");
        }
        assert_eq!(figure(article, "items scanned"), grouped(&counts["scanned"]));
        let consumed = backfill::internals::figure::units(counts["write_units"].as_f64().unwrap());
        assert_eq!(figure(article, "WCU consumed"), consumed);
        let clocks: Json = serde_json::from_str(&state.fact(StoredFact::ActivityClocks).unwrap().unwrap()).unwrap();
        let shown =
            clocks[id.to_string()].as_object().unwrap().iter().filter(|(_, seconds)| seconds.as_f64() > Some(0.0));
        for (activity, _) in shown {
            assert!(article.contains(&format!("class=\"a-{activity}\"")), "{activity} of run {id}");
        }
        let history = state.fact(StoredFact::PaceHistory(RunId::from_number(id))).unwrap().unwrap();
        let total = PaceHistory::from_text(&history).unwrap().total().unwrap();
        assert_eq!(fact(article, "Throttled requests"), total.throttled.to_string());
        assert!(total.items > 0 && total.items <= counts["scanned"].as_u64().unwrap(), "{total:?}");
        assert_eq!(
            article.matches("<rect class=\"s-").count() - 3,
            usize::try_from(run["total_segments"].as_u64().unwrap()).unwrap()
        );
        let segments = run["total_segments"].as_u64().unwrap();
        assert!(article.contains(&format!("{segments} segments: {segments} done, 0 scanning, 0 ")), "{article}");
    }
    let first = part(html, "article", "run-1");
    assert_eq!(fact(first, "Throttled requests"), "5");
    assert!(figure(first, "WCU spent").ends_with(" of 90,000"), "{}", figure(first, "WCU spent"));
}

/// Checks the steps, the failures and the verification.
fn check_story(html: &str, status: &Json) {
    assert_eq!(fact(html, "Open failures"), grouped(&status["state"]["open_failures"]));
    assert_eq!(status["state"]["open_failures"], 1);
    assert_eq!(fact(html, "Stage"), status["playbook"]["phase"]);
    assert_eq!(fact(html, "Fingerprint"), status["plan_fingerprint"]);
    assert!(html.contains(&status["playbook"]["next"].as_str().unwrap().replace('\'', "&#39;")), "the next command");
    let steps = part(html, "section", "steps");
    for step in ["Preflight accepted", "Began: expand", "Complete: expand", "Complete: full verification"] {
        assert!(steps.contains(step), "{step}");
    }
    assert!(steps.contains("overridden: accepted by the owner") && steps.contains("class=\"override\""), "{steps}");
    assert!(steps.contains("eve&#34;&#39;&#62;&#60;script&#62;"), "the actor is escaped: {steps}");
    let failures = part(html, "section", "failures");
    assert!(
        failures.contains("rejected: ") && failures.contains("Open now: 1 failure, 0 diverged items"),
        "{failures}"
    );
    let verification = part(html, "section", "verification");
    let hash = status["playbook"]["full_verification"]["hash"].as_str().unwrap();
    assert!(
        verification.contains(hash) && verification.contains("Parity does not hold: 1 mismatch."),
        "{verification}"
    );
    assert_eq!((fact(verification, "Items compared"), fact(verification, "Missing (no value)")), ("61", "1"));
}

/// A report file is written completely or not at all, and a refused command writes nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_report_without_a_state_or_a_target_is_refused() {
    let (harness, _, plan) = setup(5, "").await;
    let plan = text(&plan);
    refused(&harness, 3, &["report", plan]).in_one_paragraph().says(&["no state file", "check"]);
    assert!(!harness.dir().join(".backfill").exists(), "no file was created");
    tool(&harness, &["run", plan, "--yes"]).exits(0);
    std::fs::create_dir(harness.dir().join("folder")).unwrap();
    for target in ["folder", "missing/report.html"] {
        let ran = tool(&harness, &["report", plan, "--out", target]).exits(1);
        assert!(ran.stderr.contains("could not be written to") && ran.stderr.contains("--out"), "{}", ran.stderr);
    }
    let left: Vec<_> = std::fs::read_dir(harness.dir()).unwrap().map(|file| file.unwrap().file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().ends_with(".tmp")), "{left:?}");
    let json = tool(&harness, &["report", plan, "--out", "-", "--output", "json"]).exits(0).json();
    let html = json["text"].as_str().unwrap();
    check_page(html);
    assert_eq!((json["bytes"].as_u64(), &json["file"]), (Some(html.len() as u64), &Json::Null));
    let piped = tool(&harness, &["report", plan, "--out", "-"]).exits(0).stdout;
    assert!(piped.starts_with("<!doctype html>") && piped.trim_end().ends_with("</html>"));
    // The plan file now differs from the plan in the state file. The report says so.
    let changed = read(Path::new(plan)).replace("to = \"new\"", "to = \"newer\"");
    std::fs::write(plan, changed).unwrap();
    let other = tool(&harness, &["report", plan, "--format", "md", "--out", "-"]).exits(0).stdout;
    assert!(other.contains("**The plan file has changed.**") && other.contains("move old to new\n"), "{other}");
}

/// If `--out` is the path of a state file, a plan or a device, `report` refuses and changes nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_report_replaces_only_a_report() {
    let (harness, _, plan) = setup(5, "").await;
    tool(&harness, &["run", text(&plan), "--yes"]).exits(0);
    std::os::unix::fs::symlink("plan.toml", harness.dir().join("link")).unwrap();
    let state = harness.dir().join(".backfill/plan.db");
    for path in [state.as_path(), &harness.dir().join(".backfill/plan.db.lock"), &plan, &harness.dir().join("link")] {
        let before = std::fs::read(path).unwrap();
        let refused = tool(&harness, &["report", text(&plan), "--out", text(path)]).exits(1);
        assert!(refused.messages().contains("is not a"), "{}", refused.messages());
        assert_eq!(std::fs::read(path).unwrap(), before, "{}", path.display());
    }
    tool(&harness, &["report", text(&plan), "--out", "/dev/null"]).exits(1);
    for format in ["html", "md"] {
        for _ in 0..2 {
            tool(&harness, &["report", text(&plan), "--format", format, "--out", "mine"]).exits(0);
        }
    }
}

/// Compares the complete Markdown report of a migration without a cutover.
#[tokio::test(flavor = "multi_thread")]
async fn the_markdown_is_complete() {
    let (harness, table, plan) = setup(40, "[scan]\nsegments = 2\n").await;
    let plan = text(&plan);
    tool(&harness, &["run", plan, "--yes"]).exits(0);
    tool(&harness, &["verify", plan, "--all"]).exits(0);
    let markdown = tool(&harness, &["report", plan, "--format", "md", "--out", "-"]).exits(0).stdout;
    let markdown = markdown.replace(&table.replace('_', "\\_"), "TABLE").replace(&table, "TABLE");
    let masked: Vec<String> = markdown.lines().map(mask).collect();
    let mut settings = insta::Settings::clone_current();
    settings.set_omit_expression(true);
    settings.set_prepend_module_to_snapshot(false);
    settings.bind(|| insta::assert_snapshot!("report_markdown", masked.join("\n")));
}

/// Replaces text that differs from run to run: times, hashes, paths, and figures that depend on the machine's speed.
fn mask(line: &str) -> String {
    for label in ["- Time: ", "- Pace: ", "- State file: ", "- Next step: ", "- Table id: ", "- Fingerprint: "] {
        if line.starts_with(label) {
            return format!("{label}…");
        }
    }
    let is_time = |word: &str| word.len() >= 20 && word.as_bytes()[4] == b'-' && word.as_bytes()[10] == b'T';
    let is_hash = |word: &str| word.len() >= 64 && word.chars().all(|c| c.is_ascii_hexdigit());
    let mut out = Vec::new();
    for word in line.split(' ') {
        let bare = word.trim_matches(|c: char| !c.is_ascii_alphanumeric());
        let shown = match bare {
            bare if is_time(bare) => word.replace(bare, "TIME"),
            bare if is_hash(bare) => word.replace(bare, "HASH"),
            bare if bare.contains('@') => word.replace(bare, "USER@HOST"),
            _ => word.to_owned(),
        };
        out.push(shown);
    }
    out.join(" ")
}

/// The template escapes every value, because it marks none as safe.
#[test]
fn the_template_marks_no_value_as_safe() {
    let template = include_str!("../../templates/report.html").replace(' ', "");
    assert!(template.contains("{{") && !template.contains("|safe") && !template.contains("|escape"), "{template}");
    assert!(!template.contains("{%filter") && !template.contains("{%autoescape"), "{template}");
}

/// Creates a plan with a flag, and runs these commands.
async fn flagged_life(commands: &[&[&str]]) -> (Harness, String) {
    let harness = Harness::embedded();
    let table = harness.create_table().await;
    let flags = harness.create_table().await;
    harness.load(&table, items(20)).await;
    let flag = format!("[cutover]\ntable = \"{flags}\"\nkey = {{ pk = \"FLAG\", sk = \"{HOSTILE_SORT}\" }}\n");
    let plan = harness.plan("life", &table, "", &format!("{MOVE}{flag}max_cache_seconds = 1\nsoak = \"0s\"\n"));
    for words in commands {
        let (command, rest) = words.split_first().unwrap();
        tool(&harness, &[&[command, text(&plan)], rest].concat()).exits(0);
    }
    tool(&harness, &["report", text(&plan)]).exits(0);
    let html = read(&harness.dir().join(".backfill/life.db.report.html"));
    check_page(&html);
    (harness, html)
}

/// A sort key for the flag item. Without escaping, it would be markup.
const HOSTILE_SORT: &str = "<script>alert(3)</script>";

#[tokio::test(flavor = "multi_thread")]
async fn a_finished_migration_lists_what_can_be_removed() {
    let (harness, html) = flagged_life(&[
        &["cutover", "--to", "dual-write", "--yes"],
        &["run", "--yes"],
        &["verify", "--all"],
        &["cutover", "--to", "read-new", "--yes"],
        &["cutover", "--to", "write-new", "--yes"],
        &["contract", "--yes"],
    ])
    .await;
    assert!(html.contains("<span class=\"badge good\">Complete</span>"), "{html}");
    assert_eq!((fact(&html, "Stage"), fact(&html, "Process")), ("contracted", "no process"));
    assert!(
        html.contains("<code>nothing. The migration is over. Keep the state file as its record</code>"),
        "the next step"
    );
    let steps = part(&html, "section", "steps");
    for (step, gate) in [
        ("Flag change: writers write both attributes", false),
        ("Flag change: readers read the new attribute for 100 % of the keys", true),
        ("Flag change: writers write only the new attribute", true),
        ("Complete: contract (remove old attributes)", false),
    ] {
        let (_, rest) = steps.split_once(step).unwrap_or_else(|| panic!("{step}: {steps}"));
        let entry = rest.split("<li").next().unwrap();
        assert_eq!(entry.contains("<strong>Gate:</strong> open"), gate, "{step}: {entry}");
    }
    let cleanup = part(&html, "section", "cleanup");
    for part in
        ["The migration is over", "code that reads or writes old", "the flag: item", "BackfillTable", "BackfillFlag"]
    {
        assert!(cleanup.contains(part), "{part}: {cleanup}");
    }
    // The report shows the number of values in the journal, and never a value.
    let state = StateFile::open(&harness.dir().join(".backfill/life.db")).unwrap();
    assert_eq!(fact(&html, "Values kept in the journal"), state.summary().unwrap().pre_images.to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_is_reported() {
    let (_, html) = flagged_life(&[
        &["cutover", "--to", "dual-write", "--yes"],
        &["run", "--yes"],
        &["cutover", "--back", "--yes"],
        &["rollback", "--yes"],
    ])
    .await;
    assert!(html.contains("<span class=\"badge warn\">Rolled back</span>"), "{html}");
    let steps = part(&html, "section", "steps");
    assert!(steps.contains("Rollback begun") && steps.contains("Complete: undo"), "{steps}");
    let undo = part(&html, "article", "run-2");
    assert_eq!((figure(undo, "applied"), figure(undo, "items scanned")), ("20", "20"));
    // No limit applies to a rollback.
    assert!(!undo.contains("Limits in the current plan"), "{undo}");
    assert!(part(&html, "section", "verification").contains("nothing is proven"), "no verification was made");
}
