//! The standard families of this process.

use std::process;

use prometheus::core::{Collector, Desc};
use prometheus::process_collector::ProcessCollector;
use prometheus::proto::{Counter, MetricFamily};

/// Names of the families, without prefix.
pub const PROCESS_FAMILIES: [&str; 7] = [
    "process_cpu_seconds_total",
    "process_max_fds",
    "process_open_fds",
    "process_resident_memory_bytes",
    "process_start_time_seconds",
    "process_threads",
    "process_virtual_memory_bytes",
];

/// Collects the standard families, with CPU time in fractions of a second.
#[derive(Debug)]
pub struct Process(ProcessCollector);

impl Process {
    /// The families of this process as `prefix_process_*`, or without prefix.
    #[must_use]
    pub fn new(prefix: &str) -> Self {
        Self(ProcessCollector::new(process::id().cast_signed(), prefix))
    }
}

impl Collector for Process {
    fn desc(&self) -> Vec<&Desc> {
        self.0.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let mut families = self.0.collect();
        let cpu = families.iter_mut().find(|family| family.name().ends_with("process_cpu_seconds_total"));
        if let Some(metric) = cpu.and_then(|family| family.mut_metric().first_mut()) {
            // The library counts whole seconds, of which a quiet agent needs one in ten minutes:
            // its rate would say nothing.
            let mut counter = Counter::default();
            counter.set_value(cpu_seconds());
            metric.set_counter(counter);
        }
        families
    }
}

/// CPU time of all threads of this process so far.
#[allow(clippy::cast_precision_loss, reason = "Prometheus numbers are doubles")]
fn cpu_seconds() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The names are those that the library has.
    #[test]
    fn names_are_the_librarys() {
        let mut found: Vec<_> = Process::new("").collect().iter().map(|family| family.name().to_owned()).collect();
        found.sort();
        assert_eq!(found, PROCESS_FAMILIES);
    }
}
