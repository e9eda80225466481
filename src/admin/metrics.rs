//! `/metrics`, in Prometheus' text format. One series for each source and sink and metric; never one for a table or a key, so
//! their number is bounded by the configuration.

use std::fmt::{Display, Write as _};

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;

use super::Pages;
use crate::event::Timestamp;
use crate::status::{SinkStatus, SourceStatus, State as Doing, Status};

pub(super) async fn metrics(State(shared): State<Pages>) -> impl IntoResponse {
    let text = render(&shared.board.read(), Timestamp::now());
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text)
}

type Of<T> = fn(&T, Timestamp) -> f64;

const GAUGE: &str = "gauge";
const COUNTER: &str = "counter";

/// Name, type, help and value of everything that is said of a source.
const SOURCE_METRICS: [(&str, &str, &str, Of<SourceStatus>); 13] = [
    ("source_lag_bytes", GAUGE, "WAL the server has that is not durable here.", |s, _| float(s.lag_bytes())),
    ("source_retained_wal_bytes", GAUGE, "WAL the server keeps for the slot.", |s, _| float(s.retained_bytes())),
    ("source_wal_budget_bytes", GAUGE, "WAL it may keep at most; 0 without a limit.", |s, _| {
        float(s.wal_budget_bytes.unwrap_or_default())
    }),
    ("source_epoch", GAUGE, "The stretch of history; rises when that was broken.", |s, _| f64::from(s.epoch)),
    ("source_received_lsn_bytes", GAUGE, "The last LSN read, as a byte address.", |s, _| float(s.received_lsn.get())),
    ("source_durable_lsn_bytes", GAUGE, "Everything before it is in the log.", |s, _| float(s.durable_lsn.get())),
    ("source_confirmed_flush_lsn_bytes", GAUGE, "What the server was told.", |s, _| float(s.confirmed_flush_lsn.get())),
    ("source_events_total", COUNTER, "Events in the log since its beginning.", |s, _| float(s.events)),
    ("source_snapshot_tables", GAUGE, "Tables whose existing rows are to be copied.", |s, _| count(s.tables.len())),
    ("source_snapshot_tables_done", GAUGE, "Tables whose existing rows have been copied.", |s, _| {
        count(s.tables.values().filter(|table| table.done).count())
    }),
    ("source_snapshot_rows", GAUGE, "Existing rows copied.", |s, _| {
        float(s.tables.values().map(|table| table.rows).fold(0, u64::saturating_add))
    }),
    ("source_snapshot_bytes", GAUGE, "Bytes of existing rows copied.", |s, _| {
        float(s.tables.values().map(|table| table.bytes).fold(0, u64::saturating_add))
    }),
    (
        "source_snapshot_remaining_seconds",
        GAUGE,
        "How long the copy will take at the speed so far; 0 if unknown.",
        |s, _| s.tables.values().filter_map(|table| table.remaining_seconds).fold(0.0, f64::max),
    ),
];

/// The same for a sink.
const SINK_METRICS: [(&str, &str, &str, Of<SinkStatus>); 11] = [
    ("sink_lag_events", GAUGE, "Events not applied yet.", |s, _| float(s.lag_events)),
    ("sink_lag_bytes", GAUGE, "Bytes of log not applied yet.", |s, _| float(s.lag_bytes)),
    ("sink_lag_seconds", GAUGE, "Age of the oldest event not applied.", |s, now| s.lag_seconds(now)),
    ("sink_checkpoint_offset", GAUGE, "The first event not applied, as stored in the target.", |s, _| {
        float(s.checkpoint.unwrap_or_default().0)
    }),
    ("sink_applied_total", COUNTER, "Mutations applied since the process started.", |s, _| float(s.applied)),
    ("sink_rejected_total", COUNTER, "Mutations refused since the process started.", |s, _| float(s.rejected)),
    ("sink_dead_letters", GAUGE, "Changes set aside, waiting ones included.", |s, _| count(s.dead_letters)),
    ("sink_parked_keys", GAUGE, "Keys whose later changes wait for one set aside.", |s, _| count(s.parked_keys)),
    (
        "sink_verified_age_seconds",
        GAUGE,
        "Seconds since its last whole verification ended; NaN: there was none.",
        |s, now| {
            s.verified.filter(|verified| verified.is_whole).map_or(f64::NAN, |verified| verified.at.seconds_until(now))
        },
    ),
    (
        "sink_verified_differences",
        GAUGE,
        "Keys that its last verification found wrong and left so; NaN: there was none.",
        |s, _| s.verified.map_or(f64::NAN, |verified| float(verified.remaining)),
    ),
    ("sink_failed_attempts", GAUGE, "Failed attempts since the last success.", |s, _| f64::from(s.attempts)),
];

fn render(status: &Status, now: Timestamp) -> String {
    let mut out = String::with_capacity(8 << 10);
    head(&mut out, "build_info", GAUGE, "1, with the version.");
    line(&mut out, "build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1.0);
    head(&mut out, "ready", GAUGE, "Whether everything does what it is for.");
    line(&mut out, "ready", &[], f64::from(u8::from(status.ready() && !status.sources.is_empty())));
    for (name, kind, help, value) in SOURCE_METRICS {
        head(&mut out, name, kind, help);
        for (source, own) in &status.sources {
            line(&mut out, name, &[("source", source)], value(own, now));
        }
    }
    for (name, kind, help, value) in SINK_METRICS {
        head(&mut out, name, kind, help);
        for (sink, own) in &status.sinks {
            line(&mut out, name, &[("sink", sink), ("kind", own.kind), ("source", &own.source)], value(own, now));
        }
    }
    states(&mut out, "source", status.sources.iter().map(|(name, own)| (name.as_str(), own.state)));
    states(&mut out, "sink", status.sinks.iter().map(|(name, own)| (name.as_str(), own.state)));
    process(&mut out);
    out
}

/// A series for each state, 1 for the one it is in: what alerts are written on.
fn states<'a>(out: &mut String, what: &str, all: impl Iterator<Item = (&'a str, Doing)>) {
    let name = format!("{what}_state");
    head(out, &name, GAUGE, "1 for the state it is in, 0 for the others.");
    for (own, doing) in all {
        for state in Doing::ALL {
            line(out, &name, &[(what, own), ("state", state.as_str())], f64::from(u8::from(state == doing)));
        }
    }
}

/// Memory and file descriptors, under the names that every Prometheus client uses; left out where there is no `/proc`.
fn process(out: &mut String) {
    let pages = std::fs::read_to_string("/proc/self/statm").ok();
    let resident = pages.and_then(|text| text.split_ascii_whitespace().nth(1)?.parse::<u64>().ok());
    let page_bytes = u64::try_from(rustix::param::page_size()).unwrap_or(4096);
    let files = std::fs::read_dir("/proc/self/fd").ok().map(|entries| count(entries.count()));
    let resident = resident.map(|pages| float(pages.saturating_mul(page_bytes)));
    for (name, value) in [("process_resident_memory_bytes", resident), ("process_open_fds", files)] {
        if let Some(value) = value {
            // Writing to a String does not fail.
            let _ = writeln!(out, "# TYPE {name} gauge\n{name} {value}");
        }
    }
}

fn head(out: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(out, "# HELP walbridge_{name} {help}\n# TYPE walbridge_{name} {kind}");
}

fn line(out: &mut String, name: &str, labels: &[(&str, &str)], value: impl Display) {
    let _ = write!(out, "walbridge_{name}");
    for (index, (label, text)) in labels.iter().enumerate() {
        let _ = write!(out, "{}{label}=\"", if index == 0 { '{' } else { ',' });
        for character in text.chars() {
            match character {
                '\\' => out.push_str("\\\\"),
                '"' => out.push_str("\\\""),
                '\n' => out.push_str("\\n"),
                other => out.push(other),
            }
        }
        out.push('"');
    }
    let _ = writeln!(out, "{} {value}", if labels.is_empty() { "" } else { "}" });
}

/// Prometheus has no integers: beyond 2^53 the last digits are lost, which no alert minds.
#[expect(clippy::cast_precision_loss, reason = "the format's own limit")]
fn float(value: u64) -> f64 {
    value as f64
}

fn count(value: usize) -> f64 {
    float(u64::try_from(value).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::Board;

    #[test]
    fn label_values_are_escaped_and_numbers_are_plain() {
        let mut out = String::new();
        line(&mut out, "x", &[("a", "q\"b\\c\nd"), ("b", "é")], 1_000_000.0);
        assert_eq!(out, "walbridge_x{a=\"q\\\"b\\\\c\\nd\",b=\"é\"} 1000000\n");
    }

    #[test]
    fn ten_thousand_tables_make_no_more_series_than_one() {
        let lines = |tables: usize| {
            let board = Board::default();
            board.source("shop", |status| {
                for table in 0..tables {
                    status.tables.entry(format!("public.t{table}")).or_default().rows = 1;
                }
            });
            render(&board.read(), Timestamp::from_unix_micros(0)).lines().count()
        };
        assert_eq!(lines(10_000), lines(1));
    }

    #[test]
    fn every_series_is_declared_once_and_states_sum_to_one() {
        let board = Board::default();
        board.source("shop", |status| status.state = Doing::Streaming);
        board.sink("cache", |status| status.state = Doing::Paused);
        board.sink("mended", |status| status.state = Doing::Replaying);
        let text = render(&board.read(), Timestamp::from_unix_micros(0));
        let mut declared: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
        let all = declared.len();
        declared.sort_unstable();
        declared.dedup();
        assert_eq!(declared.len(), all);
        assert!(text.contains("walbridge_sink_state{sink=\"cache\",state=\"paused\"} 1\n"), "{text}");
        assert_eq!(
            text.lines().filter(|line| line.starts_with("walbridge_sink_state") && line.ends_with(" 1")).count(),
            2
        );
    }
}
