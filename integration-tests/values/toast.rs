//! Large values that an UPDATE leaves alone, from the server to every sink: absent, NULL and unchanged are three things.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Map, Value};

use crate::pipeline::caught_up;
use crate::shop::PATIENCE;
use crate::support::equal::{hash_equals, json_equals};
use crate::support::{PgOptions, Postgres, Redis, Walbridge};

/// Each table with its key in the stream, which is its replica identity's.
const TABLES: [(&str, &str); 4] = [("d", "id"), ("f", "id"), ("i", "code"), ("k", "id")];

/// `big` is stored out of line and never compressed. The key of `k` is out of line itself: long, and no two alike.
const SCHEMA: &str = "
    CREATE FUNCTION long(seed int) RETURNS text LANGUAGE sql AS
        $$ SELECT string_agg(md5(seed || ':' || n), '') FROM generate_series(1, 75) n $$;
    CREATE TABLE d (id int PRIMARY KEY, small text, big text);
    CREATE TABLE f (id int PRIMARY KEY, small text, big text);
    CREATE TABLE i (id int, code int NOT NULL, small text, big text);
    CREATE UNIQUE INDEX i_code ON i (code);
    CREATE TABLE k (id text PRIMARY KEY, small text, big text);
    ALTER TABLE k ALTER id SET STORAGE EXTERNAL;
    ALTER TABLE f REPLICA IDENTITY FULL;
    ALTER TABLE i REPLICA IDENTITY USING INDEX i_code;
    ALTER TABLE d ALTER big SET STORAGE EXTERNAL; ALTER TABLE f ALTER big SET STORAGE EXTERNAL;
    ALTER TABLE i ALTER big SET STORAGE EXTERNAL; ALTER TABLE k ALTER big SET STORAGE EXTERNAL;";

/// Ten rows, each with a large value of its own, from `first` on.
fn rows(first: u32) -> String {
    let last = first + 9;
    format!(
        "INSERT INTO d SELECT n, 's', repeat(n || '-', 4000) FROM generate_series({first}, {last}) n;
         INSERT INTO f SELECT * FROM d WHERE id BETWEEN {first} AND {last}; INSERT INTO i SELECT id, id, small, big FROM d WHERE id BETWEEN {first} AND {last};
         INSERT INTO k SELECT long(id), small, big FROM d WHERE id BETWEEN {first} AND {last};"
    )
}

/// What is done to ten rows, in every table. A tenth row stays as it is.
fn changes(first: u32) -> String {
    let mut sql = String::new();
    for (table, key) in TABLES {
        let id = |n: u32| if table == "k" { format!("long({})", first + n) } else { (first + n).to_string() };
        let moved =
            |n: u32| if table == "k" { format!("long({})", first + n + 500) } else { (first + n + 500).to_string() };
        let at = |n: u32| format!("WHERE {key} = {}", id(n));
        let statements = [
            format!("UPDATE {table} SET small = 'left alone' {}", at(0)),
            format!("UPDATE {table} SET small = NULL {}", at(1)),
            format!("UPDATE {table} SET big = NULL {}", at(2)),
            format!("UPDATE {table} SET big = '' {}", at(3)),
            // Scenario 66: the key and a small column at once, and again at once.
            format!("UPDATE {table} SET {key} = {}, small = 'moved' {}", moved(4), at(4)),
            format!(
                "BEGIN; UPDATE {table} SET {key} = {} {}; UPDATE {table} SET small = 'moved twice', {key} = {} WHERE {key} = {}; COMMIT",
                moved(5),
                at(5),
                moved(6),
                moved(5)
            ),
            // One transaction that changes the value and then leaves it alone; one that gives the key to another row.
            format!(
                "BEGIN; UPDATE {table} SET big = repeat('new', 4000) {}; UPDATE {table} SET small = 'after' {}; COMMIT",
                at(6),
                at(6)
            ),
            format!("BEGIN; DELETE FROM {table} {}; UPDATE {table} SET {key} = {} {}; COMMIT", at(7), id(7), at(8)),
        ];
        statements.iter().for_each(|statement| sql += &format!("{statement};\n"));
    }
    // Scenario 65: a row inserted and changed in part, in one transaction and in one batch.
    sql + &format!(
        "BEGIN; INSERT INTO d VALUES ({0}, 's', repeat('fresh', 4000)); UPDATE d SET small = 'changed' WHERE id = {0}; COMMIT;
         INSERT INTO i VALUES (1, {0}, NULL, repeat('fresh', 4000)); UPDATE i SET id = 2 WHERE code = {0}; UPDATE i SET code = code + 1 WHERE code = {0};",
        first + 300
    )
}

fn config(postgres: &Postgres, documents: &Redis, hashes: &Redis, directory: &Path) -> String {
    let (url, documents, hashes, directory) = (postgres.url(), documents.url(), hashes.url(), directory.display());
    format!(
        r#"
[sources.shop]
url = "{url}"
tables = ["public.*"]

[log]
path = "{directory}/log"

[sinks.json]
kind = "redis"
url = "{documents}"
from = "public.*"

[sinks.hash]
kind = "redis"
url = "{hashes}"
from = "public.*"
value = "hash"

[sinks.search]
kind = "tantivy"
path = "{directory}/index"
from = "public.d"

[sinks.feed]
kind = "file"
path = "{directory}/feed.jsonl"
from = "public.*"
"#
    )
}

/// Scenarios 64 to 66, for each replica identity, and a key that is itself out of line and left alone: PostgreSQL logs the old
/// key then, and the new row lacks it. Every sink has what SELECT says; none of them ever saw a NULL that was none.
#[tokio::test(flavor = "multi_thread")]
async fn a_large_value_left_alone_stays_whole_in_every_sink_under_every_replica_identity() {
    let postgres = Postgres::start(PgOptions::default());
    let (documents, hashes) = (Redis::start(&[]), Redis::start(&[]));
    let directory = tempfile::tempdir().expect("a directory");
    postgres.psql(SCHEMA);
    postgres.psql(&rows(0));
    let mut walbridge = Walbridge::start(&config(&postgres, &documents, &hashes, directory.path()));
    caught_up(&mut walbridge, &postgres).await;
    // Rows that the snapshot brought, and rows that the stream did.
    postgres.psql(&changes(0));
    postgres.psql(&rows(100));
    postgres.psql(&changes(100));
    caught_up(&mut walbridge, &postgres).await;

    let feed = std::fs::read_to_string(directory.path().join("feed.jsonl")).expect("the feed");
    let dump = String::from_utf8(walbridge.run(&["log", "dump", "--json"]).stdout).expect("JSON");
    for (table, key) in TABLES {
        let select = format!("SELECT * FROM {table}");
        let template = format!("public.{table}:{{{key}}}");
        json_equals(&postgres, &documents, &select, &template).await;
        hash_equals(&postgres, &hashes, &select, &template).await;
        let truth = truth(&postgres, table, key);
        assert_eq!(told(&feed, table, key), truth, "the feed of {table}");
        assert_eq!(told(&dump, table, key), truth, "the log of {table}");
    }
    searched(&walbridge, &postgres).await;
}

/// Scenario 67. Somebody deletes documents by hand, then an UPDATE touches a small column of their rows: what it left alone is in
/// nobody's hands but the source's, and the document comes back whole. As long as the source does not let it be read, none is
/// written: half a row is never taken for a whole one.
#[tokio::test(flavor = "multi_thread")]
async fn a_document_that_somebody_deleted_comes_back_whole_or_not_at_all() {
    let postgres = Postgres::start(PgOptions::default());
    let (documents, hashes) = (Redis::start(&[]), Redis::start(&[]));
    let directory = tempfile::tempdir().expect("a directory");
    postgres.psql(SCHEMA);
    postgres.psql(&rows(0));
    let mut walbridge = Walbridge::start(&config(&postgres, &documents, &hashes, directory.path()));
    caught_up(&mut walbridge, &postgres).await;
    for redis in [&documents, &hashes] {
        let mut connection = redis.connection().await;
        let lost: Vec<String> = [3, 4, 5, 6].map(|id| format!("public.d:{id}")).to_vec();
        let deleted: u32 = redis::cmd("DEL").arg(&lost).query_async(&mut connection).await.expect("deleted");
        assert_eq!(deleted, 4, "they were there");
    }
    postgres.psql("UPDATE d SET small = 'touched' WHERE id IN (3, 4); BEGIN; UPDATE d SET small = 'and gone' WHERE id = 5; DELETE FROM d WHERE id = 5; COMMIT");
    postgres.psql("UPDATE d SET small = 'touched, then moved' WHERE id = 6; UPDATE d SET id = 60 WHERE id = 6");
    caught_up(&mut walbridge, &postgres).await;
    json_equals(&postgres, &documents, "SELECT * FROM d", "public.d:{id}").await;
    hash_equals(&postgres, &hashes, "SELECT * FROM d", "public.d:{id}").await;

    let mut connection = documents.connection().await;
    redis::cmd("DEL").arg("public.d:7").query_async::<()>(&mut connection).await.expect("deleted");
    postgres.psql("REVOKE SELECT ON d FROM walbridge; UPDATE d SET small = 'unread' WHERE id = 7; UPDATE d SET small = 'goes on' WHERE id = 8");
    // Counted first, told with the next progress.
    let told = |sink: &Value| sink["rejected"] == 1 && sink["code"] == "sink.rejected";
    walbridge.wait_for(PATIENCE, |status| told(&status["sinks"]["json"])).await;
    super::caught_up_with_alarm(&mut walbridge, &postgres).await;
    let exists: bool = redis::cmd("EXISTS").arg("public.d:7").query_async(&mut connection).await.expect("an answer");
    assert!(!exists, "half a row was written");
    let next: String = redis::cmd("GET").arg("public.d:8").query_async(&mut connection).await.expect("an answer");
    assert!(next.contains("goes on"), "{next:.200}");
    let dead = std::fs::read_dir(directory.path().join("log/dead-letters")).expect("dead letters").flatten();
    let dead: String = dead.filter_map(|file| std::fs::read_to_string(file.path()).ok()).collect();
    assert!(dead.contains("public.d:7") || dead.contains("\"id\":7"), "{dead:.400}");
}

fn truth(postgres: &Postgres, table: &str, key: &str) -> BTreeMap<String, Value> {
    let answer = postgres.psql(&format!("SELECT to_json(t) FROM {table} t"));
    let row = |line: &str| {
        let row: Value = serde_json::from_str(line).expect("JSON");
        (row[key].to_string(), row)
    };
    answer.lines().map(row).collect()
}

/// What a reader of the history makes of a table who knows three things: a column in `after` has that value, `null` among
/// them; one named in `unchanged` keeps the value it had; and an update with another key than `before` moves the row.
fn told(history: &str, table: &str, key: &str) -> BTreeMap<String, Value> {
    let mut rows: BTreeMap<String, Value> = BTreeMap::new();
    for line in history.lines() {
        let event: Value = serde_json::from_str(line).expect("an event");
        if event["table"] != table {
            continue;
        }
        let new_key = event["key"][key].to_string();
        let old_key = event["before"].get(key).map_or_else(|| new_key.clone(), Value::to_string);
        let mut before = rows.remove(&old_key);
        if event["op"] == "delete" {
            assert!(before.is_some(), "a delete of {old_key:.40}, which was not there");
            continue;
        }
        let mut after: Map<String, Value> = event["after"].as_object().expect("a row").clone();
        for column in event["unchanged"].as_array().expect("a list") {
            let column = column.as_str().expect("a name");
            assert!(!after.contains_key(column), "{column} is told, and said to be unchanged");
            let kept = before.as_mut().expect("the row of before")[column].take();
            after.insert(column.to_owned(), if column == key { event["key"][key].clone() } else { kept });
        }
        assert_eq!(
            after.len(),
            event["after"].as_object().map_or(0, Map::len) + event["unchanged"].as_array().map_or(0, Vec::len)
        );
        rows.insert(new_key, after.into());
    }
    rows
}

/// The index's documents, one by one.
async fn searched(walbridge: &Walbridge, postgres: &Postgres) {
    for (id, row) in truth(postgres, "d", "id") {
        let answer = walbridge.get(&format!("/search/search?q=id:{id}")).await.expect("an answer");
        let answer: Value = serde_json::from_str(&answer).expect("JSON");
        assert_eq!(answer["total"], 1, "{id}: {answer:.200}");
        assert_eq!(answer["hits"][0]["document"], row, "document {id}");
    }
}
