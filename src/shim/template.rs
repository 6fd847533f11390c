//! Fills the slots of templates.

/// A slot of a template.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Slot {
    /// The migration's name, as text in a comment.
    Migration,
    /// The table's name, as text in a comment.
    Table,
    /// The partition key's name, as text in a comment.
    PartitionKey,
    /// Remarks in the comment at the beginning of the code: complete lines, or nothing.
    Notes,
    /// The constants: the names from the plan.
    Constants,
    /// How the application reads the flag's item, as part of the example in the comment.
    FlagKey,
    /// The stem of the first attribute that moves, in the language's style.
    Example,
    /// The name of the class or package.
    Unit,
    /// The part of the flag's example that reads the flag and computes buckets.
    Flag,
    /// The part of the flag's example that caches the flag.
    Cache,
    /// The functions of each attribute that moves.
    Moves,
    /// The stem in the style of functions.
    Stem,
    /// The stem in the style of constants.
    Constant,
    /// The old attribute's name or path, as text in a comment.
    Old,
    /// The new attribute's name or path, as text in a comment.
    New,
    /// The arguments that describe the move.
    Move,
    /// The expression for the map that contains the attributes.
    Container,
    /// The item or map, as text in a comment.
    ContainerName,
}

impl Slot {
    fn mark(self) -> &'static str {
        match self {
            Slot::Migration => "{{migration}}",
            Slot::Table => "{{table}}",
            Slot::PartitionKey => "{{partition_key}}",
            Slot::Notes => "{{notes}}",
            Slot::Constants => "{{constants}}",
            Slot::FlagKey => "{{flag_key}}",
            Slot::Example => "{{example}}",
            Slot::Unit => "{{unit}}",
            Slot::Flag => "{{flag}}",
            Slot::Cache => "{{cache}}",
            Slot::Moves => "{{moves}}",
            Slot::Stem => "{{stem}}",
            Slot::Constant => "{{constant}}",
            Slot::Old => "{{old}}",
            Slot::New => "{{new}}",
            Slot::Move => "{{move}}",
            Slot::Container => "{{container}}",
            Slot::ContainerName => "{{container_name}}",
        }
    }
}

/// Fills the slots of a template from left to right. Inserted text is never searched for slots, so a name such as
/// `{{moves}}` stays as it is.
pub(super) fn fill(template: &str, slots: &[(Slot, &str)]) -> String {
    let (mut out, mut rest) = (String::with_capacity(2 * template.len()), template);
    while let Some(begin) = rest.find("{{") {
        let (text, marked) = rest.split_at(begin);
        out.push_str(text);
        match slots.iter().find(|(slot, _)| marked.starts_with(slot.mark())) {
            Some((slot, content)) => {
                out.push_str(content);
                rest = &marked[slot.mark().len()..];
            }
            None => {
                out.push_str("{{");
                rest = &marked[2..];
            }
        }
    }
    out + rest
}

/// Returns the part of an example that begins with `begin` and ends before `end`, without blank lines around it. If
/// `end` is `None`, the part ends with the example. The tests prove that the example contains both marks.
pub(super) fn between(example: &'static str, begin: &str, end: Option<&str>) -> &'static str {
    let start = example.find(begin).unwrap_or(0);
    let part = &example[start..];
    let length = end.and_then(|end| part.find(end)).unwrap_or(part.len());
    part[..length].trim()
}
