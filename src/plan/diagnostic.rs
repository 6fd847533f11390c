//! Errors in a plan. Each error is shown with its file and line, a caret and a remedy.

use std::fmt;

use annotate_snippets::{Annotation, AnnotationKind, Group, Level, Renderer, Snippet};

use super::text::PlanText;
pub(super) use super::text::TextSpan;

/// Maximum number of errors to show. A binary file can cause thousands of errors, but an operator reads only the first
/// ones.
const MAX_SHOWN_ERRORS: usize = 100;

/// One error in a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Diagnostic {
    title: String,
    /// The first label shows the location of the error. The other labels show conflicting locations. There is always at
    /// least one label.
    labels: Vec<(TextSpan, String)>,
    /// The remedies, already escaped for a terminal.
    help: Vec<String>,
}

impl Diagnostic {
    /// Creates an error with a title, its location in the text, and a label for that location.
    pub(super) fn new(title: impl Into<String>, span: TextSpan, label: impl Into<String>) -> Diagnostic {
        Diagnostic { title: title.into(), labels: vec![(span, label.into())], help: Vec::new() }
    }

    /// Adds a further location to the error.
    pub(super) fn also(mut self, span: TextSpan, label: impl Into<String>) -> Diagnostic {
        self.labels.push((span, label.into()));
        self
    }

    /// Adds a remedy.
    pub(super) fn help(mut self, help: impl Into<String>) -> Diagnostic {
        self.help.push(visible(&help.into()));
        self
    }

    /// Adds a remedy with several lines.
    pub(super) fn example(mut self, lines: &'static str) -> Diagnostic {
        self.help.push(lines.to_owned());
        self
    }

    pub(super) fn span(&self) -> &TextSpan {
        &self.labels[0].0
    }
}

/// Collects the errors of a plan while the plan is read, so that all errors are reported together.
#[derive(Debug)]
pub(super) struct Problems {
    text: PlanText,
    list: Vec<Diagnostic>,
    /// Whether the text has syntax errors. If so, a field that seems to be missing could be on an unreadable line.
    pub(super) has_syntax_errors: bool,
}

impl Problems {
    pub(super) fn new(text: PlanText) -> Problems {
        Problems { text, list: Vec::new(), has_syntax_errors: false }
    }

    pub(super) fn add(&mut self, diagnostic: Diagnostic) {
        self.list.push(diagnostic);
    }

    /// Reports that a part of the plan is missing. Reports nothing if the part could be on an unreadable line.
    pub(super) fn add_missing(&mut self, diagnostic: Diagnostic) {
        if !self.has_syntax_errors {
            self.list.push(diagnostic);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Returns whether the value of a `--set` argument is exactly this text, without quotes.
    pub(super) fn is_typed(&self, value: &TextSpan, text: &str) -> bool {
        self.text.is_argument(value) && self.text.get(value.clone()) == Some(text)
    }

    /// Adds syntax errors. Drops other errors on the same lines. Also drops all errors at or after the position
    /// `unreliable`, because the parser probably misinterpreted the text after this position.
    pub(super) fn add_syntax_errors(&mut self, syntax: Vec<Diagnostic>, unreliable: usize) {
        self.list.retain(|d| d.span().start < unreliable);
        let lines: Vec<TextSpan> = syntax.iter().map(|d| whole_lines(&self.text, d.span())).collect();
        self.list.retain(|d| {
            let at = d.span().start.min(self.text.len());
            !lines.iter().any(|line| line.contains(&at) || line.end == at)
        });
        self.list.extend(syntax);
    }

    /// Returns the position of one character of a string's content. If the string contains escapes, returns the
    /// position of the string itself.
    pub(super) fn char_span_in_string(&self, string: TextSpan, content: &str, at: usize) -> TextSpan {
        let width = content.get(at..).and_then(|rest| rest.chars().next()).map_or(1, char::len_utf8);
        self.span_in_string(string, content, at..at + width)
    }

    /// Returns the position of a part of a string's content. If the string contains escapes, returns the position of
    /// the whole string. A string in a `--set` argument can lack quotes.
    pub(super) fn span_in_string(&self, string: TextSpan, content: &str, part: TextSpan) -> TextSpan {
        let inner = match self.is_typed(&string, content) {
            true => string.clone(),
            false => string.start + 1..string.end.saturating_sub(1),
        };
        match self.text.get(inner.clone()) {
            Some(raw) if raw == content && part.start <= raw.len() => inner.start + part.start..inner.start + part.end,
            _ => string,
        }
    }

    /// Sorts the errors by their position in the text.
    pub(super) fn into_errors(mut self, label: &str) -> PlanErrors {
        self.list.sort_by_key(|d| (d.span().start, d.span().end));
        PlanErrors { label: label.to_owned(), text: self.text, list: self.list }
    }
}

/// All errors in a plan. There is at least one error. [`fmt::Display`] renders the errors without colour.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanErrors {
    label: String,
    text: PlanText,
    list: Vec<Diagnostic>,
}

impl PlanErrors {
    /// Merges the errors of two checks of the same plan.
    pub fn merge(self, more: PlanErrors) -> PlanErrors {
        let mut problems = Problems::new(self.text);
        problems.list = self.list;
        problems.list.extend(more.list);
        problems.into_errors(&self.label)
    }

    /// Returns the number of errors.
    pub fn count(&self) -> usize {
        self.list.len()
    }

    /// Returns the position of each error.
    #[cfg(test)]
    pub(super) fn spans(&self) -> impl Iterator<Item = TextSpan> {
        self.list.iter().map(|diagnostic| diagnostic.span().clone())
    }

    /// Renders every error with its location and its remedies, for a terminal. Replaces control characters from the
    /// plan with visible characters.
    pub fn render(&self, color: bool) -> String {
        let renderer = if color { Renderer::styled() } else { Renderer::plain() };
        let mut out = String::new();
        for diagnostic in self.list.iter().take(MAX_SHOWN_ERRORS) {
            out.push_str(self.render_one(&renderer, diagnostic).trim_end());
            out.push_str("\n\n");
        }
        if let Some(more) = self.list.len().checked_sub(MAX_SHOWN_ERRORS).filter(|n| *n > 0) {
            out.push_str(&format!("… and {more} more\n\n"));
        }
        let errors = if self.list.len() == 1 { "1 error".to_owned() } else { format!("{} errors", self.list.len()) };
        let source = if self.text.arguments().is_empty() { "" } else { " with --set" };
        out.push_str(&format!("{}{source} has {errors}; nothing was written to the table\n", visible(&self.label)));
        out
    }

    fn render_one(&self, renderer: &Renderer, diagnostic: &Diagnostic) -> String {
        // An error can have labels in the file and in the `--set` arguments. The source that contains the location of
        // the error is shown first.
        let in_argument = self.text.is_argument(diagnostic.span());
        let snippets = [in_argument, !in_argument].into_iter().filter_map(|source| self.snippet(diagnostic, source));
        let mut group: Group<'_> = Level::ERROR.primary_title(visible(&diagnostic.title)).elements(snippets);
        for help in &diagnostic.help {
            group = group.element(Level::HELP.message(help));
        }
        renderer.render(&[group])
    }

    /// Returns the lines of this source (the file or the `--set` arguments) on which an error has labels. Returns
    /// `None` if the error has no labels in this source.
    fn snippet(&self, diagnostic: &Diagnostic, in_arguments: bool) -> Option<Snippet<'_, Annotation<'_>>> {
        let labels = diagnostic.labels.iter().enumerate();
        let labels = labels.filter(|(_, (span, _))| self.text.is_argument(span) == in_arguments);
        let spans: Vec<(usize, TextSpan, &str)> =
            labels.map(|(i, (span, label))| (i, align_to_chars(&self.text, span), label.as_str())).collect();
        let first = spans.iter().map(|(_, span, _)| span.start).min()?;
        let last = spans.iter().map(|(_, span, _)| span.end).max()?;
        // Pass only the affected lines to the renderer, so that it does not process the whole file for each error.
        let mut shown = whole_lines(&self.text, &(first..last));
        if self.text[shown.clone()].ends_with('\r') && shown.end > last {
            shown.end -= 1;
        }
        let path = if in_arguments { "command line".to_owned() } else { visible(&self.label) };
        let line = self.text.line_number(shown.start);
        let snippet =
            Snippet::source(same_length_visible(&hide_urls(&self.text[shown.clone()]))).line_start(line).path(path);
        Some(spans.into_iter().fold(snippet, |snippet, (i, span, label)| {
            let kind = if i == 0 { AnnotationKind::Primary } else { AnnotationKind::Context };
            snippet.annotation(kind.span(span.start - shown.start..span.end - shown.start).label(visible(label)))
        }))
    }
}

impl fmt::Display for PlanErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.render(false).trim_end())
    }
}

impl std::error::Error for PlanErrors {}

/// Returns the span, extended to character boundaries within the text.
fn align_to_chars(text: &str, span: &TextSpan) -> TextSpan {
    let start = text.floor_char_boundary(span.start.min(text.len()));
    let end = text.ceil_char_boundary(span.end.clamp(start, text.len()));
    start..end
}

/// Returns the lines that overlap a span, without the line ending of the last line.
pub(super) fn whole_lines(text: &str, span: &TextSpan) -> TextSpan {
    let span = align_to_chars(text, span);
    let start = text[..span.start].rfind('\n').map_or(0, |i| i + 1);
    // If a span ends directly after a line ending, it does not include the next line.
    let inside = if span.end > span.start && text[..span.end].ends_with('\n') { span.end - 1 } else { span.end };
    let end = text[inside..].find('\n').map_or(text.len(), |i| inside + i);
    start..end.max(span.end)
}

/// Makes an error message safe for a terminal. The message may quote unsafe text from the plan.
fn visible(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if is_hidden(c) { out.extend(c.escape_unicode()) } else { out.push(c) }
    }
    out
}

/// Replaces the secret parts of health check URLs without changing any byte offset. A URL can contain a password or a
/// token. On a line that sets `url`, only the URL's scheme and host stay visible.
fn hide_urls(text: &str) -> String {
    let hide = |line: &str| -> String {
        let is_url = line.match_indices("url").any(|(at, _)| {
            let starts_name = !line[..at].ends_with(|c: char| c.is_alphanumeric() || matches!(c, '_' | '-'));
            starts_name && line[at + 3..].trim_start_matches(['"', '\'', ' ', '\t']).starts_with('=')
        });
        let Some(host) = line.find("://").map(|at| at + 3).filter(|_| is_url) else { return line.to_owned() };
        let end = line[host..].find(['/', '?', '#', '"', '\'', ' ']).map_or(line.len(), |length| host + length);
        let start = line[host..end].rfind('@').map_or(host, |at| host + at);
        let stars = |part: &str| -> String {
            let is_kept = |c: char| matches!(c, '"' | '\'' | ' ' | '\r' | '\n');
            part.chars().flat_map(|c| std::iter::repeat_n(if is_kept(c) { c } else { '*' }, c.len_utf8())).collect()
        };
        format!("{}{}{}{}", &line[..host], stars(&line[host..start]), &line[start..end], stars(&line[end..]))
    };
    text.split_inclusive('\n').map(hide).collect()
}

/// Makes source text safe for a terminal without changing any byte offset. The renderer already makes ASCII control
/// characters visible. This function replaces every other unsafe character with a visible character of the same length.
fn same_length_visible(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            c if c.is_ascii() || !is_hidden(c) => c,
            c if c.len_utf8() == 2 => '·',
            c if c.len_utf8() == 3 => '\u{fffd}',
            _ => '\u{1f7ab}',
        })
        .collect()
}

/// Returns whether a character is a control character, or a character that reorders or hides its neighbours.
fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errors(text: &str, diagnostic: Diagnostic) -> PlanErrors {
        let mut problems = Problems::new(PlanText::new(text, &[]));
        problems.add(diagnostic);
        problems.into_errors("a\u{1b}[2Jb.toml")
    }

    #[test]
    fn plan_text_never_reaches_the_terminal_raw() {
        let text = "x = \"\u{1b}[2J\u{9b}31m\u{202e}abc\u{200f}\u{e0041}\"\n";
        let shown = errors(text, Diagnostic::new("bad \u{7}", 4..text.len() - 1, "here \u{9b}").help("not \u{1b}"));
        let shown = shown.to_string();
        assert!(shown.chars().all(|c| c == '\n' || !is_hidden(c)), "{shown:?}");
        assert!(!errors(text, Diagnostic::new("t", 0..1, "l")).render(true).contains('\u{9b}'));
    }

    #[test]
    fn a_url_is_shown_without_its_secrets() {
        for (line, shown) in [
            ("url = \"https://a.example/s3cret?k=s3cret\"", "url = \"https://a.example****************\""),
            ("url='https://me:s3cret@a.example:1/x' s3", "url='https://*********@a.example:1**' **"),
            ("x = [{ url = \"https://a.example/s3cret\" }]", "x = [{ url = \"https://a.example*******\" **"),
            ("  url = https://a.example", "  url = https://a.example"),
            ("endpoint_url = \"http://a.example/x\"", "endpoint_url = \"http://a.example/x\""),
        ] {
            assert_eq!(hide_urls(line), shown);
            let text = format!("{line}\nb = 1");
            let found = errors(&text, Diagnostic::new("t", 0..text.len(), "here")).to_string();
            assert!(!line.contains("s3cret") || !found.contains("s3cret"), "{found}");
        }
    }

    #[test]
    fn spans_outside_the_text_or_inside_a_character_are_moved() {
        let text = "größe = 1\r\nb = \"\u{1f600}\"";
        for start in 0..=text.len() + 2 {
            for end in start..=text.len() + 3 {
                let shown = errors(text, Diagnostic::new("t", start..end, "here").also(0..1, "there")).to_string();
                assert!(shown.contains("here"), "{start}..{end}: {shown}");
            }
        }
        assert!(errors("", Diagnostic::new("t", 0..0, "here")).to_string().contains("here"));
    }

    #[test]
    fn all_errors_are_counted_but_only_the_first_are_shown() {
        let mut problems = Problems::new(PlanText::new("abc", &[]));
        (0..MAX_SHOWN_ERRORS + 7).for_each(|_| problems.add(Diagnostic::new("t", 0..1, "l")));
        let errors = problems.into_errors("p");
        assert_eq!(errors.count(), MAX_SHOWN_ERRORS + 7);
        assert!(errors.to_string().contains("and 7 more"));
    }
}
