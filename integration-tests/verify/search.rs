//! Search: documents in an OpenSearch index and in an embedded one, of every type that a column can have.

use reqwest::Method;
use serde_json::json;

use super::{source, verify};
use crate::pipeline::caught_up;
use crate::support::{OpenSearch, PgOptions, Postgres, Walbridge};

const EVERY_TYPE: &str = "CREATE TYPE mood AS ENUM ('sad', 'ok'); CREATE DOMAIN positive AS int CHECK (VALUE > 0);
  CREATE TABLE t (id int PRIMARY KEY, name text, price numeric, weight float8, light float4, sold bool, made date, at timestamp, seen timestamptz, hour time,
    day timetz, code uuid, tags text[], counts int[][], doc jsonb, plain json, raw bytea, cash money, span interval, address inet, bits bit(4),
    feeling mood, amount positive, place point, during tstzrange, letter \"char\", big text);
  ALTER TABLE t ALTER big SET STORAGE EXTERNAL;
  INSERT INTO t VALUES
    (1, E'Blue \"Mountain\"\\n\\t\\\\', 12.50, 1.5, 0.1, true, '2026-01-02', '2026-01-02 03:04:05', '2026-01-02 03:04:05.678901+00', '03:04:05', '03:04:05+02',
     '00000000-0000-0000-0000-000000000001', '{red,\"gr een\",NULL}', '{{1,2},{3,4}}', '{\"a\": 1.50, \"b\": [null, 1e3]}', '{ \"x\" : 1 }', '\\x00ff', '12.3', '1 day 02:00',
     '10.0.0.1/8', B'1010', 'ok', 5, '(1,2)', '[2026-01-01,2026-02-01)', 'x', repeat('x', 10000)),
    (2, '', 'NaN', 'Infinity', '-Infinity', false, 'infinity', '-infinity', 'infinity', '24:00', '00:00-15:59', NULL, '{}', NULL, '7', 'null', '', '-0.01',
     '-1 mon', '::1', B'0000', 'sad', 1, '(NaN,0)', 'empty', '', repeat('y', 10000)),
    (3, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
  INSERT INTO t (id, name, price) SELECT i, 'row ' || i, i / 7.0 FROM generate_series(4, 1200) i";

/// What the copy brought, what the stream did, and what a change left alone compares equal in all its types. Then documents are taken away, altered, and put
/// where no row is, with whatever version the index gives them; they are named and repaired, though no later transaction has come.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_index_is_verified_and_repaired_in_all_types() {
    let postgres = Postgres::start(PgOptions::default());
    postgres.psql(EVERY_TYPE);
    let (node, index) = (OpenSearch::shared(), OpenSearch::name());
    let embedded = if cfg!(feature = "search") {
        "[sinks.embedded]\nkind = \"tantivy\"\npath = \"index\"\nfrom = \"public.t\"\nbatch = { linger = \"50ms\" }\n"
    } else {
        ""
    };
    let config = format!(
        "{}[sinks.search]\nkind = \"opensearch\"\nurl = \"{}\"\nindex = \"{index}\"\nfrom = \"public.t\"\nkey = \"{{id}}\"\nbatch = {{ linger = \"50ms\" }}\n{embedded}",
        source(&postgres, ""),
        node.url()
    );
    let mut walbridge = Walbridge::start(&config);
    caught_up(&mut walbridge, &postgres).await;
    // All that is damaged below has been put by the last transaction there is.
    postgres.psql("UPDATE t SET name = name || '!' WHERE id <= 3; UPDATE t SET id = -id WHERE id BETWEEN 1190 AND 1195; UPDATE t SET price = 1 WHERE id < 20");
    caught_up(&mut walbridge, &postgres).await;
    let sound = verify(&walbridge, "search", &[]);
    assert_eq!((sound.exit_code, sound.findings()), (Some(0), &[][..]), "{}", sound.report);
    assert_eq!(sound.table()["rows"], 1200);

    let at = |id: &str| format!("/{index}/_doc/{id}");
    let (status, document) = node.ask(Method::GET, &at("5"), None).await;
    assert_eq!(status, 200);
    let mut document = document["_source"].clone();
    node.ask(Method::DELETE, &at("4"), None).await;
    document["name"] = json!("altered");
    for _ in 0..3 {
        let (status, answer) = node.ask(Method::PUT, &at("5"), Some(document.clone())).await;
        assert_eq!(status, 200, "{answer}");
    }
    let (status, answer) = node.ask(Method::PUT, &at("900000"), Some(document)).await;
    assert_eq!(status, 201, "{answer}");
    let (status, answer) = node.ask(Method::PUT, &at("6"), Some(json!({ "id": 6 }))).await;
    assert_eq!(status, 200, "{answer}");
    let found = [("4", "missing"), ("5", "different"), ("6", "different"), ("900000", "extra")];
    let found = found.map(|(key, what)| (key.to_owned(), what.to_owned())).into();
    let verified = verify(&walbridge, "search", &[]);
    assert_eq!((verified.exit_code, verified.found()), (Some(1), found), "{}", verified.report);
    let repaired = verify(&walbridge, "search", &["--repair"]);
    assert_eq!((repaired.exit_code, repaired.found()), (Some(0), verified.found()), "{}", repaired.report);
    // What comes next is taken, over what was repaired.
    postgres.psql("UPDATE t SET name = 'next' WHERE id IN (4, 5, 6); INSERT INTO t (id) VALUES (900000)");
    caught_up(&mut walbridge, &postgres).await;
    let sound = verify(&walbridge, "search", &[]);
    assert_eq!((sound.exit_code, sound.findings()), (Some(0), &[][..]), "{}", sound.report);
    #[cfg(feature = "search")]
    {
        let sound = verify(&walbridge, "embedded", &[]);
        assert_eq!((sound.exit_code, sound.findings()), (Some(0), &[][..]), "{}", sound.report);
        assert_eq!(sound.table()["rows"], 1201);
    }
    assert_eq!(walbridge.sigterm(), Some(0));
}
