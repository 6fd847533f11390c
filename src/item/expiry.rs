//! The values of the time-to-live attribute, which makes items expire. A value is a number of seconds since 1970. A
//! value more than five years in the past has no effect (developer guide, "Using time to live").

use super::Value;

/// As a number of seconds since 1970, this value is in the year 5138. So a value of at least this size must be in
/// milliseconds or in a smaller unit.
const MIN_MILLISECONDS: f64 = 1e11;

/// Five years, in seconds.
const FIVE_YEARS: f64 = 5.0 * 365.25 * 86_400.0;

/// The effect that a value of the time-to-live attribute has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expiry {
    /// The value is not a number, so the item never expires.
    NotANumber,
    /// The value is in milliseconds, so the item expires in thousands of years.
    Milliseconds,
    /// The value is more than five years in the past, so the item never expires.
    LongPast,
    /// The value is in the past, so DynamoDB deletes the item.
    Past,
    /// The value is in the future.
    Future,
}

impl Expiry {
    /// Returns the effect of a value. `now` is the current time, in seconds since 1970.
    pub fn from_value(value: &Value, now: f64) -> Expiry {
        let Value::N(number) = value else { return Expiry::NotANumber };
        match number.as_str().parse::<f64>() {
            Err(_) => Expiry::NotANumber,
            Ok(seconds) if seconds >= MIN_MILLISECONDS => Expiry::Milliseconds,
            Ok(seconds) if seconds < now - FIVE_YEARS => Expiry::LongPast,
            Ok(seconds) if seconds <= now => Expiry::Past,
            Ok(_) => Expiry::Future,
        }
    }
}

/// The number of time-to-live values, and the numbers of values with an unsupported unit or type.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ExpiryCounts {
    /// Total number of values.
    pub values: u64,
    /// Number of values in milliseconds.
    pub milliseconds: u64,
    /// Number of values that are not numbers.
    pub not_numbers: u64,
}

impl ExpiryCounts {
    /// Counts one value.
    pub fn add(&mut self, value: &Value) {
        self.values += 1;
        match Expiry::from_value(value, 0.0) {
            Expiry::NotANumber => self.not_numbers += 1,
            Expiry::Milliseconds => self.milliseconds += 1,
            Expiry::LongPast | Expiry::Past | Expiry::Future => {}
        }
    }

    /// Adds the counts of another set of items.
    pub fn merge(&mut self, other: ExpiryCounts) {
        self.values += other.values;
        self.milliseconds += other.milliseconds;
        self.not_numbers += other.not_numbers;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_distinguished() {
        let now = 1_800_000_000.0;
        let of = |text: &str| Expiry::from_value(&Value::N(text.parse().unwrap()), now);
        for (text, expiry) in [
            ("1800000001", Expiry::Future),
            ("99999999999", Expiry::Future),
            ("1E+11", Expiry::Milliseconds),
            ("1800000000000", Expiry::Milliseconds),
            ("1800000000", Expiry::Past),
            ("1642300000", Expiry::Past),
            ("1642100000", Expiry::LongPast),
            ("0", Expiry::LongPast),
            ("-5", Expiry::LongPast),
        ] {
            assert_eq!(of(text), expiry, "{text}");
        }
        for value in [Value::S("1800000001".into()), Value::Null, Value::Bool(true)] {
            assert_eq!(Expiry::from_value(&value, now), Expiry::NotANumber);
        }
    }
}
