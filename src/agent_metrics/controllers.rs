//! Controllers: the periodic work of webb's components.

use webb_flow::fault::{Component, Components, PASS_BOUNDS, PassCounts, State};
use webb_metrics::expose::Histogram;
use webb_settings::Compat;

use crate::families::{Absent, Category, CategorySource, SelectedRows, Versions, cilium_families};

cilium_families! {
    RUNS: counter "cilium_controllers_runs_total" ["status"]
        "Number of times that a controller process was run"
        from "runs of the periodic work of all components: sweeps, polls of files, reconciliations, probes";
    DURATIONS: histogram "cilium_controllers_runs_duration_seconds" ["status"]
        "Duration in seconds of the controller process"
        from "as `cilium_controllers_runs_total`";
    GROUP_RUNS: counter "cilium_controllers_group_runs_total" ["group_name", "status"]
        "Number of times that a controller process was run, labeled by controller group name"
        from "as `cilium_controllers_runs_total`, by component; there is no list of allowed groups";
    FAILING: gauge "cilium_controllers_failing" []
        "Number of failing controllers"
        from "components with a failed run since their last success, or that are being restarted";
    JOB_RUNS: counter "cilium_hive_jobs_runs_total" ["module_id", "job_name"]
        "Total number of runs of a hive job"
        from "as `cilium_controllers_group_runs_total`; `module_id` is the component", in Versions::from(Compat::V1_19);
    JOB_FAILURES: counter "cilium_hive_jobs_runs_failed" ["module_id", "job_name"]
        "Number of runs of a hive job that failed"
        from "as `cilium_hive_jobs_runs_total`", in Versions::from(Compat::V1_19);
    JOB_DURATIONS: histogram "cilium_hive_jobs_timer_run_duration_seconds" ["module_id", "job_name"]
        "Duration of the runs of a hive timer job"
        from "as `cilium_hive_jobs_runs_total`", in Versions::from(Compat::V1_19);
    HIVE_STATUS: gauge "cilium_hive_status" ["status"]
        "Counts of health status levels of Hive components"
        from "webb's components, as `/actors` has them: `ok`, `degraded`, `stopped` (restarting and given up too)";
    HIVE_DEGRADED: gauge "cilium_hive_degraded_status" ["module"]
        "Counts degraded health status levels of Hive components by module"
        from "1 for each component that is degraded, restarting or given up, else 0", off;
}

/// The category.
pub static CATEGORY: Category = Category {
    title: "Controllers",
    families: FAMILIES,
    absent: &[
        Absent { name: "cilium_hive_jobs_oneshot_last_run_duration_seconds", reason: "webb has no such jobs" },
        Absent { name: "cilium_hive_jobs_observer_last_run_duration_seconds", reason: "webb has no such jobs" },
        Absent { name: "cilium_hive_jobs_observer_run_duration_seconds", reason: "webb has no such jobs" },
        Absent {
            name: "cilium_hive_jobs_timer_last_run_duration_seconds",
            reason: "`cilium_hive_jobs_timer_run_duration_seconds` has all runs",
        },
        Absent {
            name: "cilium_jobs_*",
            reason: "the names of `cilium_hive_jobs_*` before 1.19, which no stock dashboard reads",
        },
    ],
};

/// Values of the label `status`, as [`webb_flow::fault::Passes::counts`] has them.
const STATUSES: [&str; 2] = ["success", "failure"];

/// Source of the rows.
pub fn source(components: Components) -> CategorySource {
    Box::new(move |rows| {
        let all = components.all();
        let mut sums = [PassCounts { count: 0, within: [0; PASS_BOUNDS.len()], seconds: 0.0 }; 2];
        for component in &all {
            let counts = component.passes().counts();
            let runs_at_all = counts.iter().any(|counts| counts.count > 0);
            if runs_at_all {
                jobs(rows, component.name(), counts);
            }
            for ((sum, counts), status) in sums.iter_mut().zip(counts).zip(STATUSES) {
                add(sum, &counts);
                if runs_at_all {
                    rows.add(&GROUP_RUNS, &[component.name(), status], counts.count);
                }
            }
        }
        for (sum, status) in sums.iter().zip(STATUSES) {
            rows.add(&RUNS, &[status], sum.count);
            rows.add_histogram(&DURATIONS, &[status], &histogram(sum));
        }
        let failing = all.iter().filter(|component| component.passes().failing() > 0 || is_down(component));
        rows.add(&FAILING, &[], failing.count() as u64);
        let level = |component: &Component| match component.state() {
            State::Up => "ok",
            State::Starting | State::Degraded => "degraded",
            State::Restarting | State::Stopped | State::GaveUp => "stopped",
        };
        for status in ["ok", "degraded", "stopped"] {
            let count = all.iter().filter(|component| level(component) == status).count();
            rows.add(&HIVE_STATUS, &[status], count as u64);
        }
        for component in &all {
            let degraded = component.state() == State::Degraded || is_down(component);
            rows.add(&HIVE_DEGRADED, &[component.name()], u64::from(degraded));
        }
    })
}

fn jobs(rows: &mut SelectedRows<'_>, name: &str, [succeeded, failed]: [PassCounts; 2]) {
    let mut all = succeeded;
    add(&mut all, &failed);
    let labels = [name, "periodic"];
    rows.add(&JOB_RUNS, &labels, all.count);
    rows.add(&JOB_FAILURES, &labels, failed.count);
    rows.add_histogram(&JOB_DURATIONS, &labels, &histogram(&all));
}

fn histogram(counts: &PassCounts) -> Histogram {
    let buckets = PASS_BOUNDS.into_iter().zip(counts.within).collect();
    Histogram { buckets, sum: counts.seconds, count: counts.count }
}

fn is_down(component: &Component) -> bool {
    matches!(component.state(), State::Restarting | State::GaveUp)
}

fn add(sum: &mut PassCounts, counts: &PassCounts) {
    sum.count += counts.count;
    sum.seconds += counts.seconds;
    for (sum, within) in sum.within.iter_mut().zip(counts.within) {
        *sum += within;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::families::Selection;

    /// A failing component counts once, by its runs or by its state, and its next success ends it.
    #[test]
    fn failing_components_are_counted() {
        let components = Components::default();
        let [sweeper, reader] = ["sweeper", "reader"].map(|name| components.component(name));
        let source = source(components.clone());
        let value = |name: &str, label: &str| {
            let selection = Selection::new(Compat::V1_19, &[]);
            let mut rows = SelectedRows::new(&selection);
            source(&mut rows);
            let families = rows.into_families();
            let family = families.iter().find(|family| family.name() == name).unwrap();
            let has = |metric: &&prometheus::proto::Metric| {
                label.is_empty() || metric.get_label().iter().any(|pair| pair.value() == label)
            };
            let metric = family.get_metric().iter().find(has).unwrap();
            metric.get_gauge().get_value() + metric.get_counter().get_value()
        };
        assert_eq!(value("cilium_controllers_failing", "").to_string(), "0");
        sweeper.passes().count(false, Duration::from_millis(3));
        reader.set_state(State::Restarting, "");
        assert_eq!(value("cilium_controllers_failing", "").to_string(), "2");
        assert_eq!(value("cilium_controllers_runs_total", "failure").to_string(), "1");
        assert_eq!(value("cilium_hive_status", "stopped").to_string(), "1");
        sweeper.passes().count(true, Duration::from_millis(3));
        assert_eq!(value("cilium_controllers_failing", "").to_string(), "1");
    }
}
