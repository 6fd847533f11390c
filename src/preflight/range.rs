//! A figure that is known between bounds.

/// A figure and the range in which it is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Range {
    /// At least.
    pub low: f64,
    /// Most likely, where that can be told.
    pub likely: Option<f64>,
    /// At most.
    pub high: f64,
}

impl Range {
    /// It is known.
    pub fn exactly(figure: f64) -> Range {
        Range { low: figure, likely: Some(figure), high: figure }
    }

    /// Between these, and nobody knows where.
    pub fn between(low: f64, high: f64) -> Range {
        Range { low, likely: None, high }
    }

    /// Whether there is nothing uncertain about it.
    pub fn is_exact(self) -> bool {
        self.low == self.high
    }

    /// So many times.
    #[must_use]
    pub fn times(self, factor: f64) -> Range {
        Range { low: self.low * factor, likely: self.likely.map(|likely| likely * factor), high: self.high * factor }
    }

    /// Both together; the sum of bounds is a bound, and wider than it need be.
    #[must_use]
    pub fn plus(self, other: Range) -> Range {
        let likely = self.likely.zip(other.likely).map(|(a, b)| a + b);
        Range { low: self.low + other.low, likely, high: self.high + other.high }
    }
}
