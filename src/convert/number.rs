//! Numbers and their texts, without floats.
//!
//! A number has one *plain text*: digits and at most one point, without an exponent, without a `+`, and without zeros
//! that do not change the value. Equal numbers have the same plain text.

use crate::item::{NotComputable, Num};

/// Reads the text of a number. Accepts what DynamoDB accepts (a sign `-`, digits, a point and an exponent), with
/// nothing before or after it. A `+` at the start is refused, because it is probably a telephone number.
pub(super) fn read(text: &str) -> Result<Num, NotComputable> {
    if text.starts_with('+') {
        return Err(NotComputable::new("the text is not a plain number: it starts with `+`"));
    }
    let number = Num::parse(text).map_err(|why| NotComputable::new(format!("the text is not a number: {why}")))?;
    write(&number).map(Num::from_wire)
}

/// Returns the plain text of a number.
pub(super) fn write(number: &Num) -> Result<String, NotComputable> {
    let invalid = || NotComputable::new("the number is outside DynamoDB's limits");
    let Parts { negative, digits, exponent } = parts(number).ok_or_else(invalid)?;
    let len = i64::try_from(digits.len()).map_err(|_| invalid())?;
    // The position of the point, counted from the first digit.
    let point = len + exponent;
    let zeros = |count: i64| "0".repeat(usize::try_from(count).unwrap_or(0));
    let body = if exponent >= 0 {
        digits + &zeros(exponent)
    } else if point <= 0 {
        format!("0.{}{digits}", zeros(-point))
    } else {
        let (whole, fraction) = digits.split_at(usize::try_from(point).map_err(|_| invalid())?);
        format!("{whole}.{fraction}")
    };
    Ok(if negative { format!("-{body}") } else { body })
}

/// Returns number × 10^`power` if the product is a whole number of at most 38 digits.
pub(super) fn whole(number: &Num, power: i64) -> Option<i128> {
    let Parts { negative, digits, exponent } = parts(number)?;
    let exponent = u32::try_from(exponent.checked_add(power)?).ok();
    let digits: i128 = digits.parse().ok()?;
    let whole = match (digits, exponent) {
        (0, _) => 0,
        (_, Some(exponent)) => digits.checked_mul(10_i128.checked_pow(exponent)?)?,
        (_, None) => return None,
    };
    Some(if negative { -whole } else { whole })
}

/// A number: ±`digits` × 10^`exponent`. The digits have no zeros at the start or the end, except for zero itself.
struct Parts {
    negative: bool,
    digits: String,
    exponent: i64,
}

/// Returns the parts of a number, or `None` if it is outside DynamoDB's limits.
fn parts(number: &Num) -> Option<Parts> {
    // Check the limits first, so that the exponent is small.
    Num::parse(number.as_str()).ok()?;
    let canonical = number.canonical();
    let (digits, exponent) = canonical.split_once('E')?;
    let (negative, digits) = match digits.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, digits),
    };
    Some(Parts { negative, digits: digits.to_owned(), exponent: exponent.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_has_one_plain_text() {
        let digits = "12345678901234567890123456789012345678";
        for (written, plain) in [
            ("0", "0"),
            ("-0.00", "0"),
            ("007", "7"),
            ("1.10", "1.1"),
            ("-5", "-5"),
            ("1e3", "1000"),
            ("1E-3", "0.001"),
            ("-12.5e1", "-125"),
            (".5", "0.5"),
            ("5.", "5"),
            ("100", "100"),
            ("120.050", "120.05"),
            (digits, digits),
            (&format!("-{digits}e-38"), &format!("-0.{digits}")),
            (&format!("{digits}e-40"), &format!("0.00{digits}")),
            (&format!("{digits}e-1"), &format!("{}.8", &digits[..37])),
            ("110111111111111110000000000000000000000", "110111111111111110000000000000000000000"),
            ("9.9e125", &format!("99{}", "0".repeat(124))),
            ("1e-130", &format!("0.{}1", "0".repeat(129))),
        ] {
            let number = read(written).unwrap();
            assert_eq!((number.as_str(), write(&number).unwrap().as_str()), (plain, plain), "{written}");
            assert_eq!(number, Num::parse(written).unwrap(), "{written}");
        }
    }

    #[test]
    fn a_text_that_is_not_exactly_a_number_is_refused() {
        let long = "9".repeat(39);
        for bad in [
            "",
            " 42",
            "42 ",
            "4 2",
            "\u{a0}42",
            "42\n",
            "abc",
            "1,234",
            "1_000",
            "0x10",
            "NaN",
            "Infinity",
            "-",
            "+7",
            "--7",
            "1.2.3",
            "1e",
            "e5",
            "٤٢",
            "1e126",
            "1e-131",
            "1e99999999999",
            "½",
            &long,
        ] {
            let why = read(bad).unwrap_err();
            assert!(bad.len() < 2 || !why.reason().contains(bad), "{why}");
        }
    }

    #[test]
    fn a_number_that_dynamodb_cannot_store_has_no_text() {
        for text in ["", "x", "1e999999999999", "-1E+500", &"7".repeat(39)] {
            assert!(write(&Num::from_wire(text.to_owned())).is_err(), "{text}");
        }
    }

    #[test]
    fn only_whole_products_are_returned() {
        let whole = |text: &str, power| super::whole(&Num::from_wire(text.to_owned()), power);
        assert_eq!(whole("1.5", 9), Some(1_500_000_000));
        assert_eq!(whole("-0.001", 3), Some(-1));
        assert_eq!(whole("0", -5), Some(0));
        assert_eq!(whole("1.5", 0), None);
        assert_eq!(whole("10", -1), Some(1));
        assert_eq!(whole("1e30", 9), None);
        assert_eq!(whole("1e120", 9), None);
        assert_eq!(whole("x", 9), None);
    }
}
