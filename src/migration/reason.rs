//! Reasons that an operator gives for an override.

/// Returns the text without surrounding white space. Returns `None` if the text contains no visible character.
pub fn reason(text: &str) -> Option<String> {
    let shown = |c: char| !c.is_whitespace() && !c.is_control() && !is_invisible(c);
    text.chars().any(shown).then(|| text.trim().to_owned())
}

/// Returns whether a character is invisible. Invisible characters are Unicode's default-ignorable code points, fillers,
/// and the blank Braille pattern.
fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}' | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{2800}' | '\u{3164}'
        | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}'
        | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blank_reason_is_no_reason() {
        for blank in ["", "  ", "\u{200b}", " \u{2800}\t"] {
            assert_eq!(reason(blank), None, "{blank:?}");
        }
        assert_eq!(reason(" agreed \n").as_deref(), Some("agreed"));
    }
}
