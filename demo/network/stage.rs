//! Everything the demo runs: a private PostgreSQL, a private Redis and walbridge, in temporary directories, on free ports.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::network::sinks::{self, SinkPlan};
use crate::support::{PgOptions, Postgres, Redis, Walbridge, ports};

/// The tables, their rows, and what the writers do.
const SQL: [&str; 3] =
    [include_str!("sql/1-schema.sql"), include_str!("sql/2-seed.sql"), include_str!("sql/3-actions.sql")];

/// The running programs. They are ended in this order: walbridge first, its log's directory last.
pub(crate) struct Stage {
    /// The bridge.
    pub(crate) walbridge: Walbridge,
    /// The cache.
    pub(crate) redis: Redis,
    /// The source.
    pub(crate) postgres: Postgres,
    /// What the bridge was told to feed.
    pub(crate) sinks: Vec<SinkPlan>,
    /// The configuration it runs with.
    pub(crate) config: PathBuf,
    _directory: TempDir,
}

impl Stage {
    /// Starts all, and says so line by line.
    pub(crate) fn set(say: impl Fn(&str)) -> Stage {
        let postgres = Postgres::start(PgOptions { fsync: true, ..PgOptions::default() });
        say(&format!("PostgreSQL runs on 127.0.0.1:{}, in {}", postgres.port, postgres.directory().display()));
        SQL.iter().for_each(|sql| drop(postgres.psql(sql)));
        let rows =
            "SELECT sum(reltuples)::bigint FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace";
        let rows = postgres.psql(rows);
        say(&format!("a small social network is in it: {rows} rows in 6 tables"));
        let redis = Redis::start(&[]);
        say(&format!("Redis runs on 127.0.0.1:{}", redis.port));

        let directory = tempfile::Builder::new().prefix("walbridge-demo-").tempdir().expect("a temporary directory");
        let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/demo.toml");
        let admin = format!("127.0.0.1:{}", ports::free());
        let (pg_url, redis_url) = (postgres.url(), redis.url());
        let folder = directory.path().display().to_string();
        let environment = [
            ("DEMO_PG_URL", pg_url.as_str()),
            ("DEMO_REDIS_URL", redis_url.as_str()),
            ("DEMO_DIR", folder.as_str()),
            ("DEMO_ADMIN", admin.as_str()),
        ];
        let sinks = sinks::read(&config, &environment);
        let walbridge = Walbridge::start_file(&config, &admin, &environment);
        say(&format!("walbridge runs with config/demo.toml; its status: http://{admin}/api/status"));
        Stage { walbridge, redis, postgres, sinks, config, _directory: directory }
    }
}
