//! Names in comments.

/// Maximum number of characters of a name in a comment.
const MAX_CHARS: usize = 60;

/// Returns a name in a form that is safe inside a comment. A character that could end a comment, or that a compiler
/// could interpret, becomes `?`. The literals in the code contain the exact names.
pub(super) fn comment(name: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-.:# ".contains(c);
    let mut text: String = name.chars().take(MAX_CHARS).map(|c| if is_plain(c) { c } else { '?' }).collect();
    if name.chars().nth(MAX_CHARS).is_some() {
        text.push_str("...");
    }
    text
}
