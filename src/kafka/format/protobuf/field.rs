//! The fields of a table's columns: each column's type and number.
//!
//! A number follows from the column's name and what its values are, and from nothing else: it is the same whichever columns come
//! and go, whoever writes, and our own reader needs no schema. A column of another type is another field, so what was written
//! under a number means the same for ever. Two of a table that would get the same number (one table of 100 columns in 100,000
//! has such) are told apart by their order: the later one is given another.

use super::super::typed::Type;
use super::number;
use crate::event::{Column, Relation};

/// A column's field.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Field {
    pub(super) number: u32,
    /// What values are.
    pub(super) means: Means,
}

/// What values are, and how they are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Means {
    /// One word for it: that of the type, or another where that does not tell all.
    pub(super) word: &'static str,
    /// Protobuf's type.
    pub(super) scalar: &'static str,
    pub(super) array: bool,
}

impl Means {
    fn of(of: &Type) -> Means {
        let (word, scalar) = match of {
            Type::Array(element, _) => return Means { array: true, ..Means::of(element) },
            Type::Boolean | Type::Bit => ("bool", "bool"),
            // One type for all integers: a column that grows from 32 to 64 bits stays what it is, in its schema and to the byte.
            Type::Int | Type::Long => ("int64", "int64"),
            Type::Float => ("float", "float"),
            Type::Double => ("double", "double"),
            Type::Decimal { .. } | Type::Money | Type::Text(_) => ("string", "string"),
            Type::Bytes => ("bytes", "bytes"),
            Type::Date => ("date", "int32"),
            Type::Time => ("time", "int64"),
            Type::Timestamp => ("timestamp", "int64"),
            Type::TimestampTz => ("timestamptz", "int64"),
        };
        Means { word, scalar, array: false }
    }
}

/// A column's type in Protobuf: decimals are text there, all their digits and `NaN` too.
pub(super) fn type_of(column: &Column) -> Type {
    with_decimals_as_text(Type::of(column))
}

fn with_decimals_as_text(of: Type) -> Type {
    match of {
        Type::Decimal { .. } => Type::PLAIN_TEXT,
        Type::Array(element, delimiter) => Type::Array(Box::new(with_decimals_as_text(*element)), delimiter),
        of => of,
    }
}

/// The fields of a table's columns, in their order.
pub(super) fn of_table(relation: &Relation) -> Vec<Field> {
    let mut fields: Vec<Field> = Vec::with_capacity(relation.columns.len());
    for column in &relation.columns {
        let means = Means::of(&type_of(column));
        let mut attempts = (0..=u32::MAX).map(|attempt| hash(&column.name, means, attempt));
        let free = |number: &u32| is_allowed(*number) && fields.iter().all(|field| field.number != *number);
        let number = attempts.find(free).unwrap_or(number::MAX);
        fields.push(Field { number, means });
    }
    fields
}

fn is_allowed(number: u32) -> bool {
    (1..=number::MAX).contains(&number) && !number::RESERVED.contains(&number)
}

/// FNV-1a, folded to the 29 bits of a field's number.
fn hash(name: &str, means: Means, attempt: u32) -> u32 {
    let array = if means.array { "[]" } else { "" };
    let again = if attempt > 0 { attempt.to_string() } else { String::new() };
    let mut hash = 0xCBF2_9CE4_8422_2325_u64;
    for part in [name, means.word, array, &again] {
        for &byte in part.as_bytes().iter().chain(&[0]) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3);
        }
    }
    u32::try_from((hash ^ (hash >> 29) ^ (hash >> 58)) & u64::from(number::MAX)).unwrap_or(number::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::relation;
    use super::*;
    use crate::event::ReplicaIdentity;

    fn numbers(columns: &[(&str, u32, i32)]) -> Vec<u32> {
        of_table(&relation(ReplicaIdentity::Default, columns, vec![])).into_iter().map(|field| field.number).collect()
    }

    #[test]
    fn a_number_is_the_columns_own_and_another_for_another_meaning() {
        let [id, name] = numbers(&[("id", 23, -1), ("name", 25, -1)])[..] else { panic!("two") };
        assert_eq!(
            numbers(&[("name", 1043, 14), ("extra", 20, -1), ("id", 20, -1)])[..],
            [name, numbers(&[("extra", 20, -1)])[0], id]
        );
        for other in [16, 25, 701, 1082, 1083, 1114, 1184, 1007, 17] {
            assert_ne!(numbers(&[("id", other, -1)]), [id], "{other}");
        }
    }

    #[test]
    fn two_columns_never_share_a_number() {
        // The first that do, of `c0`, `c1`…, by search.
        let mut seen = std::collections::HashMap::new();
        let means = Means { word: "int64", scalar: "int64", array: false };
        let pair = (0..200_000).find_map(|n| {
            let name = format!("c{n}");
            let number = hash(&name, means, 0);
            seen.insert(number, name.clone()).map(|before| (before, name, number))
        });
        let (first, second, number) = pair.expect("two names with one hash");
        let found = numbers(&[(&first, 20, -1), (&second, 20, -1)]);
        assert_eq!(found[0], number);
        assert_ne!(found[1], number);
        assert!(
            !is_allowed(0)
                && !is_allowed(19_000)
                && !is_allowed(19_999)
                && is_allowed(20_000)
                && is_allowed(number::MAX)
        );
    }
}
