//! A picture of how right confidence was: reliability of the probabilities, coverage of the intervals.

use std::fmt::Write as _;

use schemas::partial::Aggregate;
use serving_layer::confidence::Scores;

use super::report::span;

/// Side of a square plot, and the space round it, in pixels.
const SIDE: f64 = 300.0;
const MARGIN: f64 = 60.0;
/// One colour for each aggregate.
const COLOURS: [&str; 7] = ["#1b6ca8", "#d1495b", "#3c8d40", "#8a5fbf", "#c77d0a", "#2a9d9d", "#6b6b6b"];
/// Bins with fewer forecasts say nothing.
const LEAST: f64 = 30.0;

/// Both plots beside one another, as SVG.
pub(super) fn draw(scores: &Scores, level: f64) -> String {
    let rows = scores.rows();
    let aggregates: Vec<Aggregate> =
        Aggregate::ALL.into_iter().filter(|a| rows.iter().any(|row| row.aggregate == *a)).collect();
    let mut ages: Vec<i64> = rows.iter().map(|row| row.age).collect();
    ages.sort_unstable();
    ages.dedup();
    let (width, height) = (2.0 * SIDE + 3.0 * MARGIN + 70.0, SIDE + 2.0 * MARGIN);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    let left = Plot { x: MARGIN, y: MARGIN };
    let right = Plot { x: 2.0 * MARGIN + SIDE, y: MARGIN };
    left.frame(&mut svg, "reliability: told against happened", "confidence_score", "share within epsilon");
    left.line(&mut svg, "#999999", &[(0.0, 0.0), (1.0, 1.0)]);
    for tick in 0..=5 {
        let at = f64::from(tick) / 5.0;
        left.tick(&mut svg, at, &format!("{at:.1}"), at, &format!("{at:.1}"));
    }
    right.frame(&mut svg, "coverage of the intervals by age", "age after the bucket's end", "share that held");
    // From 0.5 on: below that nobody needs to look.
    let up = |coverage: f64| ((coverage - 0.5) / 0.5).clamp(0.0, 1.0);
    let along = |i: usize| i as f64 / (ages.len().max(2) - 1) as f64;
    right.line(&mut svg, "#999999", &[(0.0, up(level)), (1.0, up(level))]);
    for tick in 0..=5 {
        let coverage = 0.5 + f64::from(tick) / 10.0;
        right.tick(&mut svg, -1.0, "", up(coverage), &format!("{coverage:.1}"));
    }
    for (i, age) in ages.iter().enumerate() {
        right.tick(&mut svg, along(i), &span(*age), -1.0, "");
    }
    for (k, aggregate) in aggregates.iter().enumerate() {
        let colour = COLOURS[k % COLOURS.len()];
        let bins = scores.reliability(|_, _, a, _| a == *aggregate);
        let points: Vec<(f64, f64)> =
            bins.iter().filter(|(n, ..)| *n >= LEAST).map(|(_, told, happened)| (*told, *happened)).collect();
        left.line(&mut svg, colour, &points);
        left.dots(&mut svg, colour, &points);
        let covered = |(i, age): (usize, &i64)| {
            let score = scores.sum(|_, _, a, at| a == *aggregate && at == *age);
            (score.n >= LEAST).then(|| (along(i), up(score.coverage)))
        };
        let points: Vec<(f64, f64)> = ages.iter().enumerate().filter_map(covered).collect();
        right.line(&mut svg, colour, &points);
        right.dots(&mut svg, colour, &points);
        let (x, y) = (right.x + SIDE + 15.0, right.y + 20.0 * (k as f64 + 1.0));
        // Writing to a text can't fail.
        let _ = writeln!(svg, "<text x=\"{x}\" y=\"{y}\" fill=\"{colour}\">{}</text>", aggregate.name());
    }
    svg.push_str("</svg>\n");
    svg
}

/// A square with axes from 0 to 1.
struct Plot {
    x: f64,
    y: f64,
}

impl Plot {
    fn at(&self, (x, y): (f64, f64)) -> (f64, f64) {
        (self.x + x * SIDE, self.y + (1.0 - y) * SIDE)
    }

    fn frame(&self, svg: &mut String, title: &str, below: &str, beside: &str) {
        let (x, y) = (self.x, self.y);
        let (middle, bottom) = (x + SIDE / 2.0, y + SIDE + 45.0);
        let (side, up) = (x - 42.0, y + SIDE / 2.0);
        let _ = writeln!(
            svg,
            "<rect x=\"{x}\" y=\"{y}\" width=\"{SIDE}\" height=\"{SIDE}\" fill=\"none\" stroke=\"#444444\"/>\n\
             <text x=\"{middle}\" y=\"{}\" text-anchor=\"middle\" font-weight=\"bold\">{title}</text>\n\
             <text x=\"{middle}\" y=\"{bottom}\" text-anchor=\"middle\">{below}</text>\n\
             <text x=\"{side}\" y=\"{up}\" text-anchor=\"middle\" transform=\"rotate(-90 {side} {up})\">{beside}</text>",
            y - 15.0
        );
    }

    /// Marks on the axes, where they lie on them.
    fn tick(&self, svg: &mut String, x: f64, below: &str, y: f64, beside: &str) {
        if x >= 0.0 {
            let (px, py) = self.at((x, 0.0));
            let _ = writeln!(
                svg,
                "<text x=\"{px}\" y=\"{}\" text-anchor=\"end\" font-size=\"10\" transform=\"rotate(-35 {px} {})\">{below}</text>",
                py + 14.0,
                py + 14.0
            );
        }
        if y >= 0.0 {
            let (px, py) = self.at((0.0, y));
            let _ = writeln!(
                svg,
                "<text x=\"{}\" y=\"{}\" text-anchor=\"end\" font-size=\"10\">{beside}</text>",
                px - 5.0,
                py + 4.0
            );
        }
    }

    fn line(&self, svg: &mut String, colour: &str, points: &[(f64, f64)]) {
        let texts: Vec<String> = points.iter().map(|p| self.at(*p)).map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let _ = writeln!(
            svg,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.5\"/>",
            texts.join(" ")
        );
    }

    fn dots(&self, svg: &mut String, colour: &str, points: &[(f64, f64)]) {
        for (x, y) in points.iter().map(|p| self.at(*p)) {
            let _ = writeln!(svg, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"{colour}\"/>");
        }
    }
}
