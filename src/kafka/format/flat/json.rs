//! A flat record in JSON, its values as everywhere in walbridge (`docs/types.md`):
//! `{"__op":"insert","__table":"public.t","__position":"1:0/16B3748#0","__xid":742,"__time":"…","id":1,"name":"Zoë"}`.
//!
//! A column whose value PostgreSQL did not send is absent. Of a deleted row there is what was logged: its key, or all.

use super::About;
use crate::decode::json;
use crate::event::{Op, Relation, Scalar, Shape};
use crate::kafka::format::{Records, Unit, number};

/// Columns, prepared.
#[derive(Debug)]
pub(super) struct Writer {
    /// `,"name":` and how to read the text.
    columns: Vec<(Vec<u8>, Shape)>,
}

impl Writer {
    pub(super) fn new(relation: &Relation) -> Self {
        let member = |name: &str| {
            let mut member = vec![b','];
            json::write_string(name.as_bytes(), &mut member);
            member.push(b':');
            member
        };
        Writer { columns: relation.columns.iter().map(|column| (member(&column.name), column.shape)).collect() }
    }

    /// Writes a column as a member behind others.
    pub(super) fn column(&self, index: usize, text: Option<&[u8]>, out: &mut Vec<u8>) -> bool {
        let Some((member, shape)) = self.columns.get(index) else { return false };
        out.extend_from_slice(member);
        let Some(text) = text else {
            out.extend_from_slice(b"null");
            return true;
        };
        let start = out.len();
        json::write_cell(*shape, text, out);
        match shape {
            // Embedded byte for byte, or not exact: and then a string may be either.
            Shape::Scalar(Scalar::Json) => out.get(start..) == Some(text) && text != b"null",
            Shape::Array { element: Scalar::Json, .. } => false,
            _ => std::str::from_utf8(text).is_ok(),
        }
    }

    /// Writes a key's column; the first opens the object.
    pub(super) fn key_column(&self, place: usize, index: usize, text: Option<&[u8]>, out: &mut Vec<u8>) -> bool {
        let start = out.len();
        let exact = self.column(index, text, out);
        if let Some(first) = out.get_mut(start).filter(|_| place == 0) {
            *first = b'{';
        }
        exact
    }
}

/// Opens the object with what happened and where.
pub(super) fn about(About { unit, ordinal, op }: About<'_>, table: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"__op\":\"");
    out.extend_from_slice(op.as_str().as_bytes());
    out.extend_from_slice(b"\",\"__table\":");
    json::write_string(table.as_bytes(), out);
    out.extend_from_slice(b",\"__position\":\"");
    out.extend_from_slice(unit.position.as_bytes());
    number::push_unsigned(ordinal, out);
    out.extend_from_slice(b"\",\"__xid\":");
    number::push_unsigned(u64::from(unit.xid), out);
    out.extend_from_slice(b",\"__time\":\"");
    out.extend_from_slice(unit.committed_text());
    out.push(b'"');
}

/// Adds the record of a logical message: its prefix, and its content as text or, where it is none, in hex.
pub(super) fn message(unit: &Unit, ordinal: u64, prefix: &str, content: &[u8], out: &mut Records) {
    let (value, first) = (out.mark(), out.len());
    let op = Op::Message;
    about(About { unit, ordinal, op }, "", &mut out.bytes);
    out.bytes.extend_from_slice(b",\"prefix\":");
    json::write_string(prefix.as_bytes(), &mut out.bytes);
    out.bytes.extend_from_slice(b",\"content\":");
    if std::str::from_utf8(content).is_ok() {
        json::write_string(content, &mut out.bytes);
        out.bytes.extend_from_slice(b",\"content_encoding\":\"utf-8\"}");
    } else {
        json::write_hex(content, &mut out.bytes);
        out.bytes.extend_from_slice(b",\"content_encoding\":\"hex\"}");
    }
    let (value, key) = (out.since(value), out.mark());
    out.bytes.extend_from_slice(b"{\"prefix\":");
    json::write_string(prefix.as_bytes(), &mut out.bytes);
    out.bytes.push(b'}');
    let key = out.since(key);
    out.push(Some(key), Some(value), []);
    unit.tell(ordinal, op, prefix, first, out);
}
