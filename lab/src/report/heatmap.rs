//! Heat maps as SVG, without a script and without a font of their own.

use std::fmt::Write;

/// One heat map of a picture.
#[derive(Clone, Debug, PartialEq)]
pub struct Panel {
    /// Above it.
    pub title: String,
    /// Names of the rows.
    pub rows: Vec<String>,
    /// Names of the columns.
    pub columns: Vec<String>,
    /// By row and column, 0..=1; none is drawn empty.
    pub values: Vec<Vec<Option<f64>>>,
}

const CELL_WIDTH: usize = 62;
const CELL_HEIGHT: usize = 30;
const GAP: usize = 28;
/// Width of a letter of 12 pixels, on the large side.
const LETTER: usize = 7;
/// Wider pictures do not fit beside text.
const MAX_WIDTH: usize = 1_100;
const HEAD: usize = 40;
const PANEL_HEAD: usize = 44;
const LEGEND: usize = 46;

/// From 0 to 1 in equal steps: dark blue, violet, red, orange, light yellow. Brightness only grows, so that it
/// reads in grey too.
const COLOURS: [(f64, f64, f64); 5] = [
    (18.0, 16.0, 60.0),
    (101.0, 26.0, 110.0),
    (190.0, 55.0, 84.0),
    (243.0, 133.0, 50.0),
    (252.0, 245.0, 200.0),
];

/// The panels, side by side as far as the width allows, under a title and over a scale.
#[must_use]
pub fn heat_map(title: &str, panels: &[Panel]) -> String {
    let margin = panels.iter().map(row_margin).max().unwrap_or(0);
    let panel_width = panels
        .iter()
        .map(|panel| width(panel, margin))
        .max()
        .unwrap_or(0);
    let panel_height = panels.iter().map(height).max().unwrap_or(0);
    let across =
        (MAX_WIDTH.saturating_sub(GAP) / (panel_width + GAP)).clamp(1, panels.len().max(1));
    let down = panels.len().div_ceil(across);
    let title_width = (title.len() + 4) * (LETTER + 2);
    let total_width = (GAP + across * (panel_width + GAP))
        .max(title_width)
        .max(320);
    let total_height = HEAD + down * (panel_height + GAP) + LEGEND;

    // Writing to a string does not fail.
    let mut out = String::new();
    let _ = writeln!(
        out,
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {total_width} {total_height}" width="{total_width}" height="{total_height}" font-family="Helvetica, Arial, sans-serif" font-size="12" role="img">
<title>{title}</title>
<rect width="100%" height="100%" fill="#ffffff"/>
<text x="{GAP}" y="26" font-size="16" font-weight="bold" fill="#111111">{title}</text>"##,
        title = escape(title),
    );
    for (position, panel) in panels.iter().enumerate() {
        let x = GAP + position % across * (panel_width + GAP);
        let y = HEAD + position / across * (panel_height + GAP);
        draw(&mut out, panel, x, y, margin);
    }
    scale(&mut out, GAP, total_height - LEGEND + 8);
    out.push_str("</svg>\n");
    out
}

fn row_margin(panel: &Panel) -> usize {
    let longest = panel
        .rows
        .iter()
        .map(|row| row.chars().count())
        .max()
        .unwrap_or(0);
    longest * LETTER + 8
}

fn width(panel: &Panel, margin: usize) -> usize {
    let title = panel.title.chars().count() * LETTER;
    (margin + panel.columns.len() * CELL_WIDTH).max(title)
}

fn height(panel: &Panel) -> usize {
    PANEL_HEAD + panel.rows.len() * CELL_HEIGHT
}

fn draw(out: &mut String, panel: &Panel, x: usize, y: usize, margin: usize) {
    let _ = writeln!(
        out,
        r##"<text x="{x}" y="{}" font-weight="bold" fill="#111111">{}</text>"##,
        y + 16,
        escape(&panel.title)
    );
    for (column, name) in panel.columns.iter().enumerate() {
        let middle = x + margin + column * CELL_WIDTH + CELL_WIDTH / 2;
        let _ = writeln!(
            out,
            r##"<text x="{middle}" y="{}" text-anchor="middle" font-size="11" fill="#333333">{}</text>"##,
            y + PANEL_HEAD - 7,
            escape(name)
        );
    }
    for (row, name) in panel.rows.iter().enumerate() {
        let top = y + PANEL_HEAD + row * CELL_HEIGHT;
        let baseline = top + CELL_HEIGHT / 2 + 4;
        let _ = writeln!(
            out,
            r##"<text x="{}" y="{baseline}" text-anchor="end" fill="#333333">{}</text>"##,
            x + margin - 8,
            escape(name)
        );
        let values = panel.values.get(row).map_or(&[][..], Vec::as_slice);
        for (column, value) in values.iter().enumerate() {
            let left = x + margin + column * CELL_WIDTH;
            let (fill, text, ink) = match value {
                Some(value) => (colour(*value), format!("{value:.2}"), ink(*value)),
                None => ("#eeeeee".to_owned(), "-".to_owned(), "#777777"),
            };
            let _ = writeln!(
                out,
                r##"<rect x="{left}" y="{top}" width="{CELL_WIDTH}" height="{CELL_HEIGHT}" fill="{fill}" stroke="#ffffff"/>
<text x="{}" y="{baseline}" text-anchor="middle" fill="{ink}">{text}</text>"##,
                left + CELL_WIDTH / 2
            );
        }
    }
}

/// A bar of all colours with its numbers.
fn scale(out: &mut String, x: usize, y: usize) {
    const STEPS: usize = 50;
    const STEP: usize = 4;
    for step in 0..STEPS {
        let value = (step as f64 + 0.5) / STEPS as f64;
        let _ = writeln!(
            out,
            r##"<rect x="{}" y="{y}" width="{STEP}" height="10" fill="{}"/>"##,
            x + step * STEP,
            colour(value)
        );
    }
    for (value, label) in [(0, "0"), (1, "0.5"), (2, "1")] {
        let _ = writeln!(
            out,
            r##"<text x="{}" y="{}" text-anchor="middle" font-size="11" fill="#333333">{label}</text>"##,
            x + value * STEPS * STEP / 2,
            y + 24
        );
    }
}

fn colour(value: f64) -> String {
    let place = value.clamp(0.0, 1.0) * (COLOURS.len() - 1) as f64;
    let below = (place as usize).min(COLOURS.len() - 2);
    let share = place - below as f64;
    let ((r0, g0, b0), (r1, g1, b1)) = (COLOURS[below], COLOURS[below + 1]);
    let mix = |from: f64, to: f64| (from + share * (to - from)).round() as u8;
    format!("#{:02x}{:02x}{:02x}", mix(r0, r1), mix(g0, g1), mix(b0, b1))
}

/// Black on the light end, white on the dark one.
fn ink(value: f64) -> &'static str {
    if value > 0.62 { "#111111" } else { "#ffffff" }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}
