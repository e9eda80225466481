//! The house's rules that no compiler and no lint holds. What is not checked drifts.
//!
//! The scan goes by lines and relies on `cargo fmt`, which `make test` runs first: an item ends at the first line that is its own
//! indentation and a closing brace.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use walbridge::status::{Code, State};

const FILE_LINES_MAX: usize = 500;
const FUNCTION_LINES_MAX: usize = 70;

/// Who may use what. A stage may always use itself; everything not listed is refused.
const IMPORTS: [(&str, &[&str]); 19] = [
    ("event", &[]),
    ("status", &["event"]),
    ("retry", &[]),
    ("http", &[]),
    ("postgres", &["status"]),
    ("decode", &["event", "status"]),
    ("kafka", &["event", "decode", "http", "project", "status"]),
    ("log", &["event", "decode", "kafka", "status"]),
    ("project", &["event", "decode"]),
    ("capture", &["decode", "event", "postgres", "retry", "status"]),
    ("sink", &["project", "event", "decode", "http", "kafka", "log", "postgres", "status"]),
    ("dead_letter", &["decode", "event", "log", "project"]),
    ("ingest", &["capture", "decode", "event", "log", "postgres", "retry", "status"]),
    (
        "deliver",
        &[
            "capture::readback",
            "capture::CaptureError",
            "dead_letter",
            "event",
            "log",
            "project",
            "retry",
            "sink",
            "status",
        ],
    ),
    ("verify", &["capture", "decode", "deliver", "event", "log", "postgres", "project", "sink", "status"]),
    (
        "config",
        &[
            "event",
            "http",
            "kafka",
            "postgres::address",
            "project::key",
            "project::layout",
            "project::shape",
            "project::sql",
        ],
    ),
    ("admin", &["dead_letter", "event", "status", "verify"]),
    (
        "bridge",
        &[
            "admin",
            "capture",
            "config",
            "dead_letter",
            "deliver",
            "event",
            "http",
            "ingest",
            "kafka",
            "log",
            "postgres",
            "project",
            "retry",
            "sink",
            "status",
            "verify",
        ],
    ),
    ("cli", &["admin", "bridge", "config", "dead_letter", "decode", "event", "log", "project", "status", "verify"]),
];

/// Concrete types, which only their own stage and those who wire or print may name.
const CONCRETE: [&str; 10] = [
    "log::embedded",
    "log::kafka",
    "sink::redis",
    "sink::tantivy",
    "sink::opensearch",
    "sink::postgres",
    "sink::webhook",
    "sink::exec",
    "sink::file",
    "sink::kafka",
];
const MAY_NAME_CONCRETE: [&str; 2] = ["bridge", "cli"];

struct Source {
    path: String,
    text: String,
}

impl Source {
    /// The lines of code before the unit tests, with their numbers; no comments.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines = self.text.lines().enumerate().map(|(index, line)| (index + 1, line));
        lines.take_while(|(_, line)| *line != "#[cfg(test)]").filter(|(_, line)| !line.trim_start().starts_with("//"))
    }

    /// Its stage: the folder or file below `src`.
    fn stage(&self) -> Option<&str> {
        let rest = self.path.strip_prefix("src/")?;
        rest.split(['/', '.']).next()
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every Rust file of ours.
fn sources() -> Vec<Source> {
    let mut found = Vec::new();
    for folder in ["src", "integration-tests", "benches", "demo", "fuzz/fuzz_targets"] {
        collect(&root().join(folder), &mut found);
    }
    assert!(found.len() > 50, "only {} files found: the walk is broken", found.len());
    found
}

fn collect(folder: &Path, found: &mut Vec<Source>) {
    let mut entries: Vec<PathBuf> =
        fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            collect(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).expect("text");
            let path = path.strip_prefix(root()).expect("below the root").to_string_lossy().into_owned();
            found.push(Source { path, text });
        }
    }
}

fn refuse(complaints: Vec<String>) {
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

#[test]
fn no_file_is_longer_than_can_be_read_in_one_sitting() {
    let long = sources().into_iter().filter_map(|source| {
        let lines = source.text.lines().count();
        (lines > FILE_LINES_MAX).then(|| format!("{}: {lines} lines, at most {FILE_LINES_MAX}", source.path))
    });
    refuse(long.collect());
}

#[test]
fn no_function_is_longer_than_a_screen() {
    let mut complaints = Vec::new();
    for source in sources() {
        let lines: Vec<&str> = source.text.lines().collect();
        for (start, line) in lines.iter().enumerate().filter(|(_, line)| begins_function(line)) {
            let indent = line.len() - line.trim_start().len();
            let end = format!("{}}}", " ".repeat(indent));
            let length = lines[start..].iter().position(|line| *line == end).map_or(0, |length| length + 1);
            if length > FUNCTION_LINES_MAX {
                let name = line.trim().trim_end_matches(" {");
                complaints.push(format!(
                    "{}:{}: {length} lines, at most {FUNCTION_LINES_MAX}: {name}",
                    source.path,
                    start + 1
                ));
            }
        }
    }
    refuse(complaints);
}

/// A function with a body; its head may go over several lines.
fn begins_function(line: &str) -> bool {
    let words = line.trim_start();
    let rest = words.strip_prefix("pub ").unwrap_or(words);
    let rest = rest.strip_prefix("pub(").and_then(|rest| rest.split_once(") ")).map_or(rest, |(_, rest)| rest);
    let rest = rest.strip_prefix("const ").unwrap_or(rest);
    let rest = rest.strip_prefix("async ").unwrap_or(rest);
    rest.starts_with("fn ") && !line.ends_with([';', '}'])
}

#[test]
fn every_file_says_first_what_it_is() {
    let silent = sources().into_iter().filter(|source| !source.text.starts_with("//! "));
    refuse(silent.map(|source| format!("{}: begins without //!", source.path)).collect());
}

#[test]
fn nothing_is_left_half_done() {
    // Put together here, so that this file is not what it looks for.
    let marks = ["TO".to_owned() + "DO", "FIX".to_owned() + "ME", "XX".to_owned() + "X", "dbg".to_owned() + "!("];
    let mut complaints = Vec::new();
    for source in sources() {
        for (index, line) in source.text.lines().enumerate() {
            if let Some(mark) = marks.iter().find(|mark| line.contains(mark.as_str())) {
                complaints.push(format!("{}:{}: {mark}", source.path, index + 1));
            }
        }
    }
    refuse(complaints);
}

#[test]
fn only_commands_print() {
    let mut complaints = Vec::new();
    for source in sources().iter().filter(|source| source.stage().is_some_and(|stage| stage != "cli")) {
        for (number, line) in source.code().filter(|(_, line)| line.contains("println!(") || line.contains("print!(")) {
            complaints.push(format!("{}:{number}: {}", source.path, line.trim()));
        }
    }
    refuse(complaints);
}

#[test]
fn each_stage_uses_only_what_comes_before_it() {
    let mut complaints = Vec::new();
    for source in sources() {
        let Some(stage) = source.stage().filter(|stage| !["lib", "main"].contains(stage)) else { continue };
        if source.path.contains("/tests/") || source.path.ends_with("/tests.rs") {
            continue;
        }
        let Some((_, allowed)) = IMPORTS.iter().find(|(name, _)| *name == stage) else {
            complaints.push(format!("{}: `{stage}` has no line in the table of {}", source.path, file!()));
            continue;
        };
        for (number, line) in source.code() {
            for path in paths(line).into_iter().filter(|path| !within(path, stage)) {
                let concrete =
                    CONCRETE.iter().any(|concrete| within(&path, concrete)) && !MAY_NAME_CONCRETE.contains(&stage);
                if concrete || !allowed.iter().any(|allowed| within(&path, allowed)) {
                    complaints.push(format!("{}:{number}: {stage} may not use {path}", source.path));
                }
            }
        }
    }
    refuse(complaints);
}

/// `log::embedded::Log` is within `log` and `log::embedded`.
fn within(path: &str, of: &str) -> bool {
    path.strip_prefix(of).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// The paths behind each `crate::` of a line; those of a group one by one.
fn paths(line: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (_, rest) in line.match_indices("crate::").map(|(at, mark)| line.split_at(at + mark.len())) {
        let name = |text: &str| {
            let end = text.find(|c: char| !c.is_alphanumeric() && c != '_' && c != ':').unwrap_or(text.len());
            text[..end].trim_end_matches(':').to_owned()
        };
        let head = name(rest);
        match rest[head.len()..].strip_prefix("::{").or_else(|| rest.strip_prefix('{')) {
            Some(group) => {
                let joined = |part: &str| if head.is_empty() { name(part) } else { format!("{head}::{}", name(part)) };
                found.extend(group.split(',').map(|part| joined(part.trim())));
            }
            None => found.push(head),
        }
    }
    found
}

#[test]
fn the_scan_of_paths_sees_groups() {
    assert_eq!(paths("use crate::log::{Batch, embedded::Log};"), ["log::Batch", "log::embedded::Log"]);
    assert_eq!(paths("use crate::{event, log::Batch};"), ["event", "log::Batch"]);
    assert_eq!(paths("    crate::sink::redis::ping(url)"), ["sink::redis::ping"]);
    assert!(within("log::embedded::Log", "log") && !within("logging", "log"));
}

#[test]
fn stages_do_not_reach_each_other_by_the_back_door() {
    let mut complaints = Vec::new();
    for source in sources() {
        // From a stage's own mod.rs, `super::` is the crate.
        let top = source.stage().is_some_and(|stage| {
            source.path == format!("src/{stage}/mod.rs") || source.path == format!("src/{stage}.rs")
        });
        for (number, line) in source.code().filter(|(_, line)| top && line.contains("super::")) {
            complaints.push(format!("{}:{number}: {}", source.path, line.trim()));
        }
    }
    refuse(complaints);
}

#[test]
fn pure_stages_have_no_clock_no_socket_and_no_file() {
    let impure = ["async fn", "std::fs", "std::net", "tokio::", "Instant::now", "SystemTime::now"];
    let mut complaints = Vec::new();
    for source in sources().iter().filter(|source| matches!(source.stage(), Some("decode" | "event" | "project"))) {
        for (number, line) in source.code() {
            if let Some(word) = impure.iter().find(|word| line.contains(**word)) {
                complaints.push(format!("{}:{number}: {word}", source.path));
            }
        }
    }
    refuse(complaints);
}

/// What git has, or would have.
fn tracked() -> Vec<String> {
    let output = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output();
    let files = String::from_utf8(output.expect("git").stdout).expect("UTF-8");
    let files: Vec<String> = files.lines().map(str::to_owned).collect();
    assert!(!files.is_empty(), "git lists no files: run the tests in a clone");
    files
}

#[test]
fn no_tracked_file_knows_the_machine_it_was_written_on() {
    // Put together here, so that this file is not what it looks for.
    let machine =
        ["/ho".to_owned() + "me/", "/wo".to_owned() + "rk/", "/ro".to_owned() + "ot/", "/Us".to_owned() + "ers/"];
    let hosts = [
        "index.crates".to_owned() + ".io",
        "static.crates".to_owned() + ".io",
        "arti".to_owned() + "factory",
        "nex".to_owned() + "us.",
    ];
    let mut complaints = Vec::new();
    for file in tracked()
        .iter()
        .filter(|file| !file.ends_with(".pgoutput") && *file != "Cargo.lock" && *file != "fuzz/Cargo.lock")
    {
        let Ok(text) = fs::read_to_string(root().join(file)) else { continue };
        for (index, line) in text.lines().enumerate() {
            if let Some(mark) = machine.iter().chain(&hosts).find(|mark| line.contains(mark.as_str())) {
                complaints.push(format!("{file}:{}: {mark}", index + 1));
            }
        }
    }
    refuse(complaints);
}

#[test]
fn the_lock_file_names_no_registry_but_the_public_one() {
    let public = "registry+https://github.com/rust-lang/crates.io-index";
    let lock = fs::read_to_string(root().join("Cargo.lock")).expect("Cargo.lock");
    let origins = lock.lines().filter_map(|line| line.strip_prefix("source = \"")?.strip_suffix('"'));
    let others: BTreeSet<&str> = origins.filter(|origin| *origin != public).collect();
    assert_eq!(others, BTreeSet::new());
}

#[test]
fn what_a_visitor_looks_for_is_there() {
    let wanted = [
        "README.md",
        "ARCHITECTURE.md",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "LICENSE",
        "Makefile",
        "Dockerfile",
        "docker-compose.yml",
        "docs/configuration.md",
        "docs/guarantees.md",
        "docs/log-format.md",
        "docs/operating.md",
        "docs/types.md",
    ];
    refuse(
        wanted.iter().filter(|file| !root().join(file).is_file()).map(|file| format!("{file} is missing")).collect(),
    );
}

#[test]
fn every_state_and_every_code_is_explained_to_operators() {
    let text = fs::read_to_string(root().join("docs/operating.md")).expect("docs/operating.md");
    let words = State::ALL.iter().map(|state| state.as_str()).chain(Code::ALL.iter().map(|code| code.as_str()));
    let missing = words.filter(|word| !text.contains(&format!("| `{word}` |")));
    refuse(missing.map(|word| format!("docs/operating.md does not explain `{word}`")).collect());
}

#[test]
fn no_document_speaks_of_a_code_that_does_not_exist() {
    let known: BTreeSet<&str> = Code::ALL.iter().map(|code| code.as_str()).collect();
    let families: BTreeSet<&str> =
        known.iter().filter_map(|code| code.split_once('.')).map(|(family, _)| family).collect();
    let keys: BTreeSet<String> = walbridge::config::documented_keys().into_iter().map(|key| key.path).collect();
    let mut complaints = Vec::new();
    for file in tracked().iter().filter(|file| file.ends_with(".md")) {
        let text = fs::read_to_string(root().join(file)).unwrap_or_default();
        for word in text.split('`').skip(1).step_by(2) {
            let looks_like_code = word.split_once('.').is_some_and(|(family, rest)| {
                families.contains(family) && rest.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
            });
            let is_key =
                word == "schema.table" || keys.contains(word) || word.ends_with(".rs") || word.ends_with(".md");
            if looks_like_code && !is_key && !known.contains(word) {
                complaints.push(format!("{file}: `{word}`"));
            }
        }
    }
    refuse(complaints);
}

/// Links inside the repository lead somewhere.
#[test]
fn no_link_is_broken() {
    let mut complaints = Vec::new();
    for file in tracked().iter().filter(|file| file.ends_with(".md")) {
        let text = fs::read_to_string(root().join(file)).unwrap_or_default();
        let folder = Path::new(file).parent().unwrap_or(Path::new(""));
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let path = target.split('#').next().unwrap_or_default();
            let elsewhere = path.is_empty() || path.contains("://") || path.starts_with("mailto:");
            if !elsewhere && !root().join(folder).join(path).exists() {
                complaints.push(format!("{file}: {target}"));
            }
        }
    }
    refuse(complaints);
}
