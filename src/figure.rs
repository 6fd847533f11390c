//! Formats figures for people.

use std::time::Duration;

use crate::item::Units;

/// Formats a number with thousands separators.
pub fn number(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Formats a count with its noun, for example `1 item` or `1,234 items`. Both forms can also contain a verb after the
/// noun.
pub fn count(n: u64, one: &str, many: &str) -> String {
    format!("{} {}", number(n), if n == 1 { one } else { many })
}

/// The width of a terminal, in characters, for which the reports are laid out.
pub const LINE_WIDTH: usize = 80;

/// Divides a text into lines of at most `width` characters. A text that fits stays one line. Otherwise, the part before
/// the first `: ` is a line of its own, and each part that ends with `; ` is too. A part that is too long continues in
/// lines with an indent. A word that is too long is not divided.
pub fn wrapped(text: &str, width: usize) -> Vec<String> {
    const INDENT: &str = "  ";
    if text.chars().count() <= width {
        return vec![text.to_owned()];
    }
    let (head, rest) = text.split_at(text.find(": ").map_or(0, |end| end + 1));
    let head = std::iter::once(head).filter(|head| !head.is_empty());
    let mut lines = Vec::new();
    for part in head.chain(rest.trim_start_matches(' ').split_inclusive("; ")) {
        let mut line = String::new();
        for word in part.trim_end().split(' ') {
            let is_first = line.trim().is_empty();
            if !is_first && line.chars().count() + 1 + word.chars().count() > width {
                lines.push(std::mem::replace(&mut line, format!("{INDENT}{word}")));
            } else {
                line += if is_first { "" } else { " " };
                line += word;
            }
        }
        lines.push(line);
    }
    lines
}

/// Formats a text after a label of `label_width` characters. Wraps the text at [`LINE_WIDTH`], and aligns the further
/// lines with its beginning.
pub fn labelled(label: &str, label_width: usize, text: &str) -> String {
    let mut labels = std::iter::once(label).chain(std::iter::repeat(""));
    let lines = wrapped(text, LINE_WIDTH.saturating_sub(label_width + 1));
    let lines = lines.iter().map(|line| format!("{:<label_width$} {line}", labels.next().unwrap_or_default()));
    lines.collect::<Vec<_>>().join("\n")
}

/// Formats a number of capacity units, rounded to half units.
pub fn units(units: Units) -> String {
    let halves = (units * 2.0).round() as u64;
    format!("{}{}", number(halves / 2), if halves % 2 == 1 { ".5" } else { "" })
}

/// Formats an amount of US dollars. Amounts below ten cents get up to six decimals.
pub fn dollars(amount: f64) -> String {
    if amount >= 0.1 {
        return format!("${amount:.2}");
    }
    let text = format!("${amount:.6}");
    let cents = text.len() - 4;
    let kept = text.trim_end_matches('0').len().max(cents);
    text[..kept].to_owned()
}

/// Formats a duration as its two largest units, rounded down. The smaller unit is included even if it is zero.
pub fn whole_duration(duration: Duration) -> String {
    match duration.as_secs() {
        s if s < 60 => format!("{s} s"),
        s if s < 3_600 => format!("{} min {} s", s / 60, s % 60),
        s if s < 86_400 => format!("{} h {} min", s / 3_600, s % 3_600 / 60),
        s => format!("{} d {} h", s / 86_400, s % 86_400 / 3_600),
    }
}

/// Rounds a waiting time up to whole seconds, and formats its two largest units.
pub fn duration(time: Duration) -> String {
    let seconds = time.as_secs_f64().ceil() as u64;
    let days = seconds / 86_400;
    let hours = seconds / 3_600 % 24;
    let minutes = seconds / 60 % 60;
    match (days, hours, minutes, seconds % 60) {
        (0, 0, 0, seconds) => format!("{seconds} s"),
        (0, 0, minutes, 0) => format!("{minutes} min"),
        (0, 0, minutes, seconds) => format!("{minutes} min {seconds} s"),
        (0, hours, minutes, _) => format!("{hours} h {minutes} min"),
        (days, hours, ..) => format!("{} d {hours} h", number(days)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        assert_eq!([0, 999, 1000, 1_234_567].map(number), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!(units(1234.5), "1,234.5");
    }

    #[test]
    fn a_noun_agrees_with_its_count() {
        let texts = [0, 1, 2, 1_234].map(|n| count(n, "reply", "replies"));
        assert_eq!(texts, ["0 replies", "1 reply", "2 replies", "1,234 replies"]);
    }

    #[test]
    fn small_sums_are_not_rounded_away() {
        let texts = [1234.5, 0.1, 0.01, 0.0, 0.002755, 0.000_000_4].map(dollars);
        assert_eq!(texts, ["$1234.50", "$0.10", "$0.01", "$0.00", "$0.002755", "$0.00"]);
    }

    #[test]
    fn a_duration_has_two_units() {
        let texts = [0.0, 0.2, 59.0, 60.0, 61.0, 3_599.5, 3_661.0, 90_000.0, 8.64e9]
            .map(|s| duration(Duration::from_secs_f64(s)));
        assert_eq!(
            texts,
            ["0 s", "1 s", "59 s", "1 min", "1 min 1 s", "1 h 0 min", "1 h 1 min", "1 d 1 h", "100,000 d 0 h"]
        );
    }

    #[test]
    fn a_long_text_gets_a_line_for_each_part() {
        assert_eq!(wrapped("set a to 1; set b to 2", 80), ["set a to 1; set b to 2"]);
        let lines = wrapped("table shop: set a to 1; set bb to \"one two three\"; bump v", 20);
        assert_eq!(lines, ["table shop:", "set a to 1;", "set bb to \"one two", "  three\";", "bump v"]);
        let text = labelled("plan", 8, &format!("set a to 1; {}", "x".repeat(70)));
        assert_eq!(text, format!("plan     set a to 1;\n         {}", "x".repeat(70)));
    }

    proptest::proptest! {
        /// No character is lost, and only a line with a single word can be too wide.
        #[test]
        fn a_wrapped_text_is_the_same_text(text in "[a-c:;é ]{0,60}", width in 4..30_usize) {
            let lines = wrapped(&text, width);
            let letters = |text: &str| text.chars().filter(|c| *c != ' ').collect::<String>();
            proptest::prop_assert_eq!(letters(&lines.concat()), letters(&text));
            for line in &lines {
                proptest::prop_assert!(line.chars().count() <= width || !line.trim().contains(' '), "{:?}", lines);
            }
        }
    }
}
