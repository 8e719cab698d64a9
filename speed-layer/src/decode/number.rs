//! Numbers and instants from text.
//!
//! Owns: which text is a finite value, and the exact conversion of decimal numbers to nanoseconds. Does not own the
//! meaning of a precision or the grammar of RFC 3339 (`schemas::time`).

use schemas::time::{Precision, clip, parse_rfc3339};

use super::Options;

/// Most significant digits that still multiply by any unit within an `i128`.
const DIGITS_MAX: usize = 25;

/// The finite value that this text spells.
pub(super) fn value(text: &str) -> Result<f64, String> {
    if let Some(value) = short_decimal(text.as_bytes()) {
        return Ok(value);
    }
    match text.parse::<f64>() {
        Ok(value) if value.is_finite() => Ok(value),
        Ok(value) if value.is_nan() => Err("value is NaN, which is not a reading".to_owned()),
        Ok(_) if text.bytes().any(|b| b.is_ascii_digit()) => {
            Err(format!("value {} is too large for a 64-bit float", clip(text)))
        }
        Ok(_) => Err(format!("value is {}, which is not a reading", clip(text))),
        Err(_) => Err(format!("value {:?} is not a number", clip(text))),
    }
}

/// The value as it is, if it is finite.
pub(super) fn finite(value: f64) -> Result<f64, String> {
    if value.is_finite() { Ok(value) } else { Err(format!("value is {value}, which is not a reading")) }
}

/// The value of a text that is a short decimal as a whole; see [`leading_decimal`].
fn short_decimal(text: &[u8]) -> Option<f64> {
    leading_decimal(text).filter(|(_, length)| *length == text.len()).map(|(value, _)| value)
}

/// The decimal that these bytes begin with and its length, if it is so short that one division rounds it correctly: up
/// to 15 digits. What follows may make it another number (an exponent).
pub(super) fn leading_decimal(text: &[u8]) -> Option<(f64, usize)> {
    const POWERS: [f64; 16] = [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15];
    let negative = text.first() == Some(&b'-');
    let digits = &text[usize::from(negative)..];
    let mut mantissa = 0_u64;
    let mut point = None;
    let mut length = 0;
    for b in digits.iter().take(17) {
        match b {
            // At most 17 digits: it can't overflow.
            b'0'..=b'9' => mantissa = mantissa.wrapping_mul(10).wrapping_add(u64::from(b - b'0')),
            b'.' if point.is_none() => point = Some(length),
            _ => break,
        }
        length += 1;
    }
    let decimals = point.map_or(0, |point| length - point - 1);
    let figures = length - usize::from(point.is_some());
    if figures == 0 || figures > 15 {
        return None;
    }
    // Both operands are exact (mantissa < 10^15 < 2^53), hence the quotient is the nearest float.
    let value = mantissa as f64 / POWERS[decimals];
    Some((if negative { -value } else { value }, length + usize::from(negative)))
}

/// A whole number of digits alone, if it is short enough not to overflow.
pub(super) fn short_whole(text: &[u8]) -> Option<i64> {
    if text.is_empty() || text.len() > 19 {
        return None;
    }
    let mut n = 0_u64;
    for b in text {
        let digit = b.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        // At most 19 digits are less than 2^64.
        n = n.wrapping_mul(10).wrapping_add(u64::from(digit));
    }
    i64::try_from(n).ok()
}

/// The instant that a text names: empty is now, a number counts in the precision, anything else is RFC 3339.
pub(super) fn instant(text: &str, options: &Options) -> Result<i64, String> {
    let text = text.trim();
    match Decimal::parse(text) {
        _ if text.is_empty() => Ok(options.now),
        Some(decimal) => decimal.nanos(options.precision).ok_or_else(|| out_of_range(text)),
        None => parse_rfc3339(text).map_err(|e| e.to_string()),
    }
}

/// The instant `n` units after the epoch.
pub(super) fn instant_of_units(n: i64, precision: Precision) -> Result<i64, String> {
    precision.nanos(n).ok_or_else(|| out_of_range(&n.to_string()))
}

/// That a numeric timestamp lies outside of what can be told.
pub(super) fn out_of_range(text: &str) -> String {
    format!("timestamp {} is outside the years 1677 to 2262", clip(text))
}

/// A decimal number, still in digits: `(-)whole.fraction * 10^exponent`.
#[derive(Debug, PartialEq, Eq)]
struct Decimal<'a> {
    negative: bool,
    whole: &'a str,
    fraction: &'a str,
    exponent: i64,
}

impl<'a> Decimal<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let (negative, text) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        let (digits, exponent) = match text.split_once(['e', 'E']) {
            Some((digits, exponent)) => (digits, parse_exponent(exponent)?),
            None => (text, 0),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let only_digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
        let good = !whole.is_empty() && only_digits(whole) && only_digits(fraction);
        good.then_some(Self { negative, whole, fraction, exponent })
    }

    /// Nanoseconds of this many units, rounded down to the nanosecond it falls in; `None` where that does not fit.
    fn nanos(&self, precision: Precision) -> Option<i64> {
        if self.fraction.is_empty() && self.exponent == 0 {
            let n: i128 = self.whole.parse().ok()?;
            return precision.nanos(i64::try_from(if self.negative { -n } else { n }).ok()?);
        }
        let (mantissa, scale) = self.mantissa()?;
        // A scale past 10^38 leaves nothing of 25 digits: the instant is the epoch.
        let Some(power) = u32::try_from(scale).ok().and_then(|scale| 10_i128.checked_pow(scale)) else {
            return Some(0);
        };
        let unit = i128::from(unit_of(precision, i64::try_from(mantissa / power).ok()?)?);
        i64::try_from((mantissa * unit).div_euclid(power)).ok()
    }

    /// `(m, s)` with the number being `m / 10^s`, `m` of at most [`DIGITS_MAX`] digits, digits behind that cut off.
    fn mantissa(&self) -> Option<(i128, i64)> {
        let mut scale = i64::try_from(self.fraction.len()).ok()? - self.exponent;
        let digits = self.whole.bytes().chain(self.fraction.bytes()).skip_while(|b| *b == b'0');
        let mut mantissa = 0_i128;
        let mut kept = 0;
        for digit in digits {
            if kept < DIGITS_MAX {
                mantissa = mantissa * 10 + i128::from(digit - b'0');
                kept += 1;
            } else {
                scale -= 1;
            }
        }
        while scale < 0 && mantissa != 0 {
            kept += 1;
            if kept > DIGITS_MAX {
                return None;
            }
            mantissa *= 10;
            scale += 1;
        }
        Some((if self.negative { -mantissa } else { mantissa }, scale.max(0)))
    }
}

/// The exponent, with absurd ones brought to a size that is as absurd but cannot overflow.
fn parse_exponent(text: &str) -> Option<i64> {
    const ABSURD: i64 = 1 << 40;
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let size = digits.parse::<i64>().map_or(ABSURD, |n| n.min(ABSURD));
    Some(if text.starts_with('-') { -size } else { size })
}

/// Nanoseconds of one unit, where `n` units are meant.
fn unit_of(precision: Precision, n: i64) -> Option<i64> {
    match precision.nanos(n)?.checked_div(n) {
        Some(unit) => Some(unit),
        None => precision.nanos(1),
    }
}
