//! Capacity units that requests consume.

use std::ops::{Add, AddAssign, Mul, Sub};

use crate::item::Units;

/// A number of write capacity units and a number of read capacity units, for example the units that a run has consumed.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Spend {
    /// Write capacity units, including those of indexes.
    pub write: Units,
    /// Read capacity units.
    pub read: Units,
}

impl Spend {
    /// Returns the maximum of both operands, separately for write units and for read units.
    pub fn max(self, other: Spend) -> Spend {
        Spend { write: self.write.max(other.write), read: self.read.max(other.read) }
    }

    /// Returns the minimum of both operands, separately for write units and for read units.
    pub fn min(self, other: Spend) -> Spend {
        Spend { write: self.write.min(other.write), read: self.read.min(other.read) }
    }

    /// Returns by how much `self` exceeds `other`, separately for write units and for read units. The result is zero
    /// where `self` does not exceed `other`.
    pub fn excess_over(self, other: Spend) -> Spend {
        (self - other).max(Spend::default())
    }
}

impl Add for Spend {
    type Output = Spend;

    fn add(self, other: Spend) -> Spend {
        Spend { write: self.write + other.write, read: self.read + other.read }
    }
}

impl AddAssign for Spend {
    fn add_assign(&mut self, other: Spend) {
        *self = *self + other;
    }
}

impl Sub for Spend {
    type Output = Spend;

    fn sub(self, other: Spend) -> Spend {
        Spend { write: self.write - other.write, read: self.read - other.read }
    }
}

impl Mul<f64> for Spend {
    type Output = Spend;

    fn mul(self, by: f64) -> Spend {
        Spend { write: self.write * by, read: self.read * by }
    }
}
