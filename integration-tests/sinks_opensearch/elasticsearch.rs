//! Elasticsearch, which has the same API: a real node of 7.17 for what the sink asks of a server. All tests of OpenSearch run against it with
//! `WALBRIDGE_SEARCH=elasticsearch` in the environment; this one is always run.

use std::sync::Arc;

use reqwest::Method;
use serde_json::json;

use super::{EVERY_TYPE, World};
use crate::support::OpenSearch;
use crate::support::opensearch::Product;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_are_documents_in_elasticsearch_as_well() {
    let node = Arc::new(OpenSearch::start_of(Product::Elasticsearch, &[]));
    let more = "on_reject = \"dead_letter\"\nmapping = { code = { type = \"long\" } }";
    let sql = format!("{EVERY_TYPE}; ALTER TABLE t ADD COLUMN rank text; UPDATE t SET code = NULL");
    let mut world = World::at(node.clone(), &format!("\"{}\"", node.url()), &OpenSearch::name(), &sql, more);
    world.equals("SELECT * FROM t").await;
    assert_eq!(world.search(json!({ "range": { "price": { "gte": 12.4, "lt": 12.6 } } })).await, ["1"]);
    assert_eq!(world.search(json!({ "term": { "tags": "green" } })).await, ["1"]);
    // A large value left alone, a new key, a new column, a delete, a row that the mapping refuses; then the table emptied and filled.
    world.postgres.psql(
        "UPDATE t SET name = 'Green Lake' WHERE id = 1; UPDATE t SET id = 20 WHERE id = 2; DELETE FROM t WHERE id = 3;
         ALTER TABLE t ADD extra int; UPDATE t SET extra = id; INSERT INTO t (id, code) VALUES (4, gen_random_uuid())",
    );
    let sink = world.wait_for("degraded", "sink.rejected").await;
    assert_eq!(sink["rejected"], 1, "{sink}");
    world.equals("SELECT * FROM t WHERE id <> 4").await;
    let verified = world.walbridge.run(&["verify", "search"]);
    assert!(String::from_utf8_lossy(&verified.stdout).contains("missing"), "the refused one: {verified:?}");
    world.postgres.psql("BEGIN; TRUNCATE t; INSERT INTO t (id, name) VALUES (5, 'five'), (6, 'six'); COMMIT");
    world.equals("SELECT * FROM t").await;
    world.node.ask(Method::DELETE, &format!("/{}-1", world.index), None).await;
    world.postgres.psql("UPDATE t SET name = 'seven' WHERE id = 6");
    world.equals("SELECT * FROM t").await;
    assert_eq!(world.walbridge.sigterm(), Some(0));
}
