//! Letters for people and programs, read from the file alone: it makes no difference whether walbridge runs.

use std::io;
use std::path::Path;

use serde_json::{Map, Value, json};

use super::file;
use super::index::{Entry, Fate};

/// A letter with its row.
#[derive(Clone, Debug)]
pub struct Letter {
    /// Its number.
    pub id: u64,
    /// `refused`, `waits`, `superseded` or `delivered`.
    pub state: &'static str,
    /// Its fields, those of `docs/operating.md`.
    pub fields: Map<String, Value>,
}

/// A sink's letters, by number.
///
/// # Errors
/// The file cannot be read.
pub fn list(directory: &Path, sink: &str) -> io::Result<Vec<Letter>> {
    let Some(file) = file::open_if_there(&file::path_of(directory, sink))? else { return Ok(Vec::new()) };
    // Both from the same file, whatever walbridge puts in its place meanwhile.
    let found = file::read_all(&file)?;
    let mut letters = Vec::new();
    for (id, entry) in found.index.iter() {
        let Some(place) = entry.place else { continue };
        let line = file::read_line(&file, place)?;
        letters.extend(view(id, entry, &line));
    }
    Ok(letters)
}

fn view(id: u64, entry: &Entry, line: &[u8]) -> Option<Letter> {
    let state = match (entry.fate, entry.waits) {
        (Fate::Open, false) => "refused",
        (Fate::Open, true) => "waits",
        (Fate::Superseded(_), _) => "superseded",
        (Fate::Delivered(_), _) => "delivered",
    };
    let Value::Object(mut fields) = serde_json::from_slice(line).ok()? else { return None };
    // For walbridge alone.
    for own in ["rows", "moved_from", "exact", "waits", "oid"] {
        fields.remove(own);
    }
    fields.insert("id".to_owned(), json!(id));
    fields.insert("state".to_owned(), json!(state));
    if let Fate::Superseded(by) = entry.fate {
        fields.insert("superseded_by".to_owned(), json!(by));
    }
    if let Some(reason) = &entry.again {
        fields.insert("reason".to_owned(), json!(reason));
    }
    Some(Letter { id, state, fields })
}
