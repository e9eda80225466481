//! Values in their types' binary form (`typsend`), written as PostgreSQL's own text (`typoutput`), byte for byte what the
//! stream would have carried without `binary 'true'`, under the settings that our sessions pin.
//!
//! A log keeps cells as they came. They are rendered here, once, when a change is read back, so that everything behind the log
//! knows text only. That must be possible without a catalog: a built-in type is known by its OID, which is the same
//! everywhere; a type of the user's only if its column's [`Shape`] tells all ([`shape_tells`]). A stream with any other type
//! is asked for as text. Composites are such: a new attribute would come unannounced.

mod geometry;
mod input;
mod moment;
mod money;
mod nested;
mod network;
mod number;
mod words;

use self::input::Input;
use super::{DecodeError, Fault};
use crate::event::{Cell, Cells, Column, Relation, Row, RowBuilder, Scalar, Shape};

/// How to read one value that holds no others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Boolean,
    Text,
    /// `json`: text; `jsonb`: text behind a version, 1, which no JSON begins with.
    Json,
    /// `jsonpath`: text behind a version.
    VersionedText,
    Bytea,
    /// Two, four or eight bytes.
    Integer,
    Unsigned,
    /// Four or eight bytes.
    Float,
    Numeric,
    Money,
    Date,
    Time,
    TimeTz,
    Timestamp,
    TimestampTz,
    Interval,
    Uuid,
    Lsn,
    TupleId,
    Snapshot,
    Network,
    Hardware,
    Bits,
    Point,
    Segment,
    Path,
    Box,
    Polygon,
    Line,
    Circle,
    TextSearch,
    /// `int2vector`, `oidvector`: an array on the wire, words in text.
    IntegerVector,
    UnsignedVector,
}

/// How to read a column's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    One(Kind),
    Range(Kind),
    Multirange(Kind),
    Array(Element, u8),
}

/// What an array may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Element {
    One(Kind),
    Range(Kind),
    Multirange(Kind),
}

/// Whether values of this built-in type, or of an array of one, can be rendered. Those that cannot: types whose text is a name
/// that only the catalog knows (`regclass` and its like), `"char"`, whose text depends on the server's version, `tsquery`,
/// and what no table has.
#[must_use]
pub fn knows(type_oid: u32) -> bool {
    form(type_oid).is_some()
}

/// Whether the shape of a domain over this built-in type, or of an array of such domains, is enough to render it.
#[must_use]
pub fn shape_tells(base_oid: u32) -> bool {
    match (super::shape::builtin(base_oid), kind(base_oid)) {
        (Some(Shape::Scalar(scalar)), Some(kind)) => kind_of_shape(scalar) == kind,
        _ => false,
    }
}

/// The row with its binary cells as text; `None` if it has none.
///
/// # Errors
/// A cell that is not in its type's binary form.
pub fn to_text(relation: &Relation, tuple: &[u8]) -> Result<Option<Row>, DecodeError> {
    let cells = || Cells::of_tuple(tuple);
    if !cells().any(|cell| matches!(cell, Cell::Binary(_))) {
        return Ok(None);
    }
    let mut builder = RowBuilder::default();
    let mut text = Vec::new();
    for (column, cell) in relation.columns.iter().zip(cells()) {
        let Cell::Binary(bytes) = cell else {
            builder.push(cell);
            continue;
        };
        text.clear();
        render(column, bytes, &mut text).ok_or(DecodeError {
            message: "TupleData",
            at: 0,
            fault: Fault::BinaryValue { type_oid: column.type_oid },
        })?;
        builder.push(Cell::Text(&text));
    }
    Ok(Some(builder.finish()))
}

/// Writes a value's text; `None` if the bytes are not of its type.
pub fn render(column: &Column, bytes: &[u8], out: &mut Vec<u8>) -> Option<()> {
    render_form(form(column.type_oid).unwrap_or_else(|| form_of_shape(column.shape)), bytes, out)
}

/// Writes the text of a built-in type's value; `None` if the bytes are not of it, or it is not known.
pub fn render_builtin(type_oid: u32, bytes: &[u8], out: &mut Vec<u8>) -> Option<()> {
    render_form(form(type_oid)?, bytes, out)
}

fn render_form(form: Form, bytes: &[u8], out: &mut Vec<u8>) -> Option<()> {
    match form {
        Form::One(kind) => write(kind, bytes, out),
        Form::Range(kind) => nested::range(kind, bytes, out),
        Form::Multirange(kind) => nested::multirange(kind, bytes, out),
        Form::Array(element, delimiter) => nested::array(element, delimiter, bytes, out),
    }
}

/// Writes one value that holds no others.
fn write(kind: Kind, bytes: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let mut input = Input::new(bytes);
    match kind {
        Kind::Text => out.extend_from_slice(input.rest()),
        Kind::Json => out.extend_from_slice(bytes.strip_prefix(&[1]).unwrap_or(bytes)),
        Kind::VersionedText => out.extend_from_slice(bytes.strip_prefix(&[1])?),
        Kind::Boolean => out.push(if input.u8()? == 0 { b'f' } else { b't' }),
        Kind::Bytea => words::hex(input.rest(), out),
        Kind::Integer => number::integer(bytes, out)?,
        Kind::Unsigned => number::unsigned(bytes, out)?,
        Kind::Float => number::float(bytes, out)?,
        Kind::Numeric => number::numeric(&mut input, out)?,
        Kind::Money => money::write(input.i64()?, out),
        Kind::Date => moment::date(input.i32()?, out),
        Kind::Time => moment::time(input.i64()?, out)?,
        Kind::TimeTz => moment::timetz(&mut input, out)?,
        Kind::Timestamp => moment::timestamp(input.i64()?, false, out)?,
        Kind::TimestampTz => moment::timestamp(input.i64()?, true, out)?,
        Kind::Interval => moment::interval(&mut input, out)?,
        Kind::Uuid => words::uuid(input.array()?, out),
        Kind::Lsn => words::lsn(input.u64()?, out),
        Kind::TupleId => words::tuple_id(&mut input, out)?,
        Kind::Snapshot => words::snapshot(&mut input, out)?,
        Kind::Network => network::inet(&mut input, out)?,
        Kind::Hardware => network::macaddr(bytes, out)?,
        Kind::Bits => words::bits(&mut input, out)?,
        Kind::Point => geometry::points(1, &mut input, out)?,
        Kind::Segment => geometry::segment(&mut input, out)?,
        Kind::Path => geometry::path(&mut input, out)?,
        Kind::Box => geometry::points(2, &mut input, out)?,
        Kind::Polygon => geometry::polygon(&mut input, out)?,
        Kind::Line => geometry::line(&mut input, out)?,
        Kind::Circle => geometry::circle(&mut input, out)?,
        Kind::TextSearch => words::text_search(&mut input, out)?,
        Kind::IntegerVector => return nested::vector(Kind::Integer, bytes, out),
        Kind::UnsignedVector => return nested::vector(Kind::Unsigned, bytes, out),
    }
    let taken_whole = matches!(
        kind,
        Kind::Json | Kind::VersionedText | Kind::Integer | Kind::Unsigned | Kind::Float | Kind::Hardware
    );
    (taken_whole || input.is_empty()).then_some(())
}

/// For a type that is not built in. Whoever asked for binary values has seen to it that the shape tells all.
const fn form_of_shape(shape: Shape) -> Form {
    match shape {
        Shape::Scalar(scalar) => Form::One(kind_of_shape(scalar)),
        Shape::Array { element, delimiter } => Form::Array(Element::One(kind_of_shape(element)), delimiter),
    }
}

const fn kind_of_shape(scalar: Scalar) -> Kind {
    match scalar {
        Scalar::Text => Kind::Text,
        Scalar::Boolean => Kind::Boolean,
        Scalar::Integer => Kind::Integer,
        Scalar::Float => Kind::Float,
        Scalar::Numeric => Kind::Numeric,
        Scalar::Json => Kind::Json,
        Scalar::Timestamp => Kind::Timestamp,
        Scalar::TimestampTz => Kind::TimestampTz,
        Scalar::Date => Kind::Date,
        Scalar::Time => Kind::Time,
        Scalar::TimeTz => Kind::TimeTz,
        Scalar::Bytea => Kind::Bytea,
    }
}

/// By OID, of a built-in type or an array of one.
fn form(type_oid: u32) -> Option<Form> {
    if let Some(kind) = kind(type_oid) {
        return Some(Form::One(kind));
    }
    if let Some(subtype) = range(type_oid) {
        return Some(Form::Range(subtype));
    }
    if let Some(subtype) = multirange(type_oid) {
        return Some(Form::Multirange(subtype));
    }
    let (element, delimiter) = super::shape::element(type_oid)?;
    let element = kind(element)
        .map(Element::One)
        .or_else(|| range(element).map(Element::Range))
        .or_else(|| multirange(element).map(Element::Multirange))?;
    Some(Form::Array(element, delimiter))
}

/// Built-in types by OID (`src/include/catalog/pg_type.dat`).
const fn kind(oid: u32) -> Option<Kind> {
    Some(match oid {
        16 => Kind::Boolean,
        17 => Kind::Bytea,
        // name, text, xml, bpchar, varchar, refcursor
        19 | 25 | 142 | 1042 | 1043 | 1790 => Kind::Text,
        20 | 21 | 23 => Kind::Integer,
        22 => Kind::IntegerVector,
        // oid, xid, cid, xid8
        26 | 28 | 29 | 5069 => Kind::Unsigned,
        27 => Kind::TupleId,
        30 => Kind::UnsignedVector,
        114 | 3802 => Kind::Json,
        4072 => Kind::VersionedText,
        600 => Kind::Point,
        601 => Kind::Segment,
        602 => Kind::Path,
        603 => Kind::Box,
        604 => Kind::Polygon,
        628 => Kind::Line,
        718 => Kind::Circle,
        // cidr, inet
        650 | 869 => Kind::Network,
        774 | 829 => Kind::Hardware,
        700 | 701 => Kind::Float,
        790 => Kind::Money,
        1082 => Kind::Date,
        1083 => Kind::Time,
        1114 => Kind::Timestamp,
        1184 => Kind::TimestampTz,
        1186 => Kind::Interval,
        1266 => Kind::TimeTz,
        1560 | 1562 => Kind::Bits,
        1700 => Kind::Numeric,
        2950 => Kind::Uuid,
        // txid_snapshot, pg_snapshot
        2970 | 5038 => Kind::Snapshot,
        3220 => Kind::Lsn,
        3614 => Kind::TextSearch,
        _ => return None,
    })
}

/// The subtype of a range.
const fn range(oid: u32) -> Option<Kind> {
    Some(match oid {
        3904 | 3926 => Kind::Integer,
        3906 => Kind::Numeric,
        3908 => Kind::Timestamp,
        3910 => Kind::TimestampTz,
        3912 => Kind::Date,
        _ => return None,
    })
}

/// The subtype of a multirange.
const fn multirange(oid: u32) -> Option<Kind> {
    Some(match oid {
        4451 | 4536 => Kind::Integer,
        4532 => Kind::Numeric,
        4533 => Kind::Timestamp,
        4534 => Kind::TimestampTz,
        4535 => Kind::Date,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::event::{ReplicaIdentity, TableName};

    fn column(type_oid: u32) -> Column {
        let shape = super::super::shape::builtin(type_oid).unwrap_or(Shape::TEXT);
        Column { name: "c".to_owned(), type_oid, type_modifier: -1, shape }
    }

    fn text(type_oid: u32, bytes: &[u8]) -> Option<String> {
        let mut out = Vec::new();
        render(&column(type_oid), bytes, &mut out)?;
        Some(String::from_utf8_lossy(&out).into_owned())
    }

    /// The integration tests have the server's own word for every type; this is what a glance should tell.
    #[test]
    fn values_become_the_text_that_postgres_writes() {
        let cases: [(u32, &[u8], &str); 12] = [
            (16, &[1], "t"),
            (21, &(-32_768_i16).to_be_bytes(), "-32768"),
            (20, &i64::MIN.to_be_bytes(), "-9223372036854775808"),
            (701, &1e15_f64.to_be_bytes(), "1e+15"),
            (701, &0.0001_f64.to_be_bytes(), "0.0001"),
            // Halfway to its neighbour, and halfway between two decimals.
            (701, &9.007_199_254_740_992e22_f64.to_be_bytes(), "9.007199254740992e+22"),
            (701, &2.980_232_238_769_531_2e-8_f64.to_be_bytes(), "2.9802322387695312e-08"),
            (1700, &[0, 2, 0, 0, 0x40, 0, 0, 3, 0, 12, 0x13, 0x88], "-12.500"),
            (1082, &(-730_120_i32).to_be_bytes(), "0001-12-31 BC"),
            (1184, &i64::MIN.to_be_bytes(), "-infinity"),
            (
                1186,
                &[[0; 8].as_slice(), &1_i32.to_be_bytes(), &(-14_i32).to_be_bytes()].concat(),
                "-1 years -2 mons +1 day",
            ),
            (3802, b"\x01{}", "{}"),
        ];
        for (type_oid, bytes, expected) in cases {
            assert_eq!(text(type_oid, bytes).as_deref(), Some(expected));
        }
    }

    #[test]
    fn types_of_users_are_read_by_their_shape() {
        // One dimension, no NULL, the element's type, one element from 1 on, of three bytes.
        let header: Vec<u8> = [1, 0, 16_384, 1, 1, 3_i32].into_iter().flat_map(i32::to_be_bytes).collect();
        let enums = [&header[..], b"a b"].concat();
        let column = Column { shape: Shape::Array { element: Scalar::Text, delimiter: b',' }, ..column(16_390) };
        let mut out = Vec::new();
        assert_eq!(render(&column, &enums, &mut out), Some(()));
        assert_eq!(out, b"{\"a b\"}");
    }

    #[test]
    fn a_row_without_binary_cells_is_left_as_it_is() {
        let name = TableName { schema: "public".into(), table: "t".into() };
        let (identity, key) = (ReplicaIdentity::Default, vec![0]);
        let relation = Relation { oid: 1, name, identity, columns: vec![column(23), column(25)], key };
        let row = |cells: [Cell<'_>; 2]| {
            let mut builder = RowBuilder::default();
            cells.into_iter().for_each(|cell| builder.push(cell));
            builder.finish()
        };
        let as_text = row([Cell::Text(b"7"), Cell::Unchanged]);
        assert_eq!(to_text(&relation, as_text.as_bytes()), Ok(None));
        let as_binary = row([Cell::Binary(&[0, 0, 0, 7]), Cell::Unchanged]);
        assert_eq!(to_text(&relation, as_binary.as_bytes()), Ok(Some(as_text)));
        let damaged = row([Cell::Binary(&[7]), Cell::Null]);
        let error = to_text(&relation, damaged.as_bytes()).expect_err("no int4");
        assert_eq!(error.fault, Fault::BinaryValue { type_oid: 23 });
    }

    proptest! {
        #[test]
        fn any_bytes_are_rendered_or_refused(
            type_oid in prop_oneof![16_u32..30, 600_u32..900, 1000_u32..1300, 3600_u32..6200, Just(1700), Just(2950)],
            bytes in prop::collection::vec(prop_oneof![Just(0_u8), Just(1), Just(0xFF), Just(0x7F), any::<u8>()], 0..80),
        ) {
            text(type_oid, &bytes);
        }
    }
}
