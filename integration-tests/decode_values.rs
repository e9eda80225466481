//! Values beside a second opinion: the server's own `to_json`, for every type where its rules are ours, over random
//! values and edges; and the table of built-in types beside the server's catalog.

use serde_json::Value;
use walbridge::decode::{json, shape};
use walbridge::event::{Scalar, Shape};

use crate::support::{PgOptions, Postgres};

/// What our session pins, and a seed, so that a failure can be repeated.
const SESSION: &str = "SET datestyle = 'ISO, MDY'; SET timezone = 'UTC'; SET extra_float_digits = 3; \
     SET bytea_output = 'hex'; SET intervalstyle = 'postgres'; SET client_encoding = 'UTF8'; \
     CREATE FUNCTION pg_temp.nasty(g int) RETURNS text LANGUAGE sql VOLATILE AS $$ \
        SELECT string_agg((ARRAY['a', '\"', '\\', ',', '{', '}', ' ', E'\\n', E'\\t', E'\\x01', 'é', '🦀', 'NULL', ';', '(', '''', '.'])\
            [1 + floor(random() * 17)::int], '') FROM generate_series(0, g % 9) $$; \
     DO $$ BEGIN PERFORM setseed(0.42); END $$;";

/// Type and expression over `g`, of which `to_json` thinks as we do.
const AGREED: [(&str, &str); 17] = [
    ("bool", "random() < 0.5"),
    ("int4", "((random() - 0.5) * 4294967295)::bigint::int4"),
    ("int8", "((random() - 0.5) * 18014398509481984)::int8"),
    ("float8", "(random() - 0.5) * 10::float8 ^ ((random() - 0.5) * 600)"),
    ("float4", "((random() - 0.5) * 10::float8 ^ ((random() - 0.5) * 70))::float4"),
    ("float8", "(ARRAY['NaN', 'Infinity', '-Infinity', '-0', '0', '1e-7', '123456'])[1 + g % 7]::float8"),
    ("text", "pg_temp.nasty(g)"),
    ("text[]", "ARRAY[pg_temp.nasty(g), NULL, pg_temp.nasty(g + 1), '']"),
    ("text[]", "ARRAY[ARRAY[pg_temp.nasty(g)], ARRAY[pg_temp.nasty(g + 3)]]"),
    ("int4[]", "(ARRAY['{}', '{1,NULL}', '{{1,2},{3,4}}', '{{{{{{7}}}}}}'])[1 + g % 4]::int4[]"),
    ("float8[]", "ARRAY[random(), 'NaN', NULL]"),
    ("bytea", "convert_to(pg_temp.nasty(g), 'UTF8')"),
    ("timestamp", "'0001-01-01'::timestamp + random() * 3650000 * '1 day'::interval"),
    ("timestamp[]", "ARRAY['2026-11-24 10:00'::timestamp + random() * '1 day'::interval, NULL]"),
    ("date", "'0001-01-01'::date + (random() * 3650000)::int"),
    (
        "jsonb",
        "jsonb_build_object(pg_temp.nasty(g), ARRAY[pg_temp.nasty(g), NULL], 'n', random(), 'o', '{\"a\": []}'::jsonb)",
    ),
    ("json[]", "ARRAY[json_build_object(pg_temp.nasty(g), g), 'null'::json, '[1, {}]'::json]"),
];

#[test]
fn values_are_written_as_the_server_itself_writes_json() {
    let postgres = Postgres::start(PgOptions::default());
    let queries = AGREED.map(|(name, value)| {
        let hex = |text: &str| format!("encode(convert_to({text}, 'UTF8'), 'hex')");
        format!(
            "SELECT '{name}'::regtype::oid, {}, {} FROM (SELECT ({value})::{name} AS v FROM generate_series(1, 300) g) s;",
            // By the type's output function, as the stream has it; a cast would make `true` of `t`.
            hex("format('%s', v)"),
            hex("to_json(v)::text")
        )
    });
    let answer = postgres.psql(&format!("{SESSION}{}", queries.concat()));
    let lines: Vec<&str> = answer.lines().collect();
    assert_eq!(lines.len(), 300 * AGREED.len());
    for line in lines {
        let [type_oid, text, expected] = line.split('|').collect::<Vec<_>>()[..] else {
            panic!("three columns: {line}")
        };
        let type_oid = type_oid.parse().expect("an OID");
        let (text, expected) = (unhex(text), unhex(expected));
        let mut out = Vec::new();
        json::write_cell(shape::builtin(type_oid).expect("a built-in type"), &text, &mut out);
        let expected: Value = serde_json::from_slice(&expected).expect("the server's JSON");
        let found: Value = serde_json::from_slice(&out).expect("our JSON");
        assert_eq!(found, expected, "type {type_oid}, text {}", String::from_utf8_lossy(&text));
    }
}

#[test]
fn the_table_of_builtin_types_is_the_catalogs() {
    let postgres = Postgres::start(PgOptions::default());
    let answer = postgres.psql(
        "SELECT t.oid, t.typname, t.typarray, ascii(t.typdelim) FROM pg_type t \
         WHERE t.oid < 12000 AND t.typtype IN ('b', 'r', 'm') AND (t.typcategory <> 'A' OR t.typname IN ('int2vector', 'oidvector'))",
    );
    assert!(answer.lines().count() > 70, "{answer}");
    for line in answer.lines() {
        let [oid, name, array, delimiter] = line.split('|').collect::<Vec<_>>()[..] else { panic!("{line}") };
        let known = shape::builtin(oid.parse().expect("an OID"));
        let Some(Shape::Scalar(element)) = known else { panic!("{name} is {known:?}") };
        assert_eq!(element, expected_scalar(name), "{name}");
        let delimiter = delimiter.parse().expect("a byte");
        let expected = (array != "0").then_some(Shape::Array { element, delimiter });
        assert_eq!(shape::builtin(array.parse().expect("an OID")), expected, "{name}[]");
    }
}

/// By name, as `docs/types.md` has it.
fn expected_scalar(name: &str) -> Scalar {
    match name {
        "bool" => Scalar::Boolean,
        "int2" | "int4" | "int8" | "oid" => Scalar::Integer,
        "float4" | "float8" => Scalar::Float,
        "numeric" => Scalar::Numeric,
        "json" | "jsonb" => Scalar::Json,
        "timestamp" => Scalar::Timestamp,
        "timestamptz" => Scalar::TimestampTz,
        "date" => Scalar::Date,
        "time" => Scalar::Time,
        "timetz" => Scalar::TimeTz,
        "bytea" => Scalar::Bytea,
        _ => Scalar::Text,
    }
}

fn unhex(text: &str) -> Vec<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).expect("a hex digit");
    let byte = |pair: &[u8]| u8::try_from(digit(pair[0]) << 4 | digit(pair[1])).expect("two digits");
    text.as_bytes().chunks(2).map(byte).collect()
}
