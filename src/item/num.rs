//! DynamoDB numbers: exact decimals of up to 38 significant digits.

use std::hash::{Hash, Hasher};
use std::str::FromStr;

use bigdecimal::BigDecimal;

/// A DynamoDB number. The program stores the text that DynamoDB sent. The program parses this text only to compare the
/// number or to calculate the number's size.
///
/// Equality is numeric (`1.10 == 1.1`), as in DynamoDB's own comparisons. [`Num::as_str`] returns the text unchanged.
#[derive(Debug, Clone)]
pub struct Num(String);

/// The reason why a text is not a DynamoDB number.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NumError {
    /// The text is not a decimal number.
    #[error("it is not a decimal number")]
    NotANumber,
    /// The number has too many digits: DynamoDB keeps 38 significant digits. DynamoDB would round such a number, so
    /// this program refuses it.
    #[error("it has {0} significant digits, but DynamoDB keeps at most 38")]
    TooManyDigits(usize),
    /// The magnitude is outside 1E-130 … 9.99E+125.
    #[error("its magnitude is outside DynamoDB's range of 1E-130 to 9.9E+125")]
    OutOfRange,
}

/// Maximum number of significant digits in DynamoDB (developer guide, "Data types": Number).
const MAX_DIGITS: usize = 38;

/// The maximum length of a text that is parsed as a number. DynamoDB needs at most 170 characters: a sign, `0.`, 129
/// zeros and 38 digits.
pub(crate) const MAX_NUMBER_TEXT: usize = 400;

impl Num {
    /// Parses a number that a person wrote, and checks it against DynamoDB's limits.
    pub fn parse(text: &str) -> Result<Num, NumError> {
        if text.len() > MAX_NUMBER_TEXT || !is_decimal(text) {
            return Err(NumError::NotANumber);
        }
        // Check the exponent's range before any arithmetic, so that no number with a huge exponent is expanded.
        if exponent_of(text).is_none_or(|e| e.abs() > 600) {
            return Err(NumError::OutOfRange);
        }
        let (_, digits, scale) = canonical(text).ok_or(NumError::NotANumber)?;
        if digits == "0" {
            return Ok(Num(text.to_owned()));
        }
        if digits.len() > MAX_DIGITS {
            return Err(NumError::TooManyDigits(digits.len()));
        }
        // The magnitude is the power of ten of the leading digit, because the value is 0.d1d2d3… × 10^(len - scale).
        let magnitude = i64::try_from(digits.len()).unwrap_or(i64::MAX) - 1 - scale;
        if !(-130..=125).contains(&magnitude) {
            return Err(NumError::OutOfRange);
        }
        Ok(Num(text.to_owned()))
    }

    /// Accepts a number from DynamoDB without a check, because DynamoDB has already checked it.
    pub fn from_wire(text: String) -> Num {
        Num(text)
    }

    /// Returns the text as received.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the number as sign, digits and power of ten, for hashes and fingerprints. Equal numbers have the same
    /// text.
    pub fn canonical(&self) -> String {
        match canonical(&self.0) {
            Some((negative, digits, scale)) => {
                format!("{}{digits}E{}", if negative { "-" } else { "" }, -scale)
            }
            None => self.0.clone(),
        }
    }

    /// Returns the number in the form in which DynamoDB stores and returns it: without an exponent and without
    /// redundant zeros.
    pub fn stored(&self) -> Num {
        let plain = Num::parse(&self.0).ok().and_then(|_| BigDecimal::from_str(&self.0).ok());
        plain.map_or_else(|| self.clone(), |number| Num(number.normalized().to_plain_string()))
    }

    /// Returns the number plus one. Returns `None` if the sum has more than 38 significant digits.
    pub fn plus_one(&self) -> Option<Num> {
        // A number whose exponent is much larger than 38 cannot be raised by one, so the sum is never expanded.
        Num::parse(&self.0).ok()?;
        let sum = BigDecimal::from_str(&self.0).ok()? + BigDecimal::from(1);
        Num::parse(&sum.normalized().to_plain_string()).ok()
    }

    /// Returns the number's size within an item, in bytes. The size is one byte, plus one byte for every two
    /// significant digits on each side of the point, plus one byte if the number is negative (developer guide,
    /// "Capacity unit consumption"). Recorded AWS responses show that digits before and after the point are counted
    /// separately, and that leading and trailing zeros take no bytes.
    pub fn bytes(&self) -> usize {
        let Some((negative, digits, scale)) = canonical(&self.0) else { return self.0.len() };
        if digits == "0" {
            return 1;
        }
        let len = i64::try_from(digits.len()).unwrap_or(i64::MAX);
        let whole = (len - scale).clamp(0, len);
        let pairs = |digits: i64| (digits + 1) / 2;
        let mantissa = pairs(whole) + pairs(len - whole);
        let bytes = 1 + mantissa + i64::from(negative);
        usize::try_from(bytes).unwrap_or(1)
    }
}

impl PartialEq for Num {
    fn eq(&self, other: &Num) -> bool {
        self.0 == other.0 || canonical(&self.0).is_some_and(|a| Some(a) == canonical(&other.0))
    }
}

impl Eq for Num {}

impl Hash for Num {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.canonical().hash(state);
    }
}

impl FromStr for Num {
    type Err = NumError;

    fn from_str(text: &str) -> Result<Num, NumError> {
        Num::parse(text)
    }
}

/// Returns the sign (true if negative), the significant digits without leading or trailing zeros, and the scale. The
/// value is ±digits × 10^-scale.
fn canonical(text: &str) -> Option<(bool, String, i64)> {
    let number = BigDecimal::from_str(text).ok()?.normalized();
    let (mantissa, scale) = number.as_bigint_and_exponent();
    let text = mantissa.to_string();
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits.to_owned()),
        None => (false, text),
    };
    if digits == "0" {
        return Some((false, digits, 0));
    }
    Some((negative, digits, scale))
}

fn exponent_of(text: &str) -> Option<i64> {
    match text.split_once(['e', 'E']) {
        Some((_, exponent)) => exponent.parse().ok(),
        None => Some(0),
    }
}

fn is_decimal(text: &str) -> bool {
    let body = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (mantissa, exponent) = body.split_once(['e', 'E']).unwrap_or((body, "0"));
    let exponent = exponent.strip_prefix(['-', '+']).unwrap_or(exponent);
    let digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    digits(whole)
        && digits(fraction)
        && !(whole.is_empty() && fraction.is_empty())
        && digits(exponent)
        && !exponent.is_empty()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_are_equal_by_value() {
        for (a, b) in [("1.10", "1.1"), ("1E2", "100"), ("-0", "0"), ("0.001", "1e-3"), ("+7", "7.000")] {
            assert_eq!(Num::parse(a).unwrap(), Num::parse(b).unwrap());
        }
        assert_ne!(Num::parse("1").unwrap(), Num::parse("-1").unwrap());
        assert_ne!(
            Num::parse("99999999999999999999999999999999999998").unwrap(),
            Num::parse("99999999999999999999999999999999999999").unwrap()
        );
    }

    #[test]
    fn numbers_that_dynamodb_cannot_store_are_refused() {
        assert_eq!(Num::parse(&"9".repeat(39)), Err(NumError::TooManyDigits(39)));
        assert!(Num::parse(&"9".repeat(38)).is_ok());
        assert!(Num::parse("9.9e125").is_ok());
        assert_eq!(Num::parse("1e126"), Err(NumError::OutOfRange));
        assert!(Num::parse("1e-130").is_ok());
        assert_eq!(Num::parse("1e-131"), Err(NumError::OutOfRange));
        assert_eq!(Num::parse("1e999999999999"), Err(NumError::OutOfRange));
        for bad in ["", "abc", "1.2.3", "0x10", "NaN", "Infinity", "1e", ".", "1_000", " 1"] {
            assert_eq!(Num::parse(bad), Err(NumError::NotANumber), "{bad}");
        }
    }

    #[test]
    fn sizes_follow_the_rule() {
        for (text, bytes) in [
            ("0", 1),
            ("1", 2),
            ("12", 2),
            ("123", 3),
            ("-1", 3),
            ("1.5", 3),
            ("12.34", 3),
            ("120.5", 4),
            ("100", 2),
            ("12000", 2),
            ("0.01", 2),
            ("0.012", 2),
            ("1E-130", 2),
            ("-9.99E+125", 4),
        ] {
            assert_eq!(Num::parse(text).unwrap().bytes(), bytes, "{text}");
        }
        assert!(Num::parse(&"9".repeat(38)).unwrap().bytes() <= 21);
    }

    proptest! {
        #[test]
        fn equal_numbers_have_the_same_canonical_form(mantissa in any::<i64>(), zeros in 0_usize..10, scale in 0_i64..20) {
            let plain = Num::parse(&format!("{mantissa}e-{scale}")).unwrap();
            let padded = Num::parse(&format!("{mantissa}{}e-{}", "0".repeat(zeros), scale + zeros as i64)).unwrap();
            prop_assert_eq!(plain.canonical(), padded.canonical());
            prop_assert_eq!(&plain, &padded);
            prop_assert!(plain.bytes() <= 21);
        }
    }
}
