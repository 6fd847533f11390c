//! Document paths: `address.zip`, `"e-mail.addr#1"`, `tags[0].label`.

use std::fmt;
use std::str::FromStr;

use super::{Item, Value};

/// A path to an attribute, or to a value inside a nested document, as an operator writes it in a plan.
///
/// Dots separate steps. `[n]` selects a list element. A name of letters, digits and underscores needs no quotes. Any
/// other name must be in double quotes. Inside the quotes, `""` is a quote. Even reserved words need no quotes, because
/// every name is sent to DynamoDB as a placeholder.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Path(Vec<PathStep>);

/// One step of a [`Path`].
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PathStep {
    /// An attribute's name, or a member of a map.
    Name(String),
    /// An element of a list, counted from 0.
    Index(usize),
}

/// The reason why a text is not a path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct PathError {
    /// Byte offset of the error in the text.
    pub at: usize,
    /// A description of the error, and how to correct it.
    pub message: String,
}

/// The maximum number of nesting levels of an attribute, including the attribute itself (developer guide, "Service
/// quotas": 32 levels). A path has at most this number of steps.
pub const MAX_LEVELS: usize = 32;

impl Path {
    /// Returns the steps, starting with the top-level attribute.
    pub fn steps(&self) -> &[PathStep] {
        &self.0
    }

    /// Returns the path of the top-level attribute with this name. The name can contain any characters.
    pub fn attribute(name: impl Into<String>) -> Path {
        Path(vec![PathStep::Name(name.into())])
    }

    /// Returns the path of these steps. Returns `None` if the first step is not a name, or if there are more than 32
    /// steps.
    pub(crate) fn from_steps(steps: Vec<PathStep>) -> Option<Path> {
        let starts_with_name = matches!(steps.first(), Some(PathStep::Name(name)) if !name.is_empty());
        (starts_with_name && steps.len() <= MAX_LEVELS).then_some(Path(steps))
    }

    /// Returns the path of the member with this name in the map at this path. The name can contain any characters.
    #[must_use]
    pub fn member(&self, name: impl Into<String>) -> Path {
        Path(self.0.iter().cloned().chain([PathStep::Name(name.into())]).collect())
    }

    /// Returns the top-level attribute's name.
    pub fn root(&self) -> &str {
        match &self.0[0] {
            PathStep::Name(name) => name,
            PathStep::Index(_) => unreachable!("a path starts with a name"),
        }
    }

    /// Returns whether the path ends with a list element. A repeated write to a list element can shift elements or
    /// append one.
    pub fn ends_in_index(&self) -> bool {
        matches!(self.0.last(), Some(PathStep::Index(_)))
    }

    /// Returns whether the path names a whole top-level attribute.
    pub fn is_top_level(&self) -> bool {
        self.0.len() == 1
    }

    /// Returns the path of the map or list that contains this path; `None` for a top-level attribute.
    pub fn parent(&self) -> Option<Path> {
        (self.0.len() > 1).then(|| Path(self.0[..self.0.len() - 1].to_vec()))
    }

    /// Returns the maps and lists that contain this path, outermost first.
    pub fn ancestors(&self) -> impl Iterator<Item = Path> + '_ {
        (1..self.0.len()).map(|n| Path(self.0[..n].to_vec()))
    }

    /// Returns whether the paths are equal, or one of them contains the other.
    pub fn overlaps(&self, other: &Path) -> bool {
        self.0.iter().zip(&other.0).all(|(a, b)| a == b)
    }

    /// Returns whether the other path is this path, or inside it.
    pub fn contains(&self, other: &Path) -> bool {
        self.0.len() <= other.0.len() && self.overlaps(other)
    }

    /// Returns the value at this path; `None` if the item has no value there.
    pub fn get<'a>(&self, item: &'a Item) -> Option<&'a Value> {
        let mut value = item.get(self.root())?;
        for step in &self.0[1..] {
            value = match step {
                PathStep::Name(name) => {
                    let Value::M(map) = value else { return None };
                    map.get(name)?
                }
                PathStep::Index(i) => {
                    let Value::L(list) = value else { return None };
                    list.get(*i)?
                }
            };
        }
        Some(value)
    }

    /// Sets the value at this path in a client-side copy of an item, as `SET` would. Returns false and changes nothing
    /// if the parent is missing or has the wrong type, or if the path ends with a list index.
    pub fn set(&self, item: &mut Item, value: Value) -> bool {
        match self.container(item) {
            Some((map, name)) => {
                map.insert(name.to_owned(), value);
                true
            }
            None => false,
        }
    }

    /// Removes the value at this path from a client-side copy of an item, as `REMOVE` would. Returns the removed value;
    /// `None` if there was no value at this path.
    pub fn remove(&self, item: &mut Item) -> Option<Value> {
        self.container(item).and_then(|(map, name)| map.remove(name))
    }

    fn container<'a, 's>(&'s self, item: &'a mut Item) -> Option<(&'a mut Item, &'s str)> {
        let (last, parents) = self.0.split_last()?;
        let PathStep::Name(last) = last else { return None };
        let Some((first, rest)) = parents.split_first() else { return Some((item, last)) };
        let PathStep::Name(first) = first else { return None };
        let mut value = item.get_mut(first)?;
        for step in rest {
            value = match step {
                PathStep::Name(name) => {
                    let Value::M(map) = value else { return None };
                    map.get_mut(name)?
                }
                PathStep::Index(i) => {
                    let Value::L(list) = value else { return None };
                    list.get_mut(*i)?
                }
            };
        }
        let Value::M(map) = value else { return None };
        Some((map, last))
    }
}

impl FromStr for Path {
    type Err = PathError;

    fn from_str(text: &str) -> Result<Path, PathError> {
        let mut steps = Vec::new();
        let mut at = 0;
        loop {
            let (name, next) = read_name(text, at)?;
            steps.push(PathStep::Name(name));
            at = next;
            while text[at..].starts_with('[') {
                let (index, next) = read_index(text, at)?;
                steps.push(PathStep::Index(index));
                at = next;
            }
            if steps.len() > MAX_LEVELS {
                return Err(error(at, "a path can have at most 32 steps, DynamoDB's limit on nesting"));
            }
            match text[at..].chars().next() {
                None => return Ok(Path(steps)),
                Some('.') => at += 1,
                Some(c) => {
                    return Err(error(
                        at,
                        format!(
                            "{c:?} is not allowed here; to use it in a name, put the name in double quotes: {}",
                            quoted(text)
                        ),
                    ));
                }
            }
        }
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, step) in self.0.iter().enumerate() {
            match step {
                PathStep::Name(name) => {
                    let dot = if i > 0 { "." } else { "" };
                    if name.chars().all(is_plain) && !name.is_empty() {
                        write!(f, "{dot}{name}")?;
                    } else {
                        write!(f, "{dot}{}", quoted(name))?;
                    }
                }
                PathStep::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

fn read_name(text: &str, at: usize) -> Result<(String, usize), PathError> {
    let rest = &text[at..];
    let Some(inner) = rest.strip_prefix('"') else {
        let len = rest.find(|c| !is_plain(c)).unwrap_or(rest.len());
        if len == 0 {
            return Err(error(
                at,
                "a name is missing here; a name that contains other characters must be in double quotes",
            ));
        }
        return Ok((rest[..len].to_owned(), at + len));
    };
    let mut name = String::new();
    let mut chars = inner.char_indices().peekable();
    while let Some((i, c)) = chars.next() {
        match c {
            '"' if chars.peek().is_some_and(|(_, c)| *c == '"') => {
                chars.next();
                name.push('"');
            }
            '"' if name.is_empty() => return Err(error(at, "an attribute name cannot be empty")),
            '"' => return Ok((name, at + 1 + i + 1)),
            c => name.push(c),
        }
    }
    Err(error(at, "this quote is never closed"))
}

fn read_index(text: &str, at: usize) -> Result<(usize, usize), PathError> {
    let wrong = || error(at, "a list index must be a whole number in brackets, such as [0]");
    let end = text[at..].find(']').ok_or_else(wrong)?;
    let digits = &text[at + 1..at + end];
    if !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(wrong());
    }
    Ok((digits.parse().map_err(|_| wrong())?, at + end + 1))
}

fn is_plain(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn error(at: usize, message: impl Into<String>) -> PathError {
    PathError { at, message: message.into() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn path(text: &str) -> Path {
        text.parse().unwrap()
    }

    #[test]
    fn every_name_can_be_quoted() {
        assert_eq!(path("address.zip").steps().len(), 2);
        assert_eq!(path("\"e-mail.addr#1\""), Path::attribute("e-mail.addr#1"));
        assert_eq!(path("\"we\"\"ird\""), Path::attribute("we\"ird"));
        assert_eq!(path("tags[0].\"a b\"[2]").steps().len(), 4);
        assert_eq!(path("größe"), Path::attribute("größe"));
        assert_eq!(path("a.\"b.c\""), Path::attribute("a").member("b.c"));
        for bad in ["", ".", "a.", "a..b", "e-mail", "a b", "a[", "a[-1]", "a[x]", "\"\"", "\"open", "[0]", "a[0]b"] {
            assert!(bad.parse::<Path>().is_err(), "{bad}");
        }
    }

    #[test]
    fn overlap_is_equality_or_containment() {
        assert!(path("a").overlaps(&path("a.b")));
        assert!(path("a.b").overlaps(&path("a.b")));
        assert!(!path("a.b").overlaps(&path("a.c")));
        assert!(!path("ab").overlaps(&path("a")));
    }

    proptest! {
        #[test]
        fn displayed_paths_can_be_parsed(names in proptest::collection::vec("\\PC{1,6}", 1..4), index in proptest::option::of(0_usize..9)) {
            let mut steps: Vec<PathStep> = names.into_iter().map(PathStep::Name).collect();
            steps.extend(index.map(PathStep::Index));
            let path = Path(steps);
            prop_assert_eq!(path.to_string().parse::<Path>(), Ok(path));
        }

        #[test]
        fn any_text_parses_or_points_inside(text in "\\PC{0,20}") {
            if let Err(e) = text.parse::<Path>() {
                prop_assert!(e.at <= text.len());
            }
        }
    }
}
