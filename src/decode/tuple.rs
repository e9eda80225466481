//! `TupleData`, the form in which rows travel and are stored, and the change bodies made of it.
//!
//! A *body* is what follows the relation's OID in an `Insert`, `Update` or `Delete` message: tuples, each behind a letter.
//! The log stores it as it came, and this is where it is checked on the way in and turned into rows on the way out. Rows
//! are slices of the body: no cell is copied.

use std::sync::Arc;

use bytes::Bytes;

use super::{DecodeError, Fault};
use crate::event::{Change, OldRow, Op, Relation, Row};

/// Which part of the old row a tuple holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OldKind {
    /// `K`: the replica identity's columns; every other one is sent as NULL.
    Key,
    /// `O`: the whole row.
    Full,
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

/// Turns a stored body back into the change it was. The rows share `body`'s memory.
///
/// # Errors
/// The body is not one of this operation, or its rows are not of this relation.
pub fn change(op: Op, relation: &Arc<Relation>, body: &Bytes) -> Result<Change, DecodeError> {
    let row = |message, tuple: &[u8]| {
        expect_columns(message, tuple, relation.columns.len())?;
        Ok(Row::from_tuple_data(body.slice_ref(tuple)))
    };
    let old_row = |message, (kind, tuple): Old<'_>| {
        let row = row(message, tuple)?;
        Ok(match kind {
            OldKind::Key => OldRow::Key(row),
            OldKind::Full => OldRow::Full(row),
        })
    };
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

/// A fault in a tuple, `at` bytes into it.
#[cold]
const fn tuple_error(at: usize, fault: Fault) -> DecodeError {
    DecodeError { message: "TupleData", at, fault }
}
