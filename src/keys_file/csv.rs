//! Splits a line of a CSV file into its fields, by the rules of RFC 4180.
//!
//! In CSV, a quoted field can contain line breaks. A reader that starts in the middle of such a file cannot tell
//! whether a line break ends a record. Here every record is one line, so that ranges of a file can be read
//! independently. A quote that stays open at the end of a line is therefore an error. General CSV readers accept such a
//! record silently, so this module reads the lines itself.

/// Splits one line. Returns what is wrong with the line if it is not valid.
pub(super) fn fields(line: &str) -> Result<Vec<String>, &'static str> {
    let mut fields = Vec::new();
    let mut rest = line;
    loop {
        let (field, after) = match rest.strip_prefix('"') {
            Some(quoted) => quoted_field(quoted)?,
            None => {
                let end = rest.find(',').unwrap_or(rest.len());
                if rest[..end].contains('"') {
                    return Err("a value with a quote must be in quotes, and its quotes must be doubled");
                }
                (rest[..end].to_owned(), &rest[end..])
            }
        };
        fields.push(field);
        match after.strip_prefix(',') {
            Some(next) => rest = next,
            None if after.is_empty() => return Ok(fields),
            None => return Err("there is text after a closing quote"),
        }
    }
}

/// Reads a field after its opening quote. Returns the field and the text after its closing quote.
fn quoted_field(text: &str) -> Result<(String, &str), &'static str> {
    let mut field = String::new();
    let mut rest = text;
    loop {
        let at = rest.find('"').ok_or("a quote is not closed. A value cannot contain a line break")?;
        field.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        match rest.strip_prefix('"') {
            Some(after) => {
                field.push('"');
                rest = after;
            }
            None => return Ok((field, rest)),
        }
    }
}
