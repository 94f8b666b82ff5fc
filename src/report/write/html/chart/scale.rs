//! The grid behind a chart: round numbers around what is drawn.

use std::fmt::Write as _;

use super::{BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, escape};

/// From amounts to heights.
pub(super) struct Scale {
    low: f64,
    high: f64,
    step: f64,
}

impl Scale {
    /// A range of round numbers around two amounts.
    pub(super) fn new(low: f64, high: f64) -> Self {
        const LINES: f64 = 5.0;
        let span = (high - low).max(1e-9);
        let magnitude = 10_f64.powf((span / LINES).log10().floor());
        let wanted = span / LINES / magnitude;
        let round = [1.0, 2.0, 2.5, 5.0].into_iter().find(|one| *one >= wanted);
        let step = magnitude * round.unwrap_or(10.0);
        Self {
            low: (low / step).floor() * step,
            high: (high / step).ceil() * step,
            step,
        }
    }

    pub(super) fn y(&self, value: f64) -> f64 {
        let share = (value - self.low) / (self.high - self.low);
        HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)
    }

    pub(super) fn grid(&self, svg: &mut String, currency: &str) {
        let lines = ((self.high - self.low) / self.step).round();
        let mut line = 0.0;
        while line <= lines {
            let value = self.low + self.step * line;
            let y = self.y(value);
            let class = if value.abs() < self.step / 2.0 {
                "zero"
            } else {
                "grid"
            };
            let _ = write!(
                svg,
                r#"<line class="{class}" x1="{LEFT}" x2="{:.1}" y1="{y:.1}" y2="{y:.1}"/><text class="scale" x="{:.1}" y="{:.1}">{}</text>"#,
                WIDTH - RIGHT,
                LEFT - 8.0,
                y + 4.0,
                compact(value),
            );
            line += 1.0;
        }
        let _ = write!(
            svg,
            r#"<text class="unit" x="0" y="{TOP}">{}</text>"#,
            escape(currency)
        );
    }
}

/// A number beside a line of the grid.
fn compact(value: f64) -> String {
    let units = [(1e9, "G"), (1e6, "M"), (1e3, "k")];
    let unit = units.into_iter().find(|(size, _)| value.abs() >= *size);
    let (number, unit) = unit.map_or((value, ""), |(size, unit)| (value / size, unit));
    let text = format!("{number:.6}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    let text = if text == "-0" { "0" } else { text };
    format!("{text}{unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grid_has_round_numbers() {
        let steps = [(0.0, 7.3), (-120.0, 930.0), (0.0, 0.004), (0.0, 0.0)].map(|(low, high)| {
            let scale = Scale::new(low, high);
            format!("{:.4} {:.4} {:.4}", scale.low, scale.high, scale.step)
        });
        assert_eq!(
            steps,
            [
                "0.0000 8.0000 2.0000",
                "-250.0000 1000.0000 250.0000",
                "0.0000 0.0040 0.0010",
                "0.0000 0.0000 0.0000"
            ]
        );
    }

    #[test]
    fn numbers_at_the_grid_are_short() {
        let shown = [0.0, -0.0, 0.25, 1500.0, 2_000_000.0, -40.0].map(compact);
        assert_eq!(shown, ["0", "0", "0.25", "1.5k", "2M", "-40"]);
    }
}
