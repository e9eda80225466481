//! The house rules that a machine can hold. What is not checked drifts.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use walbridge::status::Code;

/// Folders with our own Rust in them.
const FOLDERS: [&str; 4] = ["benches", "demo", "integration-tests", "src"];
const FILE_LINES_MAX: usize = 500;
const FUNCTION_LINES_MAX: usize = 70;

/// What a stage may know of the others: `crate::` paths it may begin an import with. The stages that are not listed (`admin`,
/// `bridge`, `cli`, `config`) put the others together, and may know them all.
const LAYERS: &[(&str, &[&str])] = &[
    ("event", &[]),
    ("retry", &["status"]),
    ("status", &["event"]),
    ("decode", &["event", "status"]),
    ("capture", &["decode", "event", "retry", "status"]),
    ("log", &["decode", "event", "status"]),
    ("project", &["decode", "event"]),
    ("sink", &["decode", "event", "log::LogId", "project::mutation", "retry", "status"]),
    ("dead_letter", &["decode", "event", "log::LogId", "project::mutation", "sink", "status"]),
    ("ingest", &["capture", "decode", "event", "log", "retry", "status"]),
    // Only to read a row back that the stream left incomplete.
    (
        "deliver",
        &[
            "capture::CaptureError",
            "capture::readback",
            "dead_letter",
            "event",
            "log",
            "project",
            "retry",
            "sink",
            "status",
        ],
    ),
];

struct Source {
    path: PathBuf,
    text: String,
}

impl Source {
    /// All of ours.
    fn all() -> Vec<Source> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut sources = Vec::new();
        let mut folders: Vec<PathBuf> = FOLDERS.iter().map(|folder| root.join(folder)).collect();
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|extension| extension == "rs") {
                    let text = fs::read_to_string(&path).unwrap();
                    sources.push(Source { path: path.strip_prefix(root).unwrap().to_owned(), text });
                }
            }
        }
        assert!(sources.len() > 50, "the sources are where they are looked for: {}", sources.len());
        sources
    }

    /// The folder or file below `src/` that this belongs to.
    fn stage(&self) -> Option<&str> {
        let below = self.path.strip_prefix("src").ok()?;
        let first = below.components().next()?.as_os_str().to_str()?;
        Some(first.strip_suffix(".rs").unwrap_or(first))
    }

    /// Without comments, and without the unit tests at its end, which may use what they like.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines = self.text.lines().enumerate().map(|(place, line)| (place + 1, line));
        lines.take_while(|(_, line)| *line != "#[cfg(test)]").filter(|(_, line)| !line.trim_start().starts_with("//"))
    }
}

fn none(found: &str, rule: &str) {
    assert!(found.is_empty(), "{rule}:\n{found}");
}

#[test]
fn every_file_is_short_and_says_what_it_is() {
    let mut found = String::new();
    for source in Source::all() {
        let lines = source.text.lines().count();
        if lines > FILE_LINES_MAX {
            writeln!(found, "{}: {lines} lines, at most {FILE_LINES_MAX}", source.path.display()).unwrap();
        }
        if !source.text.starts_with("//!") {
            writeln!(found, "{}: does not begin with //!", source.path.display()).unwrap();
        }
    }
    none(&found, "a file has one subject, and its first line says which");
}

#[test]
fn every_function_fits_a_screen() {
    let mut found = String::new();
    for source in Source::all() {
        let mut open: Vec<(usize, String, usize)> = Vec::new();
        for (place, line) in source.text.lines().enumerate() {
            let trimmed = line.trim_start();
            let indent = line.len() - trimmed.len();
            if let Some((begin, name, _)) = open.pop_if(|(_, _, at)| trimmed == "}" && *at == indent) {
                let lines = place - begin + 1;
                if lines > FUNCTION_LINES_MAX {
                    let path = source.path.display();
                    writeln!(found, "{path}:{}: {name} has {lines} lines, at most {FUNCTION_LINES_MAX}", begin + 1)
                        .unwrap();
                }
            }
            if let Some(name) = function(trimmed)
                && !trimmed.ends_with('}')
                && !trimmed.ends_with(';')
            {
                // A declaration in a trait has no body, and so no closing bracket of its own.
                open.retain(|(_, _, at)| *at < indent);
                open.push((place, name.to_owned(), indent));
            }
        }
    }
    none(&found, "a function does one thing");
}

/// The name of the function that a line begins to define.
fn function(line: &str) -> Option<&str> {
    let (before, rest) = line.split_once("fn ")?;
    let modifiers = before.split_whitespace();
    let known = ["pub", "pub(crate)", "pub(super)", "const", "async", "default"];
    if !modifiers.into_iter().all(|word| known.contains(&word) || word.starts_with("pub(in")) {
        return None;
    }
    rest.split(|letter: char| !letter.is_alphanumeric() && letter != '_').next()
}

#[test]
fn stages_know_only_what_they_may() {
    let mut found = String::new();
    for source in Source::all() {
        let Some(stage) = source.stage() else { continue };
        let Some((_, allowed)) = LAYERS.iter().find(|(name, _)| *name == stage) else { continue };
        for (place, line) in source.code() {
            for import in line.split("crate::").skip(1) {
                let import: String =
                    import.chars().take_while(|letter| letter.is_alphanumeric() || "_:{".contains(*letter)).collect();
                let own = begins(&import, stage) || line.contains("pub(in crate::");
                if !own && !allowed.iter().any(|allowed| begins(&import, allowed)) {
                    let path = source.path.display();
                    writeln!(found, "{path}:{place}: {stage} may not know crate::{import}").unwrap();
                }
            }
        }
    }
    none(&found, "the folders are layers (ARCHITECTURE.md); an import across them is a decision about the design");
}

fn begins(path: &str, with: &str) -> bool {
    path.strip_prefix(with).is_some_and(|rest| rest.is_empty() || rest.starts_with(':'))
}

#[test]
fn pure_stages_have_no_clock_no_socket_and_no_file() {
    let mut found = String::new();
    for source in Source::all() {
        if !matches!(source.stage(), Some("decode" | "event" | "project")) {
            continue;
        }
        for (place, line) in source.code() {
            for word in ["async fn", "std::fs", "std::net", "tokio::", "Instant::now", "SystemTime::now"] {
                if line.contains(word) {
                    writeln!(found, "{}:{place}: {word}", source.path.display()).unwrap();
                }
            }
        }
    }
    none(&found, "decode, event and project are pure: bytes in, values out");
}

#[test]
fn the_operators_manual_has_a_line_for_every_code() {
    let manual = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/operating.md")).unwrap();
    let missing = |code: &&Code| !manual.contains(&format!("| `{code}` |"));
    let found: String = Code::ALL.iter().filter(missing).map(|code| format!("{code}\n")).collect();
    none(&found, "docs/operating.md says of every code what happened and what to do");
}

#[test]
fn nothing_is_left_to_do_without_saying_where() {
    let mut found = String::new();
    // In two parts, so that this file does not find itself.
    let words =
        [("TO", "DO"), ("FIX", "ME"), ("XX", "X"), ("To", " come.")].map(|(first, second)| format!("{first}{second}"));
    for source in Source::all() {
        for (place, line) in source.text.lines().enumerate() {
            if words.iter().any(|word| line.contains(word.as_str())) {
                writeln!(found, "{}:{}: {}", source.path.display(), place + 1, line.trim()).unwrap();
            }
        }
    }
    none(&found, "what is not done is in an issue, not in the code");
}
