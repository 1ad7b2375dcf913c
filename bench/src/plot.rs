//! Lines over time, as SVG.

use std::path::Path;

use anyhow::{Result, anyhow};
use plotters::prelude::*;

/// Something over time.
pub(crate) struct Line {
    pub(crate) what: &'static str,
    /// Minutes, and how much.
    pub(crate) points: Vec<(f64, f64)>,
}

const WIDTH: u32 = 900;
const HEIGHT_OF_ONE: u32 = 180;

/// Draws each line in a field of its own, from zero, one below the other.
pub(crate) fn draw(path: &Path, lines: &[Line]) -> Result<()> {
    let count = u32::try_from(lines.len())?;
    let area = SVGBackend::new(path, (WIDTH, HEIGHT_OF_ONE * count)).into_drawing_area();
    let failed = |error: DrawingAreaErrorKind<_>| anyhow!("the plot: {error}");
    area.fill(&WHITE).map_err(failed)?;
    for (line, field) in lines.iter().zip(area.split_evenly((lines.len(), 1))) {
        let last = line.points.last().map_or(1.0, |(minutes, _)| *minutes);
        let most = line.points.iter().map(|(_, y)| *y).fold(1.0, f64::max);
        let mut chart = ChartBuilder::on(&field)
            .caption(line.what, ("sans-serif", 14))
            .margin(6)
            .x_label_area_size(22)
            .y_label_area_size(70)
            .build_cartesian_2d(0.0..last, 0.0..most * 1.1)
            .map_err(failed)?;
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .draw()
            .map_err(failed)?;
        let drawn = LineSeries::new(line.points.iter().copied(), &BLUE);
        chart.draw_series(drawn).map_err(failed)?;
    }
    area.present().map_err(failed)
}
