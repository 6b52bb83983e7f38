//! The charts of docs/performance.md, as SVG that is legible on a light and on a dark page.

use std::fmt::Write as _;

use crate::applies::{STEPS, Size};
use crate::report::short;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 380.0;
const LEFT: f64 = 56.0;
const TOP: f64 = 76.0;
const RIGHT: f64 = 704.0;
const BOTTOM: f64 = 332.0;

/// One colour for each step, one for what none of them is, and grey for the floor.
const COLOURS: [&str; 8] = ["#7c9cf5", "#44b8a8", "#e0a030", "#4878d0", "#9a6fc4", "#d65f8a", "#a8a8a8", "#8a8f98"];

/// Apply time against users: the steps of an apply, one upon the other, beside the bare reload.
pub(crate) fn applies(sizes: &[Size], where_from: &str) -> String {
    let highest = sizes.iter().map(|size| size.apply.max(size.reload)).fold(1.0, f64::max);
    let axis = Axis::to(highest);
    let mut svg = page("POST /apply, everything changed: median milliseconds by number of users", where_from);
    axis.draw(&mut svg);
    let mut x = LEFT + 8.0;
    for (name, colour) in STEPS.iter().chain(&["other", "bare reload"]).zip(COLOURS) {
        let name = if *name == "verify" { "prove" } else { name };
        legend(&mut svg, &mut x, name, colour);
    }
    let slot = (RIGHT - LEFT) / f64::from(u32::try_from(sizes.len()).unwrap_or(1));
    let bar = slot * 0.3;
    let mut left = LEFT;
    for size in sizes {
        let x = left + slot * 0.17;
        let rest = (size.apply - size.steps.iter().sum::<f64>()).max(0.0);
        let mut below = 0.0;
        for (height, colour) in size.steps.iter().copied().chain([rest]).zip(COLOURS) {
            rectangle(&mut svg, x, bar, axis.y(below + height), axis.y(below), colour);
            below += height;
        }
        rectangle(&mut svg, x + bar + 4.0, bar, axis.y(size.reload), BOTTOM, COLOURS[7]);
        text(&mut svg, x + bar / 2.0, axis.y(below) - 5.0, "middle", &short(size.apply));
        text(&mut svg, x + bar * 1.5 + 4.0, axis.y(size.reload) - 5.0, "middle", &short(size.reload));
        text(&mut svg, left + slot / 2.0, BOTTOM + 18.0, "middle", &format!("{} users", size.users));
        left += slot;
    }
    svg + "</svg>\n"
}

/// Several figures at each of some places, joined by lines.
pub(crate) fn lines(title: &str, where_from: &str, places: &[String], lines: &[(&str, &[f64])]) -> String {
    let highest = lines.iter().flat_map(|(_, values)| *values).copied().fold(0.1, f64::max);
    let axis = Axis::to(highest);
    let mut svg = page(title, where_from);
    axis.draw(&mut svg);
    let mut x = LEFT + 8.0;
    let slot = (RIGHT - LEFT) / f64::from(u32::try_from(places.len()).unwrap_or(1));
    // The last one is the floor, in grey.
    let colours = COLOURS[2..].iter().take(lines.len() - 1).chain(COLOURS.last());
    for ((name, values), colour) in lines.iter().zip(colours) {
        legend(&mut svg, &mut x, name, colour);
        let mut points = String::new();
        let mut centre = LEFT + slot / 2.0;
        for value in *values {
            _ = write!(points, "{centre:.1},{:.1} ", axis.y(*value));
            _ = writeln!(svg, r#"<circle cx="{centre:.1}" cy="{:.1}" r="3.5" fill="{colour}"/>"#, axis.y(*value));
            text(&mut svg, centre, axis.y(*value) - 9.0, "middle", &short(*value));
            centre += slot;
        }
        let points = points.trim_end();
        _ = writeln!(svg, r#"<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>"#);
    }
    let mut centre = LEFT + slot / 2.0;
    for place in places {
        text(&mut svg, centre, BOTTOM + 18.0, "middle", place);
        centre += slot;
    }
    svg + "</svg>\n"
}

/// The vertical axis, from zero to a round number.
struct Axis {
    step: f64,
    top: f64,
}

impl Axis {
    fn to(highest: f64) -> Self {
        let magnitude = 10.0_f64.powf((highest / 5.0).log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].map(|times| times * magnitude).into_iter().find(|step| step * 5.0 >= highest);
        let step = step.unwrap_or(highest);
        Self { step, top: (highest * 1.05 / step).ceil() * step }
    }

    fn y(&self, value: f64) -> f64 {
        BOTTOM - value / self.top * (BOTTOM - TOP)
    }

    fn draw(&self, svg: &mut String) {
        let mut value = 0.0;
        while value <= self.top * 1.001 {
            let y = self.y(value);
            _ = writeln!(svg, r#"<line class="grid" x1="{LEFT}" x2="{RIGHT}" y1="{y:.1}" y2="{y:.1}"/>"#);
            let digits = usize::from(self.step < 1.0);
            text(svg, LEFT - 6.0, y + 4.0, "end", &format!("{value:.digits$}"));
            value += self.step;
        }
    }
}

fn page(title: &str, where_from: &str) -> String {
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{title}\">\n\
         <style>text {{ font: 11px sans-serif; fill: #57606a }} .title {{ font-size: 15px; fill: #24292f }} \
         .grid {{ stroke: #8b949e; stroke-opacity: .3 }} @media (prefers-color-scheme: dark) {{ text {{ fill: #9da7b1 }} \
         .title {{ fill: #e6edf3 }} }}</style>\n<text class=\"title\" x=\"{LEFT}\" y=\"24\">{title}</text>\n"
    );
    text(&mut svg, LEFT, BOTTOM + 40.0, "start", where_from);
    svg
}

fn legend(svg: &mut String, x: &mut f64, name: &str, colour: &str) {
    _ = writeln!(svg, r#"<rect x="{x:.1}" y="40" width="11" height="11" fill="{colour}"/>"#);
    text(svg, *x + 15.0, 50.0, "start", name);
    *x += 30.0 + 6.2 * f64::from(u32::try_from(name.len()).unwrap_or(0));
}

fn rectangle(svg: &mut String, x: f64, width: f64, top: f64, bottom: f64, colour: &str) {
    let height = bottom - top;
    if height >= 0.05 {
        _ = writeln!(svg, r#"<rect x="{x:.1}" y="{top:.1}" width="{width:.1}" height="{height:.1}" fill="{colour}"/>"#);
    }
}

fn text(svg: &mut String, x: f64, y: f64, anchor: &str, words: &str) {
    _ = writeln!(svg, r#"<text x="{x:.1}" y="{y:.1}" text-anchor="{anchor}">{words}</text>"#);
}
