//! The normal distribution: density, distribution, quantile. Accurate to about 1e-7, which is far finer than any score.

use std::f64::consts::{PI, SQRT_2};

/// The density of the standard normal at `z`.
pub(super) fn density(z: f64) -> f64 {
    (-0.5 * z * z).exp() / (2.0 * PI).sqrt()
}

/// `P(Z <= z)`.
pub(super) fn below(z: f64) -> f64 {
    let beyond = beyond(z);
    if z < 0.0 { beyond } else { 1.0 - beyond }
}

/// `P(Z > |z|)`, by the rational approximation of `erf` of Abramowitz and Stegun (7.1.26).
pub(super) fn beyond(z: f64) -> f64 {
    const P: f64 = 0.327_591_1;
    const A: [f64; 5] = [0.254_829_592, -0.284_496_736, 1.421_413_741, -1.453_152_027, 1.061_405_429];
    let x = z.abs() / SQRT_2;
    let t = 1.0 / (1.0 + P * x);
    let polynomial = A.iter().rev().fold(0.0, |sum, a| (sum + a) * t);
    0.5 * polynomial * (-x * x).exp()
}

/// The `z` with `P(Z <= z) = p`, by the rational approximation of Abramowitz and Stegun (26.2.23) and one step of
/// Newton's method. Finite for every `p`: what is outside `(0, 1)` is taken as the nearest inside.
pub(super) fn quantile(p: f64) -> f64 {
    const SMALLEST: f64 = 1e-12;
    let p = p.clamp(SMALLEST, 1.0 - SMALLEST);
    let tail = p.min(1.0 - p);
    let t = (-2.0 * tail.ln()).sqrt();
    let above = 2.515_517 + t * (0.802_853 + t * 0.010_328);
    let under = 1.0 + t * (1.432_788 + t * (0.189_269 + t * 0.001_308));
    let rough = above / under - t;
    // Further out, the error of `below` is greater than that of the approximation.
    let z = if tail > 1e-4 { rough - (below(rough) - tail) / density(rough) } else { rough };
    if p < 0.5 { z } else { -z }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_agrees_with_the_tables() {
        let cases = [(0.5, 0.0), (0.975, 1.959_964), (0.95, 1.644_854), (0.001, -3.090_232), (0.999_99, 4.264_891)];
        for (p, z) in cases {
            assert!((quantile(p) - z).abs() < 5e-4, "{p}: {}", quantile(p));
            assert!((below(z) - p).abs() < 1e-6, "{z}: {}", below(z));
        }
        assert!(quantile(0.0).is_finite() && quantile(1.0).is_finite());
    }
}
