//! Every function, in one table. The reference in `docs/expressions.md` is generated from it.

mod convert;
mod encode;
mod json;
pub(super) mod lists;
mod numbers;
mod text;
pub(super) mod times;

use super::function::{Function, Style};

/// A family of functions.
pub(super) struct Family {
    pub(super) title: &'static str,
    pub(super) functions: &'static [Function],
}

/// All functions.
pub(super) const FAMILIES: &[Family] = &[
    Family { title: "Text", functions: text::FUNCTIONS },
    Family { title: "Numbers", functions: numbers::FUNCTIONS },
    Family { title: "Times", functions: times::FUNCTIONS },
    Family { title: "Lists, sets and maps", functions: lists::FUNCTIONS },
    Family { title: "Conversions", functions: convert::FUNCTIONS },
    Family { title: "Encodings and digests", functions: encode::FUNCTIONS },
];

/// The words before a dot that belong to a function's name.
pub(super) const NAMESPACES: [&str; 3] = ["math", "base64", "lists"];

/// Returns the function with this name.
pub(super) fn named(name: &str) -> Option<&'static Function> {
    all().find(|function| function.name == name)
}

/// Returns every function.
pub(super) fn all() -> impl Iterator<Item = &'static Function> {
    FAMILIES.iter().flat_map(|family| family.functions)
}

impl Function {
    /// Whether the function can be called as `x.f()` (true) or `f(x)` (false).
    pub(super) fn can_be_called(&self, as_method: bool) -> bool {
        match self.style {
            Style::Both => true,
            Style::Method => as_method,
            Style::Global => !as_method,
        }
    }

    /// Returns the forms in which the function can be called.
    pub(super) fn signatures(&self) -> Vec<String> {
        self.overloads.iter().map(|overload| self.signature(overload)).collect()
    }

    fn signature(&self, overload: &super::function::Overload) -> String {
        let params: Vec<String> = overload.params.iter().map(param).collect();
        let name = self.name;
        let call = match (self.style, params.split_first()) {
            (Style::Method, Some((first, rest))) => format!("{first}.{name}({})", rest.join(", ")),
            (Style::Method | Style::Global | Style::Both, _) => format!("{name}({})", params.join(", ")),
        };
        format!("{call} → {}", returns(overload.result))
    }
}

fn param(param: &super::function::Param) -> String {
    use super::types::{Kind, Kinds};
    let names: Vec<String> = param
        .kinds
        .iter()
        .map(|kind| match kind {
            Kind::L if param.elements != Kinds::STORED => {
                let elements: Vec<&str> = param.elements.iter().map(Kind::name).collect();
                format!("L<{}>", elements.join("/"))
            }
            Kind::S
            | Kind::N
            | Kind::B
            | Kind::Bool
            | Kind::Null
            | Kind::Ss
            | Kind::Ns
            | Kind::Bs
            | Kind::L
            | Kind::M
            | Kind::Timestamp
            | Kind::Duration
            | Kind::Missing => kind.name().to_owned(),
        })
        .collect();
    if param.kinds == Kinds::STORED { "any".to_owned() } else { names.join("/") }
}

fn returns(returns: super::function::Returns) -> String {
    use super::function::Returns;
    use super::types::{Kind, Kinds};
    let names = |kinds: Kinds| kinds.iter().map(Kind::name).collect::<Vec<_>>().join("/");
    match returns {
        Returns::Kinds(kinds) if kinds == Kinds::STORED => "any".to_owned(),
        Returns::Kinds(kinds) => names(kinds),
        Returns::List(Kinds::STORED) | Returns::SameList | Returns::Flat => "L".to_owned(),
        Returns::List(elements) => format!("L<{}>", names(elements)),
        Returns::Element => "an element".to_owned(),
    }
}
