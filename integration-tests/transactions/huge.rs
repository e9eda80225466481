//! Transactions far larger than any memory of ours, and SIGKILL in the middle of them: the real program.
//!
//! `HUGE_ROWS=5000000` makes a long run of the first; `KILLS=100` of the second.

use std::time::Duration;

use walbridge::event::Lsn;
use walbridge::log::embedded::ReadOnly;

use super::{streaming, waiting_files};
use crate::support::{PgOptions, Postgres, Walbridge, eventually, process};

const PATIENCE: Duration = Duration::from_secs(600);

fn config(postgres: &Postgres, directory: &std::path::Path) -> String {
    format!(
        "[sources.big]\nurl = \"{}\"\ntables = [\"public.big\"]\n[sources.small]\nurl = \"{}\"\ntables = [\"public.small\"]\n\
         [log]\npath = \"{}/log\"\n[sinks.events]\nkind = \"file\"\npath = \"{}/events.jsonl\"\nfrom = \"public.big\"\nsource = \"big\"\n",
        postgres.url(),
        postgres.url(),
        directory.display(),
        directory.display()
    )
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

fn insert(tag: u64, rows: u64) -> String {
    format!("INSERT INTO big SELECT {tag} * 10000000 + i, repeat('b', 250) FROM generate_series(1, {rows}) i")
}

fn confirmed(postgres: &Postgres) -> Lsn {
    let sql = "SELECT confirmed_flush_lsn FROM pg_replication_slots WHERE slot_name = 'walbridge_big'";
    postgres.psql(sql).trim().parse().expect("an LSN")
}

/// Scenario 75. Some 90 MB in one transaction, a server that gives up clients that are silent for two seconds, and another
/// source beside it. Memory stays bounded, nobody is cut off, and every row arrives once.
#[tokio::test(flavor = "multi_thread")]
async fn a_huge_transaction_passes_in_little_memory_and_nobody_is_cut_off() {
    let rows = setting("HUGE_ROWS", 300_000);
    let mut options = streaming(0);
    options.conf.push("wal_sender_timeout = 2s".to_owned());
    let postgres = Postgres::start(options);
    postgres.psql("CREATE TABLE big (id bigint PRIMARY KEY, s text); CREATE TABLE small (id int PRIMARY KEY)");
    let directory = tempfile::tempdir().expect("a directory");
    let mut walbridge = Walbridge::start(&config(&postgres, directory.path()));
    let streams = |status: &serde_json::Value| {
        ["big", "small"].iter().all(|name| status["sources"][*name]["state"] == "streaming")
    };
    walbridge.wait_for(PATIENCE, streams).await;
    let pid = walbridge.pid().expect("it runs");
    let before = process::memory(pid);
    postgres.psql(&insert(1, rows));
    postgres.psql("INSERT INTO small VALUES (1)");
    walbridge.wait_for(PATIENCE, |status| status["sources"]["small"]["events"] == 1).await;
    walbridge.wait_for(PATIENCE, |status| status["sinks"]["events"]["checkpoint"] == rows).await;
    let peak = process::memory(pid);
    println!("{rows} rows: peak memory {} MiB, {} MiB before", peak >> 20, before >> 20);
    assert!(peak < before + (110 << 20), "{} MiB, {} MiB before", peak >> 20, before >> 20);
    let lines = std::fs::read_to_string(directory.path().join("events.jsonl")).expect("the file");
    assert_eq!(u64::try_from(lines.lines().count()).ok(), Some(rows));
    assert_eq!(waiting_files(&directory.path().join("log/big")), Vec::<String>::new());
    assert!(!postgres.log().contains("terminating walsender"), "{}", postgres.log());
    assert_eq!(walbridge.sigterm(), Some(0), "{}", walbridge.log());
}

/// A table is copied again while a transaction as large as it changes it. What that takes is a sum of parts with a limit each,
/// however large they are: the chunks under way (8 MiB at most, in buffers of up to twice that; two a worker), what the window
/// remembers of the rows that the stream touched meanwhile (8 MiB by its own count), what waits for its commit (16 MiB) and the
/// log's buffers (8 MiB). Here some 60 MB are copied beside 60 MB, after 60 MB.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_beside_a_large_transaction_takes_little_memory() {
    let rows = setting("HUGE_ROWS", 30_000);
    let postgres = Postgres::start(streaming(0));
    postgres.psql("CREATE TABLE big (id bigint PRIMARY KEY, s text); CREATE TABLE small (id int PRIMARY KEY)");
    let directory = tempfile::tempdir().expect("a directory");
    let mut walbridge = Walbridge::start(&config(&postgres, directory.path()));
    let copied = |generation: u64| {
        move |status: &serde_json::Value| {
            let table = &status["sources"]["big"]["tables"]["public.big"];
            table["done"] == true && table["generation"] == generation
        }
    };
    walbridge.wait_for(PATIENCE, copied(1)).await;
    let pid = walbridge.pid().expect("it runs");
    let before = process::memory(pid);
    postgres.psql(&insert(1, rows).replace("250", "1800"));
    let asked = walbridge.run(&["resnapshot", "big", "--table", "public.big"]);
    assert!(asked.status.success(), "{}", String::from_utf8_lossy(&asked.stderr));
    postgres.psql("UPDATE big SET s = s || 'c'");
    walbridge.wait_for(PATIENCE, copied(2)).await;
    let end: Lsn = postgres.psql("SELECT pg_current_wal_insert_lsn()").trim().parse().expect("an LSN");
    eventually(PATIENCE, || async {
        let confirmed = confirmed(&postgres);
        if confirmed >= end { Ok(()) } else { Err(format!("{confirmed} of {end}")) }
    })
    .await;
    let more = (process::memory(pid) - before) >> 20;
    println!("{} MiB before, {more} MiB more", before >> 20);
    assert!(more < 128, "{more} MiB more");
    assert_eq!(walbridge.sigterm(), Some(0), "{}", walbridge.log());
}

/// Scenario 78. Killed before the commit, at it, while it is written, and after: the log has all of a transaction or nothing of
/// it, and the slot is never confirmed past one that the log does not have.
#[tokio::test(flavor = "multi_thread")]
async fn a_kill_inside_a_large_transaction_leaves_all_of_it_or_nothing() {
    const ROWS: u64 = 12_000;
    let (postgres, directory) = (Postgres::start(streaming(0)), tempfile::tempdir().expect("a directory"));
    postgres.psql("CREATE TABLE big (id bigint PRIMARY KEY, s text); CREATE TABLE small (id int PRIMARY KEY)");
    let mut walbridge = Walbridge::start(&config(&postgres, directory.path()));
    let streams = |status: &serde_json::Value| status["sources"]["big"]["state"] == "streaming";
    walbridge.wait_for(PATIENCE, streams).await;
    let log = directory.path().join("log/big");
    let kills = setting("KILLS", 8);
    for kill in 0..kills {
        let client = postgres.client().await;
        client.batch_execute("BEGIN").await.expect("begun");
        client.batch_execute(&insert(kill, ROWS)).await.expect("rows");
        let waiting = eventually(PATIENCE, || async {
            let waiting = waiting_files(&log).len();
            if waiting > 0 { Ok(waiting) } else { Err("nothing waits yet") }
        });
        waiting.await;
        if kill % 4 > 0 {
            client.batch_execute("COMMIT").await.expect("committed");
            // Not a wait for luck: each is killed at another point, whatever that is.
            tokio::time::sleep(Duration::from_millis(kill * 37 % 300)).await;
        }
        walbridge.sigkill();
        let confirmed = confirmed(&postgres);
        let end = ReadOnly::open(&log).expect("the log").end();
        assert_eq!(end.offset.0 % ROWS, 0, "kill {kill}: part of a transaction");
        assert!(confirmed <= end.end_lsn, "kill {kill}: {confirmed} confirmed, {} in the log", end.end_lsn);
        if kill % 4 == 0 {
            client.batch_execute("COMMIT").await.expect("committed");
        }
        walbridge.start_again();
        walbridge.wait_for(PATIENCE, streams).await;
    }
    walbridge.wait_for(PATIENCE, |status| status["sinks"]["events"]["checkpoint"] == kills * ROWS).await;
    let text = std::fs::read_to_string(directory.path().join("events.jsonl")).expect("the file");
    let ids: std::collections::BTreeSet<u64> = text
        .lines()
        .map(|line| {
            serde_json::from_str::<serde_json::Value>(line).expect("JSON")["key"]["id"].as_u64().expect("an id")
        })
        .collect();
    assert_eq!(u64::try_from(ids.len()).ok(), Some(kills * ROWS), "every row, none twice");
    assert_eq!(waiting_files(&log), Vec::<String>::new());
}

/// Scenario 83. 100,000 transactions without anything for us: the slot follows, and the log gains a few bytes a second at most.
#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_thousand_empty_transactions_move_the_slot_and_not_the_log() {
    let (postgres, directory) = (Postgres::start(PgOptions::default()), tempfile::tempdir().expect("a directory"));
    postgres.psql("CREATE TABLE big (id bigint PRIMARY KEY, s text); CREATE TABLE small (id int PRIMARY KEY); CREATE TABLE other (id int)");
    let mut walbridge = Walbridge::start(&config(&postgres, directory.path()));
    walbridge.wait_for(PATIENCE, |status| status["sources"]["big"]["state"] == "streaming").await;
    let size = || {
        let files = std::fs::read_dir(directory.path().join("log/big")).expect("the log").flatten();
        files.map(|file| file.metadata().expect("its size").len()).sum::<u64>()
    };
    let before = size();
    postgres.psql(
        "DO $$ BEGIN FOR i IN 1..100000 LOOP PERFORM txid_current(); IF i % 10 = 0 THEN INSERT INTO other VALUES (i); END IF; COMMIT; END LOOP; END $$",
    );
    let end: Lsn = postgres.psql("SELECT pg_current_wal_lsn()").trim().parse().expect("an LSN");
    eventually(PATIENCE, || async {
        let confirmed = confirmed(&postgres);
        if confirmed >= end { Ok(()) } else { Err(format!("{confirmed} of {end}")) }
    })
    .await;
    let grown = size() - before;
    assert!(grown < 64 << 10, "{grown} bytes");
    assert_eq!(walbridge.status().await["sources"]["big"]["events"], 0);
}
