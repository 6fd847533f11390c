//! Values of an attribute by which items expire (developer guide, "Using time to live": a number, seconds since 1970; values
//! more than five years past expire nothing).

use super::Value;

/// As seconds this is in the year 5138: such a value is in milliseconds, or in something smaller.
const NO_SECONDS: f64 = 1e11;

/// Five years, in seconds.
const FIVE_YEARS: f64 = 5.0 * 365.25 * 86_400.0;

/// What time to live makes of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expiry {
    /// It is no number: the item never expires.
    NotANumber,
    /// It is in milliseconds: the item expires in thousands of years.
    Milliseconds,
    /// It is more than five years past: the item never expires.
    LongPast,
    /// It has passed: the item is deleted.
    Past,
    /// It is to come.
    Future,
}

impl Expiry {
    /// Of this value at this time, in seconds since 1970.
    pub fn of(value: &Value, now: f64) -> Expiry {
        let Value::N(number) = value else { return Expiry::NotANumber };
        match number.as_str().parse::<f64>() {
            Err(_) => Expiry::NotANumber,
            Ok(seconds) if seconds >= NO_SECONDS => Expiry::Milliseconds,
            Ok(seconds) if seconds < now - FIVE_YEARS => Expiry::LongPast,
            Ok(seconds) if seconds <= now => Expiry::Past,
            Ok(_) => Expiry::Future,
        }
    }
}

/// How many values are of a unit that time to live does not know.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Times {
    /// Values.
    pub values: u64,
    /// Of them, those in milliseconds.
    pub milliseconds: u64,
    /// Of them, those that are no numbers.
    pub not_numbers: u64,
}

impl Times {
    /// Counts a value.
    pub fn add(&mut self, value: &Value) {
        self.values += 1;
        match Expiry::of(value, 0.0) {
            Expiry::NotANumber => self.not_numbers += 1,
            Expiry::Milliseconds => self.milliseconds += 1,
            Expiry::LongPast | Expiry::Past | Expiry::Future => {}
        }
    }

    /// Adds what was counted elsewhere.
    pub fn merge(&mut self, other: Times) {
        self.values += other.values;
        self.milliseconds += other.milliseconds;
        self.not_numbers += other.not_numbers;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_told_apart() {
        let now = 1_800_000_000.0;
        let of = |text: &str| Expiry::of(&Value::N(text.parse().unwrap()), now);
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
            assert_eq!(Expiry::of(&value, now), Expiry::NotANumber);
        }
    }
}
