//! Defines a figure that is known only as a range.

/// A figure and its range.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Range {
    /// Lower bound.
    pub low: f64,
    /// Most likely value, if known.
    pub likely: Option<f64>,
    /// Upper bound.
    pub high: f64,
}

impl Range {
    /// Returns the range of an exactly known figure.
    pub fn exactly(figure: f64) -> Range {
        Range { low: figure, likely: Some(figure), high: figure }
    }

    /// Returns a range without a most likely value.
    pub fn between(low: f64, high: f64) -> Range {
        Range { low, likely: None, high }
    }

    /// Returns whether the figure is exactly known.
    pub fn is_exact(self) -> bool {
        self.low == self.high
    }

    /// Returns the range, multiplied by a factor.
    #[must_use]
    pub fn times(self, factor: f64) -> Range {
        Range { low: self.low * factor, likely: self.likely.map(|likely| likely * factor), high: self.high * factor }
    }

    /// Returns the sum of two ranges. The sums of the lower bounds and of the upper bounds are valid bounds, but the
    /// resulting range can be wider than necessary.
    #[must_use]
    pub fn plus(self, other: Range) -> Range {
        let likely = self.likely.zip(other.likely).map(|(a, b)| a + b);
        Range { low: self.low + other.low, likely, high: self.high + other.high }
    }
}
