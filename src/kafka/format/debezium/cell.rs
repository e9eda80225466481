//! One column of a row: its name, its value, and what the value does not tell exactly.

use super::super::envelope::{UNAVAILABLE, WriteColumn};
use super::super::exact::{self, Side};
use super::super::kind::{Kind, is_plain_text};
use super::super::moment::{DAY, DAYS_TO_2000, Moment};
use super::super::{Records, base64, number};
use super::{member, value};
use crate::decode::{DecodeError, Fault, binary, json};
use crate::event::{self, Cell};

/// A column, prepared.
#[derive(Debug)]
pub(in crate::kafka::format) struct Column {
    column: event::Column,
    kind: Kind,
    form: Form,
    /// `"name":` with a comma in front of all but the first.
    prefix: Vec<u8>,
    /// What stands for unchanged TOAST.
    placeholder: Vec<u8>,
    key_slot: Option<usize>,
}

/// Binary forms that need no detour by PostgreSQL's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Boolean,
    Integer,
    Unsigned,
    Text,
    Bytea,
    Date,
    Time,
    Timestamp,
    Other,
}

impl WriteColumn for Column {
    fn key_slot(&self) -> Option<usize> {
        self.key_slot
    }

    #[inline]
    fn write(&self, side: Side, index: usize, cell: Cell<'_>, out: &mut Records) -> Result<usize, DecodeError> {
        out.bytes.extend_from_slice(&self.prefix);
        let start = out.bytes.len();
        match cell {
            Cell::Null => out.bytes.extend_from_slice(b"null"),
            Cell::Unchanged => {
                out.bytes.extend_from_slice(&self.placeholder);
                exact::put_unchanged(side, index, &mut out.exact);
            }
            Cell::Text(text) => {
                if !value::write(&self.kind, text, &mut out.bytes) {
                    exact::put_text(side, index, text, &mut out.exact);
                }
            }
            Cell::Binary(bytes) => {
                let written = match self.form {
                    Form::Other => self.by_text(side, index, bytes, out),
                    form => match self.directly(form, bytes, &mut out.bytes) {
                        Some(true) => Some(()),
                        // Rare: told again in a way that keeps the text.
                        _ => {
                            out.bytes.truncate(start);
                            self.by_text(side, index, bytes, out)
                        }
                    },
                };
                written.ok_or(DecodeError {
                    message: "TupleData",
                    at: 0,
                    fault: Fault::BinaryValue { type_oid: self.column.type_oid },
                })?;
            }
        }
        Ok(start)
    }
}

impl Column {
    pub(super) fn new(column: &event::Column, kind: Kind, index: usize, key_slot: Option<usize>) -> Self {
        let mut prefix = member(&column.name, index);
        if index == 0 {
            prefix.remove(0);
        }
        let placeholder = placeholder(&kind);
        Column { form: form(column, &kind), column: column.clone(), kind, prefix, placeholder, key_slot }
    }

    fn by_text(&self, side: Side, index: usize, bytes: &[u8], out: &mut Records) -> Option<()> {
        out.scratch.clear();
        binary::render(&self.column, bytes, &mut out.scratch)?;
        if !value::write(&self.kind, &out.scratch, &mut out.bytes) {
            exact::put_text(side, index, &out.scratch, &mut out.exact);
        }
        Some(())
    }

    fn directly(&self, form: Form, bytes: &[u8], out: &mut Vec<u8>) -> Option<bool> {
        let four = || bytes.try_into().ok().map(i32::from_be_bytes);
        let eight = || bytes.try_into().ok().map(i64::from_be_bytes);
        match form {
            Form::Boolean => value::put_boolean(*bytes.first()? != 0, out),
            Form::Integer => number::push_integer(
                match bytes.len() {
                    2 => i64::from(i16::from_be_bytes(bytes.try_into().ok()?)),
                    4 => i64::from(four()?),
                    _ => eight()?,
                },
                out,
            ),
            Form::Unsigned => number::push_unsigned(u64::from(u32::from_be_bytes(bytes.try_into().ok()?)), out),
            Form::Text => return Some(json::write_string(bytes, out)),
            Form::Bytea => {
                out.push(b'"');
                base64::encode(bytes, out);
                out.push(b'"');
            }
            Form::Date => {
                return Some(value::put_date(
                    match four()? {
                        i32::MAX => Moment::Future,
                        i32::MIN => Moment::Past,
                        days => Moment::At(i64::from(days) + DAYS_TO_2000, 0),
                    },
                    out,
                ));
            }
            Form::Time => return Some(value::put_time(&self.kind, eight()?, out)),
            Form::Timestamp => {
                let moment = match eight()? {
                    i64::MAX => Moment::Future,
                    i64::MIN => Moment::Past,
                    micros => Moment::At(micros.div_euclid(DAY) + DAYS_TO_2000, micros.rem_euclid(DAY)),
                };
                let put = if self.kind == Kind::TimestampMillis { value::put_millis } else { value::put_micros };
                return Some(put(moment, out));
            }
            Form::Other => return None,
        }
        Some(true)
    }
}

/// Which of the direct forms a column's binary values have.
fn form(column: &event::Column, kind: &Kind) -> Form {
    match (kind, column.type_oid) {
        (Kind::Boolean, _) => Form::Boolean,
        (Kind::Integer, 26) => Form::Unsigned,
        (Kind::Integer, _) => Form::Integer,
        (kind, type_oid) if is_plain_text(kind, type_oid) => Form::Text,
        (Kind::Bytea, _) => Form::Bytea,
        (Kind::Date, _) => Form::Date,
        (Kind::TimeMillis | Kind::TimeMicros, _) => Form::Time,
        (Kind::TimestampMillis | Kind::TimestampMicros, _) => Form::Timestamp,
        _ => Form::Other,
    }
}

/// The connector's word for a value that it does not have, in the column's type; null where the type has no room for words.
fn placeholder(kind: &Kind) -> Vec<u8> {
    let mut base64 = Vec::new();
    base64::encode(UNAVAILABLE.as_bytes(), &mut base64);
    let codes = || UNAVAILABLE.bytes().map(|byte| byte.to_string()).collect::<Vec<_>>().join(",");
    match kind {
        Kind::Text | Kind::Json => format!("\"{UNAVAILABLE}\"").into_bytes(),
        Kind::Bytea => [b"\"", base64.as_slice(), b"\""].concat(),
        Kind::Array(element, _) => match **element {
            Kind::Text | Kind::Json => format!("[\"{UNAVAILABLE}\"]").into_bytes(),
            Kind::Integer => format!("[{}]", codes()).into_bytes(),
            _ => b"null".to_vec(),
        },
        _ => b"null".to_vec(),
    }
}
