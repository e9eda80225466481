//! The header `walbridge.exact`: what a format cannot carry exactly, so that our own reader gets back what PostgreSQL sent.
//!
//! Entries one behind the other, each a letter and what belongs to it, lengths as LEB128:
//! - `t` or `T`: a column's index, a length and its text; `u` or `U`: a column's index, whose value is unchanged TOAST. Small
//!   letters are the new row's (of a delete the old one's, which is its only one), capitals the old row's of an update;
//! - `K` or `F`: a length and the old row's `TupleData` in text, its key or the full row: of an update that became two records.
//!   In front of nothing (length 0): only which of the two the old row in the value is, where the table does not tell.
//!
//! A column without an entry is in the value, exactly.

use std::collections::HashMap;

use super::{FormatError, number};
use crate::decode::tuple::OldKind;
use crate::event::{Relation, ReplicaIdentity};

/// The header's name.
pub const HEADER: &str = "walbridge.exact";

/// Which row of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Side {
    New,
    Old,
}

/// Adds a column's text.
pub(super) fn put_text(side: Side, column: usize, text: &[u8], out: &mut Vec<u8>) {
    out.push(if side == Side::New { b't' } else { b'T' });
    put_length(column, out);
    put_length(text.len(), out);
    out.extend_from_slice(text);
}

/// Adds a column whose value was not sent.
pub(super) fn put_unchanged(side: Side, column: usize, out: &mut Vec<u8>) {
    out.push(if side == Side::New { b'u' } else { b'U' });
    put_length(column, out);
}

/// What an old row of this table is, where no header tells.
pub(super) fn expected_kind(relation: &Relation) -> OldKind {
    if relation.identity == ReplicaIdentity::Full { OldKind::Full } else { OldKind::Key }
}

/// Adds an old row, or only what it is.
pub(super) fn put_old(kind: OldKind, tuple: &[u8], out: &mut Vec<u8>) {
    out.push(if kind == OldKind::Key { b'K' } else { b'F' });
    put_length(tuple.len(), out);
    out.extend_from_slice(tuple);
}

fn put_length(length: usize, out: &mut Vec<u8>) {
    number::push_varint(length as u64, out);
}

/// What a record's header says.
#[derive(Debug, Default)]
pub(super) struct Exact<'a> {
    /// Texts by row and column; `None`: unchanged.
    pub(super) cells: HashMap<(Side, usize), Option<&'a [u8]>>,
    /// The old row.
    pub(super) old: Option<(OldKind, &'a [u8])>,
}

impl<'a> Exact<'a> {
    /// What a record's header says, which most records do not have.
    pub(super) fn of(header: Option<&'a [u8]>) -> Result<Self, FormatError> {
        let exact = header.map_or_else(|| Some(Exact::default()), Exact::read);
        exact.ok_or(FormatError::Record("its header walbridge.exact is damaged"))
    }

    /// Reads a header's value; `None` if it is not one of ours.
    pub(super) fn read(mut rest: &'a [u8]) -> Option<Self> {
        let mut exact = Exact::default();
        while let Some((&letter, after)) = rest.split_first() {
            rest = after;
            let side = if letter.is_ascii_lowercase() { Side::New } else { Side::Old };
            match letter {
                b't' | b'T' => {
                    let column = take_length(&mut rest)?;
                    exact.cells.insert((side, column), Some(take(&mut rest)?));
                }
                b'u' | b'U' => drop(exact.cells.insert((side, take_length(&mut rest)?), None)),
                b'K' => exact.old = Some((OldKind::Key, take(&mut rest)?)),
                b'F' => exact.old = Some((OldKind::Full, take(&mut rest)?)),
                _ => return None,
            }
        }
        Some(exact)
    }
}

fn take<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = take_length(rest)?;
    let (bytes, after) = rest.split_at_checked(length)?;
    *rest = after;
    Some(bytes)
}

fn take_length(rest: &mut &[u8]) -> Option<usize> {
    usize::try_from(number::take_varint(rest)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_put_comes_back_and_a_cut_header_is_refused() {
        let mut header = Vec::new();
        put_text(Side::New, 300, b"1.50", &mut header);
        put_unchanged(Side::Old, 7, &mut header);
        put_old(OldKind::Full, &[0, 1, b'n'], &mut header);
        let exact = Exact::read(&header).expect("our own header");
        assert_eq!(exact.cells.get(&(Side::New, 300)), Some(&Some(&b"1.50"[..])));
        assert_eq!(exact.cells.get(&(Side::Old, 7)), Some(&None));
        assert_eq!(exact.old, Some((OldKind::Full, &[0, 1, b'n'][..])));
        let whole = (1..header.len()).filter(|&end| Exact::read(&header[..end]).is_some()).count();
        assert_eq!(whole, 2, "only where an entry ends");
        assert!(Exact::read(b"x").is_none());
    }
}
