//! Checks single values during parsing, so that an error can name the value's line.

use serde::Deserialize;
use serde::de::{Deserializer, Error as _};

/// The maximum number of partitions in a spec. This number of partitions allows 65 million WCU/s, which is more than
/// any account's limit.
pub(super) const MOST: u32 = 65_536;

pub(in crate::local) fn positive<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
    let value = f64::deserialize(from)?;
    let fine = value > 0.0 && value.is_finite();
    if fine { Ok(value) } else { Err(D::Error::custom("it must be finite and more than 0")) }
}

/// Parses a delay in seconds; `inf` means never.
pub(in crate::local) fn delay<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
    let value = f64::deserialize(from)?;
    if value > 0.0 { Ok(value) } else { Err(D::Error::custom("it must be more than 0; inf means never")) }
}

pub(in crate::local) fn some_positive<'de, D: Deserializer<'de>>(from: D) -> Result<Option<f64>, D::Error> {
    positive(from).map(Some)
}

pub(in crate::local) fn not_negative<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
    let value = f64::deserialize(from)?;
    if value >= 0.0 { Ok(value) } else { Err(D::Error::custom("it must not be negative")) }
}

pub(in crate::local) fn share<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
    let value = f64::deserialize(from)?;
    if (0.0..=1.0).contains(&value) { Ok(value) } else { Err(D::Error::custom("it must be a fraction from 0 to 1")) }
}

pub(in crate::local) fn some_count<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u32>, D::Error> {
    match u32::deserialize(from)? {
        count @ 1..=MOST => Ok(Some(count)),
        _ => Err(D::Error::custom(format!("it must be from 1 to {MOST}"))),
    }
}
