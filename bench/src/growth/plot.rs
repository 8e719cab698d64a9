//! The curves, as one SVG: a panel for each figure, a line for each kind of growth.
//!
//! Owns the drawing. Every axis of values begins at zero, so that a flat line is one that does not grow. Dark text on
//! white, and colours that are told apart without seeing red or green.

use anyhow::Context as _;
use clap::ValueEnum as _;
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::Results;
use super::cases::{FACTORS, Kind};
use super::tables::{Figure, Panel, of_kind, panels};
use crate::figures::short;

/// Panels that stand side by side.
const COLUMNS: usize = 3;
/// Pixels of a panel.
const PANEL: (u32, u32) = (370, 240);
/// Pixels above the panels.
const HEAD: u32 = 50;
/// Room for the numbers on an axis.
const LABELS: (u32, u32) = (62, 36);
const FONT: &str = "sans-serif";
const TEXT: RGBColor = RGBColor(40, 40, 40);
const GRID: RGBColor = RGBColor(225, 225, 225);
/// Pixels of a dash, and between two.
const DASH: (u32, u32) = (6, 4);

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// The curves of all figures.
///
/// # Errors
/// They can't be drawn.
pub(super) fn svg(results: &Results) -> anyhow::Result<String> {
    let panels = panels();
    let rows = panels.len().div_ceil(COLUMNS);
    let mut text = String::new();
    {
        let size = (PANEL.0 * COLUMNS as u32, HEAD + PANEL.1 * rows as u32);
        let root = SVGBackend::with_string(&mut text, size).into_drawing_area();
        root.fill(&WHITE)?;
        let (head, body) = root.split_vertically(HEAD);
        legend(&head)?;
        for (area, panel) in body.split_evenly((rows, COLUMNS)).iter().zip(&panels) {
            draw(area, panel, results).with_context(|| format!("can't draw {}", panel.title))?;
        }
        root.present()?;
    }
    Ok(text)
}

fn colour(kind: Kind) -> RGBColor {
    match kind {
        Kind::Readings => RGBColor(0, 114, 178),
        Kind::Series => RGBColor(213, 94, 0),
        Kind::History => RGBColor(0, 158, 115),
    }
}

fn legend(area: &Area<'_>) -> anyhow::Result<()> {
    let words = |size: i32| (FONT, size).into_font().color(&TEXT).pos(Pos::new(HPos::Left, VPos::Center));
    let mut x = 16;
    for (kind, name) in Kind::value_variants().iter().copied().zip(["readings", "series", "history"]) {
        area.draw(&PathElement::new([(x, 16), (x + 26, 16)], colour(kind).stroke_width(2)))?;
        area.draw(&Circle::new((x + 13, 16), 3, colour(kind).filled()))?;
        area.draw(&Text::new(format!("more {name}"), (x + 34, 16), words(14)))?;
        x += 150;
    }
    let how = "across: times as much as the smallest case; solid: the figure, or its p50; dashed: its p99";
    area.draw(&Text::new(how, (16, 38), words(13)))?;
    Ok(())
}

/// One line of a panel: of the panel's `number`-th figure.
struct Curve {
    kind: Kind,
    number: usize,
    points: Vec<(f64, f64)>,
}

fn draw(area: &Area<'_>, panel: &Panel, results: &Results) -> anyhow::Result<()> {
    let curves: Vec<Curve> = Kind::value_variants()
        .iter()
        .copied()
        .flat_map(|kind| {
            let figures = panel.figures.iter().enumerate();
            figures.map(move |(number, figure)| Curve { kind, number, points: curve(results, kind, figure) })
        })
        .collect();
    let top = curves.iter().flat_map(|curve| &curve.points).map(|(_, value)| *value).fold(0.0, f64::max);
    // A panel without a value still has an axis.
    let top = if top > 0.0 { top * 1.08 } else { 1.0 };
    let words = (FONT, 12).into_font().color(&TEXT);
    let mut chart = ChartBuilder::on(area)
        .margin(8)
        .caption(&panel.title, (FONT, 14).into_font().color(&TEXT))
        .x_label_area_size(LABELS.1)
        .y_label_area_size(LABELS.0)
        .build_cartesian_2d(-0.15..FACTORS.len() as f64 - 0.85, 0.0..top)?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(GRID)
        .axis_style(TEXT)
        .x_labels(FACTORS.len())
        .y_labels(5)
        .x_label_formatter(&|place| factor_at(*place))
        .y_label_formatter(&|value| if *value > 0.0 { short(*value) } else { "0".to_owned() })
        .x_desc("times as much")
        .y_desc(panel.unit)
        .label_style(words.clone())
        .axis_desc_style(words)
        .draw()?;
    for Curve { kind, number, points } in curves {
        let style = colour(kind).stroke_width(2);
        let dots = points.clone().into_iter().map(|point| Circle::new(point, 3, colour(kind).filled()));
        if number == 0 {
            chart.draw_series(LineSeries::new(points, style))?;
        } else {
            chart.draw_series(DashedLineSeries::new(points, DASH.0, DASH.1, style))?;
        }
        chart.draw_series(dots)?;
    }
    Ok(())
}

/// The values of a figure: factors stand at even distances.
fn curve(results: &Results, kind: Kind, figure: &Figure) -> Vec<(f64, f64)> {
    let place = |factor: u32| FACTORS.iter().position(|other| *other == factor).unwrap_or_default() as f64;
    of_kind(results, kind).map(|(factor, _, measured)| (place(factor), (figure.value)(measured))).collect()
}

fn factor_at(place: f64) -> String {
    let is_factor = place >= 0.0 && (place - place.round()).abs() < 1e-6;
    let factor = FACTORS.get(place.round().max(0.0) as usize).filter(|_| is_factor);
    factor.map(|factor| format!("×{factor}")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::tables::tests::made_up;
    use super::*;

    #[test]
    fn every_panel_is_drawn_with_its_unit() {
        let text = svg(&made_up()).expect("a picture");
        for panel in panels() {
            assert!(text.contains(&panel.title) && text.contains(panel.unit), "{}", panel.title);
        }
        assert_eq!(text.matches("×16").count(), panels().len());
        assert!(text.starts_with("<svg") && text.trim_end().ends_with("</svg>"), "{text}");
    }

    #[test]
    fn nothing_measured_is_drawn_empty() {
        assert!(svg(&Results::new()).is_ok());
    }
}
