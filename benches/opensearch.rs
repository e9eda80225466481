//! A filled log into OpenSearch, beside a bare loader that sends the same bulk requests: the same bodies, one under way at a time, to an index made alike.
//!
//! The requests are those that walbridge sent in a round before, through a gate that kept them, which also warms the server up. The loader sends nothing else;
//! walbridge reads its log, makes the documents and writes its checkpoint in that time as well. They take turns, and the medians are compared. Each is a process of its own, so that CPU and memory
//! are its own.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::Request;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use walbridge::config::BatchLimits;
use walbridge::event::Offset;
use walbridge::http::Address;
use walbridge::log::embedded;
use walbridge::sink::opensearch::{BULK_BYTES_MAX, Layout, OpenSearchSink, Options};

use crate::meter::{Meter, median, setting};
use crate::replay::{self, fill};
use crate::support::gate::Asked;
use crate::support::{Gate, OpenSearch, process};

/// The word by which `main` knows that it is one of the processes.
pub(crate) const WORD: &str = "opensearch-loader";

/// What a process took.
struct Taken {
    rows_per_second: f64,
    cpu: f64,
    peak_mib: f64,
}

/// Prints its figures, one a line.
pub(crate) fn run() {
    let rows = setting("BENCH_ROWS", 300_000);
    let rounds = setting("BENCH_ROUNDS", 3);
    let directory = tempfile::Builder::new().prefix("walbridge-bulk-").tempdir().expect("a temporary directory");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let (mut writer, _, _) = embedded::open(directory.path(), embedded::Options::default()).expect("a new log");
        fill(&mut writer, rows, |_| "0123456789abcdef".repeat(6)).await;
    });
    let node = OpenSearch::start(&[]);
    let requests = directory.path().join("requests");
    // Twice, for the server compiles what is hot.
    for index in ["first", "recorded"] {
        let gate = runtime.block_on(async { Gate::start(node.port, None) });
        let taken = child(&["walbridge", &directory.path().display().to_string(), &gate.port.to_string(), index], rows);
        println!("opensearch recorded {:>9.0} rows/s through the gate", taken.rows_per_second);
        keep(&requests, &gate.asked());
    }
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    for round in 1..=rounds {
        let index = format!("round-{round}");
        let walbridge = || {
            let log = directory.path().display().to_string();
            child(&["walbridge", &log, &node.port.to_string(), &index], rows)
        };
        let loader = || {
            let (requests, index) = (requests.display().to_string(), format!("{index}-bare"));
            child(&["bare", &requests, &node.port.to_string(), &index], rows)
        };
        let (one, other) = if round % 2 == 0 {
            let one = loader();
            (walbridge(), one)
        } else {
            (walbridge(), loader())
        };
        for (name, taken) in [("walbridge", &one), ("bare loader", &other)] {
            println!(
                "opensearch round {round}: {name:<12} {:>9.0} rows/s  cpu {:.2} s per million  peak {:.0} MiB",
                taken.rows_per_second, taken.cpu, taken.peak_mib
            );
        }
        ours.push(one);
        bare.push(other);
    }
    summary(&ours, &bare);
}

fn summary(ours: &[Taken], bare: &[Taken]) {
    let of = |taken: &[Taken], figure: fn(&Taken) -> f64| median(taken.iter().map(figure));
    for (name, taken) in [("walbridge", ours), ("bare loader", bare)] {
        println!("opensearch {name} rows/s {:.0}", of(taken, |taken| taken.rows_per_second));
        println!("opensearch {name} cpu seconds per million rows {:.2}", of(taken, |taken| taken.cpu));
        println!("opensearch {name} peak memory MiB {:.1}", of(taken, |taken| taken.peak_mib));
    }
    let speed = |taken: &[Taken]| of(taken, |taken| taken.rows_per_second);
    println!("opensearch ratio {:.2}", speed(ours) / speed(bare));
}

/// Starts a process and reads what it says.
fn child(arguments: &[&str], rows: u32) -> Taken {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.arg(WORD).args(arguments).arg(rows.to_string()).stdin(Stdio::null()).stdout(Stdio::piped());
    let output = process::spawn(&mut command).wait_with_output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut figures = said.split_whitespace().map(|figure| figure.parse::<f64>().expect("a figure"));
    let mut next = || figures.next().expect("three figures");
    let seconds = next();
    Taken { rows_per_second: f64::from(rows) / seconds, cpu: next() * 1e6 / f64::from(rows), peak_mib: next() }
}

/// The process.
pub(crate) fn main(arguments: &[String]) {
    let [who, from, port, index, rows] = arguments else { unreachable!("{WORD} WHO FROM PORT INDEX ROWS") };
    let (port, rows): (u16, u32) = (port.parse().expect("a port"), rows.parse().expect("how many rows"));
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let bare = (who == "bare").then(|| kept(Path::new(from), index));
    let mut meter = Meter::default();
    meter.read(std::process::id());
    let (before, started) = (meter.cpu_seconds, Instant::now());
    runtime.block_on(async {
        match &bare {
            Some(requests) => send(port, requests).await,
            None => deliver(Path::new(from), port, index, rows).await,
        }
    });
    let seconds = started.elapsed().as_secs_f64();
    meter.read(std::process::id());
    println!("{seconds} {} {}", meter.cpu_seconds - before, meter.peak_mib);
}

/// Delivers the log to its end.
async fn deliver(directory: &Path, port: u16, index: &str, rows: u32) {
    let (_writer, log, _) = embedded::open(directory, embedded::Options::default()).expect("the log");
    let sink = OpenSearchSink::new(Options {
        addresses: vec![Address::parse(&format!("http://127.0.0.1:{port}")).expect("an address")],
        credentials: None,
        ca: None,
        index: index.to_owned(),
        layout: Layout::default(),
        pipeline: None,
        is_beside: false,
        mapping: Default::default(),
        settings: Default::default(),
        bulk_bytes_max: BULK_BYTES_MAX,
    });
    replay::deliver(log, directory, Offset(u64::from(rows)), sink.expect("a sink"), BatchLimits::OF_OPENSEARCH).await;
}

/// Writes the requests that were answered on the way, but those about the checkpoint, and questions.
fn keep(path: &Path, asked: &[Asked]) {
    let mut file = File::create(path).expect("a file");
    for Asked { method, uri, body, .. } in asked {
        if method != "GET" && !uri.starts_with("/.walbridge") {
            file.write_all(format!("{method} {uri} {}\n", body.len()).as_bytes()).expect("written");
            file.write_all(body).expect("written");
        }
    }
}

/// Those requests, for an index of another name.
fn kept(path: &Path, index: &str) -> Vec<(String, String, Bytes)> {
    let mut bytes = Vec::new();
    File::open(path).expect("the file").read_to_end(&mut bytes).expect("read");
    let mut rest = Bytes::from(bytes);
    let mut requests = Vec::new();
    while let Some(end) = rest.iter().position(|&byte| byte == b'\n') {
        let line = String::from_utf8_lossy(&rest.split_to(end)).into_owned();
        let _newline = rest.split_to(1);
        let mut words = line.split(' ').map(str::to_owned);
        let mut word = || words.next().expect("three words");
        let (method, uri, length) = (word(), word(), word());
        let body = rest.split_to(length.parse().expect("a length"));
        let is_bulk = uri.contains("_bulk");
        let body = match std::str::from_utf8(&body) {
            Ok(text) if !is_bulk => Bytes::from(text.replace("recorded", index)),
            _ => body,
        };
        requests.push((method, uri.replace("recorded", index), body));
    }
    requests
}

/// Sends them one after the other on one connection.
async fn send(port: u16, requests: &[(String, String, Bytes)]) {
    let stream = TcpStream::connect(("127.0.0.1", port)).await.expect("the server");
    stream.set_nodelay(true).expect("a socket");
    let (mut sender, connection) = http1::handshake::<_, Full<Bytes>>(TokioIo::new(stream)).await.expect("HTTP");
    let connection = tokio::spawn(connection);
    let mut sent = 0_usize;
    for (method, uri, body) in requests {
        let media_type = if uri.contains("_bulk") { "application/x-ndjson" } else { "application/json" };
        let request = Request::builder().method(method.as_str()).uri(uri).header("host", "node");
        let request = request.header("content-type", media_type).body(Full::new(body.clone())).expect("a request");
        let answer = sender.send_request(request).await.expect("an answer");
        let status = answer.status();
        let body = answer.into_body().collect().await.expect("an answer").to_bytes();
        assert!(status.is_success(), "{method} {uri}: {status} {}", String::from_utf8_lossy(&body));
        let answer: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
        let items = answer.get("items").and_then(serde_json::Value::as_array);
        sent += items.map_or(0, Vec::len);
        let well =
            |item: &serde_json::Value| item.pointer("/index/status").and_then(serde_json::Value::as_u64) == Some(201);
        assert!(items.is_none_or(|items| items.iter().all(well)), "refused: {answer:.1000}");
    }
    assert!(sent > 0, "nothing was recorded");
    drop(sender);
    // It ends with its sender.
    connection.await.expect("a task").expect("a connection");
}
