//! The exporter of the settings, as Cilium's options configure one, and what the settings say about
//! all exporters.

use std::path::PathBuf;
use std::time::Duration;

use webb_index::filters::{Filters, FlowFilter};
use webb_observer::export::{Aggregation, ExportConfig, Rotation};
use webb_settings::{Export, Problem, Problems, Resolved};

use super::{STATIC, directory, filters, mebibytes, target};

/// What the settings say about exporters of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// The directory that they write in.
    pub directory: PathBuf,
    /// Age at which a file is closed.
    pub max_age: Option<Duration>,
    /// Interval in which lines are forced to the disk.
    pub sync: Option<Duration>,
    /// The path of the exporter of the settings, which no other may have.
    pub taken: Option<PathBuf>,
}

impl From<&Export> for Rules {
    fn from(export: &Export) -> Self {
        let (max_age, sync) = (some(export.file_max_age), some(export.sync_interval));
        Self { directory: directory(export.directory.as_ref()), max_age, sync, taken: export.file_path.clone() }
    }
}

/// The exporter of the settings, if they have one. Warnings are added to those of the settings.
///
/// # Errors
/// Everything that is wrong with it.
pub fn of_settings(resolved: &mut Resolved) -> Result<Option<ExportConfig>, Problems> {
    let export = resolved.settings.export.clone();
    let Some(path) = &export.file_path else { return Ok(None) };
    let mut problems = Vec::new();
    let Rules { directory, max_age, sync, .. } = Rules::from(&export);
    let target = target(path, &directory).map_err(|error| {
        let problem = Problem::new(resolved.origin("export.file_path"), format!("`export.file_path`: {error}"));
        problems.push(problem.with_help("exporters write below `export.directory` only"));
    });
    let mut filters = |key: &'static str, entries: &[String]| -> Vec<FlowFilter> {
        filters::read(entries).unwrap_or_else(|wrong| {
            problems.extend(
                wrong
                    .into_iter()
                    .map(|(entry, why)| Problem::new(resolved.origin_of_item(key, &entry), format!("`{key}`: {why}"))),
            );
            Vec::new()
        })
    };
    let filters = Filters {
        include: filters("export.allow_list", &export.allow_list),
        exclude: filters("export.deny_list", &export.deny_list),
    };
    for (key, fields) in
        [("export.field_mask", &export.field_mask), ("export.field_aggregate", &export.field_aggregate)]
    {
        for field in fields.iter().filter(|field| !is_field(field)) {
            let message = format!("`{key}`: expected a field of flow.Flow, such as source.pod_name; found {field:?}");
            problems.push(Problem::new(resolved.origin_of_item(key, field), message));
        }
    }
    let aggregation = match (export.field_aggregate.is_empty(), some(export.aggregation_interval)) {
        (false, Some(interval)) => Some(Aggregation { fields: export.field_aggregate.clone(), interval }),
        (false, None) => {
            resolved.warn("export.field_aggregate", NO_INTERVAL);
            None
        }
        (true, Some(_)) => {
            resolved.warn("export.aggregation_interval", NO_FIELDS);
            None
        }
        (true, None) => None,
    };
    match target {
        Ok(target) if problems.is_empty() => Ok(Some(ExportConfig {
            name: STATIC.to_owned(),
            target,
            filters,
            fields: export.field_mask,
            aggregation,
            rotation: Rotation {
                max_bytes: mebibytes(export.file_max_size_mb.into()),
                backups: export.file_max_backups,
                compress: export.file_compress,
                max_age,
            },
            sync,
            end_ns: None,
        })),
        _ => Err(resolved.problems(problems)),
    }
}

const NO_INTERVAL: &str =
    "`export.field_aggregate` changes nothing without `export.aggregation_interval`: each flow is a line";
const NO_FIELDS: &str =
    "`export.aggregation_interval` changes nothing without `export.field_aggregate`: each flow is a line";

/// True if a flow has this field.
pub(super) fn is_field(path: &str) -> bool {
    webb_observer::Mask::new([path]).is_ok()
}

fn some(time: Duration) -> Option<Duration> {
    (!time.is_zero()).then_some(time)
}

#[cfg(test)]
mod tests {
    use webb_settings::{Environment, SourceFile, resolve};

    use super::*;

    fn read(text: &str) -> Result<(Option<ExportConfig>, String), String> {
        let file = SourceFile { name: "webb.yaml".to_owned(), text: text.to_owned() };
        let environment = Environment { hostname: "here".to_owned(), ..Environment::default() };
        let mut resolved = resolve(Some(file), &environment, &[]).map_err(|problems| problems.to_string())?;
        let read = of_settings(&mut resolved).map_err(|problems| problems.to_string())?;
        Ok((read, resolved.warnings.iter().map(Problem::one_line).collect()))
    }

    /// Every setting has its effect, half an aggregation has a warning, and each problem its line.
    #[test]
    fn the_exporter_of_the_settings() {
        assert!(read("metrics: [flow]\n").unwrap().0.is_none());
        let (config, warnings) = read(
            "export:\n  directory: /not-there\n  file_path: a.log\n  file_max_size_mb: 3\n  file_max_backups: 0\n  \
             file_compress: true\n  file_max_age: 1d\n  allow_list: ['{}{}', '{}']\n  field_mask: [time]\n  \
             field_aggregate: [verdict]\n  sync_interval: 1s\n",
        )
        .unwrap();
        let config = config.unwrap();
        assert_eq!(config.filters.include.len(), 3);
        let max_age = Some(Duration::from_hours(24));
        assert_eq!(config.rotation, Rotation { max_bytes: 3 << 20, backups: 0, compress: true, max_age });
        assert_eq!((config.sync, config.aggregation), (Some(Duration::from_secs(1)), None));
        assert!(warnings.contains("each flow is a line"), "{warnings}");

        let why = read(
            "export:\n  directory: /not-there\n  file_path: /etc/passwd\n  deny_list:\n  - '{}'\n  - '{\"a\":1}'\n  \
             field_mask: [time, pod]\n",
        )
        .unwrap_err();
        for expected in [
            "webb.yaml:3:",
            "/etc/passwd is outside of /not-there",
            "webb.yaml:6:",
            "unknown field \"a\"",
            "found \"pod\"",
        ] {
            assert!(why.contains(expected), "{expected}: {why}");
        }
    }
}
