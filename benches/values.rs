//! Values in binary form beside text: the same backlog drained both ways in turn, and both logs read out.
//!
//! The server need not write text, but makes a buffer for each value; the log is smaller; the text is written here, when the log is
//! read. So all are measured: the drain with the walsender's CPU, the log's size, and `log dump --json` of it. On a busy or
//! virtual machine single rounds differ by twice: look at several before believing a ratio.

use std::time::Instant;

use crate::backlog::{Backlog, Workload, server};
use crate::drain::{Drained, Drainer, drop_slot, line, walbridge};
use crate::meter::{median, setting};
use crate::support::{Postgres, Walbridge};

/// One way's figures of one round.
struct Round {
    drained: Drained,
    log_bytes: f64,
    dumped_per_second: f64,
}

/// Prints its figures, one a line.
pub(crate) fn run() {
    let rows = setting("BENCH_ROWS", 1_000_000);
    let rounds = setting("BENCH_ROUNDS", 3);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let postgres = server();
        for workload in [Workload::Batches, Workload::Wide] {
            let backlog = Backlog::make(&postgres, workload, rows);
            let (mut binary, mut text) = (Vec::new(), Vec::new());
            for round in 1..=rounds {
                // The other way about every second round.
                for of_binary in [round % 2 == 1, round % 2 == 0] {
                    let drainer = if of_binary { Drainer::WalbridgeTcp } else { Drainer::WalbridgeText };
                    let measured = measure(&postgres, &backlog, drainer, round).await;
                    if of_binary { binary.push(measured) } else { text.push(measured) }
                }
            }
            summary(workload, &binary, &text);
            backlog.forget(&postgres);
        }
    });
}

async fn measure(postgres: &Postgres, backlog: &Backlog, drainer: Drainer, round: u32) -> Round {
    let client = postgres.client().await;
    backlog.slot(postgres, "bench_values");
    let (drained, walbridge) = walbridge(postgres, &client, backlog, drainer, "bench_values").await;
    drop_slot(&client, "bench_values").await;
    println!("{}", line(backlog.workload, round, &drained));
    let log_bytes = bytes(&walbridge);
    let started = Instant::now();
    let output = walbridge.run(&["log", "dump", "--json"]);
    let lines = output.stdout.iter().filter(|&&byte| byte == b'\n').count();
    assert!(lines >= backlog.rows as usize, "only {lines} lines");
    Round { drained, log_bytes, dumped_per_second: f64::from(backlog.rows) / started.elapsed().as_secs_f64() }
}

/// How large the log is.
fn bytes(walbridge: &Walbridge) -> f64 {
    let files = walk(&walbridge.directory().join("log"));
    files.iter().filter_map(|file| file.metadata().ok()).map(|file| file.len() as f64).sum()
}

fn walk(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}

fn summary(workload: Workload, binary: &[Round], text: &[Round]) {
    let figures: [(&str, fn(&Round) -> f64); 5] = [
        ("rows/s", |round| round.drained.rows_per_second()),
        ("walsender cpu seconds per million rows", |round| {
            round.drained.per_million(round.drained.walsender.cpu_seconds)
        }),
        ("cpu seconds per million rows", |round| round.drained.per_million(round.drained.client.cpu_seconds)),
        ("log MiB", |round| round.log_bytes / 1_048_576.0),
        ("log dump rows/s", |round| round.dumped_per_second),
    ];
    for (name, figure) in figures {
        let (binary, text) = (median(binary.iter().map(figure)), median(text.iter().map(figure)));
        println!("values {} {name}: binary {binary:.2}, text {text:.2}, ratio {:.2}", workload.name(), binary / text);
    }
}
