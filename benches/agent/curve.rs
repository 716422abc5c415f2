//! Samples of an agent's resources over time: memory, descriptors, eBPF objects, series and names.

use std::time::Instant;

use super::agent::{Agent, sum};

/// One look at an agent.
#[derive(Debug, Clone, Copy)]
struct Point {
    megabytes: f64,
    descriptors: usize,
    links: usize,
    maps: usize,
}

/// A value of a look, and how much it may grow beside a tenth.
type Kept = (&'static str, fn(&Point) -> f64, f64);

/// The looks at one agent.
#[derive(Debug)]
pub(crate) struct Curve<'a> {
    agent: &'a Agent,
    began: Instant,
    points: Vec<Point>,
}

const FAMILIES: [&str; 3] = ["webb_aggregator_series", "webb_interned_names", "webb_series_folded_total"];

impl<'a> Curve<'a> {
    /// Looks for the first time, behind a scrape of everything.
    pub(crate) fn new(agent: &'a Agent) -> Self {
        agent.metrics();
        std::thread::sleep(std::time::Duration::from_secs(2));
        println!("  seconds        MB    fds  links   maps    series     names    folded");
        let mut curve = Self { agent, began: Instant::now(), points: Vec::new() };
        curve.look();
        curve
    }

    /// Looks, and prints what there is.
    pub(crate) fn look(&mut self) {
        let [descriptors, links, maps] = self.agent.descriptors();
        let text = self.agent.families(&FAMILIES);
        let [series, names, folded] = FAMILIES.map(|family| sum(&text, family, &[]));
        let megabytes = self.agent.megabytes("VmRSS");
        println!(
            "{:>9.0} {megabytes:>9.1} {descriptors:>6} {links:>6} {maps:>6} {series:>9} {names:>9} {folded:>9}",
            self.began.elapsed().as_secs_f64()
        );
        self.points.push(Point { megabytes, descriptors, links, maps });
    }

    fn first(&self) -> Point {
        self.points[0]
    }

    fn last(&self) -> Point {
        self.points[self.points.len() - 1]
    }

    /// Memory at the start, the highest, and at the end.
    pub(crate) fn summary(&self) -> String {
        let peak = self.points.iter().map(|point| point.megabytes).fold(0.0, f64::max);
        let (first, last) = (self.first().megabytes, self.last().megabytes);
        format!("{first:.1} MB, at most {peak:.1} MB, in the end {last:.1} MB ({:+.0} %)", (last / first - 1.0) * 100.0)
    }

    /// Descriptors that are open at the end and were not at first. Memory is not among them: what a
    /// load needed at once is given back only in part.
    pub(crate) fn grown(&self) -> Vec<String> {
        let (first, last) = (self.first(), self.last());
        let mut grown = Vec::new();
        let counts = [
            ("descriptors", first.descriptors, last.descriptors),
            ("BPF links", first.links, last.links),
            ("BPF maps", first.maps, last.maps),
        ];
        for (what, first, last) in counts {
            // A scrape's connection, or one of the API's, may be open at one of the looks.
            if last > first + 2 {
                grown.push(format!("{what}: {first} at first, {last} in the end"));
            }
        }
        grown
    }

    /// Growth while the load stays: the last third of the looks from `from` on against the first.
    pub(crate) fn slope(&self, from: usize) -> Vec<String> {
        let steady = self.points.get(from..).unwrap_or_default();
        let third = steady.len() / 3;
        if third < 3 {
            return Vec::new();
        }
        let highest = |points: &[Point], of: fn(&Point) -> f64| points.iter().map(of).fold(0.0, f64::max);
        let (early, late) = (&steady[..third], &steady[steady.len() - third..]);
        let all: [Kept; 4] = [
            ("memory in MB", |point| point.megabytes, 4.0),
            ("descriptors", |point| point.descriptors as f64, 8.0),
            ("BPF links", |point| point.links as f64, 4.0),
            ("BPF maps", |point| point.maps as f64, 0.0),
        ];
        let grown = all.iter().filter_map(|(what, of, room)| {
            let (early, late) = (highest(early, *of), highest(late, *of));
            (late > early * 1.1 + room).then(|| format!("{what}: at most {early:.1} early, {late:.1} late"))
        });
        grown.collect()
    }
}
