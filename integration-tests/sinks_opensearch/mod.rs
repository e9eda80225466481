//! What only an OpenSearch sink can meet: mappings, refused rows, servers without room, lost answers, indexes taken away.

mod access;
mod elasticsearch;
mod places;
mod room;

use std::collections::BTreeMap;
use std::sync::Arc;

use reqwest::Method;
use serde_json::{Map, Value, json};

use crate::shop::PATIENCE;
use crate::support::equal::{difference, plain, rows};
use crate::support::{OpenSearch, PgOptions, Postgres, Proxy, Walbridge, eventually};

/// A table, an index of a name of its own, and walbridge between them.
struct World {
    postgres: Postgres,
    node: Arc<OpenSearch>,
    index: String,
    walbridge: Walbridge,
    _directory: tempfile::TempDir,
}

impl World {
    /// `more`: further keys of the sink.
    fn open(sql: &str, port: Option<u16>, more: &str) -> World {
        let node = OpenSearch::shared();
        let url = format!("\"http://127.0.0.1:{}\"", port.unwrap_or(node.port));
        World::at(node, &url, &OpenSearch::name(), sql, more)
    }

    /// `url` and `index` as the configuration has them, the first with its quotes.
    fn at(node: Arc<OpenSearch>, url: &str, index: &str, sql: &str, more: &str) -> World {
        let postgres = Postgres::start(PgOptions::default());
        postgres.psql(sql);
        let directory = tempfile::tempdir().expect("a directory");
        let config = format!(
            "[sources.shop]\nurl = \"{}\"\ntables = \"public.*\"\n[log]\npath = \"{}/log\"\n\
             [sinks.search]\nkind = \"opensearch\"\nurl = {url}\nindex = \"{index}\"\nfrom = \"public.t\"\n\
             key = \"{{id}}\"\nbatch = {{ linger = \"0s\" }}\n{more}\n",
            postgres.url(),
            directory.path().display(),
        );
        let walbridge = Walbridge::start(&config);
        World { postgres, node, index: index.to_owned(), walbridge, _directory: directory }
    }

    /// Waits until the index holds just what the table does.
    async fn equals(&self, select: &str) {
        eventually(PATIENCE, || async {
            let expected = rows(&self.postgres, select, false).await.into_iter();
            let id = |row: &Map<String, Value>| row["id"].as_str().unwrap_or_default().to_owned();
            let expected: BTreeMap<String, _> = expected.map(|row| (id(&row), row)).collect();
            let found = self.node.documents(&self.index).await.into_iter().map(|(id, mut document)| {
                let own = document.as_object_mut().and_then(|fields| fields.remove("_walbridge"));
                assert_eq!(own.map(|own| own["table"].clone()), Some(json!("public.t")));
                (id, plain(document))
            });
            let found: BTreeMap<String, Value> = found.collect();
            for (id, row) in &expected {
                let document = found.get(id).and_then(Value::as_object).ok_or(format!("{id} is missing"))?;
                if let Some(difference) = difference(row, document) {
                    return Err(format!("{id}: {difference}"));
                }
            }
            if found.len() == expected.len() { Ok(()) } else { Err(format!("{} documents", found.len())) }
        })
        .await;
    }

    async fn wait_for(&mut self, state: &str, code: &str) -> Value {
        self.walbridge
            .wait_for(PATIENCE, |status| {
                let sink = &status["sinks"]["search"];
                sink["state"] == state && (code.is_empty() || sink["code"] == code)
            })
            .await["sinks"]["search"]
            .clone()
    }

    async fn search(&self, query: Value) -> Vec<String> {
        self.node.ask(Method::POST, &format!("/{}/_refresh", self.index), None).await;
        let body = json!({ "query": query, "sort": ["_doc"] });
        let (status, found) = self.node.ask(Method::POST, &format!("/{}/_search", self.index), Some(body)).await;
        assert_eq!(status, 200, "{found}");
        let hits = found["hits"]["hits"].as_array().expect("hits").iter();
        let mut ids: Vec<String> = hits.map(|hit| hit["_id"].as_str().expect("an id").to_owned()).collect();
        ids.sort();
        ids
    }
}

const EVERY_TYPE: &str = "CREATE TABLE t (id int PRIMARY KEY, name text, price numeric, weight float8, sold bool, made date,
    seen timestamptz, at timestamp, code uuid, tags text[], counts int[], doc jsonb, raw bytea, big text);
  ALTER TABLE t ALTER big SET STORAGE EXTERNAL;
  INSERT INTO t VALUES
    (1, 'Blue Mountain', 12.50, 1.5, true, '2026-01-02', '2026-01-02 03:04:05.678901+00', '2026-01-02 03:04:05', gen_random_uuid(),
     '{red,green}', '{1,2}', '{\"a\": 1.5, \"b\": [null]}', '\\x00ff', repeat('x', 10000)),
    (2, 'Red River', 'NaN', 'Infinity', false, 'infinity', '-infinity', '2026-02-01 00:00', NULL, '{}', NULL, '7', NULL, repeat('y', 10000)),
    (3, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)";

/// Each type is kept as it is, values that an index cannot hold among them, and found by what its field can: words, ranges, terms.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_become_documents_that_are_found_by_their_columns_types() {
    let mut world = World::open(EVERY_TYPE, None, "mapping = { name = { type = \"text\", analyzer = \"english\" } }");
    world.equals("SELECT * FROM t").await;
    assert_eq!(
        world.search(json!({ "match": { "name": "mountains" } })).await,
        ["1"],
        "the analyzer is the configured one"
    );
    assert_eq!(world.search(json!({ "range": { "price": { "gte": 12.4, "lt": 12.6 } } })).await, ["1"]);
    assert_eq!(world.search(json!({ "range": { "seen": { "gte": "2026-01-01", "lt": "2026-01-03" } } })).await, ["1"]);
    assert_eq!(world.search(json!({ "term": { "tags": "green" } })).await, ["1"]);
    assert_eq!(world.search(json!({ "range": { "counts": { "gte": 2 } } })).await, ["1"]);
    // A large value left alone, a new key, a new column, a delete; then the table emptied and filled in one transaction.
    world.postgres.psql(
        "UPDATE t SET name = 'Green Lake' WHERE id = 1; UPDATE t SET id = 20 WHERE id = 2; DELETE FROM t WHERE id = 3",
    );
    world.postgres.psql("ALTER TABLE t ADD extra int; UPDATE t SET extra = id");
    world.equals("SELECT * FROM t").await;
    assert_eq!(world.search(json!({ "term": { "extra": 20 } })).await, ["20"], "a column that came later has a field");
    world.postgres.psql("BEGIN; INSERT INTO t (id) VALUES (5); TRUNCATE t; INSERT INTO t (id, name) VALUES (5, 'five'), (6, 'six'); COMMIT");
    world.equals("SELECT * FROM t").await;
    assert_eq!(world.walbridge.sigterm(), Some(0));
}

/// Scenario 129: text where the index has a number. The row is set aside with the server's reason and has no document; the rest flows. A
/// later change that does not bring the large value must not take it from what the row was before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_that_the_mapping_refuses_is_set_aside_and_the_rest_flows() {
    let sql = "CREATE TABLE t (id int PRIMARY KEY, code text, big text); ALTER TABLE t ALTER big SET STORAGE EXTERNAL;
        INSERT INTO t VALUES (1, '7', repeat('o', 9000)), (2, '8', NULL)";
    let mut world = World::open(sql, None, "mapping = { code = { type = \"long\" } }");
    world.equals("SELECT * FROM t").await;
    world
        .postgres
        .psql("UPDATE t SET code = 'abc', big = repeat('n', 9000) WHERE id = 1; UPDATE t SET code = '9' WHERE id = 2");
    let sink = world.wait_for("degraded", "sink.rejected").await;
    assert_eq!(sink["rejected"], 1, "{sink}");
    world.equals("SELECT * FROM t WHERE id = 2").await;
    world.postgres.psql("UPDATE t SET code = '10' WHERE id = 1");
    world.equals("SELECT * FROM t").await;
}

/// What the server refuses is known only when it is sent, and much of a large transaction is sent before its end: what came later of the row
/// was in the index by then, waits all the same, and nobody sees it before the retry. That is refused until the mapping is mended.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn later_changes_of_a_row_that_the_mapping_refuses_wait_until_it_is_mended() {
    let sql = "CREATE TABLE t (id int PRIMARY KEY, code text, big text); ALTER TABLE t ALTER big SET STORAGE EXTERNAL;
        INSERT INTO t VALUES (1, '7', repeat('o', 9000)), (2, '8', NULL)";
    let mut world = World::open(sql, None, "on_reject = \"park\"\nmapping = { code = { type = \"long\" } }");
    world.equals("SELECT * FROM t").await;
    world.postgres.psql(
        "BEGIN; UPDATE t SET code = 'abc', big = repeat('n', 9000) WHERE id = 1;
         INSERT INTO t SELECT id, '5', repeat('z', 10000) FROM generate_series(10, 2600) id;
         UPDATE t SET code = '9', big = repeat('m', 9000) WHERE id = 1; COMMIT;
         DELETE FROM t WHERE id > 10; UPDATE t SET code = 'xyz' WHERE id = 1",
    );
    world.wait_for("degraded", "sink.rejected").await;
    world.equals("SELECT * FROM t WHERE id > 1").await;
    world.walbridge.sigkill();
    world.walbridge.start_again();
    let sink = world.wait_for("degraded", "sink.rejected").await;
    assert!(sink["parked_keys"] == 1 && sink["dead_letters"].as_u64() > Some(1), "{sink}");
    world.equals("SELECT * FROM t WHERE id > 1").await;
    let retry = |world: &World| world.walbridge.run(&["dead-letters", "retry", "search", "--key", "1"]);
    let refused = retry(&world);
    let said = String::from_utf8_lossy(&refused.stdout).into_owned();
    assert!(refused.status.code() == Some(3) && said.contains("refused again: 1: "), "{said}");
    world.equals("SELECT * FROM t WHERE id > 1").await;
    let field = json!({ "properties": { "code": { "type": "long", "ignore_malformed": true } } });
    let (status, answer) = world.node.ask(Method::PUT, &format!("/{}/_mapping", world.index), Some(field)).await;
    assert_eq!(status, 200, "{answer}");
    let delivered = retry(&world);
    assert!(delivered.status.success(), "{delivered:?}");
    world.equals("SELECT * FROM t").await;
    world.postgres.psql("UPDATE t SET code = '11' WHERE id = 1");
    world.equals("SELECT * FROM t").await;
    world.wait_for("streaming", "").await;
}

/// Scenarios 127 and 135: the server takes no writes, as at the flood stage of a full disk. Nothing is set aside, the sink says why it
/// waits, and goes on by itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_takes_no_writes_is_waited_for() {
    let mut world = World::open("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)", None, "");
    world.equals("SELECT * FROM t").await;
    let settings = format!("/{}/_settings", world.index);
    let block = |on: Value| Some(json!({ "index.blocks.read_only_allow_delete": on }));
    world.node.ask(Method::PUT, &settings, block(true.into())).await;
    world.postgres.psql("INSERT INTO t VALUES (2)");
    world.wait_for("paused", "sink.throttled").await;
    world.node.ask(Method::PUT, &settings, block(Value::Null)).await;
    world.equals("SELECT * FROM t").await;
    let sink = world.wait_for("streaming", "").await;
    assert_eq!(sink["rejected"], 0);
}

/// Scenario 130: requests take effect and their answers get lost, again and again, among changes of the same rows.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_answers_change_nothing() {
    // Held: the node ends with the last who shares it, and another has another port.
    let node = OpenSearch::shared();
    let proxy = Proxy::start(node.port);
    let sql = "CREATE TABLE t (id int PRIMARY KEY, n int); INSERT INTO t SELECT i, 0 FROM generate_series(1, 50) i";
    let world = World::open(sql, Some(proxy.port), "");
    world.equals("SELECT * FROM t").await;
    for round in 1..8 {
        let change = format!(
            "UPDATE t SET n = {round}; DELETE FROM t WHERE id = {round}; INSERT INTO t VALUES ({round} + 100, 0)"
        );
        proxy.lose_answer(PATIENCE, || drop(world.postgres.psql(&change))).await;
        proxy.heal();
        proxy.reset();
    }
    world.equals("SELECT * FROM t").await;
}

/// Scenario 131: somebody deletes the index. It is not made anew by a write, with guessed fields, but as before, and filled from the log.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_index_that_was_deleted_is_made_and_filled_again() {
    let sql = "CREATE TABLE t (id int PRIMARY KEY, name text); INSERT INTO t VALUES (1, 'one'), (2, 'two')";
    let world = World::open(sql, None, "");
    world.equals("SELECT * FROM t").await;
    world.node.ask(Method::DELETE, &format!("/{}-1", world.index), None).await;
    world.postgres.psql("INSERT INTO t VALUES (3, 'three'); DELETE FROM t WHERE id = 2");
    world.equals("SELECT * FROM t").await;
    let (_, mapping) = world.node.ask(Method::GET, &format!("/{}/_mapping", world.index), None).await;
    let mappings = &mapping[format!("{}-1", world.index)]["mappings"];
    assert_eq!(
        (&mappings["dynamic"], &mappings["properties"]["name"]["type"]),
        (&json!("false"), &json!("text")),
        "{mapping}"
    );
}

/// An index that somebody else made is not written into.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_index_of_somebody_else_s_is_left_alone() {
    let (node, theirs) = (OpenSearch::shared(), OpenSearch::name());
    node.ask(Method::PUT, &format!("/{theirs}"), None).await;
    let mut world = World::open("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)", None, "");
    let text = std::fs::read_to_string(world.walbridge.config_path()).expect("its configuration");
    world.walbridge.sigterm();
    world.walbridge.configure(&text.replace(&format!("\"{}\"", world.index), &format!("\"{theirs}\"")));
    world.walbridge.start_again();
    let sink = world.wait_for("halted", "sink.rejected").await;
    assert!(sink["message"].as_str().is_some_and(|text| text.contains("did not make it")), "{sink}");
    assert!(node.documents(&theirs).await.is_empty());
}
