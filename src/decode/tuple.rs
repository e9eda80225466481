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

/// The tuples of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Images<'a> {
    /// The old row, if it was sent.
    pub old: Option<(OldKind, &'a [u8])>,
    /// The new row, if there is one.
    pub new: Option<&'a [u8]>,
}

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

/// Takes a body apart. The tuples are well formed; that their column counts are the relation's is left to the caller
/// ([`count`]), who may not know the relation yet.
///
/// # Errors
/// The body is not what the operation has: a wrong letter, a tuple too few or too many, a malformed tuple. `at` counts
/// from the body's first byte.
pub fn images(op: Op, body: &[u8]) -> Result<Images<'_>, DecodeError> {
    let message = name(op);
    let error = |at, fault| DecodeError { message, at, fault };
    let (old, start) = match (op, body.first()) {
        (Op::Update | Op::Delete, Some(b'K')) => first_tuple(message, body, OldKind::Key)?,
        (Op::Update | Op::Delete, Some(b'O')) => first_tuple(message, body, OldKind::Full)?,
        (Op::Delete, Some(&letter)) => return Err(error(0, Fault::Unknown(letter))),
        (Op::Delete, None) => return Err(error(0, Fault::Truncated)),
        (Op::Message, _) => return Err(error(0, Fault::NotAChange)),
        (Op::Insert | Op::Update | Op::Truncate | Op::Read, _) => (None, 0),
    };
    let rest = body.get(start..).unwrap_or_default();
    match (op, rest.split_first()) {
        (Op::Delete | Op::Truncate | Op::Message, None) => Ok(Images { old, new: None }),
        (Op::Delete | Op::Truncate | Op::Message, Some(_)) => Err(error(start, Fault::Trailing)),
        (Op::Insert | Op::Update | Op::Read, Some((b'N', new))) => {
            let length = walk(new).map_err(|e| e.inside(message, start.saturating_add(1)))?;
            if length != new.len() {
                return Err(error(start.saturating_add(1).saturating_add(length), Fault::Trailing));
            }
            Ok(Images { old, new: Some(new) })
        }
        (Op::Insert | Op::Update | Op::Read, Some((&letter, _))) => Err(error(start, Fault::Unknown(letter))),
        (Op::Insert | Op::Update | Op::Read, None) => Err(error(start, Fault::Truncated)),
    }
}

/// The old row's tuple at the front of a body, and where the rest begins.
fn first_tuple<'a>(
    message: &'static str,
    body: &'a [u8],
    kind: OldKind,
) -> Result<(Option<(OldKind, &'a [u8])>, usize), DecodeError> {
    let bytes = body.get(1..).unwrap_or_default();
    let length = walk(bytes).map_err(|e| e.inside(message, 1))?;
    Ok((Some((kind, bytes.get(..length).unwrap_or_default())), length.saturating_add(1)))
}

/// Turns a stored body back into the change it was. The rows share `body`'s memory.
///
/// # Errors
/// The body is not one of this operation, or its rows are not of this relation.
pub fn change(op: Op, relation: &Arc<Relation>, body: &Bytes) -> Result<Change, DecodeError> {
    let images = images(op, body)?;
    let message = name(op);
    let row = |tuple: &[u8]| {
        let (expected, found) = (relation.columns.len(), count(tuple).unwrap_or_default());
        match expected == found {
            true => Ok(Row::from_tuple_data(body.slice_ref(tuple))),
            false => Err(DecodeError { message, at: 0, fault: Fault::Columns { expected, found } }),
        }
    };
    let old = match images.old {
        Some((OldKind::Key, tuple)) => Some(OldRow::Key(row(tuple)?)),
        Some((OldKind::Full, tuple)) => Some(OldRow::Full(row(tuple)?)),
        None => None,
    };
    let new = images.new.map(row).transpose()?;
    let relation = Arc::clone(relation);
    match (op, old, new) {
        (Op::Insert, None, Some(new)) => Ok(Change::Insert { relation, new }),
        (Op::Update, old, Some(new)) => Ok(Change::Update { relation, old, new }),
        (Op::Delete, Some(old), None) => Ok(Change::Delete { relation, old }),
        (Op::Truncate, None, None) => Ok(Change::Truncate { relation }),
        (Op::Read, None, Some(row)) => Ok(Change::Read { relation, row }),
        _ => Err(DecodeError { message, at: 0, fault: Fault::NotAChange }),
    }
}

/// The name of the message that carries the operation.
const fn name(op: Op) -> &'static str {
    match op {
        Op::Insert => "Insert",
        Op::Update => "Update",
        Op::Delete => "Delete",
        Op::Truncate => "Truncate",
        Op::Read => "snapshot row",
        Op::Message => "Message",
    }
}

/// A fault in a tuple, `at` bytes into it.
#[cold]
const fn tuple_error(at: usize, fault: Fault) -> DecodeError {
    DecodeError { message: "TupleData", at, fault }
}
