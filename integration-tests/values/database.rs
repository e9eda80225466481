//! Values of every type in another PostgreSQL database: `SELECT` says the same there as at the source, of rows that were copied and of rows that were
//! streamed.

use super::cases::{BINARY, BINARY_OF_USERS, TEXT_ONLY};
use super::round_trip::{Column, ROWS, STREAMED, columns, create};
use super::{seed, session};
use crate::pipeline::caught_up;
use crate::support::{PgOptions, Postgres, Walbridge};

/// All values, as the server writes them.
fn values(postgres: &Postgres, columns: &[Column], seed: f64) -> Vec<String> {
    let texts: Vec<String> = columns.iter().map(|column| format!("to_json(format('%s', {0}))", column.name)).collect();
    let rows: Vec<String> =
        texts.chunks(40).map(|texts| format!("SELECT id, {} FROM public.t ORDER BY id", texts.join(", "))).collect();
    let found = postgres.psql(&format!("{}SET search_path = pg_catalog; {};", session(seed), rows.join(";\n")));
    found.lines().map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_type_is_the_same_in_another_database() {
    let (source, target, seed) = (Postgres::start(PgOptions::default()), Postgres::start(PgOptions::default()), seed());
    let columns =
        columns(BINARY.iter().chain(BINARY_OF_USERS).chain(TEXT_ONLY).filter(|case| !case.name.ends_with("[]")));
    create(&source, &columns, seed);
    let config = format!(
        "[sources.shop]\nurl = \"{}\"\ntables = \"public.*\"\n[log]\npath = \"log\"\n\
         [sinks.copy]\nkind = \"postgres\"\nurl = \"{}\"\nfrom = \"public.*\"\n",
        source.url(),
        target.superuser_url()
    );
    let mut walbridge = Walbridge::start(&config);
    caught_up(&mut walbridge, &source).await;
    let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
    source.psql(&format!(
        "INSERT INTO t SELECT id + {STREAMED}, {} FROM t; UPDATE t SET id = -id WHERE id % 3 = 1",
        names.join(", ")
    ));
    caught_up(&mut walbridge, &source).await;
    let status = walbridge.status().await;
    assert_eq!(status["sinks"]["copy"]["rejected"], 0, "seed {seed}: {}", walbridge.log());
    let (here, there) = (values(&source, &columns, seed), values(&target, &columns, seed));
    assert!(here.len() >= 2 * (ROWS + 1), "seed {seed}: {} lines", here.len());
    for (here, there) in here.iter().zip(&there) {
        assert_eq!(here, there, "seed {seed}");
    }
    assert_eq!(here.len(), there.len(), "seed {seed}");
}
