//! `walbridge verify` with the real program: what is wrong in a sink is named, all of it and nothing else, while source and sink are written; and put right.

mod damage;
mod large;
mod search;
mod waiting;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use serde_json::Value;
use tokio::task::JoinHandle;

use crate::support::{Postgres, Redis, Walbridge, eventually};

const PATIENCE: Duration = Duration::from_secs(90);

/// A verification's outcome: the exit code, and its report.
struct Verified {
    exit_code: Option<i32>,
    report: Value,
}

impl Verified {
    /// Its findings by key.
    fn found(&self) -> BTreeMap<String, String> {
        let findings = self.report["findings"].as_array().expect("findings").iter();
        findings.map(|found| (text(&found["key"]), text(&found["what"]))).collect()
    }

    fn findings(&self) -> &[Value] {
        self.report["findings"].as_array().expect("findings")
    }

    fn table(&self) -> &Value {
        &self.report["tables"][0]
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// Verifies one sink to the end. Other tasks go on meanwhile.
fn verify(walbridge: &Walbridge, sink: &str, more: &[&str]) -> Verified {
    let arguments = [&["verify", sink, "--json"], more].concat();
    let output = tokio::task::block_in_place(|| walbridge.run(&arguments));
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let reports: Value =
        serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{error}: {stdout}{stderr}\n{}", walbridge.log()));
    Verified { exit_code: output.status.code(), report: reports[0].clone() }
}

/// Begins a verification, as the program does, and does not wait for it.
async fn begin(walbridge: &Walbridge, sink: &str, order: &str) -> Value {
    let url = walbridge.admin_url(&format!("/api/sinks/{sink}/verify"));
    let request = reqwest::Client::new().post(url).header("content-type", "application/json").body(order.to_owned());
    let answer = request.send().await.expect("an answer").text().await.expect("a text");
    serde_json::from_str(&answer).unwrap_or_else(|error| panic!("{error}: {answer}"))
}

/// Waits until a report says this.
async fn reported(walbridge: &Walbridge, sink: &str, wanted: impl Fn(&Value) -> bool) -> Verified {
    let report = eventually(PATIENCE, || async {
        let report = walbridge.get(&format!("/api/sinks/{sink}/verify")).await?;
        let report: Value = serde_json::from_str(&report).map_err(|error| error.to_string())?;
        if wanted(&report) { Ok(report) } else { Err(report.to_string()) }
    });
    Verified { exit_code: None, report: report.await }
}

/// Clients that change the rows with ids from 1 to 1000, and beyond 100000, until they are told to stop.
struct Load {
    stop: Arc<AtomicBool>,
    transactions: Arc<AtomicU64>,
    clients: Vec<JoinHandle<()>>,
}

impl Load {
    async fn start(postgres: &Postgres) -> Load {
        let (stop, transactions) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let mut clients = Vec::new();
        for number in 0..2_i32 {
            let client = postgres.client().await;
            let (stop, transactions) = (stop.clone(), transactions.clone());
            clients.push(tokio::spawn(async move {
                let mut n = number;
                while !stop.load(Ordering::Relaxed) {
                    n = n.wrapping_add(2);
                    client.batch_execute(&transaction(n)).await.expect("a transaction");
                    transactions.fetch_add(1, Ordering::Relaxed);
                    // A rate that a debug build on a busy machine can follow.
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
            }));
        }
        Load { stop, transactions, clients }
    }

    /// Stops it, and returns how many transactions there have been.
    async fn stop(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        for client in self.clients {
            client.await.expect("no client fails");
        }
        self.transactions.load(Ordering::Relaxed)
    }
}

/// Some of everything: rows that change with and without their large value, many at once, go and come, get other keys, and take the keys of others.
fn transaction(n: i32) -> String {
    let id = 1 + n.rem_euclid(990);
    match n.rem_euclid(6) {
        0 | 1 => format!("UPDATE t SET n = n + 1 WHERE id BETWEEN {id} AND {id} + 9"),
        2 => format!("UPDATE t SET big = repeat('y', 2500 + {id} % 100), n = {n} WHERE id = {id}"),
        3 => format!("DELETE FROM t WHERE id = {id}; INSERT INTO t VALUES ({id}, {n}, repeat('z', 2500), NULL)"),
        4 => format!(
            "BEGIN; INSERT INTO t VALUES (100000 + {n}, {n}, NULL, '{{}}') ON CONFLICT DO NOTHING; \
             DELETE FROM t WHERE id = 100000 + {n} - 300; COMMIT"
        ),
        _ => format!(
            "BEGIN; UPDATE t SET id = -{id} - {parity} WHERE id = {id}; UPDATE t SET id = {id} WHERE id = -{id} - {parity}; COMMIT",
            parity = n % 2 * 100_000
        ),
    }
}

const TABLE: &str =
    "CREATE TABLE t (id int PRIMARY KEY, n int, big text, doc jsonb); ALTER TABLE t ALTER big SET STORAGE EXTERNAL;
  INSERT INTO t SELECT i, 0, CASE WHEN i % 3 = 0 THEN repeat('x', 2500) END, jsonb_build_object('i', i) FROM generate_series(1, 1500) i";

fn source(postgres: &Postgres, more: &str) -> String {
    format!("[sources.shop]\nurl = \"{}\"\ntables = [\"public.*\"]\n{more}\n[log]\npath = \"log\"\n", postgres.url())
}

fn cache(redis: &Redis) -> String {
    format!("[sinks.cache]\nkind = \"redis\"\nurl = \"{}\"\nfrom = \"public.t\"\nkey = \"t:{{id}}\"\n", redis.url())
}
