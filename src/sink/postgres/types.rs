//! Which type a column has in the target, and which others can hold it.

use crate::event::{Column, Scalar, Shape};

/// Types below this number are the same ones in every server; those above are made by users, extensions, or `initdb`.
const COMMON_BELOW: u32 = 10_000;
/// No limit on length, precision or scale.
const UNLIMITED: i32 = -1;

/// Types whose values name things of the source's catalog, which the target's may not have: `regproc` and its like, and `aclitem`, which names roles.
const NAMES: [u32; 12] = [24, 1033, 2202, 2203, 2204, 2205, 2206, 3734, 3769, 4089, 4096, 4191];
/// Arrays of those.
const NAME_ARRAYS: [u32; 12] = [1008, 1034, 2207, 2208, 2209, 2210, 2211, 3735, 3770, 4090, 4097, 4192];

/// A type and its modifier, as `format_type` takes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Type {
    pub(super) oid: u32,
    pub(super) modifier: i32,
}

/// The type that the column gets in a table of ours: its own where every server has that one, else what its text is like. Of a domain that is the type
/// it is based on; enums, composites and types of extensions are text.
pub(super) fn of(column: &Column) -> Type {
    if NAMES.contains(&column.type_oid) {
        return Type { oid: TEXT, modifier: UNLIMITED };
    }
    if NAME_ARRAYS.contains(&column.type_oid) {
        return Type { oid: TEXTS, modifier: UNLIMITED };
    }
    if column.type_oid < COMMON_BELOW {
        return Type { oid: column.type_oid, modifier: column.type_modifier };
    }
    let (scalar, array) = match column.shape {
        Shape::Scalar(scalar) => (scalar, false),
        Shape::Array { element, .. } => (element, true),
    };
    let (one, many) = match scalar {
        Scalar::Text => (TEXT, TEXTS),
        Scalar::Boolean => (16, 1000),
        Scalar::Integer => (INT8, 1016),
        Scalar::Float => (FLOAT8, 1022),
        Scalar::Numeric => (NUMERIC, 1231),
        Scalar::Json => (JSON, 199),
        Scalar::Timestamp => (TIMESTAMP, 1115),
        Scalar::TimestampTz => (TIMESTAMPTZ, 1185),
        Scalar::Date => (1082, 1182),
        Scalar::Time => (TIME, 1183),
        Scalar::TimeTz => (TIMETZ, 1270),
        Scalar::Bytea => (17, 1001),
    };
    Type { oid: if array { many } else { one }, modifier: UNLIMITED }
}

const INT2: u32 = 21;
const INT4: u32 = 23;
const INT8: u32 = 20;
const OID: u32 = 26;
const FLOAT4: u32 = 700;
const FLOAT8: u32 = 701;
const NUMERIC: u32 = 1700;
const TEXT: u32 = 25;
const TEXTS: u32 = 1009;
const NAME: u32 = 19;
const VARCHAR: u32 = 1043;
const BPCHAR: u32 = 1042;
const BIT: u32 = 1560;
const VARBIT: u32 = 1562;
const JSON: u32 = 114;
const JSONB: u32 = 3802;
const TIME: u32 = 1083;
const TIMETZ: u32 = 1266;
const TIMESTAMP: u32 = 1114;
const TIMESTAMPTZ: u32 = 1184;

/// Whether a column of the target holds every value that the source's column can have. Of a user's type only its values can tell: `true`.
pub(super) fn holds(target: Type, column: &Column) -> bool {
    column.type_oid >= COMMON_BELOW
        || target.oid == TEXTS && matches!(column.shape, Shape::Array { .. })
        || takes(target, Type { oid: column.type_oid, modifier: column.type_modifier })
}

/// Whether every value of the one type is a value of the other, with the same text but for how precise it is.
pub(super) fn takes(wide: Type, narrow: Type) -> bool {
    let unlimited = wide.modifier == UNLIMITED;
    match (narrow.oid, wide.oid) {
        // Anything can be kept as its text.
        (_, TEXT) => true,
        (_, VARCHAR) if unlimited => true,
        (one, other) if one == other => same(one, narrow.modifier, wide.modifier),
        (INT2, INT4 | INT8) | (INT4 | OID, INT8) | (FLOAT4, FLOAT8) | (JSONB, JSON) => true,
        (INT2 | INT4 | INT8, NUMERIC) => unlimited,
        (BPCHAR, VARCHAR) => narrow.modifier != UNLIMITED && narrow.modifier <= wide.modifier,
        (NAME, VARCHAR) => wide.modifier >= 63 + HEADER,
        _ => false,
    }
}

/// Lengths are kept with the size of a value's header.
const HEADER: i32 = 4;

fn same(oid: u32, narrow: i32, wide: i32) -> bool {
    if wide == UNLIMITED || wide == narrow {
        return true;
    }
    if narrow == UNLIMITED {
        return false;
    }
    match oid {
        VARCHAR | VARBIT | TIME | TIMETZ | TIMESTAMP | TIMESTAMPTZ => narrow <= wide,
        // Padded to its length: another length is another text.
        BPCHAR | BIT => false,
        NUMERIC => {
            let ((precision, scale), (wide_precision, wide_scale)) = (digits(narrow), digits(wide));
            // A column pads its values to its scale.
            scale == wide_scale && precision <= wide_precision
        }
        _ => false,
    }
}

/// Precision and scale: `((precision << 16) | (scale & 0x7FF)) + 4`.
fn digits(modifier: i32) -> (i32, i32) {
    let bits = modifier.saturating_sub(HEADER);
    (bits >> 16, bits & 0x7FF)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(type_oid: u32, type_modifier: i32, shape: Shape) -> Column {
        Column { name: "c".into(), type_oid, type_modifier, shape }
    }

    #[test]
    fn a_users_type_becomes_what_its_text_is_like() {
        let number = |oid, shape| of(&column(oid, 7, shape)).oid;
        assert_eq!(number(16_400, Shape::TEXT), TEXT);
        assert_eq!(number(16_400, Shape::Scalar(Scalar::Integer)), INT8);
        assert_eq!(number(16_400, Shape::Array { element: Scalar::Text, delimiter: b',' }), 1009);
        let own = of(&column(VARCHAR, 24, Shape::TEXT));
        assert_eq!(own, Type { oid: VARCHAR, modifier: 24 });
    }

    #[test]
    fn a_wider_type_holds_a_narrower_one_and_never_the_other_way_round() {
        let numeric = |precision: i32, scale: i32| ((precision << 16) | scale) + HEADER;
        let pairs = [
            ((INT4, -1), (INT8, -1)),
            ((INT8, -1), (NUMERIC, -1)),
            ((FLOAT4, -1), (FLOAT8, -1)),
            ((VARCHAR, 14), (VARCHAR, 24)),
            ((VARCHAR, 14), (TEXT, -1)),
            ((INT4, -1), (TEXT, -1)),
            ((NUMERIC, numeric(10, 2)), (NUMERIC, numeric(12, 2))),
            ((NUMERIC, numeric(10, 2)), (NUMERIC, -1)),
            ((TIMESTAMP, 3), (TIMESTAMP, -1)),
        ];
        for (narrow, wide) in pairs {
            let [narrow, wide] = [narrow, wide].map(|(oid, modifier)| Type { oid, modifier });
            assert!(takes(wide, narrow) && !takes(narrow, wide), "{narrow:?} {wide:?}");
        }
        let scales = [numeric(10, 2), numeric(12, 4)].map(|modifier| Type { oid: NUMERIC, modifier });
        assert!(!takes(scales[1], scales[0]), "1.50 would be 1.5000");
        assert!(holds(Type { oid: INT4, modifier: -1 }, &column(16_400, -1, Shape::TEXT)), "only its values can tell");
    }
}
