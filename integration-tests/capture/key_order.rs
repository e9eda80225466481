//! Keys whose columns stand in another order in their index than in the table.
//!
//! The stream's announcement of a table marks the columns of the key, in the table's order; the copy asked the catalog for the index, and took its order. Of such a
//! table each row had two names: what had been copied was never updated or deleted in a sink, beside each of them a second document appeared, and a chunk of the copy was
//! put over what the stream had told of the same rows, since it did not know them for the same.

use super::{Capture, assert_same, events, replay, selected};
use crate::support::{PgOptions, Postgres};

/// Each kind of identity that has a key.
const IDENTITIES: [&str; 3] = ["DEFAULT", "FULL", "USING INDEX other"];

fn table(postgres: &Postgres, identity: &str, rows: u32) {
    postgres.psql(&format!(
        "CREATE TABLE t (id int NOT NULL, part text NOT NULL, n int NOT NULL, filler text, PRIMARY KEY (part, id));
         CREATE UNIQUE INDEX other ON t (part, id); ALTER TABLE t REPLICA IDENTITY {identity};
         INSERT INTO t SELECT i, 'p' || i, 0, repeat('x', 1000) FROM generate_series(1, {rows}) i; ANALYZE t"
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_copied_is_what_the_stream_changes() {
    for identity in IDENTITIES {
        let postgres = Postgres::start(PgOptions::default());
        table(&postgres, identity, 100);
        let directory = tempfile::tempdir().expect("a directory");
        let capture = Capture::start(&postgres.url(), directory.path());
        capture.caught_up(&postgres).await;
        postgres.psql(
            "UPDATE t SET n = 1 WHERE id <= 10; DELETE FROM t WHERE id > 90; UPDATE t SET id = 500 WHERE id = 50",
        );
        capture.caught_up(&postgres).await;
        assert_same(&replay(&events(&capture.log).await), &selected(&postgres, "public.t", &["id", "part"]).await);
        capture.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_changes_while_it_is_copied_is_not_put_back() {
    for identity in IDENTITIES {
        let postgres = Postgres::start(PgOptions::default());
        table(&postgres, identity, 4_000);
        let directory = tempfile::tempdir().expect("a directory");
        let capture = Capture::start_with(&postgres.url(), directory.path(), super::copies::slowly);
        capture.until("a chunk", |status| status.tables.get("public.t").is_some_and(|table| table.rows > 0)).await;
        postgres.psql("UPDATE t SET n = 1 WHERE id % 3 = 0; DELETE FROM t WHERE id % 7 = 0");
        assert!(!capture.status().tables["public.t"].done, "{identity}: the copy is not done yet");
        capture.caught_up(&postgres).await;
        assert_same(&replay(&events(&capture.log).await), &selected(&postgres, "public.t", &["id", "part"]).await);
        capture.stop().await;
    }
}
