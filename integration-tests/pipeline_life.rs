//! How the program starts, stops, halts and says so.

use std::time::Duration;

use crate::pipeline::caught_up;
use crate::support::{Direction, PgOptions, Postgres, Proxy, Redis, Walbridge};

const PATIENCE: Duration = Duration::from_secs(60);

fn config(url: &str, redis: &Redis, directory: &std::path::Path) -> String {
    format!(
        "[sources.shop]\nurl = \"{url}\"\ntables = \"public.*\"\n[log]\npath = \"{directory}/log\"\n\
         [sinks.cache]\nkind = \"redis\"\nurl = \"{redis}\"\nfrom = \"public.*\"\n\
         [sinks.events]\nkind = \"file\"\npath = \"{directory}/events.jsonl\"\nfrom = \"public.*\"\n",
        redis = redis.url(),
        directory = directory.display()
    )
}

fn shop() -> (Postgres, Redis, tempfile::TempDir) {
    let postgres = Postgres::start(PgOptions::default());
    postgres
        .psql("CREATE TABLE t (id int PRIMARY KEY, n int); INSERT INTO t SELECT i, 0 FROM generate_series(1, 200) i");
    (postgres, Redis::start(&[]), tempfile::tempdir().expect("a directory"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_daemon_on_the_same_log_is_turned_away_and_changes_nothing() {
    let (postgres, redis, directory) = shop();
    let config = config(&postgres.url(), &redis, directory.path());
    let mut first = Walbridge::start(&config);
    caught_up(&mut first, &postgres).await;
    let before = first.run(&["log", "verify", "--json"]);
    let mut second = Walbridge::start(&config);
    assert_eq!(second.exit_code(PATIENCE), Some(3), "{}", second.log());
    assert!(second.log().contains("log.locked"), "{}", second.log());
    assert_eq!(first.run(&["log", "verify", "--json"]).stdout, before.stdout);
    assert_eq!(first.sigterm(), Some(0), "{}", first.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_set_up_that_is_wrong_from_the_start_ends_with_two_and_leaves_nothing() {
    let redis = Redis::start(&[]);
    let directory = tempfile::tempdir().expect("a directory");
    let postgres = Postgres::start(PgOptions {
        conf: vec!["wal_level = replica".to_owned(), "max_wal_senders = 5".to_owned()],
        ..PgOptions::default()
    });
    postgres.psql("CREATE TABLE t (id int PRIMARY KEY); CREATE ROLE weak LOGIN; GRANT SELECT ON t TO weak");
    let strong = postgres.superuser_url();
    let weak = strong.replace("postgres://postgres@", "postgres://weak@");
    let (server, _) =
        strong.rsplit_once('/').map(|(server, name)| (server.to_owned(), name.to_owned())).expect("a path");
    let nowhere = format!("{server}/nowhere");
    for (url, code, remedy) in [
        (strong.clone(), "source.wal_level", "ALTER SYSTEM SET wal_level"),
        (weak, "source.privilege", "REPLICATION"),
        (nowhere, "source.unreachable", "database"),
    ] {
        let mut walbridge = Walbridge::start(&config(&url, &redis, directory.path()));
        assert_eq!(walbridge.exit_code(PATIENCE), Some(2), "{url}: {}", walbridge.log());
        let log = walbridge.log();
        assert!(log.contains(code) && log.contains(remedy), "{url}: {log}");
    }
    assert_eq!(postgres.psql("SELECT count(*) FROM pg_publication").trim(), "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_lost_its_history_halts_says_so_and_leaves_the_sinks_alone() {
    let (postgres, redis, directory) = shop();
    let mut walbridge = Walbridge::start(&config(&postgres.url(), &redis, directory.path()));
    caught_up(&mut walbridge, &postgres).await;
    walbridge.sigterm();
    postgres.psql("SELECT pg_drop_replication_slot('walbridge_shop')");
    walbridge.start_again();
    let status = walbridge.wait_for(PATIENCE, |status| status["sources"]["shop"]["state"] == "halted").await;
    assert_eq!(status["sources"]["shop"]["code"], "source.slot_missing");
    let readiness = walbridge.get("/readyz").await.expect("an answer");
    assert!(readiness.contains("shop") && readiness.contains("halted"), "not ready, and why: {readiness}");
    assert_eq!(walbridge.get("/healthz").await.as_deref(), Ok("ok\n"), "but alive");
    let mut connection = redis.connection().await;
    let size: usize = redis::cmd("DBSIZE").query_async(&mut connection).await.expect("a count");
    assert_eq!(size, 201, "the sink is untouched");
    assert_eq!(walbridge.sigterm(), Some(3), "halted for an operator: {}", walbridge.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sink_that_hangs_holds_up_nobody_else_and_catches_up() {
    let (postgres, redis, directory) = shop();
    let proxy = Proxy::start(redis.port);
    let text = config(&postgres.url(), &redis, directory.path())
        .replace(&redis.url(), &format!("redis://127.0.0.1:{}", proxy.port));
    let mut walbridge = Walbridge::start(&text);
    caught_up(&mut walbridge, &postgres).await;
    proxy.blackhole(Direction::Down);
    postgres.psql("INSERT INTO t SELECT i, 1 FROM generate_series(1001, 3000) i");
    walbridge
        .wait_for(PATIENCE, |status| {
            status["sinks"]["events"]["lag_events"] == 0
                && status["sinks"]["events"]["checkpoint"] == 2200
                && status["sinks"]["cache"]["lag_events"].as_u64().is_some_and(|lag| lag > 0)
                && status["sources"]["shop"]["state"] == "streaming"
        })
        .await;
    walbridge.wait_for(PATIENCE, |status| status["sinks"]["cache"]["state"] == "paused").await;
    proxy.heal();
    caught_up(&mut walbridge, &postgres).await;
    let mut connection = redis.connection().await;
    let size: usize = redis::cmd("DBSIZE").query_async(&mut connection).await.expect("a count");
    assert_eq!(size, 2201);
}

#[tokio::test(flavor = "multi_thread")]
async fn sources_and_sinks_may_come_up_in_any_order() {
    let (mut postgres, mut redis, directory) = shop();
    let mut walbridge = Walbridge::configured(&config(&postgres.url(), &redis, directory.path()));
    walbridge.set_up();
    postgres.stop(crate::support::StopMode::Fast);
    redis.stop();
    walbridge.start_again();
    walbridge.wait_for(PATIENCE, |status| status["sources"]["shop"]["code"] == "source.unreachable").await;
    postgres.start_again();
    walbridge.wait_for(PATIENCE, |status| status["sinks"]["events"]["checkpoint"] == 200).await;
    redis.start_again();
    caught_up(&mut walbridge, &postgres).await;
    assert_eq!(walbridge.sigterm(), Some(0), "{}", walbridge.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_far_larger_than_memory_allows_passes_through_in_little() {
    let (postgres, redis, directory) = shop();
    let text = config(&postgres.url(), &redis, directory.path());
    let (text, _) = text.split_once("[sinks.cache]").expect("a sink");
    // There from the start: a table that comes later is copied as well, which has a budget of its own.
    postgres.psql("CREATE TABLE big (id int PRIMARY KEY, v text)");
    let mut walbridge = Walbridge::start(text);
    walbridge.wait_for(PATIENCE, |status| status["sources"]["shop"]["state"] == "streaming").await;
    let before = peak_mib(&walbridge);
    postgres.psql("INSERT INTO big SELECT i, repeat(md5(i::text), 10) FROM generate_series(1, 300000) i");
    caught_up(&mut walbridge, &postgres).await;
    // Growth, because a debug build's own pages count too; `make bench` shows the whole of a release build.
    let growth = peak_mib(&walbridge) - before;
    assert!(growth < 40, "{growth} MiB more for a transaction of 100 MB");
}

fn peak_mib(walbridge: &Walbridge) -> u64 {
    let pid = walbridge.pid().expect("it runs");
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("readable");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
    peak.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") / 1024
}
