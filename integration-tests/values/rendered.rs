//! The renderer beside the server: for random values of every type, what `typsend` gives must become what `typoutput` writes.

use walbridge::decode::{binary, shape};
use walbridge::event::{Column, Shape};

use super::cases::{BINARY, Case};
use super::{install, seed, session, unhex};
use crate::support::{PgOptions, Postgres};

/// So many of each type, and of its arrays.
const VALUES: usize = 120;

/// A value that came in binary form must be the same text, to the byte, as if it had come as text: otherwise one row would
/// look changed when a stream changes over. Scenarios 58 to 63, PostgreSQL's own word on each.
#[test]
fn every_binary_value_becomes_the_text_that_the_server_itself_writes() {
    check(15);
}

/// Both forms are each version's own affair; the newest has infinite intervals, for one.
#[test]
fn every_binary_value_becomes_the_text_that_the_newest_server_writes() {
    check(18);
}

fn check(major: u32) {
    let postgres = Postgres::start(PgOptions { major, ..PgOptions::default() });
    install(&postgres);
    let seed = seed();
    let mut sql = session(seed);
    let mut expected = 0;
    for case in BINARY {
        sql.push_str(&query(case.name, &case.expression()));
        expected += VALUES;
        if case.nests() {
            sql.push_str(&query(&case.array_name(), &case.array_expression()));
            expected += VALUES;
        }
    }
    let answer = postgres.psql(&sql);
    let mut seen = 0;
    for line in answer.lines() {
        let [oid, name, bytes, text] = line.split('|').collect::<Vec<_>>()[..] else { panic!("four columns: {line}") };
        let type_oid = oid.parse().expect("an OID");
        assert!(binary::knows(type_oid), "{name} is not known");
        let shape = shape::builtin(type_oid).unwrap_or(Shape::TEXT);
        let column = Column { name: name.to_owned(), type_oid, type_modifier: -1, shape };
        let (bytes, text) = (unhex(bytes), unhex(text));
        let mut found = Vec::new();
        let rendered = binary::render(&column, &bytes, &mut found);
        let (found, text) = (String::from_utf8_lossy(&found), String::from_utf8_lossy(&text));
        assert!(rendered.is_some(), "{name}: {text} is refused: {bytes:02x?}; seed {seed}");
        assert_eq!(found, text, "{name}; seed {seed}");
        seen += 1;
    }
    assert_eq!(seen, expected);
}

/// Type, name, and both forms of values of it. A row's binary form holds a count, then a type, a length and the value's.
fn query(name: &str, expression: &str) -> String {
    let name = name.replace('\'', "''");
    format!(
        "SELECT '{name}'::regtype::oid, '{name}', substr(encode(record_send(ROW(v)), 'hex'), 25), \
                encode(convert_to(format('%s', v), 'UTF8'), 'hex') \
         FROM (SELECT {expression} AS v FROM generate_series(1, {VALUES}) g) s;\n"
    )
}

/// A type the renderer does not know must not be taken for one it does.
#[test]
fn types_that_are_not_known_are_said_to_be_not_known() {
    for (name, oid) in [("char", 18), ("tsquery", 3615), ("regclass", 2205), ("aclitem", 1033), ("aclitem[]", 1034)] {
        assert!(!binary::knows(oid), "{name}");
    }
    assert!(!binary::knows(16_384), "the first OID a user's type can have");
    let names: Vec<&str> = BINARY.iter().map(|Case { name, .. }| *name).collect();
    assert!(names.len() > 55, "{names:?}");
}
