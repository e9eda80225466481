//! The programs of a run, and what is kept of them when something is wrong.

use std::fs;
use std::path::{Path, PathBuf};

use super::checks::{Evidence, State};
use super::drawn::Drawn;
use super::feed::{self, Row, events};
use super::oracle;
use super::sinks::{self, SEARCHED};
use super::workload::{SCHEMA, TABLES};
use crate::pipeline::caught_up;
use crate::support::{PgOptions, Postgres, Proxy, Redis, Walbridge};

/// The second slot, and its plugin.
const ORACLE: &str = "checker_oracle";

/// Everything that runs.
pub(super) struct Stage {
    pub(super) walbridge: Walbridge,
    pub(super) proxy: Proxy,
    pub(super) redis: Redis,
    pub(super) postgres: Postgres,
    /// Which sinks there are besides those that every run has.
    drawn: Drawn,
    /// How many columns have been added.
    pub(super) columns: u32,
    seed: u64,
    schedule: String,
}

impl Stage {
    /// PostgreSQL with its tables and the second slot; Redis; walbridge configured and not started yet.
    pub(super) fn set(major: u32, seed: u64, schedule: String) -> Stage {
        // So little that every larger transaction is streamed, and the server's patience short enough to matter.
        let conf =
            ["logical_decoding_work_mem = '64kB'", "wal_sender_timeout = '3s'", "max_prepared_transactions = 20"];
        let conf = conf.map(str::to_owned).to_vec();
        let postgres = Postgres::start(PgOptions { conf, ..PgOptions::of_major(major) });
        postgres.psql(SCHEMA);
        postgres.psql(&format!("SELECT pg_create_logical_replication_slot('{ORACLE}', 'test_decoding')"));
        let redis = Redis::start(&["--appendonly", "yes", "--appendfsync", "always"]);
        let proxy = Proxy::start(postgres.port);
        let mut stage = Stage {
            walbridge: Walbridge::configured(""),
            proxy,
            redis,
            postgres,
            drawn: Drawn::of(seed),
            columns: 0,
            seed,
            schedule,
        };
        let config = stage.config(&[("", 0)]);
        stage.walbridge.configure(&config);
        stage
    }

    /// Sinks of each kind, once for each suffix; those write to the Redis databases from that number on.
    pub(super) fn config(&self, copies: &[(&str, u32)]) -> String {
        let url = self.postgres.url_through(self.proxy.port);
        // Every other seed has prepared transactions sent when they are prepared.
        let two_phase = self.seed.is_multiple_of(2);
        let mut config = format!(
            "[sources.bank]\nurl = \"{url}\"\ntables = [\"public.*\"]\ntwo_phase = {two_phase}\n[log]\npath = \"log\"\n"
        );
        let searched: Vec<String> = SEARCHED.iter().map(|table| format!("'public.\"{table}\"'")).collect();
        for (suffix, database) in copies {
            let redis = self.redis.url();
            let next = database + 1;
            config += &format!(
                "[sinks.cache{suffix}]\nkind = \"redis\"\nurl = \"{redis}/{database}\"\nfrom = \"public.*\"\n\
                 [sinks.hashes{suffix}]\nkind = \"redis\"\nurl = \"{redis}/{next}\"\nvalue = \"hash\"\nfrom = \"public.*\"\n\
                 [sinks.search{suffix}]\nkind = \"tantivy\"\npath = \"index{suffix}\"\nfrom = [{}]\n\
                 [sinks.events{suffix}]\nkind = \"file\"\npath = \"events{suffix}.jsonl\"\nfrom = \"public.*\"\n",
                searched.join(", ")
            );
            config += &self.drawn.config(suffix, (&self.redis, database + 2), self.walbridge.directory());
        }
        config
    }

    /// Takes back what a writer prepared before its server went away: it would hold its locks for ever.
    pub(super) fn take_back_prepared(&self) {
        for gid in self.postgres.psql("SELECT gid FROM pg_prepared_xacts").lines() {
            // Its writer may be about to end it.
            let _gone = self.postgres.try_psql(&format!("ROLLBACK PREPARED '{gid}'"));
        }
    }

    /// Waits until everything has come through: first a row that was written last of all.
    pub(super) async fn quiet(&mut self) {
        self.proxy.heal();
        self.take_back_prepared();
        let nonce = format!("{:x}", rand::random::<u64>());
        self.postgres.psql(&format!("INSERT INTO marker VALUES ('{nonce}')"));
        caught_up(&mut self.walbridge, &self.postgres).await;
    }

    /// What the sinks of a suffix hold that `SELECT` does not, and the other way round.
    pub(super) async fn sinks(&mut self, suffix: &str, database: u32) -> Vec<String> {
        let url = self.redis.url();
        let mut wrong =
            sinks::redis(&format!("cache{suffix}"), &self.postgres, &format!("{url}/{database}"), false).await;
        let next = database + 1;
        wrong.extend(sinks::redis(&format!("hashes{suffix}"), &self.postgres, &format!("{url}/{next}"), true).await);
        let sink = format!("search{suffix}");
        wrong.extend(sinks::search(&sink, &self.postgres, &self.walbridge, &sink).await);
        let file = fs::read_to_string(self.walbridge.directory().join(format!("events{suffix}.jsonl")));
        let replayed = super::checks::replay(&events(&file.expect("the events")));
        let what = format!("C1 events{suffix}");
        let selected = self.selected().await;
        wrong.extend(super::checks::differences(&what, &replayed, &selected));
        let (redis, directory) = ((&self.redis, database + 2), self.walbridge.directory());
        wrong.extend(self.drawn.wrong(suffix, redis, directory, &self.postgres, &selected).await);
        wrong
    }

    /// What `walbridge verify` has against sinks that are right, as has been found without it.
    pub(super) fn verified(&self) -> Vec<String> {
        let output = self.walbridge.run(&["verify"]);
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() && told.matches("equals its source").count() == 3 + self.drawn.verifiable() {
            return Vec::new();
        }
        vec![format!("{:?}: {told}{}", output.status.code(), String::from_utf8_lossy(&output.stderr))]
    }

    /// The log, the second slot and `SELECT`. Nobody may be writing.
    pub(super) async fn evidence(&self) -> Evidence {
        let dump = self.walbridge.run(&["log", "dump", "--json"]);
        assert!(dump.status.success(), "{}", String::from_utf8_lossy(&dump.stderr));
        let client = self.postgres.client().await;
        let sql = format!("SELECT data FROM pg_logical_slot_peek_changes('{ORACLE}', NULL, NULL)");
        let told = client.query(&sql, &[]).await.expect("the second slot");
        let oracle = oracle::changes(told.iter().map(|row| row.get(0)));
        let events = feed::events(&String::from_utf8(dump.stdout).expect("UTF-8"));
        Evidence { events, oracle, selected: self.selected().await }
    }

    async fn selected(&self) -> State {
        let client = self.postgres.client().await;
        let mut state = State::new();
        for table in TABLES {
            let text = |column: &&str| format!("\"{}\"::text", column.replace('"', "\"\""));
            let columns: Vec<String> = table.compared.iter().map(text).collect();
            let sql = format!("SELECT {} FROM {}", columns.join(", "), table.quoted());
            let rows = client.query(&sql, &[]).await.expect("PostgreSQL answers");
            let row = |row: &tokio_postgres::Row| -> Row {
                (0..).zip(table.compared).map(|(at, column)| ((*column).to_owned(), row.get(at))).collect()
            };
            let key = |row: &Row| table.key.iter().filter_map(|column| row.get(*column)?.clone()).collect::<Vec<_>>();
            let rows = rows.iter().map(row).map(|row| (key(&row), row)).collect();
            state.insert(table.name.to_owned(), rows);
        }
        state
    }

    /// Fails the test if anything is wrong, and keeps all there is to find out why.
    pub(super) fn judge(&self, when: &str, wrong: &[String]) {
        let told: Vec<&String> = wrong.iter().take(20).collect();
        assert!(wrong.is_empty(), "seed {}: {} violations {when}: {told:#?}", self.seed, wrong.len());
    }

    fn keep(&self) {
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("checker-{}", self.seed));
        let _made_anew = fs::remove_dir_all(&target);
        let _the_panic_tells_more = copy(self.walbridge.directory(), &target);
        let dump = self.walbridge.run(&["log", "dump", "--json"]);
        let files = [("dump.jsonl", dump.stdout), ("postgres.log", self.postgres.log().into_bytes())];
        for (name, content) in files.into_iter().chain([("schedule.txt", self.schedule.clone().into_bytes())]) {
            let _the_panic_tells_more = fs::write(target.join(name), content);
        }
        let sql = format!("SELECT data FROM pg_logical_slot_peek_changes('{ORACLE}', NULL, NULL)");
        let oracle = self.postgres.try_psql(&sql).unwrap_or_else(|error| error);
        let _the_panic_tells_more = fs::write(target.join("oracle.txt"), oracle);
        eprintln!("everything there was is kept in {}", target.display());
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.keep();
        }
    }
}

fn copy(from: &Path, to: &PathBuf) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)?.flatten() {
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
