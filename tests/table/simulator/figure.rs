//! A figure that a benchmark prints, with its requirement.

/// A figure with its requirement.
#[derive(Debug, Clone)]
pub struct Figure {
    /// The name of the figure.
    pub what: String,
    /// The value of the figure.
    pub value: f64,
    /// The requirement that the value must meet.
    pub required: Required,
}

/// The requirement of a figure.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Required {
    /// The value must be at least this number.
    AtLeast(f64),
    /// The value must be at most this number.
    AtMost(f64),
    /// The figure has no requirement and is for information only.
    Nothing,
}

impl Figure {
    /// Creates a figure.
    pub fn new(what: impl Into<String>, value: f64, required: Required) -> Figure {
        Figure { what: what.into(), value, required }
    }

    /// Whether the figure meets its requirement.
    pub fn holds(&self) -> bool {
        match self.required {
            Required::AtLeast(bound) => self.value >= bound,
            Required::AtMost(bound) => self.value <= bound,
            Required::Nothing => true,
        }
    }

    /// Formats the figure as one line of a benchmark's output.
    pub fn line(&self, scenario: &str) -> String {
        let verdict = if self.holds() { "ok" } else { "MISSED" };
        let (required, verdict) = match self.required {
            Required::AtLeast(bound) => (format!("≥ {bound}"), verdict),
            Required::AtMost(bound) => (format!("≤ {bound}"), verdict),
            Required::Nothing => (String::new(), ""),
        };
        format!("{scenario:<10} {:<96} {:>10.2}  {required:<8} {verdict}", self.what, self.value)
    }
}
