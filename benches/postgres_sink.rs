//! From a filled log into an empty table of another database, beside `psql` that copies the same rows there as text, in turns on one server.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::process::Stdio;
use std::time::Instant;

use walbridge::config::BatchLimits;
use walbridge::event::Offset;
use walbridge::log::embedded;
use walbridge::postgres::address::Address;
use walbridge::sink::postgres::{Options, PostgresSink};

use crate::backlog::server;
use crate::meter::{median, setting};
use crate::replay;
use crate::support::Postgres;

const TABLE: &str = "CREATE TABLE public.narrow (id bigint PRIMARY KEY, k int, v text, ts timestamptz)";

/// Prints its figures, one a line.
pub(crate) fn run() {
    let (rows, rounds) = (setting("BENCH_ROWS", 1_000_000), setting("BENCH_ROUNDS", replay::ROUNDS));
    let directory = tempfile::Builder::new().prefix("walbridge-database-").tempdir().expect("a temporary directory");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let postgres = server();
    let (mut writer, log, _) = embedded::open(directory.path(), embedded::Options::default()).expect("a new log");
    let text = "0123456789abcdef".repeat(6);
    runtime.block_on(replay::fill(&mut writer, rows, |_| text.clone()));
    let lines = directory.path().join("rows");
    let mut file = std::io::BufWriter::new(File::create(&lines).expect("a file"));
    (1..=rows).for_each(|id| {
        writeln!(file, "{id}\t{}\t{text}\t2026-11-24 10:00:00.123456+00", id % 1_000).expect("written");
    });
    file.into_inner().expect("written").sync_all().expect("written");
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        empty(&postgres);
        let started = Instant::now();
        runtime.block_on(deliver(&postgres, log.clone(), &directory.path().join(format!("round-{round}")), rows));
        ours.push(f64::from(rows) / started.elapsed().as_secs_f64());
        assert_eq!(postgres.psql("SELECT count(*) FROM public.narrow"), rows.to_string(), "all rows");
        empty(&postgres);
        let started = Instant::now();
        copy(&postgres, &lines);
        theirs.push(f64::from(rows) / started.elapsed().as_secs_f64());
    }
    let (ours, theirs) = (median(ours), median(theirs));
    println!("postgres sink walbridge rows/s {ours:.0}");
    println!("postgres sink psql COPY rows/s {theirs:.0}");
    println!("postgres sink ratio {:.2}", ours / theirs);
}

fn empty(postgres: &Postgres) {
    postgres.psql(&format!("DROP TABLE IF EXISTS public.narrow; {TABLE}; DROP SCHEMA IF EXISTS walbridge CASCADE"));
    postgres.psql("CHECKPOINT");
}

fn copy(postgres: &Postgres, lines: &Path) {
    let mut command = postgres.psql_command();
    command.args(["-c", "COPY public.narrow FROM STDIN"]).stdin(Stdio::from(File::open(lines).expect("the rows")));
    assert!(command.status().expect("psql").success(), "the rows are copied");
}

async fn deliver(postgres: &Postgres, log: embedded::Log, directory: &Path, rows: u32) {
    let address = Address::parse(&postgres.superuser_url()).expect("an address");
    let sink = PostgresSink::new(Options { name: "bench".to_owned(), address, ddl: true, is_beside: false });
    replay::deliver(log, directory, Offset(u64::from(rows)), sink, BatchLimits::DEFAULT).await;
}
