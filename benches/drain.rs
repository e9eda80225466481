//! One backlog, drained in turn by `pg_recvlogical` to nowhere and by walbridge into its fsynced log, from the same server.
//!
//! Each drain gets its own copy of a slot that was made before the rows, so all read the same WAL. They take turns, in
//! another order each round, and the medians are compared: a busy machine slows both. The clock runs from the moment at
//! which the server shows the slot active until `pg_recvlogical` exits at `--endpos`, or until walbridge's status shows
//! the same LSN durable. CPU is that of the whole process from its start, walbridge's admin port and our asking included.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::time::sleep;
use tokio_postgres::Client;

use crate::backlog::{Backlog, Workload, server};
use crate::meter::{Meter, median, setting};
use crate::support::postgres::program;
use crate::support::process;
use crate::support::{Postgres, Walbridge};

/// Long enough to call a drain stuck.
const PATIENCE: Duration = Duration::from_secs(600);
/// How often processes are looked at. The status costs walbridge something, so that is asked for less often; the
/// difference is at most a twentieth of a second, against walbridge.
const GLANCE: Duration = Duration::from_millis(2);
const ASK: Duration = Duration::from_millis(50);

/// Who drains, and over what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Drainer {
    RecvlogicalTcp,
    RecvlogicalUnix,
    WalbridgeTcp,
    WalbridgeUnix,
    /// Asked for values as text, where the others let it choose.
    WalbridgeText,
    /// Into Kafka, exactly once.
    WalbridgeKafka,
    /// Into Kafka, at least once.
    WalbridgeKafkaLeast,
}

impl Drainer {
    const ALL: [Drainer; 4] =
        [Drainer::RecvlogicalTcp, Drainer::WalbridgeTcp, Drainer::RecvlogicalUnix, Drainer::WalbridgeUnix];

    const fn name(self) -> &'static str {
        match self {
            Drainer::RecvlogicalTcp => "pg_recvlogical tcp",
            Drainer::RecvlogicalUnix => "pg_recvlogical unix",
            Drainer::WalbridgeTcp => "walbridge tcp",
            Drainer::WalbridgeUnix => "walbridge unix",
            Drainer::WalbridgeText => "walbridge text",
            Drainer::WalbridgeKafka => "walbridge kafka",
            Drainer::WalbridgeKafkaLeast => "walbridge kafka-alo",
        }
    }
}

/// What one drain took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Drained {
    pub(crate) drainer: Drainer,
    rows: u32,
    seconds: f64,
    pub(crate) client: Meter,
    pub(crate) walsender: Meter,
}

impl Drained {
    pub(crate) fn rows_per_second(&self) -> f64 {
        f64::from(self.rows) / self.seconds
    }

    pub(crate) fn per_million(&self, cpu_seconds: f64) -> f64 {
        cpu_seconds * 1e6 / f64::from(self.rows)
    }
}

/// Prints its figures, one a line.
pub(crate) fn run() {
    let rows = setting("BENCH_ROWS", 1_000_000);
    let rounds = setting("BENCH_ROUNDS", 3);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let postgres = server();
        let mut report = Vec::new();
        for workload in Workload::ALL {
            let backlog = Backlog::make(&postgres, workload, rows);
            let drains = rounds_of(&postgres, &backlog, rounds).await;
            report.extend(summary(workload, &drains));
            backlog.forget(&postgres);
        }
        report.iter().for_each(|line| println!("{line}"));
    });
}

/// Everybody, once a round, the other way about every second round.
async fn rounds_of(postgres: &Postgres, backlog: &Backlog, rounds: u32) -> Vec<Drained> {
    let client = postgres.client().await;
    let mut drains = Vec::new();
    for round in 1..=rounds {
        let mut turns = Drainer::ALL;
        if round % 2 == 0 {
            turns.reverse();
        }
        for drainer in turns {
            let slot = format!("bench_{}", drains.len());
            backlog.slot(postgres, &slot);
            let drained = match drainer {
                Drainer::RecvlogicalTcp | Drainer::RecvlogicalUnix => {
                    recvlogical(postgres, &client, backlog, drainer, &slot).await
                }
                Drainer::WalbridgeTcp
                | Drainer::WalbridgeUnix
                | Drainer::WalbridgeText
                | Drainer::WalbridgeKafka
                | Drainer::WalbridgeKafkaLeast => walbridge(postgres, &client, backlog, drainer, &slot).await.0,
            };
            drop_slot(&client, &slot).await;
            println!("{}", line(backlog.workload, round, &drained));
            drains.push(drained);
        }
    }
    drains
}

async fn recvlogical(postgres: &Postgres, client: &Client, backlog: &Backlog, drainer: Drainer, slot: &str) -> Drained {
    let host = match drainer {
        Drainer::RecvlogicalUnix | Drainer::WalbridgeUnix => postgres.directory().display().to_string(),
        _ => "127.0.0.1".to_owned(),
    };
    let publication = format!("publication_names={}", backlog.workload.name());
    let mut command = Command::new(program("pg_recvlogical"));
    command.args(["-h", &host, "-p", &postgres.port.to_string(), "-U", "postgres", "-d", "postgres"]);
    command.args(["-S", slot, "--start", "-o", "proto_version=1", "-o", &publication]);
    command.args(["--endpos", &backlog.end_lsn, "--no-loop", "-F", "0", "-f", "/dev/null"]);
    let mut child = process::spawn(command.stdin(Stdio::null()));
    let pid = child.id();
    let walsender_pid = active(client, slot).await;
    let started = Instant::now();
    let (mut meter, mut walsender) = (Meter::default(), Meter::default());
    while !ended(&child) {
        meter.read(pid);
        walsender.read(walsender_pid);
        assert!(started.elapsed() < PATIENCE, "pg_recvlogical is stuck");
        sleep(GLANCE).await;
    }
    let seconds = started.elapsed().as_secs_f64();
    meter.read(pid);
    let status = child.wait().expect("pg_recvlogical is our child");
    assert!(status.success(), "pg_recvlogical ended with {status}");
    Drained { drainer, rows: backlog.rows, seconds, client: meter, walsender }
}

/// Whether a child has ended; leaves it a zombie, so that its CPU time can still be read.
fn ended(child: &Child) -> bool {
    !process::alive(child.id())
}

/// What it took, and walbridge, ended, with its log.
pub(crate) async fn walbridge(
    postgres: &Postgres,
    client: &Client,
    backlog: &Backlog,
    drainer: Drainer,
    slot: &str,
) -> (Drained, Walbridge) {
    walbridge_into(postgres, client, backlog, drainer, slot, "kind = \"embedded\"").await
}

/// The same, with this log.
pub(crate) async fn walbridge_into(
    postgres: &Postgres,
    client: &Client,
    backlog: &Backlog,
    drainer: Drainer,
    slot: &str,
    log: &str,
) -> (Drained, Walbridge) {
    let url = match drainer {
        Drainer::RecvlogicalUnix | Drainer::WalbridgeUnix => postgres.unix_url(),
        _ => postgres.url(),
    };
    let name = backlog.workload.name();
    // Topics have their source's name.
    let source = if log.contains("brokers") { slot } else { "bench" };
    let values = if drainer == Drainer::WalbridgeText { "text" } else { "auto" };
    let mut walbridge = Walbridge::start(&format!(
        "[sources.{source}]\nurl = \"{url}\"\ntables = [\"public.{name}\"]\nslot = \"{slot}\"\npublication = \"{name}\"\n\
         snapshot = \"never\"\nvalues = \"{values}\"\n\n[log]\npath = \"log\"\n{log}\n"
    ));
    let pid = walbridge.pid().expect("walbridge runs");
    let walsender_pid = tokio::select! {
        pid = active(client, slot) => pid,
        log = failure(&mut walbridge) => unreachable!("walbridge ended before it took the slot:\n{log}"),
    };
    let started = Instant::now();
    let (mut meter, mut walsender) = (Meter::default(), Meter::default());
    let end = lsn(&backlog.end_lsn);
    let mut asked = Instant::now();
    loop {
        meter.read(pid);
        walsender.read(walsender_pid);
        if asked.elapsed() >= ASK {
            asked = Instant::now();
            if walbridge.try_status().await.is_ok_and(|status| durable(&status) >= end) {
                break;
            }
        }
        assert!(walbridge.ended().is_none(), "walbridge ended:\n{}", walbridge.log());
        assert!(started.elapsed() < PATIENCE, "walbridge is stuck:\n{}", walbridge.log());
        sleep(GLANCE).await;
    }
    let seconds = started.elapsed().as_secs_f64();
    meter.read(pid);
    walsender.read(walsender_pid);
    let code = walbridge.sigterm();
    assert_eq!(code, Some(0), "walbridge ended badly:\n{}", walbridge.log());
    (Drained { drainer, rows: backlog.rows, seconds, client: meter, walsender }, walbridge)
}

/// Waits for walbridge to end, which it should not; its log.
async fn failure(walbridge: &mut Walbridge) -> String {
    while walbridge.ended().is_none() {
        sleep(ASK).await;
    }
    walbridge.log()
}

fn durable(status: &Value) -> u64 {
    let source = status.get("sources").and_then(|sources| match sources {
        Value::Object(by_name) => by_name.values().next(),
        Value::Array(list) => list.first(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    });
    source.and_then(|source| source.get("durable_lsn")).and_then(Value::as_str).map(lsn).unwrap_or_default()
}

fn lsn(text: &str) -> u64 {
    let half = |text: &str| u64::from_str_radix(text, 16).ok();
    text.split_once('/').and_then(|(high, low)| Some(half(high)? << 32 | half(low)?)).unwrap_or_default()
}

/// Waits for the slot to be active; the walsender's process id.
pub(crate) async fn active(client: &Client, slot: &str) -> u32 {
    let started = Instant::now();
    loop {
        let query = "SELECT active_pid FROM pg_replication_slots WHERE slot_name = $1";
        let row = client.query_one(query, &[&slot]).await.expect("the slot is there");
        if let Some(pid) = row.get::<_, Option<i32>>(0).and_then(|pid| u32::try_from(pid).ok()) {
            return pid;
        }
        assert!(started.elapsed() < Duration::from_secs(30), "nobody takes slot {slot}");
        sleep(GLANCE).await;
    }
}

/// The walsender may take a moment to see that its client has gone.
pub(crate) async fn drop_slot(client: &Client, slot: &str) {
    let statement = format!("SELECT pg_drop_replication_slot('{slot}')");
    crate::support::eventually(Duration::from_secs(30), || client.batch_execute(&statement)).await;
}

pub(crate) fn line(workload: Workload, round: u32, drained: &Drained) -> String {
    format!(
        "drain {} round {round}: {:<19} {:>9.0} rows/s  cpu {:.2} s per million, walsender {:.2}  peak {:.0} MiB",
        workload.name(),
        drained.drainer.name(),
        drained.rows_per_second(),
        drained.per_million(drained.client.cpu_seconds),
        drained.per_million(drained.walsender.cpu_seconds),
        drained.client.peak_mib,
    )
}

/// The medians and their ratios, one a line. The first workload's lines carry no workload's name.
fn summary(workload: Workload, drains: &[Drained]) -> Vec<String> {
    let prefix = match workload {
        Workload::Batches => "drain".to_owned(),
        Workload::OneTransaction | Workload::Updates | Workload::Wide => format!("drain {}", workload.name()),
    };
    let of = |drainer: Drainer, figure: fn(&Drained) -> f64| {
        median(drains.iter().filter(|drained| drained.drainer == drainer).map(figure))
    };
    let speed = |drainer| of(drainer, Drained::rows_per_second);
    let cpu = |drainer| of(drainer, |drained| drained.per_million(drained.client.cpu_seconds));
    let walsender = |drainer| of(drainer, |drained| drained.per_million(drained.walsender.cpu_seconds));
    let peak = |drainer| of(drainer, |drained| drained.client.peak_mib);
    let mut lines = Vec::new();
    for drainer in Drainer::ALL {
        let name = drainer.name();
        lines.push(format!("{prefix} {name} rows/s {:.0}", speed(drainer)));
        lines.push(format!("{prefix} {name} cpu seconds per million rows {:.2}", cpu(drainer)));
        lines.push(format!("{prefix} {name} walsender cpu seconds per million rows {:.2}", walsender(drainer)));
        lines.push(format!("{prefix} {name} peak memory MiB {:.1}", peak(drainer)));
    }
    let peer = (speed(Drainer::RecvlogicalTcp), cpu(Drainer::RecvlogicalTcp));
    lines.extend([
        format!("{prefix} tcp ratio {:.2}", speed(Drainer::WalbridgeTcp) / peer.0),
        format!("{prefix} unix ratio {:.2}", speed(Drainer::WalbridgeUnix) / peer.0),
        format!(
            "{prefix} unix like-for-like ratio {:.2}",
            speed(Drainer::WalbridgeUnix) / speed(Drainer::RecvlogicalUnix)
        ),
        format!("{prefix} tcp cpu ratio {:.2}", cpu(Drainer::WalbridgeTcp) / peer.1),
        format!("{prefix} unix cpu ratio {:.2}", cpu(Drainer::WalbridgeUnix) / peer.1),
    ]);
    lines
}
