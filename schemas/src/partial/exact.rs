//! Sums without rounding: three doubles carry the sum of ordinary readings exactly, a wide fixed-point number the rest.
//!
//! Each addition is Knuth's TwoSum, whose error term is itself a double (Knuth, TAOCP 2, 4.2.2); the terms cascade into
//! the next double, and what the third can't hold goes into a 2,176-bit accumulator that spans all doubles. Nothing is
//! ever lost, so any order of additions and merges gives the same sum, and reading it rounds once.

use crate::error::{Error, Result};

/// A sum of doubles, exact.
#[derive(Debug, Clone, Default)]
pub struct ExactSum {
    parts: [f64; 3],
    wide: Option<Box<Wide>>,
}

impl ExactSum {
    /// The sum of one value.
    pub fn of(value: f64) -> Self {
        Self { parts: [value, 0.0, 0.0], wide: None }
    }

    /// The sum of one square, as the rounded product and its rounding error.
    pub fn of_square(value: f64) -> Self {
        let (product, error) = two_product(value, value);
        let mut sum = Self::of(product);
        sum.add(error);
        sum
    }

    /// Adds a value. Infinite values stick: the sum is infinite from then on.
    ///
    /// Whether a rounding error is zero can't be foreseen, so the usual way does not ask: all three doubles take part.
    pub fn add(&mut self, value: f64) {
        let [a, b, c] = self.parts;
        let (a, error) = two_sum(a, value);
        let (b, error) = two_sum(b, error);
        let (c, error) = two_sum(c, error);
        // No error is left: nothing on the way was infinite, nor is there anything for the wide part.
        if error == 0.0 {
            self.parts = [a, b, c];
        } else {
            self.add_with_care(value);
        }
    }

    #[cold]
    fn add_with_care(&mut self, value: f64) {
        let mut carry = value;
        for i in 0..self.parts.len() {
            let part = self.parts[i];
            if !part.is_finite() {
                return;
            }
            let (sum, error) = two_sum(part, carry);
            if !sum.is_finite() {
                return self.overflow(i, carry);
            }
            self.parts[i] = sum;
            if error == 0.0 {
                return;
            }
            carry = error;
        }
        self.wide.get_or_insert_default().add(carry);
    }

    /// Two doubles whose sum is no double: both move into the wide part.
    fn overflow(&mut self, i: usize, carry: f64) {
        if carry.is_finite() {
            let wide = self.wide.get_or_insert_default();
            wide.add(self.parts[i]);
            wide.add(carry);
            self.parts[i] = 0.0;
        } else {
            self.parts[0] = f64::INFINITY;
        }
    }

    /// Adds the square of a value.
    pub fn add_square(&mut self, value: f64) {
        let (product, error) = two_product(value, value);
        self.add(product);
        self.add(error);
    }

    /// Adds all that `other` holds. Both mostly hold their parts in order of magnitude, so like is added to like: fewer
    /// steps than adding one part after the other, and as exact as long as no error is left.
    #[inline]
    pub fn merge(&mut self, other: &Self) {
        let ([a, b, c], [x, y, z]) = (self.parts, other.parts);
        let (a, error) = two_sum(a, x);
        let (b, error) = two_sum(b, error);
        let (b, error_too) = two_sum(b, y);
        let (c, left) = two_sum(c, error);
        let (c, left_too) = two_sum(c, error_too);
        let (c, left_at_last) = two_sum(c, z);
        if left == 0.0 && left_too == 0.0 && left_at_last == 0.0 && other.wide.is_none() {
            self.parts = [a, b, c];
        } else {
            self.merge_with_care(other);
        }
    }

    #[cold]
    fn merge_with_care(&mut self, other: &Self) {
        for part in other.parts {
            if part != 0.0 {
                self.add(part);
            }
        }
        if let Some(wide) = &other.wide {
            self.wide.get_or_insert_default().merge(wide);
        }
    }

    /// The correctly rounded sum; infinite where it is too large for a double.
    #[inline]
    pub fn value(&self) -> f64 {
        let [a, b, c] = self.parts;
        if c == 0.0 && self.wide.is_none() {
            // Mostly two doubles carry it all, and an addition of two rounds once.
            return a + b;
        }
        match self.settled() {
            Some([first, ..]) => first,
            None if !self.parts[0].is_finite() => self.parts[0],
            None => self.to_wide().value(0),
        }
    }

    /// The correctly rounded sum, the rounded rest and what is left then, where the three doubles tell it by themselves;
    /// the order of additions plays no role in these. `None` where they don't, and of what is not finite.
    fn settled(&self) -> Option<[f64; 3]> {
        let [a, b, c] = self.parts;
        let (first, second) = two_sum(a, b);
        let (second, third) = two_sum(second, c);
        let (first, second) = two_sum(first, second);
        let (second, third) = two_sum(second, third);
        // The true rest lies between `second` and its neighbour: neither may carry into the first.
        let beyond = if third > 0.0 { second.next_up() } else { second.next_down() };
        let rounded = first + second == first && (third == 0.0 || first + beyond == first);
        (self.wide.is_none() && rounded && first.is_finite()).then_some([first, second, third])
    }

    /// The sum divided by `n`, finite whenever the quotient is.
    pub fn divided_by(&self, n: u64) -> f64 {
        let (n, sum) = (n as f64, self.value());
        if sum.is_finite() || !self.parts[0].is_finite() {
            sum / n
        } else {
            self.to_wide().value(64) / n * 2f64.powi(64)
        }
    }

    /// `n * sum_sq - sum^2`, rounded once; `None` where a product is too large for a double.
    pub(super) fn variance_numerator(n: u64, sum: &Self, sum_sq: &Self) -> Option<f64> {
        let (sums, squares) = (sum.components()?, sum_sq.components()?);
        let mut exact = Self::default();
        for square in squares {
            let (product, error) = two_product(n as f64, square);
            exact.add(product);
            exact.add(error);
        }
        for x in &sums {
            for y in &sums {
                let (product, error) = two_product(-x, *y);
                exact.add(product);
                exact.add(error);
            }
        }
        Some(exact.value()).filter(|v| v.is_finite())
    }

    /// The sum as doubles of falling magnitude, the first of which is the correctly rounded sum: one form for equal
    /// sums. `None` where the sum is infinite.
    pub fn components(&self) -> Option<Vec<f64>> {
        if !self.value().is_finite() {
            return None;
        }
        if let Some(settled) = self.settled() {
            let used = settled.iter().rposition(|part| *part != 0.0).unwrap_or(0);
            return Some(settled[..=used].to_vec());
        }
        let mut wide = self.to_wide();
        let mut components = Vec::new();
        loop {
            let value = wide.value(0);
            if value == 0.0 && !components.is_empty() {
                return Some(components);
            }
            components.push(value);
            if value == 0.0 {
                return Some(components);
            }
            wide.add(-value);
        }
    }

    /// The sum of these components.
    ///
    /// # Errors
    /// A component is not finite.
    pub fn from_components(components: impl IntoIterator<Item = f64>) -> Result<Self> {
        let mut sum = Self::default();
        for component in components {
            if !component.is_finite() {
                return Err(Error::corrupt("sum", "a component is not finite"));
            }
            sum.add(component);
        }
        Ok(sum)
    }

    fn to_wide(&self) -> Wide {
        let mut wide = self.wide.as_deref().cloned().unwrap_or_default();
        for part in self.parts {
            wide.add(part);
        }
        wide
    }
}

impl PartialEq for ExactSum {
    fn eq(&self, other: &Self) -> bool {
        // Mostly both came the same way. Parts that are equal mean the same sum, infinite ones included.
        if self.wide.is_none() && other.wide.is_none() && self.parts == other.parts {
            return true;
        }
        match (self.parts[0].is_finite(), other.parts[0].is_finite()) {
            (true, true) => self.to_wide() == other.to_wide(),
            (mine, theirs) => mine == theirs,
        }
    }
}

/// `a + b` as the rounded sum and its error.
#[inline]
fn two_sum(a: f64, b: f64) -> (f64, f64) {
    let sum = a + b;
    let b_seen = sum - a;
    let a_seen = sum - b_seen;
    (sum, (a - a_seen) + (b - b_seen))
}

/// `a * b` as the rounded product and its error.
fn two_product(a: f64, b: f64) -> (f64, f64) {
    let product = a * b;
    if product.is_finite() { (product, a.mul_add(b, -product)) } else { (f64::INFINITY, 0.0) }
}

/// Bits below the binary point of a [`Wide`]: the least double is 2^-1074.
const POINT: i32 = 1074;
/// 2,176 bits: all doubles and room for 2^77 of the largest.
const LIMBS: usize = 34;

/// A fixed-point number in two's complement, least significant limb first.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Wide([u64; LIMBS]);

impl Default for Wide {
    fn default() -> Self {
        Self([0; LIMBS])
    }
}

impl Wide {
    fn add(&mut self, value: f64) {
        if value == 0.0 {
            return;
        }
        let bits = value.to_bits();
        let exponent = (bits >> 52) & 0x7ff;
        let fraction = bits & ((1 << 52) - 1);
        let mantissa = if exponent == 0 { fraction } else { fraction | (1 << 52) };
        let shift = usize::try_from(exponent.max(1) - 1).expect("an exponent has 11 bits");
        let spread = u128::from(mantissa) << (shift % 64);
        let pair = [(spread & u128::from(u64::MAX)) as u64, (spread >> 64) as u64];
        if value > 0.0 { self.add_at(shift / 64, pair) } else { self.subtract_at(shift / 64, pair) }
    }

    fn add_at(&mut self, at: usize, pair: [u64; 2]) {
        let mut carry = false;
        for i in at..LIMBS {
            let Some(term) = pair.get(i - at).copied().or(carry.then_some(0)) else { return };
            let (sum, over) = self.0[i].overflowing_add(term);
            let (sum, over_again) = sum.overflowing_add(u64::from(carry));
            self.0[i] = sum;
            carry = over || over_again;
        }
    }

    fn subtract_at(&mut self, at: usize, pair: [u64; 2]) {
        let mut borrow = false;
        for i in at..LIMBS {
            let Some(term) = pair.get(i - at).copied().or(borrow.then_some(0)) else { return };
            let (difference, under) = self.0[i].overflowing_sub(term);
            let (difference, under_again) = difference.overflowing_sub(u64::from(borrow));
            self.0[i] = difference;
            borrow = under || under_again;
        }
    }

    fn merge(&mut self, other: &Self) {
        let mut carry = false;
        for (limb, term) in self.0.iter_mut().zip(other.0) {
            let (sum, over) = limb.overflowing_add(term);
            let (sum, over_again) = sum.overflowing_add(u64::from(carry));
            *limb = sum;
            carry = over || over_again;
        }
    }

    fn negated(&self) -> Self {
        let mut negated = Self::default();
        let mut carry = true;
        for (limb, old) in negated.0.iter_mut().zip(self.0) {
            let (value, over) = (!old).overflowing_add(u64::from(carry));
            *limb = value;
            carry = over;
        }
        negated
    }

    /// The value times 2^-scale, rounded half to even; infinite where too large.
    fn value(&self, scale: i32) -> f64 {
        if self.0[LIMBS - 1] >> 63 == 1 {
            return -self.negated().value(scale);
        }
        let Some(top) = self.0.iter().rposition(|limb| *limb != 0) else { return 0.0 };
        let high = top * 64 + 63 - self.0[top].leading_zeros() as usize;
        if high < 53 {
            return self.0[0] as f64 * f64::from_bits(1) * 2f64.powi(-scale);
        }
        let low = high - 52;
        let mut mantissa = self.bits(low);
        let half = self.bit(low - 1);
        let sticky = (0..(low - 1) / 64).any(|i| self.0[i] != 0)
            || self.0[(low - 1) / 64] & ((1u64 << ((low - 1) % 64)) - 1) != 0;
        if half && (sticky || mantissa & 1 == 1) {
            mantissa += 1;
        }
        let carried = mantissa >> 53 == 1;
        let exponent = high as i32 - POINT + 1023 - scale + i32::from(carried);
        if exponent >= 2047 {
            return f64::INFINITY;
        }
        let fraction = if carried { 0 } else { mantissa & ((1 << 52) - 1) };
        f64::from_bits((u64::from(exponent.unsigned_abs()) << 52) | fraction)
    }

    fn bit(&self, at: usize) -> bool {
        self.0[at / 64] >> (at % 64) & 1 == 1
    }

    /// The 53 bits from `low` up.
    fn bits(&self, low: usize) -> u64 {
        let (limb, offset) = (low / 64, low % 64);
        let pair = u128::from(self.0[limb]) | u128::from(self.0.get(limb + 1).copied().unwrap_or(0)) << 64;
        (pair >> offset) as u64 & ((1 << 53) - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_doubles_tell_what_all_bits_tell() {
        let (mut seed, mut settled) = (11_u64, 0);
        let (mut all, mut all_wide) = (ExactSum::default(), Wide::default());
        for round in 0..20_000_u64 {
            let mut sum = ExactSum::default();
            for _ in 0..round % 40 {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let value = (seed >> 40) as f64 / 100.0 * if seed & 1 == 0 { 1.0 } else { -1.0 };
                let value = if round % 5 == 0 && seed & 0xf00 == 0 {
                    value * 2f64.powi((seed >> 56) as i32 - 128)
                } else {
                    value
                };
                sum.add_square(value);
                sum.add(value);
            }
            let mut wide = sum.to_wide();
            assert_eq!(sum.value(), wide.value(0));
            all.merge(&sum);
            all_wide.merge(&wide);
            assert_eq!((all.value(), all.to_wide()), (all_wide.value(0), all_wide.clone()));
            let Some(parts) = sum.settled() else { continue };
            settled += 1;
            for part in parts {
                assert_eq!(part, wide.value(0));
                wide.add(-part);
            }
            assert_eq!(wide, Wide::default());
        }
        assert!(settled > 15_000, "{settled}");
    }

    /// Half of a last digit, and a little more or less.
    #[test]
    fn ties_are_broken_by_what_is_left() {
        let half = f64::EPSILON / 2.0;
        for (rest, expected) in [(0.0, 1.0), (1e-40, 1.0 + f64::EPSILON), (-1e-40, 1.0)] {
            let mut sum = ExactSum::of(1.0);
            sum.add(half);
            sum.add(rest);
            assert_eq!((sum.value(), sum.to_wide().value(0)), (expected, expected));
            let components = sum.components().expect("finite");
            assert_eq!(ExactSum::from_components(components).expect("finite"), sum);
        }
    }

    #[test]
    fn what_is_too_large_has_no_components() {
        let mut sum = ExactSum::of(f64::MAX);
        sum.add(f64::MAX / 4.0);
        sum.add(1.0);
        assert_eq!((sum.value(), sum.components()), (f64::INFINITY, None));
        let mut back = sum;
        back.add(-f64::MAX);
        assert_eq!(back.value(), f64::MAX / 4.0);
    }
}
