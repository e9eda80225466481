//! Documents whose row tells where they are: the routing value, the index; and what goes through a pipeline.

use std::collections::BTreeMap;

use reqwest::Method;
use serde_json::{Value, json};

use super::World;
use crate::shop::PATIENCE;
use crate::support::equal::{difference, plain, rows};
use crate::support::{OpenSearch, eventually};

/// Waits until each row has one document, where its `tenant` says that it is (without such a column its `id`), and there is no other.
pub(super) async fn equals(world: &World, select: &str) {
    let name = |row: &serde_json::Map<String, Value>| {
        let value = row.get("tenant").or_else(|| row.get("id")).and_then(Value::as_str).unwrap_or_default();
        world.index.replace("{tenant}", value).replace("{id}", value)
    };
    eventually(PATIENCE, || async {
        let expected = rows(&world.postgres, select, false).await;
        let begin = world.index.split('{').next().unwrap_or_default();
        world.node.ask(Method::POST, &format!("/{begin}*/_refresh"), None).await;
        let (_, found) = world.node.ask(Method::GET, &format!("/{begin}*/_search?size=1000"), None).await;
        let hits = found["hits"]["hits"].as_array().cloned().unwrap_or_default();
        let mut documents = BTreeMap::new();
        for hit in &hits {
            let place = |name: &str| hit[name].as_str().map(str::to_owned);
            documents.insert(place("_id"), (place("_index"), place("_routing"), hit["_source"].clone()));
        }
        if hits.len() != expected.len() {
            return Err(format!("{} documents, {} rows", hits.len(), expected.len()));
        }
        for row in expected {
            let id = row["id"].as_str().map(str::to_owned);
            let (index, routing, mut document) = documents.remove(&id).ok_or(format!("{id:?} is missing"))?;
            document.as_object_mut().and_then(|fields| fields.remove("_walbridge"));
            let wanted = row.get("tenant").or_else(|| row.get("id")).and_then(Value::as_str).map(str::to_owned);
            if index != Some(format!("{}-1", name(&row))) || routing != wanted {
                return Err(format!("{id:?} is in {index:?}, routed by {routing:?}"));
            }
            let document = plain(document);
            if let Some(difference) = document.as_object().and_then(|document| difference(&row, document)) {
                return Err(format!("{id:?}: {difference}"));
            }
        }
        Ok(())
    })
    .await;
}

const SQL: &str = "CREATE TABLE t (id int PRIMARY KEY, tenant text, name text, big text);
    ALTER TABLE t REPLICA IDENTITY FULL; ALTER TABLE t ALTER big SET STORAGE EXTERNAL;
    INSERT INTO t SELECT i, 'tenant' || i % 7, 'x', repeat('b', 9000) FROM generate_series(1, 40) i";

/// What happens to rows that are routed: they move, stay, go, lose their tenant.
async fn change_and_compare(world: &mut World) {
    equals(world, "SELECT * FROM t").await;
    world.postgres.psql(
        "UPDATE t SET tenant = 'moved' WHERE id = 1; UPDATE t SET tenant = 'moved', id = 100 WHERE id = 2; UPDATE t SET name = 'y' WHERE id = 3;
         DELETE FROM t WHERE id = 4; UPDATE t SET tenant = 'tenant1' WHERE id = 1; UPDATE t SET tenant = 'a' WHERE id = 5;
         BEGIN; UPDATE t SET tenant = 'b' WHERE id = 5; UPDATE t SET tenant = 'a', name = 'z' WHERE id = 5; UPDATE t SET tenant = 'c' WHERE id = 6; COMMIT",
    );
    equals(world, "SELECT * FROM t").await;
    let verified = world.walbridge.run(&["verify", "search"]);
    assert!(verified.status.success(), "{verified:?}");
    // A lost checkpoint, and all is told again.
    world.walbridge.sigkill();
    world.walbridge.start_again();
    world.postgres.psql("UPDATE t SET tenant = 'd' WHERE id < 10; DELETE FROM t WHERE id = 11");
    equals(world, "SELECT * FROM t").await;
    world
        .postgres
        .psql("BEGIN; TRUNCATE t; INSERT INTO t VALUES (1, 'e', 'new', NULL), (7, 'tenant0', 'new', NULL); COMMIT");
    equals(world, "SELECT * FROM t").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_is_routed_by_its_value_and_leaves_the_old_shard_when_that_changes() {
    let node = OpenSearch::shared();
    let more = "routing = \"{tenant}\"\nsettings = { number_of_shards = 5 }";
    let mut world = World::at(node.clone(), &format!("\"{}\"", node.url()), &OpenSearch::name(), SQL, more);
    change_and_compare(&mut world).await;
    world.postgres.psql("UPDATE t SET tenant = NULL WHERE id = 1");
    equals(&world, "SELECT * FROM t").await;
    world.postgres.psql("UPDATE t SET tenant = 'a/b%2F\"' WHERE id = 1");
    equals(&world, "SELECT * FROM t").await;
    // What somebody else put on the wrong shard is found, and removed.
    let stray = json!({ "id": "1", "_walbridge": { "table": "public.t", "key": "\\x782f31" } });
    let path = format!("/{}/_doc/1?routing=x", world.index);
    let (status, answer) = world.node.ask(Method::PUT, &path, Some(stray)).await;
    assert!(status < 300, "{answer}");
    let repaired = world.walbridge.run(&["verify", "search", "--repair"]);
    let said = String::from_utf8_lossy(&repaired.stdout).into_owned();
    assert!(said.contains("x/1"), "{said}");
    equals(&world, "SELECT * FROM t").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_tells_its_index_and_leaves_the_old_one_when_that_changes() {
    let node = OpenSearch::shared();
    let index = format!("{}-{{tenant}}", OpenSearch::name());
    let url = format!("\"{}\"", node.url());
    let mut world =
        World::at(node.clone(), &url, &index, SQL, "routing = \"{tenant}\"\nsettings = { number_of_replicas = 0 }");
    change_and_compare(&mut world).await;
    // No index can be called so. The row is set aside, and the rest flows.
    world.postgres.psql("UPDATE t SET tenant = 'Not a name' WHERE id = 1; UPDATE t SET name = 'newer' WHERE id = 7");
    let sink = world.wait_for("degraded", "sink.rejected").await;
    assert_eq!(sink["rejected"], 1, "{sink}");
    equals(&world, "SELECT * FROM t WHERE id = 7").await;
    world.postgres.psql("UPDATE t SET tenant = 'f' WHERE id = 1");
    equals(&world, "SELECT * FROM t").await;
    // One of them is deleted: that is seen, and it is filled again.
    world.node.ask(Method::DELETE, &format!("/{}-1", world.index.replace("{tenant}", "f")), None).await;
    world.postgres.psql("UPDATE t SET name = 'later' WHERE id = 7");
    equals(&world, "SELECT * FROM t").await;
    let refused = world.walbridge.run(&["rebuild", "search"]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("tell their indexes"), "{refused:?}");
}

/// What a row's place was is not told by its replica identity. That is said at the start, before anything is written.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_place_that_can_change_without_being_told_is_refused_at_the_start() {
    let sql = "CREATE TABLE t (id int PRIMARY KEY, tenant text); INSERT INTO t VALUES (1, 'a')";
    let mut world = World::open(sql, None, "routing = \"{tenant}\"");
    let sink = world.wait_for("halted", "config.invalid").await;
    let message = sink["message"].as_str().unwrap_or_default();
    assert!(message.contains("routing = \"{tenant}\" for table public.t: column `tenant`"), "{message}");
    assert!(message.contains("ALTER TABLE public.t REPLICA IDENTITY FULL"), "{message}");
    assert_eq!(world.node.ask(Method::GET, &format!("/{}", world.index), None).await.0, 404);
    let checked = world.walbridge.run(&["check"]);
    assert!(!checked.status.success(), "{checked:?}");
    world.walbridge.sigterm();
    // An expression of the key is known whenever the key is.
    let text = std::fs::read_to_string(world.walbridge.config_path()).expect("its configuration");
    let shape = "routing = \"{part}\"\nshape = { columns = [\"*\", \"id % 4 AS part\"] }";
    world.walbridge.configure(&text.replace("routing = \"{tenant}\"", shape));
    world.walbridge.start_again();
    world.postgres.psql("UPDATE t SET id = 6; INSERT INTO t VALUES (1, 'b')");
    eventually(PATIENCE, || async {
        world.node.ask(Method::POST, &format!("/{}/_refresh", world.index), None).await;
        let (_, found) = world.node.ask(Method::GET, &format!("/{}/_search?sort=id", world.index), None).await;
        let hits = found["hits"]["hits"].as_array().cloned().unwrap_or_default();
        let places: Vec<_> = hits.iter().map(|hit| (hit["_id"].as_str(), hit["_routing"].as_str())).collect();
        if places == [(Some("1"), Some("1")), (Some("6"), Some("2"))] { Ok(()) } else { Err(format!("{places:?}")) }
    })
    .await;
}

/// Documents go through a pipeline. A row that it refuses is set aside alone; a large value that a change leaves alone is not taken from a document that
/// the pipeline has made. Without the pipeline the sink halts, and no row is blamed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn documents_go_through_a_pipeline_and_what_that_refuses_is_set_aside() {
    let node = OpenSearch::shared();
    let name = format!("{}-pipeline", OpenSearch::name());
    let path = format!("/_ingest/pipeline/{name}");
    let make = json!({ "processors": [
        { "convert": { "field": "code", "type": "integer", "ignore_missing": true } },
        { "append": { "field": "big", "value": "+" } },
    ] });
    assert_eq!(node.ask(Method::PUT, &path, Some(make.clone())).await.0, 200);
    let sql = "CREATE TABLE t (id int PRIMARY KEY, code text, big text); ALTER TABLE t ALTER big SET STORAGE EXTERNAL;
        INSERT INTO t VALUES (1, '7', repeat('o', 9000)), (2, '8', 'b')";
    let more = format!("pipeline = \"{name}\"\nmapping = {{ code = {{ type = \"long\" }} }}");
    let mut world = World::open(sql, None, &more);
    let holds = |world: &World, wanted: Value| {
        let (node, index) = (world.node.clone(), world.index.clone());
        async move {
            eventually(PATIENCE, || async {
                let found = node.documents(&index).await;
                let found: BTreeMap<String, Value> = found
                    .into_iter()
                    .map(|(id, document)| {
                        (id, json!([document["code"], document["big"][0].as_str().map(str::len), document["big"][1]]))
                    })
                    .collect();
                if json!(found) == wanted { Ok(()) } else { Err(json!(found)) }
            })
            .await;
        }
    };
    holds(&world, json!({ "1": [7, 9000, "+"], "2": [8, 1, "+"] })).await;
    world.postgres.psql("UPDATE t SET code = '9' WHERE id = 1; UPDATE t SET code = 'no number' WHERE id = 2; INSERT INTO t VALUES (3, '1', 'c')");
    let sink = world.wait_for("degraded", "sink.rejected").await;
    assert_eq!(sink["rejected"], 1, "{sink}");
    holds(&world, json!({ "1": [9, 9000, "+"], "3": [1, 1, "+"] })).await;
    node.ask(Method::DELETE, &path, None).await;
    world.postgres.psql("INSERT INTO t VALUES (4, '4', 'd')");
    let sink = world.wait_for("halted", "sink.rejected").await;
    assert!(sink["message"].as_str().is_some_and(|message| message.contains("no ingest pipeline")), "{sink}");
    assert_eq!(sink["rejected"], 1, "{sink}");
    node.ask(Method::PUT, &path, Some(make)).await;
    world.walbridge.sigterm();
    world.walbridge.start_again();
    holds(&world, json!({ "1": [9, 9000, "+"], "3": [1, 1, "+"], "4": [4, 1, "+"] })).await;
}
