//! Tables redefined while walbridge looks on, and while it does not: at the end every sink holds what `SELECT` says.

mod columns;
mod gaps;
mod identity;
mod inheritance;
mod moves;
mod names;
mod partitions;
mod publication;
mod statements;
mod tables;
mod types;

use std::time::Duration;

use serde_json::Value;

use crate::pipeline::caught_up;
use crate::support::equal::{hash_equals, json_equals, keys, plain, rows, search_equals};
use crate::support::{PgOptions, Postgres, Redis, Walbridge, eventually};

/// Long enough for a loaded machine.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// A source with every kind of sink: JSON documents of all tables, hashes and a search index of table `t`, a file of events.
pub(super) struct World {
    pub(super) postgres: Postgres,
    pub(super) redis: Redis,
    pub(super) walbridge: Walbridge,
    /// The way in.
    url: String,
    directory: tempfile::TempDir,
}

impl World {
    /// Starts it on these tables and waits for the copy.
    pub(super) async fn start(tables: &str) -> World {
        World::start_with(PgOptions::default(), tables, "").await
    }

    /// The same, with more lines for the source's section, or other sinks behind it.
    pub(super) async fn start_with(options: PgOptions, tables: &str, source: &str) -> World {
        let mut world = World::begin(options, tables, source);
        world.caught_up().await;
        world
    }

    /// The same as a role that owns the publication, and so may change it.
    pub(super) async fn start_as_owner(tables: &str) -> World {
        let mut world = World::begin_as(Postgres::superuser_url, PgOptions::default(), tables, "");
        world.caught_up().await;
        world
    }

    /// Starts it and waits for nothing.
    pub(super) fn begin(options: PgOptions, tables: &str, source: &str) -> World {
        World::begin_as(Postgres::url, options, tables, source)
    }

    fn begin_as(url: fn(&Postgres) -> String, options: PgOptions, tables: &str, source: &str) -> World {
        let postgres = Postgres::start(options);
        let redis = Redis::start(&[]);
        let directory = tempfile::tempdir().expect("a directory");
        postgres.psql(tables);
        postgres.psql("CREATE TABLE marker (id int PRIMARY KEY)");
        let url = url(&postgres);
        let walbridge = Walbridge::start(&config(&url, &redis, directory.path(), source));
        World { postgres, redis, walbridge, url, directory }
    }

    /// Other lines for the source's section, from the next start on.
    pub(super) fn configure(&mut self, source: &str) {
        let config = config(&self.url, &self.redis, self.directory.path(), source);
        self.walbridge.configure(&config);
    }

    /// Another way in, from the next start on.
    pub(super) fn configure_url(&mut self, url: &str) {
        self.walbridge.configure(&config(url, &self.redis, self.directory.path(), ""));
    }

    pub(super) async fn caught_up(&mut self) {
        caught_up(&mut self.walbridge, &self.postgres).await;
    }

    /// Every sink of table `t`, whose key is `id`, ends up with its rows.
    pub(super) async fn t_equals_select(&self) {
        self.documents_equal("SELECT * FROM t", "public.t:{id}").await;
        hash_equals(&self.postgres, &self.redis, "SELECT * FROM t", "hash:{id}").await;
        search_equals(&self.postgres, &self.walbridge, "search", "SELECT * FROM t").await;
    }

    /// The JSON documents under this key end up as what the query says.
    pub(super) async fn documents_equal(&self, select: &str, key: &str) {
        json_equals(&self.postgres, &self.redis, select, key).await;
    }

    /// The documents of a table without a key, whatever they are called, end up as its rows.
    pub(super) async fn whole_rows_equal(&self, table: &str) {
        eventually(PATIENCE, || async {
            let expected = rows(&self.postgres, &format!("SELECT DISTINCT * FROM {table}"), false).await;
            let mut connection = self.redis.connection().await;
            let mut found = Vec::new();
            for key in keys(&mut connection, &format!("public.{table}")).await {
                let text: Option<String> =
                    redis::cmd("GET").arg(&key).query_async(&mut connection).await.expect("an answer");
                let document: Value = serde_json::from_str(&text.unwrap_or_default()).unwrap_or_default();
                found.push(plain(document).to_string());
            }
            let mut expected: Vec<String> = expected.into_iter().map(|row| Value::from(row).to_string()).collect();
            found.sort();
            expected.sort();
            if found == expected { Ok(()) } else { Err(format!("{found:.300?}, not {expected:.300?}")) }
        })
        .await;
    }

    /// The template of a table's document keys: its name with what would end it encoded.
    pub(super) async fn document_key(&self, table: &str) -> String {
        let mut name = String::new();
        for letter in table.chars() {
            match letter {
                '%' | ':' | '#' => name.push_str(&format!("%{:02X}", u32::from(letter))),
                letter => name.push(letter),
            }
        }
        format!("public.{name}:{{K y}}")
    }

    /// Waits for something that was found out about the tables; it and the source's state.
    pub(super) async fn finding(&mut self, code: Option<&str>, words: &str) -> Value {
        let found = |status: &Value| {
            let findings = status["sources"]["shop"]["findings"].as_array().cloned().unwrap_or_default();
            let fits = |finding: &&Value| {
                finding["code"].as_str() == code && finding["message"].as_str().is_some_and(|text| text.contains(words))
            };
            findings.iter().find(fits).cloned()
        };
        let status = self.walbridge.wait_for(PATIENCE, |status| found(status).is_some()).await;
        let mut finding = found(&status).unwrap_or_default();
        finding["state"] = status["sources"]["shop"]["state"].clone();
        finding["state_code"] = status["sources"]["shop"]["code"].clone();
        finding
    }

    /// Waits until there is no alarm.
    pub(super) async fn all_well(&mut self) {
        let well = |status: &Value| {
            let findings = status["sources"]["shop"]["findings"].as_array().cloned().unwrap_or_default();
            findings.iter().all(|finding| finding["code"].is_null())
                && status["sources"]["shop"]["state"] == "streaming"
        };
        self.walbridge.wait_for(PATIENCE, well).await;
    }

    /// Waits until the source has halted; its code and message.
    pub(super) async fn halted(&mut self) -> (String, String) {
        let status = self.walbridge.wait_for(PATIENCE, |status| status["sources"]["shop"]["state"] == "halted").await;
        let text = |field: &str| status["sources"]["shop"][field].as_str().unwrap_or_default().to_owned();
        (text("code"), text("message"))
    }

    /// The log's events, one JSON object each.
    pub(super) fn events(&self) -> Vec<Value> {
        let dump = self.walbridge.run(&["log", "dump", "--json"]);
        let text = String::from_utf8_lossy(&dump.stdout).into_owned();
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }

    /// Waits until the catalog has been looked at: what comes now is another look's.
    pub(super) async fn looked(&mut self) {
        let number = self.postgres.psql("SELECT count(*) FROM pg_attribute WHERE attrelid = 'marker'::regclass");
        self.postgres.psql(&format!("ALTER TABLE marker ADD COLUMN c{number} int"));
        self.finding(None, &format!("table public.marker: column c{number} was added")).await;
    }

    /// How often a table was copied again.
    pub(super) fn copies(&self, table: &str) -> usize {
        let events = self.events();
        events.iter().filter(|event| event["table"] == table && event["copy"] == "begun").count()
    }
}

fn config(url: &str, redis: &Redis, directory: &std::path::Path, source: &str) -> String {
    let (redis, directory) = (redis.url(), directory.display());
    let tables = if source.contains("tables = ") { "" } else { "tables = [\"public.*\"]\n" };
    format!(
        "[sources.shop]\nurl = \"{url}\"\n{tables}watch_interval = \"200ms\"\n{source}\n\
         [log]\npath = \"{directory}/log\"\n\
         [sinks.docs]\nkind = \"redis\"\nurl = \"{redis}\"\nfrom = \"public.*\"\n\
         [sinks.hashes]\nkind = \"redis\"\nurl = \"{redis}\"\nfrom = \"public.t\"\nkey = \"hash:{{id}}\"\nvalue = \"hash\"\n\
         [sinks.search]\nkind = \"tantivy\"\npath = \"{directory}/index\"\nfrom = \"public.t\"\nbatch = {{ linger = \"50ms\" }}\n\
         [sinks.events]\nkind = \"file\"\npath = \"{directory}/events.jsonl\"\nfrom = \"public.*\"\n"
    )
}
