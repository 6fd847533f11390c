//! The report as Markdown, for a change ticket. It has the same facts as the page, without charts.
//!
//! Text from outside is escaped, so it cannot add markup. Names and commands are in code spans, so a ticket
//! system does not turn them into links or mentions.

use std::fmt::Write as _;

use super::rows::{FigureRow, NamedValue};
use super::{MigrationReport, PaceChart, RunEntry, StepEntry, VerificationEntry};
use crate::clock::to_text;
use crate::figure::{count, number};
use crate::outside::escaped_lines;

impl MigrationReport {
    /// Returns the report as Markdown.
    pub fn markdown(&self) -> String {
        let mut out = String::new();
        // A write to memory cannot fail.
        self.write_markdown(&mut out).unwrap_or_default();
        while out.contains("\n\n\n") {
            out = out.replace("\n\n\n", "\n\n");
        }
        escaped_lines(&out).to_string()
    }

    fn write_markdown(&self, out: &mut String) -> std::fmt::Result {
        writeln!(out, "# Migration report: {}\n", plain(&self.identity.migration))?;
        writeln!(out, "**{}** as of {}\n", self.stage_text(), to_text(self.at))?;
        if !self.same_plan() {
            writeln!(
                out,
                "**The plan file has changed.** This state file belongs to another plan. The limits, the next step and \
                 the clean-up list may not apply.\n"
            )?;
        }
        writeln!(out, "## Summary\n")?;
        list(out, &self.summary_rows())?;
        let next = self.next_text();
        writeln!(out, "- Next step: {}", if self.has_next_command() { code(&next) } else { plain(&next) })?;
        for known in &self.overrides {
            let (obstacle, reason) = (plain(&known.obstacle.to_string()), plain(&known.reason));
            writeln!(out, "- Override that applies: {obstacle}. Reason: {reason}")?;
        }
        writeln!(out, "\n## What was asked\n")?;
        list(out, &self.asked_rows())?;
        writeln!(out, "\n## What was done, and by whom\n")?;
        if self.steps.is_empty() {
            writeln!(out, "No step is recorded.")?;
        }
        self.steps.iter().try_for_each(|step| write_step(out, step))?;
        writeln!(out, "\n## Runs\n")?;
        if self.runs.is_empty() {
            writeln!(out, "No run has begun.")?;
        }
        let held = self.summary.holder.is_some();
        self.runs.iter().try_for_each(|run| write_run(out, run, held))?;
        self.write_work(out)?;
        writeln!(out, "\n## Verification\n")?;
        if self.verifications.is_empty() {
            writeln!(out, "No verification is complete, so nothing is proven about the table.")?;
        }
        self.verifications.iter().try_for_each(|entry| write_verification(out, entry))?;
        writeln!(out, "\n## Clean up\n")?;
        let over = match self.is_over() {
            true => "The migration is over. You can remove each of the following when its condition holds.",
            false => "The migration is not over. Do not remove any of these yet.",
        };
        writeln!(out, "{over}\n")?;
        for entry in &self.cleanup {
            writeln!(out, "- {}: when {}", plain(&entry.what), plain(&entry.when))?;
        }
        let keys = if self.show_keys { "It shows item keys" } else { "It shows no item keys" };
        writeln!(
            out,
            "\n---\nMade by backfill {} from the state file and the plan file. It did not read the table or the flag. \
             Counts are exact unless a row says *at least*, *about* or *estimated*. Costs are always estimates. The \
             report shows no values of attributes from the table, except keys with `--show-keys`. It shows the \
             constants in the plan. {keys}.",
            env!("CARGO_PKG_VERSION")
        )
    }

    fn write_work(&self, out: &mut String) -> std::fmt::Result {
        writeln!(out, "\n## Failures and diverged items\n")?;
        let failures = count(self.summary.open_failures, "failure", "failures");
        let diverged = count(self.summary.open_diverged, "diverged item", "diverged items");
        writeln!(out, "Open now: {failures}, {diverged}.\n")?;
        for list in self.work_lists() {
            if list.rows.is_empty() {
                writeln!(out, "{}\n", list.none)?;
                continue;
            }
            writeln!(out, "{}:\n", list.caption)?;
            for row in &list.rows {
                let text = plain(&row.text);
                writeln!(out, "- run {}: {} open, {} resolved: {text}", row.run, row.open, row.resolved)?;
                row.keys.iter().try_for_each(|key| writeln!(out, "  - {}", code(key)))?;
                if row.more > 0 {
                    writeln!(out, "  - and {} more", number(row.more))?;
                }
            }
            writeln!(out)?;
            list.notes.iter().try_for_each(|note| writeln!(out, "{note}\n"))?;
        }
        Ok(())
    }
}

fn write_step(out: &mut String, step: &StepEntry) -> std::fmt::Result {
    write!(out, "1. {} {}: {}", to_text(step.at), code(&step.actor), plain(&step.what))?;
    if !step.details.is_empty() {
        write!(out, " ({})", plain(&step.details.join("; ")))?;
    }
    match step.gate.text() {
        gate if gate.is_empty() => writeln!(out),
        gate => writeln!(out, "; gate {}", plain(&gate)),
    }
}

fn write_run(out: &mut String, run: &RunEntry, held: bool) -> std::fmt::Result {
    writeln!(out, "### {}\n", plain(&run.title()))?;
    list(out, &run.fact_rows(held))?;
    let time = run.clocks.as_ref().map_or_else(|| "unknown".to_owned(), ToString::to_string);
    writeln!(out, "- Time: {time}")?;
    let pace = run.history.as_ref().and_then(PaceChart::new);
    let pace = pace.map_or_else(|| "unknown".to_owned(), |pace| format!("{} {}", pace.text, run.pace_note()));
    writeln!(out, "- Pace: {pace}\n")?;
    writeln!(out, "| | |\n| --- | ---: |")?;
    writeln!(out, "| items scanned | {} |", number(run.progress.totals.counts.scanned))?;
    for FigureRow { label, note, value } in run.outcome_rows().iter().chain(&run.spend_rows()) {
        let note = if note.is_empty() { String::new() } else { format!(" ({})", plain(note)) };
        writeln!(out, "| {}{note} | {} |", plain(label), plain(value))?;
    }
    writeln!(out)
}

fn write_verification(out: &mut String, entry: &VerificationEntry) -> std::fmt::Result {
    writeln!(out, "### Verification, run {}: {}\n", entry.run, plain(&entry.result()))?;
    writeln!(out, "- It proves: {}", plain(&entry.proves()))?;
    for limit in entry.cannot_prove() {
        writeln!(out, "- It cannot prove anything about {}", plain(&limit))?;
    }
    writeln!(out, "- SHA-256 of the stored report: `{}`\n", entry.hash)
}

fn list(out: &mut String, rows: &[NamedValue]) -> std::fmt::Result {
    rows.iter().try_for_each(|(name, value)| writeln!(out, "- {name}: {}", plain(value)))
}

/// Escapes text, so that it contains no markup.
fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\r' => out.push(' '),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '~' | '$' => {
                out.push('\\');
                out.push(c);
            }
            c => out.push(c),
        }
    }
    out
}

/// Returns a code span. Some ticket systems interpret markup inside a code span, so text with such characters is escaped
/// instead.
fn code(text: &str) -> String {
    let is_plain = |c: char| !matches!(c, '`' | '<' | '>' | '&' | '|' | '\n' | '\r');
    if !text.is_empty() && text.chars().all(is_plain) { format!("`{text}`") } else { plain(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_outside_adds_no_markup() {
        assert_eq!(plain("a_b|c <script>\n# *x* [l](u)"), "a\\_b\\|c &lt;script&gt; # \\*x\\* \\[l\\](u)");
        assert_eq!(code("run"), "`run`");
        assert_eq!(code("a `b` <i>"), "a \\`b\\` &lt;i&gt;");
        assert_eq!(code(""), "");
    }
}
