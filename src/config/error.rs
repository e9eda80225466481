//! Everything that is wrong with a configuration, at once, each with its place, its line and its remedy.
//!
//! Invariant: no secret is kept here. Lines are cut out and masked when the errors are made; the file's text is not held.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::mask::mask_line;

/// All mistakes of one configuration file, in the order of its lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors {
    file: PathBuf,
    mistakes: Vec<Mistake>,
}

/// One mistake.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Mistake {
    /// The key, such as `sinks.cache.ttl`; empty if it is not about a key.
    pub key: String,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
    /// Where; `None` if it is about the file as a whole.
    #[serde(flatten)]
    pub place: Option<Place>,
}

/// Where a mistake is.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Place {
    /// Counts from 1.
    pub line: usize,
    /// Counts characters from 1.
    pub column: usize,
    /// The line, secrets masked.
    pub text: String,
    /// Which characters of `text` are meant.
    #[serde(skip)]
    pub marked: Range<usize>,
}

impl ConfigErrors {
    /// One mistake about the file as a whole.
    pub(super) fn of_file(file: &Path, message: String, help: &str) -> Self {
        let mistake = Mistake { key: String::new(), message, help: Some(help.to_owned()), place: None };
        ConfigErrors { file: file.to_owned(), mistakes: vec![mistake] }
    }

    /// The mistakes found while reading `source`.
    pub(super) fn locate(file: &Path, source: &str, mut complaints: Vec<Complaint>) -> Self {
        complaints.sort_by_key(|complaint| complaint.span.as_ref().map_or(0, |span| span.start));
        let mistakes = complaints
            .into_iter()
            .map(|complaint| Mistake {
                place: complaint.span.map(|span| locate(source, &span)),
                key: complaint.key,
                message: visible(&complaint.message),
                help: complaint.help.as_deref().map(visible),
            })
            .collect();
        ConfigErrors { file: file.to_owned(), mistakes }
    }

    /// The file.
    #[must_use]
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// The mistakes; at least one.
    #[must_use]
    pub fn mistakes(&self) -> &[Mistake] {
        &self.mistakes
    }

    /// The report for people; in colour for a terminal.
    #[must_use]
    pub fn render(&self, colour: bool) -> String {
        let (red, bold, blue, plain) =
            if colour { ("\x1b[1;31m", "\x1b[1m", "\x1b[34m", "\x1b[0m") } else { ("", "", "", "") };
        let mut out = String::new();
        for mistake in &self.mistakes {
            out.push_str(&format!("{bold}{}", self.file.display()));
            if let Some(place) = &mistake.place {
                out.push_str(&format!(":{}:{}", place.line, place.column));
            }
            out.push_str(&format!(":{plain} {red}error:{plain} {bold}{}{plain}\n", mistake.message));
            if let Some(place) = &mistake.place {
                let gutter = place.line.to_string();
                let blank = " ".repeat(gutter.len());
                let indent: String = place.text.chars().take(place.marked.start).map(keep_tab).collect();
                let carets = "^".repeat(place.marked.len().max(1));
                out.push_str(&format!(" {blue}{gutter} |{plain} {}\n", place.text));
                out.push_str(&format!(" {blue}{blank} |{plain} {indent}{red}{carets}{plain}\n"));
            }
            if let Some(help) = &mistake.help {
                out.push_str(&format!("   {blue}={plain} {help}\n"));
            }
            out.push('\n');
        }
        let count = self.mistakes.len();
        out.push_str(&format!("{count} mistake{} in {}\n", if count == 1 { "" } else { "s" }, self.file.display()));
        out
    }

    /// The report for programs: `file`, and `mistakes` with `key`, `message`, `help`, `line`, `column`, `text` each.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::json!({ "ok": false, "file": self.file.to_string_lossy(), "mistakes": self.mistakes })
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.render(false).trim_end())
    }
}

impl std::error::Error for ConfigErrors {}

/// A mistake as its finder has it: with a span of bytes.
#[derive(Debug)]
pub(super) struct Complaint {
    pub(super) key: String,
    pub(super) span: Option<Range<usize>>,
    pub(super) message: String,
    pub(super) help: Option<String>,
}

/// A control character in a value must not do to a terminal what it says. One for one, so that places hold; tabs stay.
fn visible(text: &str) -> String {
    text.chars().map(|character| if character.is_control() && character != '\t' { '·' } else { character }).collect()
}

/// So that a caret stays under its character.
fn keep_tab(character: char) -> char {
    if character == '\t' { '\t' } else { ' ' }
}

fn locate(source: &str, span: &Range<usize>) -> Place {
    let start = floor_boundary(source, span.start);
    let before = source.get(..start).unwrap_or_default();
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let rest = source.get(line_start..).unwrap_or_default();
    let text = rest.split('\n').next().unwrap_or_default().trim_end_matches('\r');
    let end = floor_boundary(source, span.end).clamp(start, line_start + text.len().max(start - line_start));
    let characters = |bytes: Range<usize>| source.get(bytes).unwrap_or_default().chars().count();
    let column = characters(line_start..start);
    let (text, marked) = mask_line(&visible(text), column..column + characters(start..end));
    Place { line: before.matches('\n').count() + 1, column: column + 1, text, marked }
}

fn floor_boundary(source: &str, index: usize) -> usize {
    let index = index.min(source.len());
    (0..=index).rev().find(|&at| source.is_char_boundary(at)).unwrap_or(0)
}
