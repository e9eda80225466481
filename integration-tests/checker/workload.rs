//! The tables, each of a shape that makes a certain mistake visible, and the writers that change them.
//!
//! Nothing is noted down by the writers: what was committed is what PostgreSQL says, by `SELECT` and by its second slot.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::task::JoinHandle;
use tokio_postgres::Client;
use tokio_util::sync::CancellationToken;

/// A table of the workload.
#[derive(Clone, Copy, Debug)]
pub(super) struct Table {
    pub(super) name: &'static str,
    pub(super) key: &'static [&'static str],
    /// Columns whose text is the same in JSON and in the second plugin's output.
    pub(super) compared: &'static [&'static str],
    /// Its replica identity is FULL: changes come with the whole old row.
    pub(super) full: bool,
}

/// All of them.
pub(super) const TABLES: &[Table] = &[
    Table { name: "acct", key: &["id"], compared: &["id", "bal"], full: false },
    Table { name: "xfer", key: &["id"], compared: &["id", "src", "dst", "amount"], full: false },
    Table { name: "reg", key: &["k"], compared: &["k", "ver", "writer", "pad"], full: false },
    Table { name: "lst", key: &["k"], compared: &["k", "items"], full: false },
    Table { name: "ledger", key: &["writer", "seq"], compared: &["writer", "seq", "note"], full: false },
    Table { name: "churn", key: &["k"], compared: &["k", "v"], full: false },
    Table { name: "mover", key: &["id"], compared: &["id", "uid", "body"], full: false },
    Table { name: "big", key: &["id"], compared: &["id", "n", "body", "more"], full: false },
    Table { name: "bigfull", key: &["id"], compared: &["id", "n", "body", "more"], full: true },
    Table { name: "parts", key: &["region", "id"], compared: &["region", "id", "v"], full: false },
    Table { name: "typed", key: &["id"], compared: &["id", "t_text", "t_bool", "t_numeric"], full: false },
    Table { name: "Odd näme", key: &["Kéy \"q\""], compared: &["Kéy \"q\"", "va l"], full: false },
];

/// The table of this name; a partition is its root's.
pub(super) fn table(name: &str) -> Option<&'static Table> {
    let name = if name.starts_with("parts_") { "parts" } else { name };
    TABLES.iter().find(|table| table.name == name)
}

/// How many accounts there are, and what each has at first.
pub(super) const ACCOUNTS: usize = 40;
pub(super) const BALANCE: i64 = 1_000;
const KEYS: u32 = 60;

/// Makes the tables and their first rows.
pub(super) const SCHEMA: &str = include_str!("schema.sql");

/// The writers at work.
pub(super) struct Writers {
    stop: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
    transactions: Arc<AtomicU64>,
}

const WRITERS: u64 = 4;

impl Writers {
    /// Sets them to work; each finds its server again when that goes away.
    pub(super) fn start(url: &str, seed: u64) -> Writers {
        let (stop, transactions) = (CancellationToken::new(), Arc::new(AtomicU64::new(0)));
        let writer = |number| {
            let random = StdRng::seed_from_u64(seed.wrapping_mul(1_000).wrapping_add(number));
            let work = work(url.to_owned(), number, random, stop.clone(), transactions.clone());
            tokio::spawn(work)
        };
        let tasks = (0..WRITERS).map(writer).collect();
        Writers { stop, tasks, transactions }
    }

    /// How many transactions they have committed, as far as they were told.
    pub(super) fn transactions(&self) -> u64 {
        self.transactions.load(Ordering::Relaxed)
    }

    /// Lets each finish what it does.
    pub(super) async fn stop(mut self) {
        self.stop.cancel();
        for task in self.tasks.drain(..) {
            task.await.expect("a writer only waits");
        }
    }
}

async fn connect(url: &str) -> Option<Client> {
    let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await.ok()?;
    tokio::spawn(async move { drop(connection.await) });
    client.batch_execute("SET lock_timeout = '2s'; SET statement_timeout = '20s'").await.ok()?;
    Some(client)
}

async fn work(url: String, writer: u64, mut random: StdRng, stop: CancellationToken, transactions: Arc<AtomicU64>) {
    let mut client = None;
    let mut seq = 0;
    while !stop.is_cancelled() {
        let Some(connected) = client.take().filter(|client: &Client| !client.is_closed()) else {
            client = connect(&url).await;
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        seq += 1;
        let sql = transaction(&mut random, writer, seq);
        let mut outcome = Ok(());
        for query in sql.split(APART) {
            outcome = if outcome.is_ok() { connected.batch_execute(query).await } else { outcome };
        }
        match outcome {
            Ok(()) => _ = transactions.fetch_add(1, Ordering::Relaxed),
            // Writers meet in locks and constraints. The connection may have a transaction open.
            Err(_) => _ = connected.batch_execute("ROLLBACK").await,
        }
        client = Some(connected);
        let pause = Duration::from_millis(random.random_range(0..60));
        let _stopped_or_rested = tokio::time::timeout(pause, stop.cancelled()).await;
    }
}

/// What stands behind it is a query of its own: a prepared transaction cannot be ended in the query that prepared it.
const APART: &str = "\n-- apart\n";

/// A transaction as SQL, complete or taken back, in whole or in part.
fn transaction(random: &mut StdRng, writer: u64, seq: u64) -> String {
    let statements: Vec<String> =
        (0..random.random_range(1..6)).map(|part| statement(random, writer, seq * 10 + part)).collect();
    let all = statements.join(";\n");
    match random.random_range(0..100) {
        0..54 => format!("BEGIN;\n{all};\nCOMMIT"),
        54..60 => {
            let end = ["COMMIT", "COMMIT", "ROLLBACK"][random.random_range(0..3)];
            format!("BEGIN;\n{all};\nPREPARE TRANSACTION '{writer} {seq}'{APART}{end} PREPARED '{writer} {seq}'")
        }
        60..80 => format!("BEGIN;\n{all};\nROLLBACK"),
        80..92 => {
            let inner = statement(random, writer, seq * 10 + 8);
            let end = ["RELEASE a", "ROLLBACK TO a", "ROLLBACK TO a"][random.random_range(0..3)];
            format!("BEGIN;\nSAVEPOINT a;\n{inner};\n{end};\n{all};\nSAVEPOINT b;\n{};\nCOMMIT", transfer(random))
        }
        92..98 => {
            let pause = f64::from(random.random_range(5..80)) / 100.0;
            format!("BEGIN;\n{all};\nSELECT pg_sleep({pause});\n{};\nCOMMIT", transfer(random))
        }
        98 => nested(random, writer),
        _ => large(random, writer, seq),
    }
}

/// More sub-transactions than a snapshot lists one by one; a third of them fails, each after it has written.
fn nested(random: &mut StdRng, writer: u64) -> String {
    let (legs, rise) = (transfer(random), register(random, writer));
    format!(
        "DO $$ BEGIN FOR i IN 1..80 LOOP BEGIN
           INSERT INTO churn VALUES (1000 + i, {writer}) ON CONFLICT (k) DO UPDATE SET v = churn.v + 1;
           IF i % 3 = 0 THEN {rise}; RAISE EXCEPTION 'taken back'; END IF;
         EXCEPTION WHEN raise_exception THEN NULL; END; END LOOP; {legs}; END $$"
    )
}

/// Far more than `logical_decoding_work_mem`, so that it is streamed; half of them are taken back, in whole or in part.
fn large(random: &mut StdRng, writer: u64, seq: u64) -> String {
    let rows = random.random_range(300..900);
    let from = seq * 100_000;
    let insert = |from: u64| {
        format!(
            "INSERT INTO ledger SELECT {writer}, s, repeat('x', 60) || s FROM generate_series({from}, {}) s",
            from + rows
        )
    };
    let (first, second) = (insert(from), insert(from + 50_000));
    let others = format!("{};\n{}", transfer(random), register(random, writer));
    match random.random_range(0..4) {
        0 => format!("BEGIN;\n{first};\n{others};\nSELECT pg_sleep(0.2);\n{second};\nROLLBACK"),
        1 => format!("BEGIN;\n{first};\nSAVEPOINT a;\n{second};\nROLLBACK TO a;\n{others};\nCOMMIT"),
        2 => {
            format!(
                "BEGIN;\n{first};\n{others};\nDELETE FROM ledger WHERE writer = {writer} AND seq >= {from} AND seq % 2 = 0;\nCOMMIT"
            )
        }
        _ => format!("BEGIN;\n{first};\nSELECT pg_sleep(0.2);\n{others};\nCOMMIT"),
    }
}

/// Money moves between two accounts, and the move is noted: all of it or nothing.
fn transfer(random: &mut StdRng) -> String {
    let src = random.random_range(0..ACCOUNTS);
    let dst = (src + random.random_range(1..ACCOUNTS)) % ACCOUNTS;
    let amount = random.random_range(1..50);
    // The lower id first, so that two transfers never wait for each other.
    let mut legs = [(src, -amount), (dst, amount)];
    legs.sort_unstable();
    let [one, other] = legs.map(|(id, change)| format!("UPDATE acct SET bal = bal + {change} WHERE id = {id}"));
    format!("{one};\n{other};\nINSERT INTO xfer (src, dst, amount) VALUES ({src}, {dst}, {amount})")
}

/// A counter that rises with each change.
fn register(random: &mut StdRng, writer: u64) -> String {
    let k = random.random_range(0..KEYS);
    let length = [0, 3, 40, 900][random.random_range(0..4)];
    format!(
        "UPDATE reg SET ver = ver + 1, writer = {writer}, pad = repeat(md5(random()::text), {length}) WHERE k = {k}"
    )
}

fn statement(random: &mut StdRng, writer: u64, seq: u64) -> String {
    let k = random.random_range(0..KEYS);
    let other = random.random_range(0..KEYS);
    match random.random_range(0..100) {
        0..16 => transfer(random),
        16..34 => register(random, writer),
        34..46 => format!("UPDATE lst SET items = items || {} WHERE k = {k}", writer * 100_000_000 + seq),
        46..54 => format!("INSERT INTO ledger VALUES ({writer}, {seq}, 'one {seq}')"),
        54..60 => format!("INSERT INTO churn VALUES ({k}, {seq}) ON CONFLICT (k) DO UPDATE SET v = excluded.v"),
        60..65 => format!("DELETE FROM churn WHERE k = {k}"),
        65..66 => "TRUNCATE churn".to_owned(),
        66..69 => format!(
            "UPDATE mover SET id = -id - 1 WHERE id BETWEEN {k} AND {k} + 5; UPDATE mover SET id = -id WHERE id < 0"
        ),
        69..72 => format!(
            "UPDATE mover SET id = -1 WHERE id = {k}; UPDATE mover SET id = {k} WHERE id = {other}; \
             UPDATE mover SET id = {other} WHERE id = -1"
        ),
        72..74 => format!("UPDATE mover SET id = {k} + 1000 WHERE id = {k}"),
        74..76 => format!("UPDATE mover SET id = {k}, body = repeat(md5(random()::text), 300) WHERE id = {k} + 1000"),
        76..81 => format!("UPDATE big SET n = n + 1 WHERE id = {k}"),
        81..83 => format!("UPDATE big SET id = id + 500 WHERE id = {k}"),
        83..85 => format!("UPDATE big SET id = id - 500, body = body || 'b' WHERE id = {k} + 500"),
        85..87 => {
            format!("UPDATE big SET body = NULLIF(repeat(md5(random()::text), {}), '') WHERE id = {k}", other * 10)
        }
        87..89 => format!("UPDATE bigfull SET n = n + 1, id = id + 100 * {} WHERE id = {k}", other % 2),
        89..91 => format!("UPDATE bigfull SET id = id - 100, more = md5(n::text) WHERE id = {k} + 100"),
        91..94 => format!("UPDATE parts SET region = (region + 1) % 3, v = v + 1 WHERE id = {k}"),
        94..96 => format!("UPDATE \"Odd näme\" SET \"va l\" = 'v{seq}' WHERE \"Kéy \"\"q\"\"\" = {k}"),
        96 => "SELECT pg_logical_emit_message(true, 'checker', 'noise'), pg_logical_emit_message(false, 'checker', '')"
            .to_owned(),
        97 => format!("DELETE FROM typed WHERE id = {k}; INSERT INTO typed SELECT (typed_row({k}, {seq})).*"),
        _ => format!("UPDATE typed SET t_text = 'u{seq}', t_timestamptz = now() WHERE id = {k}"),
    }
}
