//! A small shop that several tests keep: one table, a Redis that must end as the source is, and walbridge in between.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::pipeline::caught_up;
use crate::support::{PgOptions, Postgres, Redis, Walbridge, eventually};

/// Generous: a loaded two-core machine must not fail a test that is right.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn config(url: &str, redis: &Redis, directory: &Path, more: &str) -> String {
    format!(
        "[sources.shop]\nurl = \"{url}\"\ntables = \"public.*\"\n{more}\n[log]\npath = \"{directory}/log\"\n\
         [sinks.cache]\nkind = \"redis\"\nurl = \"{redis}\"\nfrom = \"public.t\"\nkey = \"t:{{id}}\"\n",
        redis = redis.url(),
        directory = directory.display()
    )
}

/// A source with a table of 500 rows, and a target that follows it.
pub(crate) struct Shop {
    pub(crate) postgres: Postgres,
    pub(crate) redis: Redis,
    pub(crate) walbridge: Walbridge,
    pub(crate) directory: tempfile::TempDir,
}

impl Shop {
    pub(crate) async fn open(options: PgOptions, more: &str) -> Shop {
        let postgres = Postgres::start(options);
        let url = postgres.url();
        Shop::open_at(postgres, &url, more).await
    }

    /// The same with a url of the caller's.
    pub(crate) async fn open_at(postgres: Postgres, url: &str, more: &str) -> Shop {
        let mut shop = Shop::stock(postgres, url, more);
        shop.walbridge.start_again();
        caught_up(&mut shop.walbridge, &shop.postgres).await;
        shop
    }

    /// All is there, and walbridge is not started yet.
    pub(crate) fn stock(postgres: Postgres, url: &str, more: &str) -> Shop {
        postgres.psql(
            "CREATE TABLE t (id int PRIMARY KEY, n int); INSERT INTO t SELECT i, 0 FROM generate_series(1, 500) i",
        );
        let (redis, directory) = (Redis::start(&[]), tempfile::tempdir().expect("a directory"));
        let walbridge = Walbridge::configured(&config(url, &redis, directory.path(), more));
        Shop { postgres, redis, walbridge, directory }
    }

    /// Changes that nobody will ever stream: deletes among them.
    pub(crate) fn change_in_the_gap(&self) {
        self.postgres
            .psql("DELETE FROM t WHERE id <= 100; UPDATE t SET n = 7 WHERE id > 400; INSERT INTO t VALUES (1000, 1)");
    }

    /// Waits until the source's part of the status is so.
    pub(crate) async fn until(&mut self, wanted: impl Fn(&Value) -> bool) -> Value {
        let status = self.walbridge.wait_for(PATIENCE, |status| wanted(&status["sources"]["shop"])).await;
        status["sources"]["shop"].clone()
    }

    pub(crate) async fn halted(&mut self, code: &str) -> Value {
        let status = self.walbridge.wait_for(PATIENCE, |status| status["sources"]["shop"]["state"] == "halted").await;
        assert_eq!(status["sources"]["shop"]["code"], code, "{status:#}");
        status
    }

    pub(crate) fn order(&self) -> String {
        self.order_of(&[])
    }

    /// Has one table copied again.
    pub(crate) fn order_table(&self, table: &str) -> String {
        self.order_of(&["--table", table])
    }

    fn order_of(&self, what: &[&str]) -> String {
        let output = self.walbridge.run(&[&["resnapshot", "shop"], what].concat());
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{said}\n{}", self.walbridge.log());
        said
    }

    /// What the target has is what `SELECT` says, key by key.
    pub(crate) async fn same(&self) {
        let rows = self.postgres.psql("SELECT id || '=' || n FROM t ORDER BY id");
        let mut wanted: Vec<String> = rows.lines().map(str::to_owned).collect();
        wanted.sort();
        eventually(PATIENCE, || async {
            let mut connection = self.redis.connection().await;
            let keys: Vec<String> = redis::cmd("KEYS").arg("t:*").query_async(&mut connection).await.expect("keys");
            let mut found = Vec::new();
            for key in keys {
                let text: Option<String> =
                    redis::cmd("GET").arg(&key).query_async(&mut connection).await.expect("a value");
                let row: Value = serde_json::from_str(&text.unwrap_or_default()).unwrap_or_default();
                found.push(format!("{}={}", row["id"], row["n"]));
            }
            found.sort();
            match found == wanted {
                true => Ok(()),
                false => Err(format!("{} keys, {} rows; {}", found.len(), wanted.len(), difference(&found, &wanted))),
            }
        })
        .await;
    }
}

fn difference(found: &[String], wanted: &[String]) -> String {
    let extra = found.iter().filter(|row| !wanted.contains(row)).take(3);
    let missing = wanted.iter().filter(|row| !found.contains(row)).take(3);
    format!("extra {:?}, missing {:?}", extra.collect::<Vec<_>>(), missing.collect::<Vec<_>>())
}
