//! A simple model of decimals: big integers and long division.

use Absent::{Limit, NoResult};
use bigdecimal::num_bigint::BigInt;

use crate::item::Num;

/// No result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Absent {
    /// There is no result for the values.
    NoResult,
    /// A limit was reached. No operator absorbs it.
    Limit,
}

/// A decimal: digits × 10^exponent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Decimal {
    pub(super) digits: BigInt,
    pub(super) exponent: i64,
}

/// Parses a decimal without a decimal library.
pub(super) fn read(text: &str) -> Decimal {
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let (whole, decimals) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits: BigInt = format!("{whole}{decimals}").parse().unwrap();
    let exponent: i64 = exponent.parse().unwrap();
    Decimal { digits, exponent: exponent - i64::try_from(decimals.len()).unwrap() }
}

/// Converts two decimals to the same exponent.
pub(super) fn aligned(a: Decimal, b: Decimal) -> (BigInt, BigInt, i64) {
    let exponent = a.exponent.min(b.exponent);
    let expand = |of: Decimal| of.digits * BigInt::from(10).pow(u32::try_from(of.exponent - exponent).unwrap());
    (expand(a), expand(b), exponent)
}

/// Divides by long division. Returns no result if the division does not end.
pub(super) fn quotient(a: Decimal, b: Decimal) -> Result<Decimal, Absent> {
    let zero = BigInt::from(0);
    if b.digits == zero {
        return Err(NoResult);
    }
    let mut rest = a.digits;
    let mut digits = &rest / &b.digits;
    let mut exponent = a.exponent - b.exponent;
    rest %= &b.digits;
    for _ in 0..300 {
        if rest == zero {
            return Ok(Decimal { digits, exponent });
        }
        rest *= 10;
        digits = digits * 10 + &rest / &b.digits;
        rest %= &b.digits;
        exponent -= 1;
    }
    Err(NoResult)
}

/// Converts a decimal to a number of at most 38 digits, or fails.
pub(super) fn stored(of: Decimal) -> Result<Num, Absent> {
    let Decimal { mut digits, mut exponent } = of;
    let zero = BigInt::from(0);
    while digits != zero && &digits % 10 == zero {
        digits /= 10;
        exponent += 1;
    }
    if digits == zero {
        return Ok(Num::parse("0").unwrap());
    }
    let count = i64::try_from(digits.to_string().trim_start_matches('-').len()).unwrap();
    let magnitude = count - 1 + exponent;
    if count > 38 || !(-130..=125).contains(&magnitude) {
        return Err(Limit);
    }
    Ok(Num::from_wire(format!("{digits}E{exponent}")))
}
