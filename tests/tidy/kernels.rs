//! The page's table of kernels and `scripts/kernels` name the same ones, and expect the same of
//! each.

use std::collections::BTreeMap;
use std::fs;

/// Expectations in the script's line: a kernel's name, and `works` or `refused`.
fn expectations(script: &str) -> BTreeMap<&str, &str> {
    let line = script.lines().find_map(|line| line.strip_prefix("declare -A expected=("));
    let pairs = line.unwrap_or_default().trim_end_matches(')').split(' ');
    pairs.filter_map(|pair| pair.strip_prefix('[')?.split_once("]=")).collect()
}

/// The rows of the page's table: its first cell, and those of how it is attached to and where it
/// was tried.
fn rows(page: &str) -> Vec<[&str; 3]> {
    let table = page.lines().skip_while(|line| !line.starts_with("| Linux | found in |")).skip(2);
    table.take_while(|line| line.starts_with('|')).filter_map(cells).collect()
}

fn cells(line: &str) -> Option<[&str; 3]> {
    let cells: Vec<&str> = line.split('|').map(str::trim).collect();
    Some([*cells.get(1)?, *cells.get(3)?, *cells.get(5)?])
}

fn version(text: &str) -> Option<(u32, u32)> {
    let (major, minor) = text.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// Contradictions between page and scripts.
fn disagreements(page: &str, script: &str, packages: &str) -> Vec<String> {
    const TRIED: &str = "`make kernels`";
    let (expected, rows) = (expectations(script), rows(page));
    let newest = rows.iter().filter_map(|row| version(row[0]).map(|version| (version, row[0]))).max();
    // The script asks the archive for the newest; the page says which that was.
    let of_script = |linux: &str| {
        expected.contains_key(linux).then(|| linux.to_owned()).or_else(|| {
            newest
                .filter(|(_, newest)| *newest == linux && expected.contains_key("newest"))
                .map(|_| "newest".to_owned())
        })
    };
    let mut wrong = Vec::new();
    let mut named = Vec::new();
    for [linux, means, tried] in rows {
        match (of_script(linux), tried.starts_with(TRIED)) {
            (None, true) => {
                wrong.push(format!("docs/requirements.md: {linux} is tried by {TRIED}, which does not know it"));
            }
            (Some(name), false) => {
                wrong.push(format!("docs/requirements.md: {name} of scripts/kernels is not said to be tried"));
            }
            (None, false) => {}
            (Some(name), true) => {
                let says = if means.starts_with("refused") { "refused" } else { "works" };
                let expects = expected.get(name.as_str()).copied().unwrap_or_default();
                if says != expects {
                    wrong.push(format!(
                        "docs/requirements.md says that {linux} is or has `{says}`, scripts/kernels `{expects}`"
                    ));
                }
                named.push(name);
            }
        }
    }
    for name in expected.keys() {
        if !named.iter().any(|named| named == name) {
            wrong.push(format!("scripts/kernels: {name} is not in the page's table"));
        }
        if !packages.contains(&format!("\n    {name}) pattern=")) {
            wrong.push(format!("scripts/kernel-packages does not know {name}"));
        }
    }
    let devices = script.split("devices_on=").nth(1).and_then(|rest| rest.lines().next()).unwrap_or_default();
    let words: Vec<&str> = page.split_whitespace().collect();
    if devices.is_empty() || !words.join(" ").contains(&format!("On {devices} it also ")) {
        wrong.push(format!("docs/requirements.md does not say that the checks of devices run on {devices}"));
    }
    if expected.is_empty() {
        wrong.push("scripts/kernels expects nothing of any kernel".to_owned());
    }
    wrong
}

#[test]
fn the_kernels_are_those_of_the_page() {
    let text = |path: &str| fs::read_to_string(path).unwrap();
    let wrong =
        disagreements(&text("docs/requirements.md"), &text("scripts/kernels"), &text("scripts/kernel-packages"));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// README's short table has every kernel that was tried, and no other one beside them.
#[test]
fn the_readme_has_the_tried_kernels() {
    let text = |path: &str| fs::read_to_string(path).unwrap();
    let (page, readme) = (text("docs/requirements.md"), text("README.md"));
    let row = readme.lines().find(|line| line.starts_with("| kernel,")).unwrap();
    let (tried, not_tried) = row.trim_matches('|').split_once('|').unwrap().1.split_once('|').unwrap();
    let names = |cell: &str, linux: &str| cell.split([' ', ',', '(', ')']).any(|word| word == linux);
    for [linux, means, how] in rows(&page).into_iter().filter(|[linux, ..]| version(linux).is_some()) {
        let works = how.starts_with("`make") && !means.starts_with("refused");
        assert_eq!((names(tried, linux), names(not_tried, linux)), (works, !works), "{linux}");
    }
}

/// Each kind of disagreement is found.
#[test]
fn disagreements_are_found() {
    let packages = "case $name in\n    5.10) pattern=a ;;\n    6.1) pattern=b ;;\n    newest) pattern=c ;;\n";
    let script = "declare -A expected=([5.10]=refused [6.1]=works [newest]=works)\ndevices='a b' devices_on=6.1\n";
    let readme = "On 6.1\nit also has devices.\n| Linux | found in | by | drops | tried |\n|---|---|---|---|---|\n\
                  | 5.10 | Debian | refused: no | | `make kernels`: refused |\n| 6.1 | Debian | clsact | yes | `make kernels`: all |\n\
                  | 6.6 | Azure | TCX | yes | no |\n| 7.3 | Debian | TCX | yes | `make kernels`: all |\n\nmore\n";
    let found = |readme: &str, script: &str, packages: &str| disagreements(readme, script, packages).join("\n");
    assert_eq!(found(readme, script, packages), "");
    assert!(found(readme, &script.replace(" [6.1]=works", ""), packages).contains("6.1 is tried by `make kernels`"));
    assert!(found(readme, &script.replace(" [newest]=works", ""), packages).contains("7.3 is tried by"));
    assert!(found(readme, &script.replace("[6.1]", "[6.6]"), packages).contains("6.6 of scripts/kernels is not said"));
    assert!(
        found(readme, &script.replace("5.10]=refused", "5.10]=works"), packages).contains("5.10 is or has `refused`")
    );
    let more = script.replace("[5.10]", "[5.4]=works [5.10]");
    assert!(found(readme, &more, packages).contains("5.4 is not in the page's table"));
    assert!(found(readme, &more, packages).contains("kernel-packages does not know 5.4"));
    assert!(found(readme, &script.replace("on=6.1", "on=6.6"), packages).contains("checks of devices run on 6.6"));
    assert!(found(readme, "", packages).contains("expects nothing"));
}
