//! A row as JSON, completed from the document it replaces.

use std::collections::HashMap;

use serde_json::value::RawValue;

use crate::decode::json;
use crate::event::{Cell, Relation, Row};

/// The row as a JSON object, its columns in their order, unchanged TOAST values taken from the document it replaces.
/// `None` if that has not all of them.
pub(super) fn source(relation: &Relation, row: &Row, older: Option<&str>) -> Option<String> {
    let mut out = Vec::new();
    if !row.lacks_values() {
        json::write_row(relation, row, &mut out);
        return String::from_utf8(out).ok();
    }
    let older: HashMap<String, &RawValue> = serde_json::from_str(older?).ok()?;
    out.push(b'{');
    for (column, cell) in relation.columns.iter().zip(row.cells()) {
        if out.len() > 1 {
            out.push(b',');
        }
        json::write_string(column.name.as_bytes(), &mut out);
        out.push(b':');
        match cell {
            Cell::Null => out.extend_from_slice(b"null"),
            Cell::Unchanged => out.extend_from_slice(older.get(&column.name)?.get().as_bytes()),
            Cell::Text(text) => json::write_cell(column.shape, text, &mut out),
            Cell::Binary(bytes) => json::write_hex(bytes, &mut out),
        }
    }
    out.push(b'}');
    String::from_utf8(out).ok()
}
