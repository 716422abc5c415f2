//! Label selectors.

use serde_json::Value;
use webb_index::policy::spec::{Requirement, Selector, Test};

use super::part::{Fields, Problems, shape, text};

/// A selector; a requirement that cannot be read is unknown, the others hold.
pub(super) fn selector(path: &str, value: &Value, problems: &mut Problems) -> Selector {
    let Some(fields) = Fields::of(path, value, &["matchLabels", "matchExpressions"], problems) else {
        return Selector::unknown();
    };
    let mut requirements = Vec::new();
    match fields.get("matchLabels") {
        None => {}
        Some(Value::Object(labels)) => {
            for (key, value) in labels {
                let test = text(&format!("{path}.matchLabels.{key}"), value, problems);
                let test = test.map_or(Test::Unknown, |value| Test::In(vec![value.to_owned()]));
                requirements.push(Requirement { key: key.clone(), test });
            }
        }
        Some(other) => {
            problems.note(format!("{path}.matchLabels is {}, expected labels", shape(other)));
            requirements.push(unknown());
        }
    }
    match fields.list(path, "matchExpressions", problems) {
        Ok(items) => {
            for (at, item) in items.into_iter().flatten().enumerate() {
                let field = format!("{path}.matchExpressions[{at}]");
                requirements.push(requirement(&field, item, problems).unwrap_or_else(unknown));
            }
        }
        Err(_) => requirements.push(unknown()),
    }
    if fields.odd {
        requirements.push(unknown());
    }
    Selector(requirements)
}

fn unknown() -> Requirement {
    Requirement { key: String::new(), test: Test::Unknown }
}

fn requirement(path: &str, value: &Value, problems: &mut Problems) -> Option<Requirement> {
    let fields = Fields::of(path, value, &["key", "operator", "values"], problems)?;
    let mut required = |name: &str| {
        let value = fields.required(path, name, problems)?;
        text(&format!("{path}.{name}"), value, problems).ok().map(str::to_owned)
    };
    let (key, operator) = (required("key")?, required("operator")?);
    let mut values = Vec::new();
    for (at, value) in fields.list(path, "values", problems).ok()?.into_iter().flatten().enumerate() {
        values.push(text(&format!("{path}.values[{at}]"), value, problems).ok()?.to_owned());
    }
    if fields.odd {
        return Some(Requirement { key, test: Test::Unknown });
    }
    let wrong = match (operator.as_str(), values.is_empty()) {
        ("In", false) => return Some(Requirement { key, test: Test::In(values) }),
        ("NotIn", false) => return Some(Requirement { key, test: Test::NotIn(values) }),
        ("Exists", true) => return Some(Requirement { key, test: Test::Exists }),
        ("DoesNotExist", true) => return Some(Requirement { key, test: Test::DoesNotExist }),
        ("In" | "NotIn", true) => "needs values",
        ("Exists" | "DoesNotExist", false) => "takes no values",
        _ => "is unknown, expected In, NotIn, Exists or DoesNotExist",
    };
    problems.note(format!("{path}: operator {operator} {wrong}"));
    Some(Requirement { key, test: Test::Unknown })
}
