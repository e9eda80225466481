//! The file being read: what was found, where it stands, and what is wrong with it.

use std::cell::RefCell;
use std::collections::HashSet;
use std::ops::Range;
use std::path::Path;

use toml::Spanned;
use toml::de::DeValue;

use super::error::Complaint;
use super::interpolate::{InterpolateError, interpolate};

/// What all values of a file share.
pub(super) struct Reader<'a> {
    source: &'a str,
    directory: &'a Path,
    environment: &'a dyn Fn(&str) -> Option<String>,
    complaints: RefCell<Vec<Complaint>>,
    /// Keys that an unknown one seems to be meant for.
    meant: RefCell<HashSet<String>>,
}

impl<'a> Reader<'a> {
    /// Relative paths start at `directory`.
    pub(super) fn new(source: &'a str, directory: &'a Path, environment: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Reader { source, directory, environment, complaints: RefCell::default(), meant: RefCell::default() }
    }

    /// Takes down a mistake; without a span it is about the file as a whole.
    pub(super) fn complain(&self, key: &str, span: Option<Range<usize>>, message: String, help: Option<String>) {
        self.complaints.borrow_mut().push(Complaint { key: key.to_owned(), span, message, help });
    }

    /// The key is there, misspelt, and that has been said.
    pub(super) fn remember_meant(&self, key: String) {
        self.meant.borrow_mut().insert(key);
    }

    /// Whether it has.
    pub(super) fn is_meant(&self, key: &str) -> bool {
        self.meant.borrow().contains(key)
    }

    /// Where relative paths start.
    pub(super) fn directory(&self) -> &'a Path {
        self.directory
    }

    /// The environment.
    pub(super) fn environment(&self) -> &'a dyn Fn(&str) -> Option<String> {
        self.environment
    }

    /// Line and column of a byte, from 1.
    pub(super) fn line_and_column(&self, offset: usize) -> (usize, usize) {
        let before = self.source.get(..offset).unwrap_or_default();
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        (before.matches('\n').count() + 1, before.get(line_start..).unwrap_or_default().chars().count() + 1)
    }

    /// All mistakes.
    pub(super) fn into_complaints(self) -> Vec<Complaint> {
        self.complaints.into_inner()
    }
}

/// A value at its place.
#[derive(Clone)]
pub(super) struct Item<'a> {
    pub(super) reader: &'a Reader<'a>,
    /// `sinks.cache.ttl`
    pub(super) path: String,
    pub(super) value: &'a Spanned<DeValue<'a>>,
}

impl<'a> Item<'a> {
    /// Something is wrong with this value.
    pub(super) fn complain(&self, message: String, help: Option<String>) {
        self.reader.complain(&self.path, Some(self.value.span()), message, help);
    }

    /// The string as it is written in the file. Messages may repeat it unless it is a secret; they never repeat what came from
    /// the environment.
    pub(super) fn written(&self) -> &'a str {
        self.value.get_ref().as_str().unwrap_or_default()
    }

    /// The string, with the environment's values in it.
    pub(super) fn text(&self, wanted: &str) -> Option<String> {
        let DeValue::String(written) = self.value.get_ref() else {
            self.complain(format!("`{}` is {wanted}, in quotes", self.path), None);
            return None;
        };
        match interpolate(written, self.reader.environment) {
            Ok(text) if text.is_empty() => {
                let how = if written.is_empty() { "" } else { "; the environment variable is empty" };
                self.complain(format!("`{}` is empty{how}", self.path), None);
                None
            }
            Ok(text) => Some(text),
            Err(InterpolateError::Missing(name)) => {
                let message = format!("the environment variable {name} is not set");
                let help = format!("set it: export {name}=…; a dollar sign itself is written $$");
                let place = self.place_of(&format!("${{{name}}}"));
                self.reader.complain(&self.path, Some(place), message, Some(help));
                None
            }
            Err(InterpolateError::Malformed) => {
                let help = "write ${NAME} with letters, digits and _; a dollar sign itself is written $$".to_owned();
                let message = "half a placeholder".to_owned();
                self.reader.complain(&self.path, Some(self.place_of("${")), message, Some(help));
                None
            }
        }
    }

    /// Where in the file a string's text is, if it stands there as it is.
    pub(super) fn inner(&self, text: &str) -> Option<Range<usize>> {
        let span = self.value.span();
        let raw = self.reader.source.get(span.clone())?;
        let quotes = raw.len().saturating_sub(raw.trim_start_matches(['"', '\'']).len());
        // Behind three quotes the first line break is none of the text.
        let at = raw.find(text).filter(|&at| at <= quotes + 2)?;
        Some(span.start + at..span.start + at + text.len())
    }

    /// Where in the file this part of the string is; the whole string if that cannot be told.
    fn place_of(&self, part: &str) -> Range<usize> {
        let span = self.value.span();
        let found = self.reader.source.get(span.clone()).and_then(|raw| raw.find(part));
        found.map_or(span.clone(), |at| span.start + at..span.start + at + part.len())
    }

    /// The elements of a list, or the value itself as the only one.
    pub(super) fn one_or_many(&self) -> Vec<Item<'a>> {
        match self.value.get_ref().as_array() {
            Some(elements) => elements.iter().map(|value| self.with(value)).collect(),
            None => vec![self.clone()],
        }
    }

    fn with(&self, value: &'a Spanned<DeValue<'a>>) -> Self {
        Item { reader: self.reader, path: self.path.clone(), value }
    }
}
