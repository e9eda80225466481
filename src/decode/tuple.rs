//! `TupleData`, the form in which rows travel and are stored, and the change bodies made of it.
//!
//! A *body* is what follows the relation's OID in an `Insert`, `Update` or `Delete` message: tuples, each behind a
//! letter. The log stores it as it came, and this is where it is checked on the way in and turned into rows on the
//! way out. Rows are slices of the body: no cell is copied.

use std::sync::Arc;

use bytes::Bytes;

use super::{DecodeError, Fault, binary};
use crate::event::{Change, OldRow, Op, Relation, Row};

/// Which part of the old row a tuple holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OldKind {
    /// `K`: the replica identity's columns; every other one is sent as NULL.
    Key,
    /// `O`: the whole row.
    Full,
}

impl OldKind {
    /// The old row that such a tuple is.
    #[must_use]
    pub const fn old_row(self, row: Row) -> OldRow {
        match self {
            OldKind::Key => OldRow::Key(row),
            OldKind::Full => OldRow::Full(row),
        }
    }
}

/// An old row's tuple and what it holds.
pub type Old<'a> = (OldKind, &'a [u8]);

/// Checks that `bytes` begin with a tuple of `columns` columns, and tells how many bytes it takes.
///
/// # Errors
/// Another column count, an unknown kind, or an end inside the tuple. `at` counts from the first of `bytes`.
pub fn check(bytes: &[u8], columns: usize) -> Result<usize, DecodeError> {
    let found = count(bytes).ok_or(tuple_error(0, Fault::Truncated))?;
    if found == columns { walk(bytes) } else { Err(tuple_error(0, Fault::Columns { expected: columns, found })) }
}

/// How many columns the tuple claims to have; `None` if not even that is there.
#[must_use]
pub fn count(tuple: &[u8]) -> Option<usize> {
    tuple.first_chunk::<2>().map(|count| usize::from(u16::from_be_bytes(*count)))
}

/// As [`check`], for as many columns as the tuple claims.
///
/// # Errors
/// An unknown kind, or an end inside the tuple.
pub fn walk(bytes: &[u8]) -> Result<usize, DecodeError> {
    let at = |rest: &[u8]| bytes.len().saturating_sub(rest.len());
    let (count, mut rest) = bytes.split_first_chunk::<2>().ok_or(tuple_error(0, Fault::Truncated))?;
    for _ in 0..u16::from_be_bytes(*count) {
        let Some((&kind, after)) = rest.split_first() else { return Err(tuple_error(at(rest), Fault::Truncated)) };
        rest = match kind {
            b't' | b'b' => skip_value(after).ok_or_else(|| tuple_error(at(rest), Fault::Truncated))?,
            b'n' | b'u' => after,
            unknown => return Err(tuple_error(at(rest), Fault::Unknown(unknown))),
        };
    }
    Ok(at(rest))
}

/// Skips a length and that many bytes.
#[inline]
fn skip_value(bytes: &[u8]) -> Option<&[u8]> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    rest.get(usize::try_from(u32::from_be_bytes(*length)).ok()?..)
}

/// Checks that a well-formed tuple has the relation's number of columns.
///
/// # Errors
/// It has more or fewer.
#[inline]
pub fn expect_columns(message: &'static str, tuple: &[u8], columns: usize) -> Result<(), DecodeError> {
    match count(tuple) {
        Some(found) if found == columns => Ok(()),
        found => {
            let fault = Fault::Columns { expected: columns, found: found.unwrap_or_default() };
            Err(DecodeError { message, at: 0, fault })
        }
    }
}

/// The new row of an `Insert`'s body, or of a snapshot row's.
///
/// # Errors
/// It is not exactly `N` and a tuple. As in the other two, the tuple's number of columns is left to [`expect_columns`],
/// because the relation may not be known yet, and `at` counts from the body's first byte.
#[inline]
pub fn insert_body(body: &[u8]) -> Result<&[u8], DecodeError> {
    new_row("Insert", body, body)
}

/// The rows of an `Update`'s body.
///
/// # Errors
/// It is not exactly `N` and a tuple, after `K` or `O` and a tuple if there is an old row.
#[inline]
pub fn update_body(body: &[u8]) -> Result<(Option<Old<'_>>, &[u8]), DecodeError> {
    if body.first() == Some(&b'N') {
        return Ok((None, new_row("Update", body, body)?));
    }
    let (old, rest) = old_row("Update", body)?;
    Ok((Some(old), new_row("Update", body, rest)?))
}

/// The old row of a `Delete`'s body.
///
/// # Errors
/// It is not exactly `K` or `O` and a tuple.
#[inline]
pub fn delete_body(body: &[u8]) -> Result<Old<'_>, DecodeError> {
    let (old, rest) = old_row("Delete", body)?;
    nothing_left("Delete", body, rest)?;
    Ok(old)
}

/// The old row at the front of a body, and the rest.
#[inline]
fn old_row<'a>(message: &'static str, body: &'a [u8]) -> Result<(Old<'a>, &'a [u8]), DecodeError> {
    let error = |fault| DecodeError { message, at: 0, fault };
    let (&letter, bytes) = body.split_first().ok_or_else(|| error(Fault::Truncated))?;
    let kind = match letter {
        b'K' => OldKind::Key,
        b'O' => OldKind::Full,
        unknown => return Err(error(Fault::Unknown(unknown))),
    };
    let length = walk(bytes).map_err(|error| error.inside(message, 1))?;
    let (tuple, rest) = bytes.split_at_checked(length).ok_or_else(|| error(Fault::Truncated))?;
    Ok(((kind, tuple), rest))
}

/// The new row that `rest`, the end of `body`, must be.
#[inline]
fn new_row<'a>(message: &'static str, body: &[u8], rest: &'a [u8]) -> Result<&'a [u8], DecodeError> {
    let start = body.len().saturating_sub(rest.len());
    let error = |fault| DecodeError { message, at: start, fault };
    let (&letter, tuple) = rest.split_first().ok_or_else(|| error(Fault::Truncated))?;
    if letter != b'N' {
        return Err(error(Fault::Unknown(letter)));
    }
    let length = walk(tuple).map_err(|error| error.inside(message, start.saturating_add(1)))?;
    nothing_left(message, body, tuple.get(length..).unwrap_or_default())?;
    Ok(tuple)
}

/// Checks that `rest`, the end of `body`, is empty.
#[inline]
fn nothing_left(message: &'static str, body: &[u8], rest: &[u8]) -> Result<(), DecodeError> {
    let at = body.len().saturating_sub(rest.len());
    if rest.is_empty() { Ok(()) } else { Err(DecodeError { message, at, fault: Fault::Trailing }) }
}

/// Turns a stored body back into the change it was. The rows share `body`'s memory, unless they have values in binary form,
/// which become text here.
///
/// # Errors
/// The body is not one of this operation, or its rows are not of this relation.
pub fn change(op: Op, relation: &Arc<Relation>, body: &Bytes) -> Result<Change, DecodeError> {
    let row = |message, tuple: &[u8]| {
        expect_columns(message, tuple, relation.columns.len())?;
        let rendered = binary::to_text(relation, tuple).map_err(|error| error.inside(message, 0))?;
        Ok(rendered.unwrap_or_else(|| Row::from_tuple_data(body.slice_ref(tuple))))
    };
    let old_row = |message, (kind, tuple): Old<'_>| Ok(kind.old_row(row(message, tuple)?));
    let shared = Arc::clone(relation);
    Ok(match op {
        Op::Insert => Change::Insert { relation: shared, new: row("Insert", insert_body(body)?)? },
        Op::Read => Change::Read { relation: shared, row: row("snapshot row", insert_body(body)?)? },
        Op::Update => {
            let (old, new) = update_body(body)?;
            let old = old.map(|old| old_row("Update", old)).transpose()?;
            Change::Update { relation: shared, old, new: row("Update", new)? }
        }
        Op::Delete => Change::Delete { relation: shared, old: old_row("Delete", delete_body(body)?)? },
        Op::Truncate => {
            nothing_left("Truncate", body, body)?;
            Change::Truncate { relation: shared }
        }
        Op::Message => return Err(DecodeError { message: "Message", at: 0, fault: Fault::NotAChange }),
    })
}

/// The body that [`change`] turns into this change; empty where there is none. What was in `out` goes.
pub fn put_body(change: &Change, out: &mut Vec<u8>) {
    out.clear();
    let old = |old: &OldRow, out: &mut Vec<u8>| {
        out.push(if matches!(old, OldRow::Key(_)) { b'K' } else { b'O' });
        out.extend_from_slice(old.row().as_bytes());
    };
    match change {
        Change::Insert { new: row, .. } | Change::Read { row, .. } => {
            out.push(b'N');
            out.extend_from_slice(row.as_bytes());
        }
        Change::Update { old: before, new, .. } => {
            if let Some(before) = before {
                old(before, out);
            }
            out.push(b'N');
            out.extend_from_slice(new.as_bytes());
        }
        Change::Delete { old: before, .. } => old(before, out),
        Change::Truncate { .. } | Change::Message { .. } | Change::CopyBegun { .. } | Change::CopyDone { .. } => {}
    }
}

/// A fault in a tuple, `at` bytes into it.
#[cold]
const fn tuple_error(at: usize, fault: Fault) -> DecodeError {
    DecodeError { message: "TupleData", at, fault }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::event::{Cell, Column, ReplicaIdentity, RowBuilder, Shape, TableName};

    fn relation(columns: usize) -> Arc<Relation> {
        let column = |n| Column { name: format!("c{n}"), type_oid: 25, type_modifier: -1, shape: Shape::TEXT };
        Arc::new(Relation {
            oid: 16_384,
            name: TableName { schema: "public".into(), table: "t".into() },
            identity: ReplicaIdentity::Default,
            columns: (0..columns).map(column).collect(),
            key: vec![0],
        })
    }

    fn tuple(cells: &[Cell<'_>]) -> Row {
        let mut builder = RowBuilder::default();
        cells.iter().for_each(|&cell| builder.push(cell));
        builder.finish()
    }

    fn body(parts: &[(u8, &Row)]) -> Bytes {
        parts.iter().flat_map(|(letter, row)| [&[*letter], row.as_bytes().as_ref()].concat()).collect()
    }

    #[test]
    fn each_operation_comes_back_from_its_body_and_shares_its_memory() {
        let relation = relation(2);
        let old = tuple(&[Cell::Text(b"1"), Cell::Null]);
        let new = tuple(&[Cell::Text(b"2"), Cell::Unchanged]);
        let shared = || Arc::clone(&relation);
        let cases = [
            (Op::Insert, body(&[(b'N', &new)]), Change::Insert { relation: shared(), new: new.clone() }),
            (Op::Read, body(&[(b'N', &new)]), Change::Read { relation: shared(), row: new.clone() }),
            (Op::Update, body(&[(b'N', &new)]), Change::Update { relation: shared(), old: None, new: new.clone() }),
            (
                Op::Update,
                body(&[(b'K', &old), (b'N', &new)]),
                Change::Update { relation: shared(), old: Some(OldRow::Key(old.clone())), new: new.clone() },
            ),
            (
                Op::Update,
                body(&[(b'O', &old), (b'N', &new)]),
                Change::Update { relation: shared(), old: Some(OldRow::Full(old.clone())), new: new.clone() },
            ),
            (Op::Delete, body(&[(b'K', &old)]), Change::Delete { relation: shared(), old: OldRow::Key(old.clone()) }),
            (Op::Delete, body(&[(b'O', &old)]), Change::Delete { relation: shared(), old: OldRow::Full(old.clone()) }),
            (Op::Truncate, Bytes::new(), Change::Truncate { relation: shared() }),
        ];
        for (op, body, expected) in cases {
            let found = change(op, &relation, &body).expect("a body as PostgreSQL sends it");
            assert_eq!(found, expected);
            if let Change::Insert { new, .. } = found {
                assert!(body.as_ptr_range().contains(&new.as_bytes().as_ptr()), "the row was copied");
            }
        }
    }

    #[test]
    fn a_body_cut_anywhere_or_with_a_byte_too_many_is_refused() {
        let relation = relation(3);
        let row = tuple(&[Cell::Text(b"abc"), Cell::Null, Cell::Binary(&[1, 2])]);
        let bodies = [
            (Op::Insert, body(&[(b'N', &row)])),
            (Op::Update, body(&[(b'N', &row)])),
            (Op::Update, body(&[(b'O', &row), (b'N', &row)])),
            (Op::Delete, body(&[(b'K', &row)])),
        ];
        for (op, whole) in bodies {
            for end in 0..whole.len() {
                let error = change(op, &relation, &whole.slice(..end)).expect_err("cut short");
                assert!(error.at <= end, "{op:?} cut at {end} blamed byte {}", error.at);
            }
            let longer: Bytes = whole.iter().copied().chain([0]).collect();
            let error = change(op, &relation, &longer).expect_err("a byte too many");
            assert_eq!((error.at, error.fault), (whole.len(), Fault::Trailing), "{op:?}");
        }
        assert!(change(Op::Truncate, &relation, &Bytes::from_static(b"N")).is_err());
        assert!(change(Op::Message, &relation, &Bytes::new()).is_err());
    }

    #[test]
    fn letters_that_do_not_belong_are_refused_where_they_stand() {
        let relation = relation(1);
        let row = tuple(&[Cell::Null]);
        for (op, body, at, letter) in [
            (Op::Insert, body(&[(b'K', &row)]), 0, b'K'),
            (Op::Update, body(&[(b'K', &row), (b'K', &row)]), 4, b'K'),
            (Op::Update, body(&[(b'X', &row)]), 0, b'X'),
            (Op::Delete, body(&[(b'N', &row)]), 0, b'N'),
            (Op::Insert, Bytes::from_static(b"N\0\x01z"), 3, b'z'),
        ] {
            let error = change(op, &relation, &body).expect_err("a wrong letter");
            assert_eq!((error.at, error.fault), (at, Fault::Unknown(letter)), "{op:?} {body:?}");
        }
    }

    /// A server (or a damaged log) may claim anything. Lengths are compared with what is there, never trusted.
    #[test]
    fn claims_beyond_the_bytes_are_refused() {
        let cases: [(&[u8], Fault); 6] = [
            (b"", Fault::Truncated),
            (b"\0", Fault::Truncated),
            (b"\xFF\xFFnnn", Fault::Truncated),
            (b"\0\x01t\xFF\xFF\xFF\xFFabc", Fault::Truncated),
            (b"\0\x01t\x80\0\0\0abc", Fault::Truncated),
            (b"\0\x01t\0\0", Fault::Truncated),
        ];
        for (bytes, fault) in cases {
            assert_eq!(walk(bytes).expect_err("a false claim").fault, fault, "{bytes:?}");
        }
    }

    #[test]
    fn a_row_of_another_width_than_its_relation_is_refused() {
        let row = tuple(&[Cell::Null, Cell::Null]);
        for columns in [0, 1, 3, 65_535] {
            let fault = Fault::Columns { expected: columns, found: 2 };
            assert_eq!(check(row.as_bytes(), columns).expect_err("another width").fault, fault);
            let body = body(&[(b'N', &row)]);
            assert_eq!(change(Op::Insert, &relation(columns), &body).expect_err("another width").fault, fault);
        }
        assert_eq!(check(row.as_bytes(), 2), Ok(4));
        assert_eq!(check(b"\0\0rest", 0), Ok(2), "a table can have no columns");
    }

    proptest! {
        #[test]
        fn any_row_is_walked_to_its_end_and_no_further(
            cells in prop::collection::vec(
                prop_oneof![
                    Just((b'n', vec![])),
                    Just((b'u', vec![])),
                    (prop::sample::select(vec![b't', b'b']), prop::collection::vec(any::<u8>(), 0..40)),
                ],
                0..20,
            ),
            rest in prop::collection::vec(any::<u8>(), 0..20),
        ) {
            let cells: Vec<_> = cells.iter().map(|(kind, value)| match kind {
                b'n' => Cell::Null,
                b'u' => Cell::Unchanged,
                b't' => Cell::Text(value),
                _ => Cell::Binary(value),
            }).collect();
            let row = tuple(&cells);
            let bytes = [row.as_bytes().as_ref(), &rest].concat();
            prop_assert_eq!(check(&bytes, cells.len()), Ok(row.as_bytes().len()));
            prop_assert_eq!(row.cells().collect::<Vec<_>>(), cells);
        }

        #[test]
        fn bytes_that_are_accepted_hold_the_cells_they_claim(bytes in prop::collection::vec(
            prop_oneof![Just(0_u8), Just(1), Just(2), prop::sample::select(b"nutb".to_vec()), any::<u8>()], 0..64,
        )) {
            if let Ok(length) = walk(&bytes) {
                let row = Row::from_tuple_data(Bytes::copy_from_slice(&bytes[..length]));
                prop_assert_eq!(Some(row.cells().count()), count(&bytes));
            }
        }
    }
}
