//! Lists of filters as Cilium's options have them: JSON objects, one behind the other.

use serde::de::IgnoredAny;
use webb_index::filters::FlowFilter;
use webb_metrics::dynamic::filter;
use webb_metrics::dynamic::tree::Node;

/// Reads the filters of a list's entries.
///
/// # Errors
/// What is wrong, with the entry that it is in.
pub(super) fn read(entries: &[String]) -> Result<Vec<FlowFilter>, Vec<(String, String)>> {
    let (mut filters, mut wrong) = (Vec::new(), Vec::new());
    for entry in entries {
        match objects(entry) {
            Ok(objects) => {
                for object in objects {
                    one(object, &mut filters, &mut |why| wrong.push((entry.clone(), why)));
                }
            }
            Err(why) => wrong.push((entry.clone(), why)),
        }
    }
    if wrong.is_empty() { Ok(filters) } else { Err(wrong) }
}

fn one(object: &str, filters: &mut Vec<FlowFilter>, wrong: &mut impl FnMut(String)) {
    let mut problems = Vec::new();
    // Any JSON is YAML.
    match Node::read(object) {
        Ok(node) => filters.extend(filter::filter(&node, &mut problems)),
        Err(problem) => problems.push(problem),
    }
    for problem in problems {
        let help = if problem.help.is_empty() { String::new() } else { format!(" ({})", problem.help) };
        wrong(format!("{}{help}", problem.message));
    }
}

/// The objects of a text, with white space or nothing between them.
fn objects(text: &str) -> Result<Vec<&str>, String> {
    let mut found = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let mut values = serde_json::Deserializer::from_str(rest).into_iter::<IgnoredAny>();
        let value = values.next().transpose().map_err(|error| not_json(rest, &error))?;
        let (object, after) = rest.split_at_checked(values.byte_offset()).unwrap_or((rest, ""));
        if value.is_none() || !object.starts_with('{') {
            return Err(not_an_object(rest));
        }
        found.push(object);
        rest = after.trim_start();
    }
    Ok(found)
}

fn not_json(rest: &str, error: &serde_json::Error) -> String {
    if rest.starts_with('{') { format!("expected JSON: {error}") } else { not_an_object(rest) }
}

fn not_an_object(rest: &str) -> String {
    let found: String = rest.chars().take(20).collect();
    let help = if rest.starts_with(',') { "; there is no comma between two objects" } else { "" };
    format!("expected an object in JSON, found {found:?}{help}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Result<usize, String> {
        let filters = read(&[text.to_owned()]);
        filters.map(|filters| filters.len()).map_err(|wrong| wrong[0].1.clone())
    }

    /// Objects stand behind each other; whatever is between or in them and is no filter is refused
    /// by name.
    #[test]
    fn filters_of_an_option() {
        assert_eq!(of(r#"{"source_pod":["default/"]} {"destinationPod":["default/"]}"#), Ok(2));
        assert_eq!(of("{}{\t\"verdict\" :\n[\"DROPPED\", 2] }"), Ok(2));
        assert_eq!(of(r#"{"dns_query":["a\\.b\u00e9"]}"#), Ok(1));
        for (text, expected) in [
            ("{} , {}", "there is no comma"),
            ("{} []", "expected an object in JSON, found \"[]\""),
            (r#"{"verdict":["DROPPED"]"#, "expected JSON: EOF"),
            (r#"{"verdicts":[]}"#, "unknown field \"verdicts\" (did you mean"),
            (r#"{"source_ip":["10.0.0"]}"#, "source_ip: \"10.0.0\""),
        ] {
            let why = of(text).unwrap_err();
            assert!(why.contains(expected), "{text}: {why}");
        }
    }
}
