//! `walbridge rebuild` with the real program: two search indexes are built anew under load, killed half-way, while readers look on.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::pipeline::caught_up;
use crate::support::equal::search_equals;
use crate::support::{OpenSearch, PgOptions, Postgres, Walbridge, eventually};

const PATIENCE: Duration = Duration::from_secs(90);
const ROWS: u64 = 800;

struct World {
    postgres: Postgres,
    node: Arc<OpenSearch>,
    index: String,
    walbridge: Walbridge,
}

impl World {
    /// Many transactions and small batches, so that a rebuild takes its time.
    async fn open() -> World {
        let postgres = Postgres::start(PgOptions::default());
        postgres.psql(&format!(
            "CREATE TABLE t (id int PRIMARY KEY, n int, name text); INSERT INTO t SELECT i, 0, 'row ' || i FROM generate_series(1, {ROWS}) i"
        ));
        let (node, index) = (OpenSearch::shared(), OpenSearch::name());
        let config = format!(
            "[sources.shop]\nurl = \"{}\"\ntables = \"public.*\"\n[log]\npath = \"log\"\n\
             [sinks.remote]\nkind = \"opensearch\"\nurl = \"{}\"\nindex = \"{index}\"\nfrom = \"public.t\"\nkey = \"{{id}}\"\n\
             batch = {{ rows = 20, linger = \"0s\" }}\n\
             [sinks.search]\nkind = \"tantivy\"\npath = \"index\"\nfrom = \"public.t\"\nbatch = {{ rows = 20, linger = \"0s\" }}\n\
             [sinks.history]\nkind = \"file\"\npath = \"history.jsonl\"\nfrom = \"public.t\"\n",
            postgres.url(),
            node.url(),
        );
        let mut walbridge = Walbridge::start(&config);
        caught_up(&mut walbridge, &postgres).await;
        postgres.psql(
            "DO $$ BEGIN FOR i IN 1..600 LOOP UPDATE t SET n = n + 1 WHERE id = i % 800 + 1; COMMIT; END LOOP; END $$",
        );
        caught_up(&mut walbridge, &postgres).await;
        let world = World { postgres, node, index, walbridge };
        world.refresh().await;
        world
    }

    fn order(&self, arguments: &[&str]) -> Result<String, String> {
        let output = self.walbridge.run(&[&["rebuild"], arguments].concat());
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    }

    /// What a reader of OpenSearch finds: how many rows there are, and the counter of the first.
    async fn found(&self) -> (u64, i64) {
        let body = json!({ "size": 1, "track_total_hits": true, "sort": [{ "id": "asc" }] });
        let (status, found) = self.node.ask(Method::POST, &format!("/{}/_search", self.index), Some(body)).await;
        assert!(status == 200 && found["_shards"]["failed"] == 0, "{status} {found}");
        let first = found["hits"]["hits"][0]["_source"]["n"].as_i64().expect("a counter");
        (found["hits"]["total"]["value"].as_u64().expect("a number"), first)
    }

    /// OpenSearch shows what was written once it has refreshed the index, which it would do up to a second later.
    async fn refresh(&self) {
        let (status, said) = self.node.ask(Method::POST, &format!("/{}/_refresh", self.index), None).await;
        assert_eq!(status, 200, "{said}");
    }

    /// How many rows the embedded index finds; `None` if it cannot say.
    async fn total(&self, question: &str) -> Option<u64> {
        let answer = self.walbridge.get(&format!("/search/search?q={question}")).await.ok()?;
        serde_json::from_str::<Value>(&answer).ok()?["total"].as_u64()
    }

    /// Readers look on, rows change, until these have been rebuilt. No reader ever misses a row, or goes back in time.
    async fn look_on_until_rebuilt(&mut self, wanted: &[&str]) {
        let mut seen = 0;
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            self.postgres.psql("UPDATE t SET n = n + 1 WHERE id <= 3");
            let (rows, first) = self.found().await;
            assert!(rows == ROWS && first >= seen, "{rows} rows, {first} after {seen}");
            seen = first;
            assert_eq!(self.total("*").await, Some(ROWS));
            let sinks = self.walbridge.status().await["sinks"].clone();
            let done = |sink: &str| sinks[sink]["rebuild"].is_null() && sinks[sink]["rebuilt"].is_string();
            if wanted.iter().all(|sink| done(sink)) {
                return;
            }
            assert!(tokio::time::Instant::now() < deadline, "{sinks:#}");
        }
    }

    async fn assert_equal(&mut self) {
        caught_up(&mut self.walbridge, &self.postgres).await;
        search_equals(&self.postgres, &self.walbridge, "search", "SELECT * FROM t").await;
        let rows = self.postgres.psql("SELECT id, n FROM t");
        let rows: BTreeMap<String, String> =
            rows.lines().filter_map(|row| row.split_once('|')).map(|(id, n)| (id.to_owned(), n.to_owned())).collect();
        let documents = self.node.documents(&self.index).await.into_iter();
        let found: BTreeMap<String, String> = documents.map(|(id, document)| (id, document["n"].to_string())).collect();
        assert!(found == rows, "{} documents, {} rows", found.len(), rows.len());
    }

    /// Counts the copies of the table.
    async fn copies(&self) -> u64 {
        let status = self.walbridge.status().await;
        status["sources"]["shop"]["tables"]["public.t"]["generation"].as_u64().expect("a number")
    }

    /// The indexes of that name, and what each is called by.
    async fn indexes(&self) -> BTreeMap<String, Vec<String>> {
        let (_, found) = self.node.ask(Method::GET, &format!("/{}-*/_alias", self.index), None).await;
        let aliases = |index: &Value| index["aliases"].as_object().map(|all| all.keys().cloned().collect());
        let found = found.as_object().into_iter().flatten();
        found.map(|(name, index)| (name.clone(), aliases(index).unwrap_or_default())).collect()
    }
}

/// A rebuild of either kind of index, under load, with a SIGKILL in its middle. Afterwards one old index is kept, the other is gone; both are what the table is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn indexes_are_built_anew_under_load_and_over_a_sigkill_and_no_reader_misses_a_row() {
    let mut world = World::open().await;
    world.postgres.psql("ALTER TABLE t ADD extra text; UPDATE t SET extra = 'later' WHERE id = 7");
    caught_up(&mut world.walbridge, &world.postgres).await;
    assert_eq!(world.total("extra:later").await, None, "it came after the index was made");
    world.order(&["remote", "--keep-old"]).expect("a beginning");
    let said = world.order(&["search"]).expect("a beginning");
    assert!(said.contains("builds another from events 0 up to"), "{said}");
    let status = world.walbridge.status().await;
    let under_way = |status: &Value, sink: &str| status["sinks"][sink]["rebuild"]["percent"].is_number();
    assert!(under_way(&status, "remote") && under_way(&status, "search"), "{status:#}");
    world.walbridge.sigkill();
    assert_eq!(world.found().await.0, ROWS);
    world.walbridge.start_again();
    caught_up(&mut world.walbridge, &world.postgres).await;
    world.look_on_until_rebuilt(&["remote", "search"]).await;
    world.assert_equal().await;
    let old = format!("{}-1", world.index);
    let wanted = BTreeMap::from([(old, vec![]), (format!("{}-2", world.index), vec![world.index.clone()])]);
    assert_eq!(world.indexes().await, wanted);
    assert_eq!(world.total("extra:later").await, Some(1), "the new index has the new column");

    // Once more, to the end: the one before goes, the one that was kept stays.
    let said = world.order(&["remote", "--wait"]).expect("all of it");
    assert!(said.contains("has taken the place"), "{said}");
    let third = format!("{}-3", world.index);
    eventually(PATIENCE, || async {
        let names: Vec<String> = world.indexes().await.into_keys().collect();
        if names == [format!("{}-1", world.index), third.clone()] { Ok(()) } else { Err(names) }
    })
    .await;
    world.assert_equal().await;
    assert_eq!(world.walbridge.sigterm(), Some(0));
}

/// An index need not be built from the log's beginning, which may be gone: it is filled from new copies of the tables, which begin when it does, while rows change and readers look on. A SIGKILL does not have them begin
/// once more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_index_is_built_anew_from_new_copies_under_load_and_over_a_sigkill() {
    let mut world = World::open().await;
    // Gone before the copies, so nothing tells the new index of them.
    world.postgres.psql("INSERT INTO t SELECT i FROM generate_series(901, 950) i");
    caught_up(&mut world.walbridge, &world.postgres).await;
    world.postgres.psql("DELETE FROM t WHERE id > 900");
    caught_up(&mut world.walbridge, &world.postgres).await;
    world.refresh().await;
    for sink in ["remote", "search"] {
        let before = world.copies().await;
        let said = world.order(&[sink, "--copy"]).expect("a beginning");
        let from = said.split_once("from events ").and_then(|(_, rest)| rest.split(' ').next()?.parse::<u64>().ok());
        assert!(from >= Some(ROWS + 700), "the log's events of before are not applied: {said}");
        if sink == "remote" {
            // That the copies were ordered is written down before any of them is applied.
            let applies = |status: &Value| {
                let rebuild = &status["sinks"]["remote"]["rebuild"];
                rebuild.is_null() || rebuild["checkpoint"].as_u64() > from
            };
            world.walbridge.wait_for(PATIENCE, applies).await;
            world.walbridge.sigkill();
            assert_eq!(world.found().await.0, ROWS);
            world.walbridge.start_again();
            caught_up(&mut world.walbridge, &world.postgres).await;
        }
        world.look_on_until_rebuilt(&[sink]).await;
        assert_eq!(world.copies().await, before + 1, "{sink}");
        world.assert_equal().await;
    }
    let indexes = world.indexes().await;
    assert_eq!(indexes.get(&format!("{}-2", world.index)), Some(&vec![world.index.clone()]), "{indexes:?}");
    assert_eq!(world.walbridge.sigterm(), Some(0));
}

/// What cannot be done is refused with what to do instead; what is canceled leaves nothing behind.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rebuild_can_be_canceled_and_one_that_makes_no_sense_is_refused() {
    let mut world = World::open().await;
    let refused = world.order(&["history"]).expect_err("it keeps history");
    assert!(refused.contains("another name"), "{refused}");
    let refused = world.order(&["remote", "--cancel"]).expect_err("there is nothing");
    assert!(refused.contains("nothing is being rebuilt"), "{refused}");
    // Nothing can be compared with a locked table, so neither ends by itself.
    let lock = world.postgres.client().await;
    lock.batch_execute("BEGIN; LOCK TABLE t IN ACCESS EXCLUSIVE MODE").await.expect("a lock");
    for sink in ["remote", "search"] {
        world.order(&[sink]).expect("a beginning");
        let said = world.order(&[sink, "--cancel"]).expect("an end");
        assert!(said.contains("is removed"), "{said}");
        let status = world.walbridge.status().await["sinks"][sink].clone();
        assert!(status["rebuild"].is_null() && status["rebuilt"].is_null(), "{status}");
    }
    lock.batch_execute("ROLLBACK").await.expect("no lock");
    assert_eq!(world.indexes().await.into_keys().collect::<Vec<_>>(), [format!("{}-1", world.index)]);
    world.postgres.psql("UPDATE t SET n = 5");
    world.assert_equal().await;
}
