//! A row as a group of columns: the new one, the old one, or a key.

use std::sync::Arc;

use parquet::basic::Repetition;
use parquet::errors::ParquetError;
use parquet::schema::types::TypePtr;

use super::leaf::{Leaf, group};
use super::value::Kind;
use crate::decode::json::write_string;
use crate::event::{Cell, Relation, Row};

/// See the module.
pub(super) struct Rows {
    name: &'static str,
    columns: Vec<RowColumn>,
}

struct RowColumn {
    /// Its place in the row.
    at: usize,
    name: String,
    kind: Kind,
    leaf: Leaf,
}

impl Rows {
    /// The columns at these places of the table's rows; `None`: there is no place, and a group must have a field.
    pub(super) fn of(
        name: &'static str,
        relation: &Arc<Relation>,
        places: impl IntoIterator<Item = usize>,
    ) -> Option<Self> {
        let column = |at: usize| {
            let column = relation.columns.get(at)?;
            let kind = Kind::of(column);
            Some(RowColumn { at, name: column.name.clone(), leaf: Leaf::in_group(kind.values()), kind })
        };
        let columns: Vec<_> = places.into_iter().filter_map(column).collect();
        (!columns.is_empty()).then_some(Rows { name, columns })
    }

    pub(super) fn field(&self) -> Result<TypePtr, ParquetError> {
        let fields: Result<Vec<_>, _> = self.columns.iter().map(|column| column.kind.field(&column.name)).collect();
        group(self.name, fields?, Repetition::OPTIONAL)
    }

    pub(super) fn leaves(&mut self) -> impl Iterator<Item = &mut Leaf> {
        self.columns.iter_mut().map(|column| &mut column.leaf)
    }

    /// Adds a row, or that there is none. What it left alone is taken from the older one.
    pub(super) fn push(&mut self, row: Option<&Row>, older: Option<&Row>, texts: &mut Texts) {
        let Some(row) = row else { return self.leaves().for_each(|leaf| leaf.push_null(0)) };
        let cells: Vec<Cell<'_>> = row.cells().collect();
        for RowColumn { at, name, kind, leaf } in &mut self.columns {
            let cell = match cells.get(*at) {
                Some(Cell::Unchanged) => older.and_then(|older| older.cell(*at)),
                cell => cell.copied(),
            };
            match cell {
                Some(Cell::Text(text) | Cell::Binary(text)) => {
                    if !leaf.push(|values| kind.put(text, values)) {
                        texts.entries.push((self.name, name.clone(), text.to_vec()));
                    }
                }
                Some(Cell::Null | Cell::Unchanged) | None => leaf.push_null(1),
            }
        }
    }
}

/// Values of one event that their columns cannot hold.
#[derive(Default)]
pub(super) struct Texts {
    /// Group, column, text; each group's together.
    entries: Vec<(&'static str, String, Vec<u8>)>,
}

impl Texts {
    /// As a JSON object: `{"after":{"price":"NaN"}}`; `None`: there are none.
    pub(super) fn finish(self) -> Option<String> {
        let mut out = Vec::new();
        for (index, group) in self.entries.chunk_by(|one, other| one.0 == other.0).enumerate() {
            out.push(if index == 0 { b'{' } else { b',' });
            for (index, (name, column, text)) in group.iter().enumerate() {
                if index == 0 {
                    write_string(name.as_bytes(), &mut out);
                    out.extend_from_slice(b":{");
                } else {
                    out.push(b',');
                }
                write_string(column.as_bytes(), &mut out);
                out.push(b':');
                write_string(text, &mut out);
            }
            out.push(b'}');
        }
        if out.is_empty() {
            return None;
        }
        out.push(b'}');
        String::from_utf8(out).ok()
    }
}
