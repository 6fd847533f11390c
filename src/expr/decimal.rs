//! Exact arithmetic on DynamoDB's numbers. A result that does not fit into 38 digits is an error: nothing is rounded.

use std::str::FromStr;

use bigdecimal::num_bigint::BigInt;
use bigdecimal::{BigDecimal, ToPrimitive, Zero};

use crate::item::{MAX_NUMBER_TEXT, Num};

/// DynamoDB keeps 38 significant digits (developer guide, "Data types").
const MAX_DIGITS: u64 = 38;

/// The powers of ten of the first digit that DynamoDB can store.
const MAGNITUDES: std::ops::RangeInclusive<i64> = -130..=125;

/// The largest exponent that is expanded. DynamoDB's numbers have exponents of at most 167, so a text with a larger
/// exponent is not from DynamoDB.
const MAX_EXPONENT: i64 = 600;

/// The maximum number of digits that an exact division of two numbers can add. A divisor below 10^38 has at most 126
/// factors of 2.
const QUOTIENT_DIGITS: u32 = 127;

/// The reason why a computed number is not a valid result.
pub(super) const TOO_LARGE: &str = "the result has more than 38 digits, or is outside 1E-130 to 9.9E+125";

/// Parses the text of a stored number.
pub(super) fn parse(num: &Num) -> Option<BigDecimal> {
    let text = num.as_str();
    if text.len() <= 18
        && let Ok(small) = text.parse::<i64>()
    {
        return Some(BigDecimal::from(small));
    }
    let exponent = match text.find(['e', 'E']) {
        Some(at) => text[at + 1..].parse::<i64>().ok()?,
        None => 0,
    };
    if text.len() > MAX_NUMBER_TEXT || exponent.abs() > MAX_EXPONENT {
        return None;
    }
    BigDecimal::from_str(text).ok()
}

/// Returns the number if DynamoDB can store it exactly.
pub(super) fn checked(number: BigDecimal) -> Option<BigDecimal> {
    // Most results need no normalization: these digits and this scale are always inside the limits.
    if number.digits() <= MAX_DIGITS && number.fractional_digit_count().abs() <= 80 {
        return Some(number);
    }
    let number = number.normalized();
    if number.is_zero() {
        return Some(number);
    }
    let digits = number.digits();
    let magnitude = i64::try_from(digits).ok()? - 1 - number.fractional_digit_count();
    (digits <= MAX_DIGITS && MAGNITUDES.contains(&magnitude)).then_some(number)
}

/// Returns the text of a number: without an exponent, and without redundant zeros. Equal numbers have the same text.
pub(super) fn text(number: &BigDecimal) -> String {
    if number.is_zero() { "0".to_owned() } else { number.normalized().to_plain_string() }
}

/// Converts a number to a value that DynamoDB can store.
pub(super) fn to_num(number: &BigDecimal) -> Num {
    Num::from_wire(text(number))
}

/// Returns the quotient if it is a finite decimal.
pub(super) fn divide(a: &BigDecimal, b: &BigDecimal) -> Option<BigDecimal> {
    let (a, a_scale) = a.as_bigint_and_exponent();
    let (b, b_scale) = b.as_bigint_and_exponent();
    if b.is_zero() {
        return None;
    }
    let expanded = a * power_of_ten(QUOTIENT_DIGITS);
    if !(&expanded % &b).is_zero() {
        return None;
    }
    Some(BigDecimal::new(expanded / b, a_scale - b_scale + i64::from(QUOTIENT_DIGITS)))
}

/// Returns whether every number can be divided by this one.
pub(super) fn divides_all(b: &BigDecimal) -> bool {
    divide(&BigDecimal::from(1), b).is_some()
}

/// Returns the remainder of a division that rounds towards zero. It has the sign of `a`.
pub(super) fn remainder(a: &BigDecimal, b: &BigDecimal) -> Option<BigDecimal> {
    if b.is_zero() {
        return None;
    }
    let (a, a_scale) = a.as_bigint_and_exponent();
    let (b, b_scale) = b.as_bigint_and_exponent();
    let scale = a_scale.max(b_scale);
    let align = |digits: BigInt, from: i64| Some(digits * power_of_ten(u32::try_from(scale - from).ok()?));
    Some(BigDecimal::new(align(a, a_scale)? % align(b, b_scale)?, scale))
}

/// How to round to a whole number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rounding {
    Down,
    Up,
    TowardsZero,
    /// To the nearest whole number. A half is rounded away from zero.
    Nearest,
}

/// Rounds to a whole number.
pub(super) fn round(number: &BigDecimal, how: Rounding) -> BigDecimal {
    let (digits, scale) = number.as_bigint_and_exponent();
    let Some(scale) = u32::try_from(scale).ok().filter(|scale| *scale > 0) else { return number.clone() };
    let unit = power_of_ten(scale);
    let (zero, one) = (BigInt::zero(), BigInt::from(1));
    let (whole, rest) = (&digits / &unit, &digits % &unit);
    let twice = &rest + &rest;
    let whole = match how {
        Rounding::Down if rest < zero => whole - one,
        Rounding::Up if rest > zero => whole + one,
        Rounding::Nearest if twice >= unit => whole + one,
        Rounding::Nearest if -twice >= unit => whole - one,
        Rounding::Down | Rounding::Up | Rounding::TowardsZero | Rounding::Nearest => whole,
    };
    BigDecimal::from(whole)
}

/// Returns the number as an integer, if it is whole and fits.
pub(super) fn integer(number: &BigDecimal) -> Option<i128> {
    let (digits, scale) = number.as_bigint_and_exponent();
    if digits.is_zero() {
        return Some(0);
    }
    if scale <= 0 {
        let zeros = u32::try_from(-scale).ok().filter(|zeros| *zeros <= 38)?;
        return (digits * power_of_ten(zeros)).to_i128();
    }
    let unit = power_of_ten(u32::try_from(scale).ok()?);
    if (&digits % &unit).is_zero() { (digits / unit).to_i128() } else { None }
}

fn power_of_ten(exponent: u32) -> BigInt {
    BigInt::from(10).pow(exponent)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn n(text: &str) -> BigDecimal {
        parse(&Num::parse(text).unwrap()).unwrap()
    }

    #[test]
    fn quotients_are_exact_or_absent() {
        assert_eq!(divide(&n("1"), &n("8")), Some(n("0.125")));
        assert_eq!(divide(&n("-3"), &n("1.5")), Some(n("-2")));
        assert_eq!(divide(&n("1"), &n("3")), None);
        assert_eq!(divide(&n("1"), &n("0")), None);
        assert_eq!(divide(&n("9"), &n("3")), Some(n("3")));
        let power = "85070591730234615865843651857942052864"; // 2^126
        assert!(divides_all(&n(power)) && !divides_all(&n("7")) && !divides_all(&n("0.3")));
    }

    #[test]
    fn rounding_follows_its_name() {
        for (text, down, up, zero, nearest) in [
            ("2.5", "2", "3", "2", "3"),
            ("-2.5", "-3", "-2", "-2", "-3"),
            ("2.4", "2", "3", "2", "2"),
            ("-0.4", "-1", "0", "0", "0"),
            ("1E+20", "1E+20", "1E+20", "1E+20", "1E+20"),
        ] {
            let of = |how| round(&n(text), how);
            assert_eq!(of(Rounding::Down), n(down), "{text}");
            assert_eq!(of(Rounding::Up), n(up), "{text}");
            assert_eq!(of(Rounding::TowardsZero), n(zero), "{text}");
            assert_eq!(of(Rounding::Nearest), n(nearest), "{text}");
        }
    }

    #[test]
    fn remainders_have_the_sign_of_the_dividend() {
        assert_eq!(remainder(&n("7"), &n("-3")), Some(n("1")));
        assert_eq!(remainder(&n("-7"), &n("3")), Some(n("-1")));
        assert_eq!(remainder(&n("5.5"), &n("2")), Some(n("1.5")));
        assert_eq!(remainder(&n("5"), &n("0")), None);
        assert_eq!(remainder(&n("1E+125"), &n("7E-130")).map(|r| r < n("7E-130")), Some(true));
    }

    #[test]
    fn only_whole_numbers_are_integers() {
        assert_eq!(integer(&n("1.50")), None);
        assert_eq!(integer(&n("1.0")), Some(1));
        assert_eq!(integer(&n("-12E+3")), Some(-12_000));
        assert_eq!(integer(&n("1E+100")), None);
        assert_eq!(integer(&n("0E+100")), Some(0));
    }

    #[test]
    fn the_text_has_no_exponent_and_no_needless_zeros() {
        for (from, to) in [("1.10", "1.1"), ("1E+3", "1000"), ("-0.0", "0"), ("1E-5", "0.00001"), ("007", "7")] {
            assert_eq!(text(&n(from)), to);
        }
    }
}
