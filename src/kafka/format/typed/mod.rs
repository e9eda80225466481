//! Columns and values of the formats that have schemas, Avro and Protobuf: which type of theirs a column has, a value of
//! PostgreSQL's as a value of that type, and back.
//!
//! Chosen so that nobody who reads a topic needs to know PostgreSQL or Debezium for the common types, and nothing of the others is
//! lost: what has no type of its own there is PostgreSQL's text. Every writer answers whether the text can be told from what it
//! wrote, as in `debezium::value`. What such a format writes around its values is a [`Put`]; the rest is here, once for all.

mod cell;
mod envelope;
mod read;
mod write;

pub(super) use self::cell::{Around, Column};
pub(super) use self::envelope::{Envelope, Member, message};
pub(super) use self::read::{Value, row};
use super::kind::Kind;
use crate::decode::shape;
use crate::event;

/// Of `money`, in PostgreSQL's own unit: cents of 64 bits.
pub(super) const MONEY: (usize, usize) = (19, 2);

/// The type of a column's values, or of an array's elements.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Type {
    /// `boolean`
    Boolean,
    /// `bit(1)`: a boolean too, but for its text.
    Bit,
    /// `smallint`, `integer`.
    Int,
    /// `bigint`, `oid`, and domains over integers, whose width the log does not know.
    Long,
    Float,
    /// `double precision`, and domains over both kinds of floats.
    Double,
    Decimal {
        precision: usize,
        scale: usize,
    },
    Money,
    Text(Meaning),
    Bytes,
    Date,
    Time,
    Timestamp,
    TimestampTz,
    /// With the character between its elements.
    Array(Box<Type>, u8),
}

/// What a text is, where readers have a word for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    Plain,
    Json,
    Uuid,
}

impl Type {
    /// Text that is nothing but text.
    pub(super) const PLAIN_TEXT: Type = Type::Text(Meaning::Plain);

    /// Of a column.
    pub(super) fn of(column: &event::Column) -> Type {
        let type_oid = shape::element(column.type_oid).map_or(column.type_oid, |(element, _)| element);
        Type::of_kind(&Kind::of(column), type_oid)
    }

    fn of_kind(kind: &Kind, type_oid: u32) -> Type {
        match kind {
            Kind::Boolean => Type::Boolean,
            Kind::Bit => Type::Bit,
            Kind::Integer if matches!(type_oid, 21 | 23) => Type::Int,
            Kind::Integer => Type::Long,
            Kind::Float if type_oid == 700 => Type::Float,
            Kind::Float => Type::Double,
            Kind::Decimal { precision, scale } => Type::Decimal { precision: *precision, scale: *scale },
            Kind::Money | Kind::PlainMoney => Type::Money,
            Kind::Bytea => Type::Bytes,
            Kind::Date => Type::Date,
            Kind::TimeMillis | Kind::TimeMicros => Type::Time,
            Kind::TimestampMillis | Kind::TimestampMicros => Type::Timestamp,
            Kind::TimestampTz(_) => Type::TimestampTz,
            Kind::Json => Type::Text(Meaning::Json),
            Kind::Text if type_oid == 2950 => Type::Text(Meaning::Uuid),
            Kind::Array(element, delimiter) => Type::Array(Box::new(Type::of_kind(element, type_oid)), *delimiter),
            Kind::Text
            | Kind::Numeric
            | Kind::TimeTz
            | Kind::Interval
            | Kind::Bits(_)
            | Kind::VarBits
            | Kind::Point
            | Kind::Segment
            | Kind::Box
            | Kind::Path
            | Kind::Polygon
            | Kind::Circle
            | Kind::Line => Type::Text(Meaning::Plain),
        }
    }
}

/// How values, and the members of the envelope around them, stand in a record's bytes.
pub(super) trait Put: std::fmt::Debug {
    /// In front of every key and value: of which schema it is. The schema's number is filled in later.
    const PREFIX: &'static [u8];

    fn boolean(value: bool, out: &mut Vec<u8>);
    /// Of 32 or 64 bits, and dates and times.
    fn integer(value: i64, out: &mut Vec<u8>);
    fn float(value: f32, out: &mut Vec<u8>);
    fn double(value: f64, out: &mut Vec<u8>);
    /// Text too.
    fn bytes(value: &[u8], out: &mut Vec<u8>);
    /// A finite decimal, from its digits with the point.
    fn decimal(text: &[u8], out: &mut Vec<u8>);
    /// An element begins that is not NULL. Its value follows, and then [`Put::close_element`] with what this gives.
    fn open_element(element: &Type, out: &mut Vec<u8>) -> usize;
    /// An element ends.
    fn close_element(opened: usize, out: &mut Vec<u8>);
    /// An element that is NULL.
    fn null_element(out: &mut Vec<u8>);
    /// Makes an array of so many elements that were written from `start` on.
    fn array(start: usize, count: usize, out: &mut Vec<u8>);

    /// A member that is a message of its own begins. Its members follow, and then [`Put::close`] with what this gives.
    fn open(member: Member, out: &mut Vec<u8>) -> usize;
    /// It ends. Gives by how much what is in it had to move to make room for its length.
    fn close(opened: usize, out: &mut Vec<u8>) -> usize;
    /// In front of a member that is an integer.
    fn integer_member(member: Member, out: &mut Vec<u8>);
    /// In front of a member that is text or bytes.
    fn bytes_member(member: Member, out: &mut Vec<u8>);
    /// A nullable member that is not there.
    fn null_member(out: &mut Vec<u8>);
}
