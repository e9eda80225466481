//! Envelopes back into the changes that they were made of.

use std::fmt::Debug;
use std::sync::Arc;

use bytes::Bytes;

use super::NEW_KEY_HEADER;
use crate::decode::tuple;
use crate::event::{Change, Relation, Row};
use crate::kafka::format::exact::{Exact, HEADER, Side, expected_kind};
use crate::kafka::format::{Decoded, FormatError};

/// What an envelope says.
pub(in crate::kafka::format) struct Parts<R> {
    pub(in crate::kafka::format) op: u8,
    pub(in crate::kafka::format) before: Option<R>,
    pub(in crate::kafka::format) after: Option<R>,
}

/// How an envelope is read.
pub(in crate::kafka::format) trait Reading: Debug {
    /// A row as it stands in the envelope.
    type Row<'a>;

    fn parts<'a>(&self, value: &'a [u8]) -> Result<Parts<Self::Row<'a>>, FormatError>;
    /// The row, with the cells that the header tells of.
    fn row(&self, row: Self::Row<'_>, side: Side, exact: &Exact<'_>) -> Result<Row, FormatError>;
}

/// Reads changes of one version of a table.
#[derive(Debug)]
pub struct Decoder<R> {
    relation: Arc<Relation>,
    reading: R,
}

#[expect(private_bounds, reason = "the ways of reading are this module's own")]
impl<R: Reading> Decoder<R> {
    pub(in crate::kafka::format) fn with(relation: &Arc<Relation>, reading: R) -> Self {
        Decoder { relation: Arc::clone(relation), reading }
    }

    /// Reads a record. `header` looks one up by its name.
    ///
    /// # Errors
    /// It is not a record that the encoder for this version of the table made.
    pub fn decode<'h>(
        &self,
        value: Option<&[u8]>,
        header: impl Fn(&str) -> Option<&'h [u8]>,
    ) -> Result<Decoded, FormatError> {
        let Some(value) = value.filter(|_| header(NEW_KEY_HEADER).is_none()) else { return Ok(Decoded::Companion) };
        let Parts { op, before, after } = self.reading.parts(value)?;
        let exact = Exact::of(header(HEADER))?;
        let relation = Arc::clone(&self.relation);
        let new = |after: Option<R::Row<'_>>| {
            self.reading.row(after.ok_or(FormatError::Record("it has no row"))?, Side::New, &exact)
        };
        let old = |row, side| {
            let kind = exact.old.map_or_else(|| expected_kind(&self.relation), |(kind, _)| kind);
            Ok::<_, FormatError>(kind.old_row(self.reading.row(row, side, &exact)?))
        };
        Ok(Decoded::Change(match op {
            b'c' => match exact.old.filter(|(_, tuple)| !tuple.is_empty()) {
                None => Change::Insert { relation, new: new(after)? },
                Some((kind, tuple)) => {
                    tuple::check(tuple, self.relation.columns.len())?;
                    let old = Row::from_tuple_data(Bytes::copy_from_slice(tuple));
                    Change::Update { relation, old: Some(kind.old_row(old)), new: new(after)? }
                }
            },
            b'r' => Change::Read { relation, row: new(after)? },
            b'u' => {
                let old = before.map(|row| old(row, Side::Old)).transpose()?;
                Change::Update { relation, old, new: new(after)? }
            }
            b'd' => {
                let row = before.ok_or(FormatError::Record("it has no old row"))?;
                Change::Delete { relation, old: old(row, Side::New)? }
            }
            b't' => Change::Truncate { relation },
            _ => return Err(FormatError::Record("its op is none of c, r, u, d and t")),
        }))
    }
}
