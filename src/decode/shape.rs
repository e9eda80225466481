//! Which shape each of PostgreSQL's own types has.

use crate::event::{Scalar, Shape};

/// The shape of a built-in type or of an array of one; `None` for any other, which the catalog must be asked about
/// (domains, enums, composites, extensions).
///
/// Built-in types have fixed OIDs below 12000 (`src/include/catalog/pg_type.dat`), the same in every database and
/// version.
#[must_use]
pub fn builtin(type_oid: u32) -> Option<Shape> {
    BUILTIN.iter().find_map(|&(oid, array_oid, scalar)| {
        if type_oid == oid {
            return Some(Shape::Scalar(scalar));
        }
        let array = Shape::Array { element: scalar, delimiter: delimiter(oid) };
        (type_oid == array_oid && array_oid != NO_ARRAY).then_some(array)
    })
}

/// Of a built-in array type: the element's type and the character between elements.
#[must_use]
pub fn element(type_oid: u32) -> Option<(u32, u8)> {
    let (oid, ..) = BUILTIN.iter().find(|(_, array_oid, _)| *array_oid == type_oid && type_oid != NO_ARRAY)?;
    Some((*oid, delimiter(*oid)))
}

const fn delimiter(element_oid: u32) -> u8 {
    if element_oid == BOX { b';' } else { b',' }
}

/// The only type whose text may hold an unquoted comma inside an array.
const BOX: u32 = 603;

/// There is no array of this type.
const NO_ARRAY: u32 = 0;

/// OID of the type, OID of its array, what its text holds. By OID; pseudo-types are left out, no column can have one.
const BUILTIN: &[(u32, u32, Scalar)] = &[
    (16, 1000, Scalar::Boolean),       // bool
    (17, 1001, Scalar::Bytea),         // bytea
    (18, 1002, Scalar::Text),          // char
    (19, 1003, Scalar::Text),          // name
    (20, 1016, Scalar::Integer),       // int8
    (21, 1005, Scalar::Integer),       // int2
    (22, 1006, Scalar::Text),          // int2vector
    (23, 1007, Scalar::Integer),       // int4
    (24, 1008, Scalar::Text),          // regproc
    (25, 1009, Scalar::Text),          // text
    (26, 1028, Scalar::Integer),       // oid
    (27, 1010, Scalar::Text),          // tid
    (28, 1011, Scalar::Text),          // xid
    (29, 1012, Scalar::Text),          // cid
    (30, 1013, Scalar::Text),          // oidvector
    (114, 199, Scalar::Json),          // json
    (142, 143, Scalar::Text),          // xml
    (194, NO_ARRAY, Scalar::Text),     // pg_node_tree
    (600, 1017, Scalar::Text),         // point
    (601, 1018, Scalar::Text),         // lseg
    (602, 1019, Scalar::Text),         // path
    (603, 1020, Scalar::Text),         // box
    (604, 1027, Scalar::Text),         // polygon
    (628, 629, Scalar::Text),          // line
    (650, 651, Scalar::Text),          // cidr
    (700, 1021, Scalar::Float),        // float4
    (701, 1022, Scalar::Float),        // float8
    (718, 719, Scalar::Text),          // circle
    (774, 775, Scalar::Text),          // macaddr8
    (790, 791, Scalar::Text),          // money
    (829, 1040, Scalar::Text),         // macaddr
    (869, 1041, Scalar::Text),         // inet
    (1033, 1034, Scalar::Text),        // aclitem
    (1042, 1014, Scalar::Text),        // bpchar
    (1043, 1015, Scalar::Text),        // varchar
    (1082, 1182, Scalar::Date),        // date
    (1083, 1183, Scalar::Time),        // time
    (1114, 1115, Scalar::Timestamp),   // timestamp
    (1184, 1185, Scalar::TimestampTz), // timestamptz
    (1186, 1187, Scalar::Text),        // interval
    (1266, 1270, Scalar::TimeTz),      // timetz
    (1560, 1561, Scalar::Text),        // bit
    (1562, 1563, Scalar::Text),        // varbit
    (1700, 1231, Scalar::Numeric),     // numeric
    (1790, 2201, Scalar::Text),        // refcursor
    (2202, 2207, Scalar::Text),        // regprocedure
    (2203, 2208, Scalar::Text),        // regoper
    (2204, 2209, Scalar::Text),        // regoperator
    (2205, 2210, Scalar::Text),        // regclass
    (2206, 2211, Scalar::Text),        // regtype
    (2950, 2951, Scalar::Text),        // uuid
    (2970, 2949, Scalar::Text),        // txid_snapshot
    (3220, 3221, Scalar::Text),        // pg_lsn
    (3361, NO_ARRAY, Scalar::Text),    // pg_ndistinct
    (3402, NO_ARRAY, Scalar::Text),    // pg_dependencies
    (3614, 3643, Scalar::Text),        // tsvector
    (3615, 3645, Scalar::Text),        // tsquery
    (3642, 3644, Scalar::Text),        // gtsvector
    (3734, 3735, Scalar::Text),        // regconfig
    (3769, 3770, Scalar::Text),        // regdictionary
    (3802, 3807, Scalar::Json),        // jsonb
    (3904, 3905, Scalar::Text),        // int4range
    (3906, 3907, Scalar::Text),        // numrange
    (3908, 3909, Scalar::Text),        // tsrange
    (3910, 3911, Scalar::Text),        // tstzrange
    (3912, 3913, Scalar::Text),        // daterange
    (3926, 3927, Scalar::Text),        // int8range
    (4072, 4073, Scalar::Text),        // jsonpath
    (4089, 4090, Scalar::Text),        // regnamespace
    (4096, 4097, Scalar::Text),        // regrole
    (4191, 4192, Scalar::Text),        // regcollation
    (4451, 6150, Scalar::Text),        // int4multirange
    (4532, 6151, Scalar::Text),        // nummultirange
    (4533, 6152, Scalar::Text),        // tsmultirange
    (4534, 6153, Scalar::Text),        // tstzmultirange
    (4535, 6155, Scalar::Text),        // datemultirange
    (4536, 6157, Scalar::Text),        // int8multirange
    (4600, NO_ARRAY, Scalar::Text),    // pg_brin_bloom_summary
    (4601, NO_ARRAY, Scalar::Text),    // pg_brin_minmax_multi_summary
    (5017, NO_ARRAY, Scalar::Text),    // pg_mcv_list
    (5038, 5039, Scalar::Text),        // pg_snapshot
    (5069, 271, Scalar::Text),         // xid8
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrays_know_their_element_and_their_delimiter() {
        let array = |element, delimiter| Some(Shape::Array { element, delimiter });
        assert_eq!(builtin(23), Some(Shape::Scalar(Scalar::Integer)));
        assert_eq!(builtin(1007), array(Scalar::Integer, b','));
        assert_eq!(builtin(3807), array(Scalar::Json, b','));
        assert_eq!(builtin(1020), array(Scalar::Text, b';'), "box[]");
        assert_eq!(builtin(30), Some(Shape::TEXT), "oidvector's text is `1 2 3`, not an array's");
        assert_eq!(builtin(NO_ARRAY), None);
        assert_eq!(builtin(16_384), None, "the first OID a user's type can have");
    }
}
