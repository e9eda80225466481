//! From `clock_timestamp()` inside an INSERT to a reader's sight, at 1,000 single-row commits a second.
//!
//! The row carries its own time, so the commit's fsync is counted. Redis tells the reader by keyspace event, which
//! it sends when the key is written: asking Redis again and again would cost it more than the writes do. The same load
//! with `pg_recvlogical` writing to a pipe is the floor: no log, no Redis.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::backlog::server;
use crate::meter::{quantile, setting};
use crate::support::postgres::program;
use crate::support::process::{self, Signal};
use crate::support::{Postgres, Redis, Walbridge, eventually_sync};

const COMMITS_PER_SECOND: u32 = 1_000;
const WARM_UP_SECONDS: u32 = 5;
/// The first moments after the warm-up belong to pgbench's start.
const SETTLE_MICROS: i64 = 500_000;

/// A row's mark (its id, or its time) and when the reader saw it, in microseconds since 1970.
pub(crate) type Seen = Vec<(i64, i64)>;

/// Prints its figures, one a line.
pub(crate) fn run() {
    let postgres = server();
    postgres.psql(
        "CREATE TABLE latency (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, k int NOT NULL, v text NOT NULL); \
         CREATE PUBLICATION latency FOR TABLE latency",
    );
    let seconds = setting("BENCH_LATENCY_SECONDS", 15);
    let floor = through_pipe(&postgres, seconds);
    report("pg_recvlogical", floor);
    postgres.psql("TRUNCATE latency");
    let measured = through_redis(&postgres, seconds);
    report("redis", measured);
}

pub(crate) fn report(who: &str, mut millis: Vec<f64>) {
    assert!(!millis.is_empty(), "latency {who}: no row was seen");
    println!("latency {who} rows {}", millis.len());
    for (name, part, whole) in [("p50", 50, 100), ("p90", 90, 100), ("p99", 99, 100), ("max", 1, 1)] {
        println!("latency {who} {name} ms {:.2}", quantile(&mut millis, part, whole));
    }
}

pub(crate) fn through_pipe(postgres: &Postgres, seconds: u32) -> Vec<f64> {
    postgres.psql("SELECT pg_create_logical_replication_slot('latency', 'pgoutput')");
    let mut command = Command::new(program("pg_recvlogical"));
    command.args(["-h", "127.0.0.1", "-p", &postgres.port.to_string(), "-U", "postgres", "-d", "postgres"]);
    command.args(["-S", "latency", "--start", "-o", "proto_version=1", "-o", "publication_names=latency"]);
    command.args(["-F", "0", "-f", "-"]);
    // It complains when it is told to stop.
    let mut child = process::spawn(command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()));
    let reader = watch(child.stdout.take().expect("pg_recvlogical's stdout"), b"T=", b';');
    let since = load(postgres, seconds);
    process::end(&mut child, Signal::INT, Duration::from_secs(10));
    postgres.psql("SELECT pg_drop_replication_slot('latency')");
    let seen = reader.join().expect("the reader ends with the pipe");
    seen.into_iter().filter(|&(made, _)| made >= since).map(|(made, seen)| millis(made, seen)).collect()
}

fn through_redis(postgres: &Postgres, seconds: u32) -> Vec<f64> {
    let redis = Redis::start(&["--notify-keyspace-events", "E$"]);
    let walbridge = Walbridge::start(&format!(
        "[sources.bench]\nurl = \"{}\"\ntables = [\"public.latency\"]\nsnapshot = \"never\"\n\n\
         [log]\nkind = \"embedded\"\npath = \"log\"\n\n\
         [sinks.cache]\nkind = \"redis\"\nurl = \"{}\"\nfrom = \"public.latency\"\nkey = \"row:{{id}}\"\n",
        postgres.url(),
        redis.url()
    ));
    eventually_sync(Duration::from_secs(30), || {
        match postgres.psql("SELECT count(*) FROM pg_replication_slots WHERE active").as_str() {
            "1" => Ok(()),
            slots => Err(format!("{slots} active slots\n{}", walbridge.log())),
        }
    });
    let mut events = TcpStream::connect(("127.0.0.1", redis.port)).expect("Redis takes a connection");
    events.write_all(b"SUBSCRIBE __keyevent@0__:set\r\n").expect("Redis takes a command");
    let reader = watch(events.try_clone().expect("a second handle"), b"row:", b'\r');
    let since = load(postgres, seconds);
    let last = postgres.psql("SELECT max(id) FROM latency");
    eventually_sync(Duration::from_secs(30), || redis_has(&redis, &format!("row:{last}")));
    events.shutdown(std::net::Shutdown::Both).expect("our own connection");
    let seen = reader.join().expect("the reader ends with its connection");
    drop(walbridge);
    let made = postgres.psql("SELECT id || ' ' || split_part(split_part(v, ';', 1), '=', 2) FROM latency");
    let made: HashMap<i64, i64> = made
        .lines()
        .filter_map(|line| line.split_once(' '))
        .filter_map(|(id, made)| Some((id.parse().ok()?, made.parse().ok()?)))
        .collect();
    let pairs = seen.into_iter().filter_map(|(id, seen)| Some((*made.get(&id)?, seen)));
    pairs.filter(|&(made, _)| made >= since).map(|(made, seen)| millis(made, seen)).collect()
}

fn redis_has(redis: &Redis, key: &str) -> Result<(), String> {
    let ask = || -> std::io::Result<bool> {
        let mut stream = TcpStream::connect(("127.0.0.1", redis.port))?;
        stream.write_all(format!("EXISTS {key}\r\n").as_bytes())?;
        let mut answer = [0; 4];
        stream.read_exact(&mut answer)?;
        Ok(&answer == b":1\r\n")
    };
    match ask() {
        Ok(true) => Ok(()),
        Ok(false) => Err(format!("Redis has no {key} yet")),
        Err(error) => Err(error.to_string()),
    }
}

/// A warm-up, then the load that counts; from when on rows count, in microseconds since 1970.
pub(crate) fn load(postgres: &Postgres, seconds: u32) -> i64 {
    pgbench(postgres, WARM_UP_SECONDS);
    let since = now() + SETTLE_MICROS;
    pgbench(postgres, seconds);
    // The last rows are still on their way.
    thread::sleep(Duration::from_millis(500));
    since
}

fn pgbench(postgres: &Postgres, seconds: u32) {
    let script = "INSERT INTO latency (k, v) VALUES (7, 'T=' || (extract(epoch FROM clock_timestamp()) * 1000000)::bigint \
                  || ';' || repeat('x', 78));\n";
    let mut command = Command::new(program("pgbench"));
    command.args(["-h", "127.0.0.1", "-p", &postgres.port.to_string(), "-U", "postgres"]);
    command.args(["-n", "-M", "prepared", "-c", "4", "-j", "1", "-f", "/dev/stdin"]);
    command.args(["-R", &COMMITS_PER_SECOND.to_string(), "-T", &seconds.to_string(), "postgres"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = process::spawn(&mut command);
    let mut stdin = child.stdin.take().expect("pgbench's stdin");
    stdin.write_all(script.as_bytes()).expect("pgbench reads its script");
    drop(stdin);
    let output = child.wait_with_output().expect("pgbench runs");
    assert!(output.status.success(), "pgbench: {}", String::from_utf8_lossy(&output.stderr));
}

/// Reads to the end, on a thread of its own, and notes when each `prefix NUMBER end` came.
fn watch(mut from: impl Read + Send + 'static, prefix: &'static [u8], end: u8) -> JoinHandle<Seen> {
    thread::spawn(move || {
        let mut seen = Seen::new();
        let mut buffer = vec![0; 64 * 1024];
        let mut held = Vec::new();
        while let Ok(length) = from.read(&mut buffer) {
            let at = now();
            if length == 0 {
                break;
            }
            held.extend_from_slice(buffer.get(..length).unwrap_or_default());
            let used = marks(&held, prefix, end, |mark| seen.push((mark, at)));
            held.drain(..used);
        }
        seen
    })
}

/// Finds the whole marks in `bytes`; how many bytes need not be looked at again.
pub(crate) fn marks(bytes: &[u8], prefix: &[u8], end: u8, mut found: impl FnMut(i64)) -> usize {
    /// The longest mark: a prefix, 20 digits, the end.
    const LONGEST: usize = 32;
    let mut used = 0;
    for (place, window) in bytes.windows(prefix.len()).enumerate() {
        if window != prefix {
            continue;
        }
        let rest = bytes.get(place + prefix.len()..).unwrap_or_default();
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if rest.get(digits) == Some(&end) {
            let text = rest.get(..digits).and_then(|digits| std::str::from_utf8(digits).ok());
            if let Some(mark) = text.and_then(|text| text.parse().ok()) {
                found(mark);
            }
            used = place + prefix.len() + digits;
        }
    }
    used.max(bytes.len().saturating_sub(LONGEST))
}

pub(crate) fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

pub(crate) fn millis(made: i64, seen: i64) -> f64 {
    // A latency is far below the 2^53 microseconds that a double holds exactly.
    let micros = (seen - made) as f64;
    micros / 1000.0
}
