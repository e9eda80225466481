//! The first copy of a table into walbridge's fsynced log beside `COPY … TO STDOUT` to nowhere, by as many connections, from the
//! same server in the same run.
//!
//! The peer is one psql for each worker, each with its share of the table's blocks. Both clocks start with the processes:
//! psql's stops when the last one ends, walbridge's when its status shows the table copied, which it is when the log has been
//! fsynced. Slot and publication are there before. They take turns, the other way about every second round, and medians are
//! compared.

use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::time::sleep;

use crate::backlog::server;
use crate::meter::{Meter, median, setting};
use crate::support::process;
use crate::support::{Postgres, Walbridge};

const PATIENCE: Duration = Duration::from_secs(600);
const GLANCE: Duration = Duration::from_millis(2);
const ASK: Duration = Duration::from_millis(10);

/// A table to copy.
struct Shape {
    name: &'static str,
    columns: String,
    values: String,
    rows: u32,
}

/// What one copy took.
#[derive(Clone, Copy, Debug)]
struct Copied {
    walbridge: bool,
    seconds: f64,
    client: Meter,
}

/// Prints its figures, one a line.
pub(crate) fn run() {
    let rows = setting("BENCH_ROWS", 1_000_000);
    let rounds = setting("BENCH_ROUNDS", 5);
    let workers = setting("BENCH_WORKERS", 2);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let postgres = server();
        let mut report = Vec::new();
        for shape in [narrow(rows), wide(rows / 10)] {
            make(&postgres, &shape);
            let mut copies = Vec::new();
            for round in 1..=rounds {
                for turn in [round % 2 == 0, round % 2 != 0] {
                    let copied = if turn {
                        walbridge(&postgres, &shape, workers).await
                    } else {
                        psql(&postgres, &shape, workers).await
                    };
                    println!("{}", line(&shape, round, &copied));
                    copies.push(copied);
                }
            }
            report.extend(summary(&shape, &copies));
        }
        report.iter().for_each(|line| println!("{line}"));
    });
}

/// About 135 bytes a row.
fn narrow(rows: u32) -> Shape {
    Shape {
        name: "narrow",
        columns: "id bigint PRIMARY KEY, k int NOT NULL, v text NOT NULL, ts timestamptz NOT NULL".to_owned(),
        values: "g, g % 1000, md5(g::text) || md5((g + 1)::text) || md5((g + 2)::text) || 'text', clock_timestamp()"
            .to_owned(),
        rows,
    }
}

/// 40 columns: numbers, texts, times.
fn wide(rows: u32) -> Shape {
    let thirteen = |one: fn(u32) -> String| (1..=13).map(one).collect::<Vec<_>>().join(", ");
    Shape {
        name: "wide",
        columns: format!(
            "id bigint PRIMARY KEY, {}",
            thirteen(|n| format!(
                "i{n} int, t{n} text, {}",
                if n % 2 == 0 { format!("d{n} timestamptz") } else { format!("n{n} numeric") }
            ))
        ),
        values: format!(
            "g, {}",
            thirteen(|n| {
                let third =
                    if n % 2 == 0 { format!("now() + {n} * g * interval '1 s'") } else { format!("g::numeric / {n}7") };
                format!("g + {n}, md5((g + {n})::text), {third}")
            })
        ),
        rows,
    }
}

fn make(postgres: &Postgres, shape: &Shape) {
    let Shape { name, columns, values, rows } = shape;
    postgres.psql(&format!("CREATE TABLE {name} ({columns})"));
    postgres.psql(&format!("INSERT INTO {name} SELECT {values} FROM generate_series(1::bigint, {rows}) g"));
    postgres.psql(&format!("CREATE PUBLICATION {name} FOR TABLE {name}"));
    postgres.psql(&format!("VACUUM (ANALYZE, FREEZE) {name}"));
    postgres.psql("CHECKPOINT");
    let size = postgres.psql(&format!("SELECT pg_size_pretty(pg_relation_size('{name}')) FROM {name} LIMIT 1"));
    println!("# {name}: {rows} rows, {size}");
}

async fn psql(postgres: &Postgres, shape: &Shape, workers: u32) -> Copied {
    let name = shape.name;
    let blocks = postgres.psql(&format!("SELECT pg_relation_size('{name}') / 8192")).parse::<u32>().expect("a number");
    let started = Instant::now();
    let share = blocks.div_ceil(workers);
    let copy = |worker: u32| {
        let (from, to) = (worker * share, (worker + 1) * share);
        let sql = format!("COPY (SELECT * FROM {name} WHERE ctid >= '({from},0)' AND ctid < '({to},0)') TO STDOUT");
        let mut command = postgres.psql_command();
        process::spawn(command.args(["-c", &sql]).stdin(Stdio::null()).stdout(Stdio::null()))
    };
    let mut children: Vec<Child> = (0..workers).map(copy).collect();
    let mut meters = vec![Meter::default(); children.len()];
    while children.iter().any(|child| process::alive(child.id())) {
        for (child, meter) in children.iter().zip(&mut meters) {
            meter.read(child.id());
        }
        assert!(started.elapsed() < PATIENCE, "psql is stuck");
        sleep(GLANCE).await;
    }
    let seconds = started.elapsed().as_secs_f64();
    for (child, meter) in children.iter_mut().zip(&mut meters) {
        meter.read(child.id());
        assert!(child.wait().expect("our child").success(), "psql failed");
    }
    let client = Meter {
        cpu_seconds: meters.iter().map(|meter| meter.cpu_seconds).sum(),
        peak_mib: meters.iter().map(|meter| meter.peak_mib).sum(),
    };
    Copied { walbridge: false, seconds, client }
}

async fn walbridge(postgres: &Postgres, shape: &Shape, workers: u32) -> Copied {
    let name = shape.name;
    postgres.psql(&format!("SELECT pg_create_logical_replication_slot('{name}', 'pgoutput')"));
    let url = postgres.unix_url();
    let configuration = format!(
        "[sources.bench]\nurl = \"{url}\"\ntables = [\"public.{name}\"]\nslot = \"{name}\"\npublication = \"{name}\"\n\
         snapshot_workers = {workers}\n\n[log]\nkind = \"embedded\"\npath = \"log\"\n"
    );
    let started = Instant::now();
    let mut walbridge = Walbridge::start(&configuration);
    let pid = walbridge.pid().expect("walbridge runs");
    let mut meter = Meter::default();
    while !walbridge.try_status().await.is_ok_and(|status| copied(&status)) {
        assert!(walbridge.ended().is_none(), "walbridge ended:\n{}", walbridge.log());
        assert!(started.elapsed() < PATIENCE, "walbridge is stuck:\n{}", walbridge.log());
        sleep(ASK).await;
    }
    let seconds = started.elapsed().as_secs_f64();
    meter.read(pid);
    assert_eq!(walbridge.sigterm(), Some(0), "walbridge ended badly:\n{}", walbridge.log());
    let drop_slot = format!("SELECT pg_drop_replication_slot('{name}')");
    crate::support::eventually(Duration::from_secs(30), || async { postgres.try_psql(&drop_slot) }).await;
    Copied { walbridge: true, seconds, client: meter }
}

fn copied(status: &Value) -> bool {
    let snapshot = |field: &str| status.pointer(&format!("/sources/bench/snapshot/{field}")).and_then(Value::as_u64);
    snapshot("tables_done") == Some(1)
}

fn line(shape: &Shape, round: u32, copied: &Copied) -> String {
    format!(
        "snapshot {} round {round}: {:<9} {:>9.0} rows/s  cpu {:.2} s per million  peak {:.0} MiB",
        shape.name,
        if copied.walbridge { "walbridge" } else { "psql" },
        f64::from(shape.rows) / copied.seconds,
        copied.client.cpu_seconds * 1e6 / f64::from(shape.rows),
        copied.client.peak_mib,
    )
}

fn summary(shape: &Shape, copies: &[Copied]) -> Vec<String> {
    let of = |walbridge: bool, figure: fn(&Copied) -> f64| {
        median(copies.iter().filter(|copied| copied.walbridge == walbridge).map(figure))
    };
    let speed = |walbridge| f64::from(shape.rows) / of(walbridge, |copied| copied.seconds);
    let name = shape.name;
    vec![
        format!("snapshot {name} COPY by psql rows/s {:.0}", speed(false)),
        format!("snapshot {name} walbridge rows/s {:.0}", speed(true)),
        format!("snapshot {name} walbridge peak memory MiB {:.1}", of(true, |copied| copied.client.peak_mib)),
        format!("snapshot {name} ratio {:.2}", speed(true) / speed(false)),
    ]
}
