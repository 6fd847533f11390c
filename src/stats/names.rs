//! The attribute names that a sample has found. This module is pure.

use std::collections::BTreeMap;

use crate::item::Path;

/// Maximum number of top-level attribute names for which figures are kept. A table whose names are data, such as user
/// IDs, can have millions of names.
const MAX_NAMES: usize = 1_000;

/// Maximum number of member names for which figures are kept, for each map. The keys of a map are often data.
const MAX_MEMBERS: usize = 100;

/// Assigns a number to each attribute name, and to each member name of a top-level map, in the order in which they were
/// found. If there are too many names, further names get no number.
#[derive(Debug, Clone, PartialEq)]
pub struct Names {
    numbers: BTreeMap<String, (usize, BTreeMap<String, usize>)>,
    paths: Vec<Path>,
    limits: (usize, usize),
}

impl Default for Names {
    fn default() -> Names {
        Names::with_limits(MAX_NAMES, MAX_MEMBERS)
    }
}

impl Names {
    /// Creates a list that holds at most this number of names, and at most this number of members for each name.
    fn with_limits(names: usize, members: usize) -> Names {
        Names { numbers: BTreeMap::new(), paths: Vec::new(), limits: (names, members) }
    }

    /// Returns the number of a top-level attribute. `None` if there are too many names.
    pub fn number(&mut self, name: &str) -> Option<usize> {
        if let Some((number, _)) = self.numbers.get(name) {
            return Some(*number);
        }
        if self.numbers.len() >= self.limits.0 {
            return None;
        }
        let number = self.paths.len();
        self.paths.push(Path::attribute(name));
        self.numbers.insert(name.to_owned(), (number, BTreeMap::new()));
        Some(number)
    }

    /// Returns the number of a member of the map at a top-level attribute. `None` if the map has too many members, or
    /// if the attribute itself has no number.
    pub fn member(&mut self, name: &str, member: &str) -> Option<usize> {
        let (_, members) = self.numbers.get_mut(name)?;
        if let Some(number) = members.get(member) {
            return Some(*number);
        }
        if members.len() >= self.limits.1 {
            return None;
        }
        let number = self.paths.len();
        self.paths.push(Path::attribute(name).member(member));
        members.insert(member.to_owned(), number);
        Some(number)
    }

    /// Returns the paths, in the order of their numbers.
    pub fn paths(&self) -> &[Path] {
        &self.paths
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_keep_their_numbers_and_further_names_get_none() {
        let mut names = Names::with_limits(2, 1);
        assert_eq!([names.number("a"), names.number("b"), names.number("c")], [Some(0), Some(1), None]);
        assert_eq!([names.member("a", "x"), names.member("a", "y"), names.member("b", "x")], [Some(2), None, Some(3)]);
        assert_eq!((names.number("b"), names.member("a", "x"), names.member("c", "x")), (Some(1), Some(2), None));
        let paths: Vec<String> = names.paths().iter().map(Path::to_string).collect();
        assert_eq!(paths, ["a", "b", "a.x", "b.x"]);
    }
}
