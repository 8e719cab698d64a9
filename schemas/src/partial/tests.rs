use super::*;

/// A small deterministic generator: tests need no other randomness.
struct Xorshift(u64);

impl Xorshift {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn value(&mut self) -> f64 {
        loop {
            let value = match self.next() % 4 {
                0 => f64::from_bits(self.next()),
                1 => (self.next() % 10_000) as f64 / 100.0,
                2 => 1e9 + (self.next() % 1000) as f64 * 1e-3,
                _ => -((self.next() % 100) as f64),
            };
            if value.is_finite() {
                return value;
            }
        }
    }
}

fn sum(values: &[f64]) -> ExactSum {
    let mut sum = ExactSum::default();
    values.iter().for_each(|v| sum.add(*v));
    sum
}

#[test]
fn sums_are_exact_where_naive_ones_are_not() {
    for (values, expected) in [
        (vec![1e16, 1.0, -1e16], 1.0),
        (vec![1e308, 1e308, 1.0, -1e308, -1e308], 1.0),
        (vec![0.1; 10], 1.0),
        (vec![5e-324, 5e-324], 1e-323),
        (vec![1.0, 2f64.powi(-53), 2f64.powi(-106)], 1.0 + 2f64.powi(-52)),
        (vec![1.0, 2f64.powi(-53)], 1.0),
        (vec![-1.0, -(2f64.powi(-53)), -(2f64.powi(-600))], -1.0 - 2f64.powi(-52)),
        (vec![1e308, 1e308], f64::INFINITY),
        (vec![3e-320, 1e300, -1e300], 3e-320),
    ] {
        assert_eq!(sum(&values).value(), expected, "{values:?}");
        let mut reversed = values.clone();
        reversed.reverse();
        assert_eq!(sum(&reversed).value(), expected, "{reversed:?}");
    }
    assert_eq!(sum(&[1.7e308, 1.7e308]).divided_by(2), 1.7e308);
}

#[test]
fn order_and_grouping_do_not_matter() {
    let mut random = Xorshift(7);
    for _ in 0..300 {
        let n = 1 + (random.next() % 40) as usize;
        let readings: Vec<(i64, f64)> = (0..n).map(|_| ((random.next() % 8) as i64, random.value())).collect();
        let whole = Partial::of_all(readings.iter().copied()).expect("not empty");
        let cut = (random.next() as usize) % n;
        let mut right = Partial::of_all(readings[cut..].iter().rev().copied()).expect("not empty");
        if let Some(left) = Partial::of_all(readings[..cut].iter().copied()) {
            right.merge(&left);
        }
        assert_eq!(whole, right);
        for a in Aggregate::ALL {
            assert_eq!(whole.evaluate(a), right.evaluate(a), "{}", a.name());
        }
    }
}

#[test]
fn components_read_back() {
    let mut random = Xorshift(11);
    for _ in 0..300 {
        let n = 1 + (random.next() % 20) as usize;
        let values: Vec<f64> = (0..n).map(|_| random.value()).collect();
        let exact = sum(&values);
        let Some(components) = exact.components() else { continue };
        assert_eq!(components[0], exact.value());
        assert_eq!(ExactSum::from_components(components.iter().copied()).expect("finite"), exact);
    }
    assert_eq!(sum(&[]).components(), Some(vec![0.0]));
}

#[test]
fn deviation_survives_a_large_mean() {
    let partial = Partial::of_all((0..5).map(|i| (i, 1e9 + i as f64 * 1e-3))).expect("not empty");
    let values: Vec<f64> = (0..5).map(|i| (1e9 + i as f64 * 1e-3) - 1e9).collect();
    let mean = values.iter().sum::<f64>() / 5.0;
    let expected = (values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / 4.0).sqrt();
    let got = partial.evaluate(Aggregate::Stddev).expect("five readings");
    assert!((got - expected).abs() <= 1e-12 * expected, "{got} {expected}");
    assert_eq!(Partial::of(0, 3.0).evaluate(Aggregate::Stddev), None);
}

#[test]
fn quantiles_stay_within_the_stated_error() {
    let mut random = Xorshift(3);
    for _ in 0..100 {
        let n = 1 + (random.next() % 500) as usize;
        let mut values: Vec<f64> = (0..n).map(|_| random.value()).collect();
        let mut merged = Sketch::of(values[..n / 2].iter().copied());
        merged.merge(&Sketch::of(values[n / 2..].iter().copied()));
        let mut updated = Sketch::default();
        values.iter().for_each(|v| updated.update(*v));
        assert_eq!(merged, updated);
        assert_eq!(Sketch::from_bytes(&merged.to_bytes()).expect("own bytes"), merged);
        values.sort_by(f64::total_cmp);
        for q in [500, 900, 950, 990].map(Quantile) {
            let exact = quantile_of_sorted(&values, q).expect("not empty");
            let got = merged.quantile(q.fraction()).expect("not empty");
            assert!((got - exact).abs() <= RELATIVE_ERROR * exact.abs() * (1.0 + 1e-9), "{got} for {exact}");
        }
    }
    assert!(Sketch::from_bytes(&[2]).is_err());
    assert!(Sketch::from_bytes(&[1, 0, 0]).is_err());
}
