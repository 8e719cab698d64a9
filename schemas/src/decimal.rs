//! Decimals: doubles that are short decimal numbers, as integers and a scale.
//!
//! Sensors tell 21.35, which as a double has 52 bits of noise and as 2135 at scale 2 has eleven bits. Owns when this is
//! lossless, the way back, and intervals whose ends are decimals. Does not own where any of these is kept (`history`).
//!
//! DEC-1: `decode(encode(value))` has the same bits as `value`. The way back is one division of exact doubles, which
//! rounds correctly, and whether its result is the value is tried before a decimal is used.

/// The powers of ten up to the largest scale; all of them are exact doubles.
const POWERS: [f64; 10] = [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9];
/// The largest scale.
pub const SCALE_MAX: u8 = POWERS.len() as u8 - 1;
/// Integers of decimals are less than this: 2^51, so that [`rounded`] is right.
const INTEGER_MAX: f64 = 2_251_799_813_685_248.0;

/// The smallest scale at which, or below, each of these values is a decimal; `None` where one is at no scale, or there are
/// no values. A value so large that it is none at the common scale stays a double.
pub fn scale_of(values: impl Iterator<Item = f64>) -> Option<u8> {
    let mut scale = None;
    for value in values {
        let from = scale.unwrap_or(0);
        scale = Some((from..POWERS.len() as u8).find(|scale| encode(value, *scale).is_some())?);
    }
    scale
}

/// The integer that a value is at this scale; `None` where something would be lost.
pub fn encode(value: f64, scale: u8) -> Option<i64> {
    let power = POWERS[usize::from(scale)];
    let integer = rounded(value * power);
    // Also false of what is no number.
    let lossless = integer.abs() < INTEGER_MAX && (integer / power).to_bits() == value.to_bits();
    lossless.then_some(integer as i64)
}

/// The interval `low..high`, widened to the nearest decimals of which it spans a hundred at least: so its ends are short
/// numbers, and it grows by a fiftieth at most. One that is narrower than the finest decimals, or far wider, stays as it is.
pub fn widened(low: f64, high: f64) -> (f64, f64) {
    const SPAN: f64 = 100.0;
    let width = high - low;
    let Some(power) = POWERS.into_iter().find(|power| width * power >= SPAN) else { return (low, high) };
    let (down, up) = (floored(low * power), -floored(-high * power));
    if down.abs().max(up.abs()) < INTEGER_MAX { (down / power, up / power) } else { (low, high) }
}

/// The nearest integer of numbers below 2^51: beyond 2^52 doubles have no fraction, so that adding rounds. Never -0.
fn rounded(value: f64) -> f64 {
    const NO_FRACTION: f64 = 1.5 * 4_503_599_627_370_496.0;
    (value + NO_FRACTION) - NO_FRACTION
}

/// The greatest integer not above a number, where that is below 2^51. (The function of the library is a call wherever the
/// processor is not known to have an instruction for it.)
pub fn floored(value: f64) -> f64 {
    let nearest = rounded(value);
    if nearest > value { nearest - 1.0 } else { nearest }
}

/// The value of an integer at a scale.
///
/// # Panics
/// The scale is not one that [`scale_of`] tells; see [`is_scale`].
pub fn decode(decimal: i64, scale: u8) -> f64 {
    decimal as f64 / POWERS[usize::from(scale)]
}

/// Whether there is such a scale.
pub fn is_scale(scale: u8) -> bool {
    usize::from(scale) < POWERS.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_write_is_a_decimal_and_what_would_lose_bits_is_not() {
        for (value, expected) in [
            (0.0, Some((0, 0))),
            (-0.0, None),
            (1.0, Some((1, 0))),
            (21.35, Some((2135, 2))),
            (-0.001, Some((-1, 3))),
            (1013.25, Some((101_325, 2))),
            (51.123_456_7, Some((511_234_567, 7))),
            (1e15, Some((1_000_000_000_000_000, 0))),
            (2_251_799_813_685_247.0, Some((2_251_799_813_685_247, 0))),
            (2_251_799_813_685_248.0, None),
            (-0.5, Some((-5, 1))),
            (2.5, Some((25, 1))),
            (1e16, None),
            (1e300, None),
            (1e-300, None),
            (1.0 / 3.0, None),
            (f64::NAN, None),
            (f64::INFINITY, None),
            (f64::NEG_INFINITY, None),
        ] {
            let scale = scale_of([value].into_iter());
            assert_eq!(scale.and_then(|scale| Some((encode(value, scale)?, scale))), expected, "{value}");
        }
        assert_eq!(scale_of([1.0, 2.5, 3.25].into_iter()), Some(2));
        assert_eq!(scale_of([1.0, 1.0 / 3.0].into_iter()), None);
        assert_eq!(scale_of([].into_iter()), None);
        assert_eq!(scale_of([1e15, 0.5].into_iter()), Some(1));
        assert_eq!((encode(1e15, 1), encode(0.5, 1)), (None, Some(5)));
    }

    #[test]
    fn intervals_grow_to_short_ends() {
        for (interval, expected) in [
            ((25.213_742, 25.419_377), (25.213, 25.42)),
            ((-0.5, 99.5), (-1.0, 100.0)),
            ((-123.456, 7.0), (-124.0, 7.0)),
            ((5.0, 5.0), (5.0, 5.0)),
            ((1.0, 1.000_000_001), (1.0, 1.000_000_001)),
            ((1e300, 2e300), (1e300, 2e300)),
            ((f64::MIN, f64::MAX), (f64::MIN, f64::MAX)),
            ((0.1 + 0.2, 0.7), (0.3, 0.7)),
        ] {
            assert_eq!(widened(interval.0, interval.1), expected, "{interval:?}");
        }
    }

    #[test]
    fn widened_intervals_hold_what_they_held() {
        let mut seed = 9_u64;
        let mut any = || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            f64::from_bits(seed >> 2 | 0x3000_0000_0000_0000) * if seed.is_multiple_of(2) { 1.0 } else { -1.0 }
        };
        for _ in 0..100_000 {
            let (a, b) = (any(), any());
            let (low, high) = (a.min(b), a.max(b));
            let (down, up) = widened(low, high);
            let slack = (high - low) * 1e-12;
            assert!(down <= low + slack && high - slack <= up, "{low} {high} {down} {up}");
            assert!(up - down <= (high - low) * 1.021, "{low} {high} {down} {up}");
        }
    }

    #[test]
    fn floors_are_those_of_the_library() {
        for value in [0.0, 0.3, -0.3, 1.0, -1.0, 1.5, 2.5, -2.5, 0.999_999_999, 1e15 + 0.5, -1e15 - 0.5, 1e-300] {
            assert_eq!(floored(value), value.floor(), "{value}");
        }
    }

    #[test]
    fn decimals_come_back_to_the_bit() {
        let mut seed = 7_u64;
        for _ in 0..200_000 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let (digits, scale) = ((seed >> 11) as i64 % 1_000_000_000_000, (seed % 10) as u8);
            let value = format!("{digits}e-{scale}").parse::<f64>().expect("a number");
            assert_eq!(encode(value, scale), Some(digits), "{digits}e-{scale}");
            assert_eq!(decode(digits, scale).to_bits(), value.to_bits());
            let noise = f64::from_bits(seed);
            if let Some(decimal) = encode(noise, scale) {
                assert_eq!(decode(decimal, scale).to_bits(), noise.to_bits());
            }
        }
    }
}
