//! `walbridge rebuild` of rows in another PostgreSQL database: what hangs on the tables stays, and readers see one state or the other.

use std::time::Duration;

use serde_json::Value;

use crate::pipeline::caught_up;
use crate::support::{PgOptions, Postgres, Walbridge, eventually};

const PATIENCE: Duration = Duration::from_secs(90);

const SOURCE: &str = "CREATE TYPE mood AS ENUM ('sad', 'glad');
    CREATE TABLE t (id int, part text, n int, doc json, at point, mood mood, PRIMARY KEY (part, id));
    INSERT INTO t SELECT i, 'p', i, '{\"a\": 1}', '(1,2)', 'glad' FROM generate_series(1, 500) i;
    CREATE TABLE plain (id int PRIMARY KEY); INSERT INTO plain SELECT generate_series(1, 10)";
/// Made by hand: what rows become, and what hangs on them.
const TARGET: &str = "CREATE TABLE t (id bigint, part varchar(20), n int, doc json, at point, mood text, ours text DEFAULT 'ours', PRIMARY KEY (part, id));
    CREATE TABLE refers (part varchar(20), id bigint, FOREIGN KEY (part, id) REFERENCES t);
    CREATE VIEW seen AS SELECT count(*) FILTER (WHERE n = -1) AS strays, count(*) FILTER (WHERE id <= 500 AND n > 0) AS rows FROM t;
    CREATE INDEX ON t (n); CREATE ROLE reader; GRANT SELECT ON t TO reader";
/// Somebody has been at it: rows are missing, are others, are too many.
const SPOILT: &str = "DELETE FROM t WHERE id BETWEEN 101 AND 200;
    INSERT INTO t SELECT i, 'p', -1 FROM generate_series(1001, 1100) i;
    UPDATE t SET doc = '{\"a\": 2}', at = '(3,4)' WHERE id = 300";

fn rows(postgres: &Postgres, table: &str) -> String {
    let columns = if table == "t" { "id, part, n, doc::text, at::text, mood::text" } else { "id" };
    postgres.psql(&format!("SELECT {columns} FROM {table} ORDER BY id"))
}

fn order(walbridge: &Walbridge, arguments: &[&str]) -> Result<String, String> {
    let output = walbridge.run(&[&["rebuild", "copy"], arguments].concat());
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn spoilt_rows_are_replaced_in_one_transaction_and_what_hangs_on_the_table_stays() {
    let (source, target) = (Postgres::start(PgOptions::default()), Postgres::start(PgOptions::default()));
    source.psql(SOURCE);
    target.psql(TARGET);
    let config = format!(
        "[sources.shop]\nurl = \"{}\"\ntables = \"public.*\"\n[log]\npath = \"log\"\n\
         [sinks.copy]\nkind = \"postgres\"\nurl = \"{}\"\nfrom = \"public.*\"\nbatch = {{ rows = 20 }}\n",
        source.url(),
        target.superuser_url(),
    );
    let mut walbridge = Walbridge::start(&config);
    caught_up(&mut walbridge, &source).await;
    assert_eq!(rows(&target, "t"), rows(&source, "t"));
    target.psql("INSERT INTO refers VALUES ('p', 7)");
    target.psql(SPOILT);
    target.psql("DROP TABLE plain");
    let untouched = "SELECT xmin FROM t WHERE id IN (7, 400) ORDER BY id";
    let before = target.psql(untouched);
    let said = order(&walbridge, &["--keep-old"]).expect("a beginning");
    assert!(said.contains("builds another"), "{said}");
    // A reader looks on, and rows change.
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        source.psql("UPDATE t SET n = n + 1 WHERE id = 500");
        let seen = target.psql("SELECT * FROM seen");
        assert!(["100|400", "0|500"].contains(&seen.as_str()), "strays and rows: {seen}");
        let sink: Value = walbridge.status().await["sinks"]["copy"].clone();
        if sink["rebuild"].is_null() && sink["rebuilt"].is_string() {
            break;
        }
        assert!(tokio::time::Instant::now() < deadline, "{sink:#}");
    }
    caught_up(&mut walbridge, &source).await;
    for table in ["t", "plain"] {
        assert_eq!(rows(&target, table), rows(&source, table), "{table}");
    }
    assert_eq!(target.psql("SELECT * FROM seen"), "0|500");
    assert_eq!(target.psql(untouched), before, "what did not differ was not written");
    assert_eq!(target.psql("SELECT count(*) FROM t WHERE ours = 'ours'"), "500", "a column of its own stays");
    assert!(target.try_psql("INSERT INTO refers VALUES ('p', 1001)").is_err(), "the foreign key stands");
    assert_eq!(target.psql("SELECT has_table_privilege('reader', 't', 'SELECT')"), "t");
    let kept = target.psql("SELECT nspname FROM pg_namespace WHERE nspname LIKE 'walbridge\\_kept\\_%'");
    assert_eq!(target.psql(&format!("SELECT count(*) FROM {kept}.t")), "500", "100 missing, 100 strays");
    let left = "SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'walbridge\\_beside\\_%'";
    assert_eq!(target.psql(left), "0");

    // One that is canceled leaves nothing behind, and the rows as they are. It cannot be compared with a locked table, and so not end.
    let lock = source.client().await;
    lock.batch_execute("BEGIN; LOCK TABLE t IN ACCESS EXCLUSIVE MODE").await.expect("a lock");
    order(&walbridge, &[]).expect("a beginning");
    eventually(PATIENCE, || async { if target.psql(left) == "1" { Ok(()) } else { Err("nothing is beside yet") } })
        .await;
    let said = order(&walbridge, &["--cancel"]).expect("an end");
    assert!(said.contains("is removed"), "{said}");
    assert_eq!(target.psql(left), "0");
    lock.batch_execute("ROLLBACK").await.expect("no lock");
    source.psql("UPDATE t SET n = 5 WHERE id = 6");
    caught_up(&mut walbridge, &source).await;
    assert_eq!(rows(&target, "t"), rows(&source, "t"));
    assert_eq!(walbridge.sigterm(), Some(0));
}
