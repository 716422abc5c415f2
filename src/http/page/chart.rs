//! Small charts, by attributes of SVG alone: the page's policy forbids styles in markup.

use std::fmt::Write as _;

use maud::{Markup, html};

/// Points of a small chart.
const POINTS: usize = 30;

/// The last minutes as an area; nothing with less than two points. `text` says what it shows.
pub(super) fn spark(values: &[f64], class: &str, text: &str) -> Markup {
    if values.len() < 2 {
        return html! {};
    }
    let values = thinned(values);
    let most = values.iter().copied().fold(0.0, f64::max);
    let last = values.len().saturating_sub(1).max(1);
    let mut line = String::new();
    for (at, value) in values.iter().enumerate() {
        let height = if most > 0.0 { value / most * 26.0 } else { 0.0 };
        #[allow(clippy::cast_precision_loss, reason = "at most thirty points")]
        let x = at as f64 * 120.0 / last as f64;
        let letter = if at == 0 { 'M' } else { 'L' };
        let _infallible = write!(line, "{letter}{x:.0} {:.1}", 29.0 - height);
    }
    html! {
        svg.spark.(class) viewBox="0 0 120 30" preserveAspectRatio="none" role="img" {
            title { (text) }
            path.area d={ (line) "L120 30L0 30z" } {}
            path.line d=(line) fill="none" vector-effect="non-scaling-stroke" {}
        }
    }
}

/// At most [`POINTS`] values, each the largest of those that it stands for: no peak is lost.
fn thinned(values: &[f64]) -> Vec<f64> {
    let step = values.len().div_ceil(POINTS).max(1);
    values.chunks(step).map(|chunk| chunk.iter().copied().fold(0.0, f64::max)).collect()
}

/// A bar of parts, each with its class, by their sizes.
pub(super) fn stacked(parts: &[(&str, f64)], text: &str) -> Markup {
    let sum: f64 = parts.iter().map(|(_, size)| size).sum();
    let mut x = 0.0;
    let mut drawn = Vec::new();
    for (class, size) in parts.iter().filter(|(_, size)| *size > 0.0) {
        // A part that is there is seen.
        let width = (size / sum * 1000.0).max(3.0);
        drawn.push((class, format!("{x:.1}"), format!("{width:.1}")));
        x += width;
    }
    html! {
        svg.bar viewBox="0 0 1000 10" preserveAspectRatio="none" role="img" {
            title { (text) }
            @for (class, x, width) in drawn { rect class=(class) x=(x) y="0" width=(width) height="10" {} }
        }
    }
}

/// The buckets of a histogram, and a tick at its 95th percentile.
#[allow(clippy::cast_precision_loss, reason = "a strip is some pixels wide")]
pub(super) fn histogram(counts: &[u64], text: &str) -> Markup {
    let most = counts.iter().copied().max().unwrap_or(0);
    if most == 0 {
        return html! {};
    }
    let width = 120.0 / counts.len() as f64;
    let mut path = String::new();
    for (at, count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
        let height = (*count as f64 / most as f64 * 18.0).max(1.0);
        let x = at as f64 * width;
        let _infallible = write!(path, "M{x:.1} 20v-{height:.1}h{:.1}v{height:.1}z", width - 1.0);
    }
    html! {
        svg.strip viewBox="0 0 120 20" role="img" { title { (text) } path d=(path) {} path.base d="M0 20h120" {} }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Charts have no style that the policy blocks, one path each, and a peak stays.
    #[test]
    fn charts_are_small() {
        let mut values = vec![1.0; 90];
        values[44] = 50.0;
        let drawn = spark(&values, "flow", "drops").0;
        assert!(!drawn.contains("style") && drawn.len() < 900, "{drawn}");
        assert!(thinned(&values).contains(&50.0) && thinned(&values).len() <= POINTS);
        assert_eq!(spark(&[1.0], "flow", "").0, "");
        assert_eq!(histogram(&[0, 0], "").0, "");
        assert!(stacked(&[("a", 1e9), ("b", 1.0)], "").0.contains(r#"width="3.0""#));
    }
}
