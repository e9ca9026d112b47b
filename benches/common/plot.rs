//! What all plots share: colours (Okabe and Ito), a font that is always there, lines over a number.

use plotters::coord::Shift;
use plotters::prelude::*;

pub const BLUE: RGBColor = RGBColor(0, 114, 178);
pub const VERMILLION: RGBColor = RGBColor(213, 94, 0);
pub const GREEN: RGBColor = RGBColor(0, 158, 115);
pub const INK: RGBColor = RGBColor(38, 44, 52);
pub const FAINT: RGBColor = RGBColor(226, 230, 235);
pub const FONT: &str = "sans-serif";

/// Embedded: a plot looks the same on a machine without fonts.
pub fn register_font() {
    let font = include_bytes!("../../assets/fonts/DejaVuSans.ttf");
    for style in [FontStyle::Normal, FontStyle::Bold] {
        let _ = plotters::style::register_font(FONT, style, font);
    }
}

/// A curve and its name.
pub struct Curve {
    pub name: String,
    pub points: Vec<(f64, f64)>,
}

/// One diagram: curves over `x`, both axes from zero.
///
/// # Errors
/// If it cannot be drawn.
pub fn curves<B: DrawingBackend>(
    area: &DrawingArea<B, Shift>,
    title: &str,
    [x, y]: [&str; 2],
    curves: &[Curve],
) -> Result<(), Box<dyn std::error::Error>>
where
    B::ErrorType: 'static,
{
    let most = |of: fn(&(f64, f64)) -> f64| curves.iter().flat_map(|c| &c.points).map(of).fold(0.0, f64::max) * 1.08;
    let text = |size: i32| (FONT, size).into_font().color(&INK);
    let mut chart = ChartBuilder::on(area)
        .margin(16)
        .caption(title, text(18))
        .x_label_area_size(40)
        .y_label_area_size(56)
        .build_cartesian_2d(0.0..most(|p| p.0), 0.0..most(|p| p.1))?;
    let mesh = || FAINT.stroke_width(1);
    chart
        .configure_mesh()
        .light_line_style(WHITE)
        .bold_line_style(mesh())
        .axis_style(FAINT)
        .label_style(text(14))
        .axis_desc_style(text(15))
        .x_desc(x)
        .y_desc(y)
        .draw()?;
    for (curve, color) in curves.iter().zip([BLUE, VERMILLION, GREEN, INK].into_iter().cycle()) {
        chart
            .draw_series(LineSeries::new(curve.points.iter().copied(), color.stroke_width(2)))?
            .label(&curve.name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], color.stroke_width(2)));
        chart.draw_series(curve.points.iter().map(|point| Circle::new(*point, 3, color.filled())))?;
    }
    if curves.len() > 1 {
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperLeft)
            .background_style(WHITE.mix(0.8))
            .label_font(text(14))
            .draw()?;
    }
    Ok(())
}
