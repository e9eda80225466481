//! A row as the bytes PostgreSQL sent.

use bytes::Bytes;

/// A row in pgoutput's `TupleData` form (manual: "Logical Replication Message Formats"): a column count (u16), then for
/// each column a kind byte `n` NULL, `u` unchanged TOAST, `t` text or `b` binary, the last two with a length (u32) and
/// that many bytes. Integers are big-endian.
///
/// A `Row` shares the buffer it was cut from; cloning it copies no data. Whoever makes one has checked that the bytes
/// are well formed (`decode::tuple`); reading cannot panic all the same, a malformed rest just ends the iteration.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Row(Bytes);

/// One value of a row. Absent, NULL and unchanged are three different things.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cell<'a> {
    /// SQL NULL.
    Null,
    /// A TOASTed value that the UPDATE did not touch, so PostgreSQL did not send it. It is *not* NULL.
    Unchanged,
    /// The type's text form, in the server's encoding as pinned by our session (UTF-8).
    Text(&'a [u8]),
    /// The type's binary form. Only a row that has not been read back from a log has such cells (`decode::binary`).
    Binary(&'a [u8]),
}

impl Row {
    /// Wraps checked `TupleData` bytes.
    #[must_use]
    pub fn from_tuple_data(bytes: Bytes) -> Self {
        Row(bytes)
    }

    /// The `TupleData` bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &Bytes {
        &self.0
    }

    /// The cells in column order.
    #[must_use]
    pub fn cells(&self) -> Cells<'_> {
        Cells::of_tuple(&self.0)
    }

    /// The cell of one column; walks the row up to it.
    #[must_use]
    pub fn cell(&self, index: usize) -> Option<Cell<'_>> {
        self.cells().nth(index)
    }

    /// Whether any column is unchanged TOAST, so that the row alone does not make a document.
    #[must_use]
    pub fn lacks_values(&self) -> bool {
        self.cells().any(|cell| cell == Cell::Unchanged)
    }
}

/// Iterator over a row's cells.
#[derive(Clone, Debug)]
pub struct Cells<'a> {
    rest: &'a [u8],
}

impl<'a> Cells<'a> {
    /// The cells of checked `TupleData` bytes.
    #[must_use]
    pub fn of_tuple(tuple: &'a [u8]) -> Self {
        Cells { rest: tuple.get(2..).unwrap_or_default() }
    }
}

impl<'a> Iterator for Cells<'a> {
    type Item = Cell<'a>;

    #[inline]
    fn next(&mut self) -> Option<Cell<'a>> {
        let (&kind, rest) = self.rest.split_first()?;
        if kind == b'n' || kind == b'u' {
            self.rest = rest;
            return Some(if kind == b'n' { Cell::Null } else { Cell::Unchanged });
        }
        let (length, rest) = rest.split_first_chunk::<4>()?;
        let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
        let (value, rest) = rest.split_at_checked(length)?;
        self.rest = rest;
        match kind {
            b't' => Some(Cell::Text(value)),
            b'b' => Some(Cell::Binary(value)),
            _ => None,
        }
    }
}

/// Builds a [`Row`] cell by cell: for snapshot rows, and for rows completed from two.
#[derive(Debug)]
pub struct RowBuilder {
    bytes: Vec<u8>,
    columns: u16,
}

impl Default for RowBuilder {
    fn default() -> Self {
        RowBuilder { bytes: vec![0, 0], columns: 0 }
    }
}

impl RowBuilder {
    /// Adds the next column's cell. A value is at most 1 GiB (PostgreSQL's limit), so its length fits.
    pub fn push(&mut self, cell: Cell<'_>) {
        self.columns = self.columns.saturating_add(1);
        let (kind, value) = match cell {
            Cell::Null => (b'n', None),
            Cell::Unchanged => (b'u', None),
            Cell::Text(value) => (b't', Some(value)),
            Cell::Binary(value) => (b'b', Some(value)),
        };
        self.bytes.push(kind);
        if let Some(value) = value {
            let length = u32::try_from(value.len()).unwrap_or(u32::MAX);
            self.bytes.extend_from_slice(&length.to_be_bytes());
            self.bytes.extend_from_slice(value);
        }
    }

    /// The finished row.
    #[must_use]
    pub fn finish(mut self) -> Row {
        if let Some(count) = self.bytes.get_mut(..2) {
            count.copy_from_slice(&self.columns.to_be_bytes());
        }
        Row(Bytes::from(self.bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_come_back_as_they_were_pushed() {
        let cells = [Cell::Null, Cell::Text(b"a"), Cell::Unchanged, Cell::Binary(&[0, 1]), Cell::Text(b"")];
        let mut builder = RowBuilder::default();
        cells.iter().for_each(|&cell| builder.push(cell));
        let row = builder.finish();
        assert_eq!(row.cells().collect::<Vec<_>>(), cells);
        assert_eq!(row.cell(3), Some(Cell::Binary(&[0, 1])));
        assert_eq!(row.cell(5), None);
        assert!(row.lacks_values());
    }

    #[test]
    fn a_row_cut_short_ends_early_and_does_not_panic() {
        let mut builder = RowBuilder::default();
        builder.push(Cell::Text(b"abc"));
        let whole = builder.finish();
        for end in 0..whole.as_bytes().len() {
            let cut = Row::from_tuple_data(whole.as_bytes().slice(..end));
            assert_eq!(cut.cells().count(), 0, "cut at {end}");
        }
    }
}
