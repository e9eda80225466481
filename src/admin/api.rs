//! `/api/status`, `/healthz`, `/readyz`: the board as JSON. Field names, states and codes are a public interface.

use std::collections::BTreeMap;

use axum::Extension;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::guard::Access;
use super::verify::VerifiedView;
use super::{Pages, RebuildView};
use crate::event::{Lsn, Offset, Position, Span, Timestamp};
use crate::status::{Finding, SinkStatus, SourceStatus, State, Status, TableStatus};

/// The whole answer of `/api/status`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StatusView {
    /// The state that matters most of all that there are.
    pub state: String,
    /// Whether everything does what it is for.
    pub ready: bool,
    /// One sentence for people.
    pub summary: String,
    /// The program's.
    pub version: String,
    /// By name.
    pub sources: BTreeMap<String, SourceView>,
    /// By name.
    pub sinks: BTreeMap<String, SinkView>,
}

/// A source.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SourceView {
    /// See [`State`].
    pub state: String,
    /// See [`crate::status::Code`]; `null` if all is well.
    pub code: Option<String>,
    /// Cause and remedy, for people.
    pub message: Option<String>,
    /// The replication slot.
    pub slot: String,
    /// The last LSN read from the connection.
    pub received_lsn: Lsn,
    /// Everything committed before it is in the log.
    pub durable_lsn: Lsn,
    /// What PostgreSQL has been told.
    pub confirmed_flush_lsn: Lsn,
    /// The server's own end of WAL, as last asked.
    pub server_lsn: Lsn,
    /// WAL the server has that is not durable here.
    pub lag_bytes: u64,
    /// WAL the server keeps for the slot.
    pub retained_bytes: u64,
    /// `pg_replication_slots.wal_status`.
    pub wal_status: Option<String>,
    /// How much WAL the server may keep for the slot, if there is a limit.
    pub wal_budget_bytes: Option<u64>,
    /// What goes well and will not for long.
    pub warning: Option<WarningView>,
    /// The stretch of history it is in; rises when history was broken, or followed to a promoted standby.
    pub epoch: u32,
    /// What was decided last about its history.
    pub decision: Option<String>,
    /// In which form the stream carries values: `binary` or `text`; empty before the first stream.
    #[serde(default)]
    pub values: String,
    /// Events in the log since its beginning.
    pub events: u64,
    /// The copy of existing rows.
    pub snapshot: SnapshotView,
    /// The same by table.
    #[serde(default)]
    pub tables: BTreeMap<String, TableView>,
    /// What was found out about its tables: what is wrong, as long as it is, then what happened lately.
    #[serde(default)]
    pub findings: Vec<FindingView>,
}

/// Something found out about a source's tables.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FindingView {
    /// See [`crate::status::Code`]; `null` if nothing is wrong.
    pub code: Option<String>,
    /// The table, if it is about one.
    pub table: Option<String>,
    /// Cause and remedy, for people.
    pub message: String,
    /// When it was found.
    pub since: String,
}

/// What goes well and will not for long.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct WarningView {
    /// See [`crate::status::Code`].
    pub code: String,
    /// Why, and what to do, for people.
    pub message: String,
}

/// How far the copy of existing rows has come.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct SnapshotView {
    /// Tables to copy.
    pub tables: usize,
    /// Tables copied.
    pub tables_done: usize,
    /// Rows copied.
    pub rows: u64,
    /// Rows there may be in all, as far as the planner has an estimate.
    pub rows_estimate: u64,
}

/// The copy of one table's existing rows.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct TableView {
    /// Every row is in the log.
    pub done: bool,
    /// Rows copied so far.
    pub rows: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Rows there may be in all, by the planner's estimate; `null` if it has none.
    pub rows_estimate: Option<u64>,
    /// How much of the table has been read, 0 to 100.
    pub percent: f64,
    /// At the speed so far; `null` if nothing is known, or left.
    pub remaining_seconds: Option<f64>,
    /// Counts the table's copies: 1 is the first.
    pub generation: u32,
    /// Why it is copied again; empty for a first copy.
    pub reason: String,
    /// What its copy is held up by; `null` if by nothing.
    pub message: Option<String>,
}

impl TableView {
    fn of(table: &TableStatus) -> Self {
        TableView {
            done: table.done,
            rows: table.rows,
            bytes: table.bytes,
            rows_estimate: table.rows_estimate,
            percent: (table.percent * 10.0).round() / 10.0,
            remaining_seconds: table.remaining_seconds.map(f64::ceil),
            generation: table.generation,
            reason: table.reason.clone(),
            message: table.message.clone(),
        }
    }
}

/// A sink.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SinkView {
    /// See [`State`].
    pub state: String,
    /// See [`crate::status::Code`]; `null` if all is well.
    pub code: Option<String>,
    /// Cause and remedy, for people.
    pub message: Option<String>,
    /// `redis`, `tantivy`, `file`.
    pub kind: String,
    /// Whose log it reads.
    pub source: String,
    /// The first event it has not applied yet.
    pub checkpoint: Option<Offset>,
    /// The Position of the last event it has applied.
    pub position: Option<Position>,
    /// Bytes of log not applied yet.
    pub lag_bytes: u64,
    /// Events not applied yet.
    pub lag_events: u64,
    /// Age of the oldest of them.
    pub lag_seconds: f64,
    /// Mutations applied since the process started.
    pub applied: u64,
    /// Mutations refused since the process started.
    pub rejected: u64,
    /// Changes that are set aside, those that wait for another of their row included.
    #[serde(default)]
    pub dead_letters: usize,
    /// Keys whose later changes wait.
    #[serde(default)]
    pub parked_keys: usize,
    /// Failed attempts since the last success.
    pub attempts: u32,
    /// What an operator had it apply again; `null` if nothing, or all is done.
    #[serde(default)]
    pub replay: Option<ReplayView>,
    /// What is built to take its target's place; `null` if nothing is.
    #[serde(default)]
    pub rebuild: Option<RebuildView>,
    /// When such a one took it, the last time since the process started.
    #[serde(default)]
    pub rebuilt: Option<String>,
    /// What its last verification came to; `null` if there has been none since the process started.
    #[serde(default)]
    pub verified: Option<VerifiedView>,
}

/// A replay under way.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ReplayView {
    /// The first event that is applied again, and the first that is not.
    #[serde(flatten)]
    pub events: Span,
    /// How much of it is done, 0 to 100.
    pub percent: f64,
}

impl StatusView {
    /// The board at this moment.
    #[must_use]
    pub fn of(status: &Status, now: Timestamp) -> Self {
        let states =
            status.sources.values().map(|source| source.state).chain(status.sinks.values().map(|sink| sink.state));
        StatusView {
            state: states.max_by_key(|state| urgency(*state)).unwrap_or_default().to_string(),
            ready: status.ready(),
            summary: summary(status),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            sources: status.sources.iter().map(|(name, source)| (name.clone(), SourceView::of(source))).collect(),
            sinks: status.sinks.iter().map(|(name, sink)| (name.clone(), SinkView::of(sink, status, now))).collect(),
        }
    }
}

impl SourceView {
    fn of(source: &SourceStatus) -> Self {
        let tables = source.tables.values();
        let sum = |of: fn(&TableStatus) -> u64| source.tables.values().map(of).fold(0, u64::saturating_add);
        SourceView {
            state: source.state.to_string(),
            code: source.code.map(|code| code.to_string()),
            message: source.message.clone(),
            slot: source.slot.clone(),
            received_lsn: source.received_lsn,
            durable_lsn: source.durable_lsn,
            confirmed_flush_lsn: source.confirmed_flush_lsn,
            server_lsn: source.server_lsn,
            lag_bytes: source.lag_bytes(),
            retained_bytes: source.retained_bytes(),
            wal_status: source.wal_status.clone(),
            wal_budget_bytes: source.wal_budget_bytes,
            warning: source
                .warning
                .as_ref()
                .map(|(code, message)| WarningView { code: code.to_string(), message: message.clone() }),
            epoch: source.epoch,
            decision: source.decision.clone(),
            values: source.values.to_owned(),
            events: source.events,
            snapshot: SnapshotView {
                tables: tables.len(),
                tables_done: tables.filter(|table| table.done).count(),
                rows: sum(|table| table.rows),
                // An estimate may be older than the rows.
                rows_estimate: sum(|table| table.rows_estimate.unwrap_or_default().max(table.rows)),
            },
            tables: source.tables.iter().map(|(name, table)| (name.clone(), TableView::of(table))).collect(),
            findings: source.findings.iter().map(FindingView::of).collect(),
        }
    }
}

impl FindingView {
    fn of(finding: &Finding) -> Self {
        FindingView {
            code: finding.code.map(|code| code.to_string()),
            table: finding.table.clone(),
            message: finding.message.clone(),
            since: finding.since.to_string(),
        }
    }
}

impl SinkView {
    fn of(sink: &SinkStatus, status: &Status, now: Timestamp) -> Self {
        // The source's word is the newer one while the sink's loop is busy: never "nothing to do" beside a longer log.
        let events = status.sources.get(&sink.source).map_or(0, |source| source.events);
        let behind = sink.checkpoint.map_or(0, |checkpoint| events.saturating_sub(checkpoint.0));
        SinkView {
            state: sink.state.to_string(),
            code: sink.code.map(|code| code.to_string()),
            message: sink.message.clone(),
            kind: sink.kind.to_owned(),
            source: sink.source.clone(),
            checkpoint: sink.checkpoint,
            position: sink.position,
            lag_bytes: sink.lag_bytes,
            lag_events: sink.lag_events.max(behind),
            lag_seconds: sink.lag_seconds(now),
            applied: sink.applied,
            rejected: sink.rejected,
            dead_letters: sink.dead_letters,
            parked_keys: sink.parked_keys,
            attempts: sink.attempts,
            replay: sink.replay.map(|events| {
                let percent = events.percent(sink.checkpoint.unwrap_or_default());
                ReplayView { events, percent: tenths(percent) }
            }),
            rebuild: RebuildView::of(sink, Offset(events)),
            rebuilt: sink.rebuilt.map(|time| time.to_string()),
            verified: sink.verified.as_ref().map(|verified| VerifiedView::of(verified, now)),
        }
    }
}

pub(super) fn tenths(percent: f64) -> f64 {
    (percent * 10.0).round() / 10.0
}

/// Which state to show for the whole.
fn urgency(state: State) -> u8 {
    match state {
        State::Streaming => 0,
        State::CatchingUp => 1,
        State::Replaying => 2,
        State::Snapshotting => 3,
        State::Starting => 4,
        State::Degraded => 5,
        State::Paused => 6,
        State::Halted => 7,
    }
}

/// The truth in one sentence: the worst first, and never "well" while something stands.
fn summary(status: &Status) -> String {
    let sources = |wanted: State| names(status.sources.iter().filter(|(_, s)| s.state == wanted).map(|(name, _)| name));
    let sinks = |wanted: State| names(status.sinks.iter().filter(|(_, s)| s.state == wanted).map(|(name, _)| name));
    let receiving = status
        .sources
        .values()
        .any(|source| matches!(source.state, State::Streaming | State::Snapshotting | State::CatchingUp));
    let mut parts = Vec::new();
    let mut say = |list: String, before: &str, after: &str| {
        if !list.is_empty() {
            parts.push(format!("{before}{list}{after}"));
        }
    };
    say(sources(State::Halted), "source ", " is halted and needs an operator");
    say(
        sinks(State::Halted),
        if receiving { "receiving but not delivering to " } else { "not delivering to " },
        ": halted, needs an operator",
    );
    say(sources(State::Paused), "not receiving from ", ", trying again");
    say(
        sinks(State::Paused),
        if receiving { "receiving but not delivering to " } else { "not delivering to " },
        ", trying again",
    );
    say(sinks(State::Degraded), "rows were refused by ", "; see its dead letters");
    say(sources(State::Starting), "", " is starting");
    say(sinks(State::Starting), "", " is starting");
    say(sources(State::Snapshotting), "copying existing rows from ", "");
    say(sinks(State::Replaying), "", " is applying again what it had applied");
    say(sinks(State::CatchingUp), "", " is catching up");
    if parts.is_empty() {
        return if status.sources.is_empty() { "nothing has started yet".to_owned() } else { "all is well".to_owned() };
    }
    parts.join("; ")
}

fn names<'a>(list: impl Iterator<Item = &'a String>) -> String {
    list.map(String::as_str).collect::<Vec<_>>().join(", ")
}

/// Why it is not ready, one line for each source and sink that is not.
fn unready(status: &Status) -> Vec<String> {
    let line = |what: &str, name: &str, state: State, code: Option<crate::status::Code>, message: &Option<String>| {
        let code = code.map(|code| format!(" {code}")).unwrap_or_default();
        let message = message.as_ref().map(|message| format!(": {message}")).unwrap_or_default();
        format!("{what} {name} is {state}{code}{message}")
    };
    let alone = |sources, sinks| Status { sources, sinks }.ready();
    let sources = status
        .sources
        .iter()
        .filter(|(name, source)| !alone(BTreeMap::from([((*name).clone(), (*source).clone())]), BTreeMap::new()));
    let sinks = status
        .sinks
        .iter()
        .filter(|(name, sink)| !alone(BTreeMap::new(), BTreeMap::from([((*name).clone(), (*sink).clone())])));
    let sources = sources.map(|(name, s)| line("source", name, s.state, s.code, &s.message));
    let sinks = sinks.map(|(name, s)| line("sink", name, s.state, s.code, &s.message));
    sources.chain(sinks).collect()
}

pub(super) async fn healthz() -> &'static str {
    "ok\n"
}

pub(super) async fn readyz(
    axum::extract::State(shared): axum::extract::State<Pages>,
    Extension(access): Extension<Access>,
) -> Response {
    let status = shared.board.read();
    // Before the first word of any loop nothing is known, least of all that all is well.
    if status.ready() && !status.sources.is_empty() {
        return "ready\n".into_response();
    }
    let mut reasons = if access == Access::Full { unready(&status) } else { Vec::new() };
    if reasons.is_empty() {
        reasons.push("not ready".to_owned());
    }
    (StatusCode::SERVICE_UNAVAILABLE, format!("{}\n", reasons.join("\n"))).into_response()
}

pub(super) async fn status(axum::extract::State(shared): axum::extract::State<Pages>) -> Response {
    let view = StatusView::of(&shared.board.read(), Timestamp::now());
    match serde_json::to_string_pretty(&view) {
        Ok(text) => json_text(text).into_response(),
        Err(why) => error(StatusCode::INTERNAL_SERVER_ERROR, &why.to_string()),
    }
}

pub(super) async fn not_found() -> Response {
    error(StatusCode::NOT_FOUND, "there are /, /healthz, /readyz, /metrics, /api/status, /search/SINK?q=")
}

/// JSON that is text already.
pub(super) fn json_text(text: String) -> impl IntoResponse {
    ([(CONTENT_TYPE, "application/json")], text)
}

/// What is wrong, as JSON: `{"error": "…"}`.
pub(super) fn error(status: StatusCode, why: &str) -> Response {
    (status, json_text(json!({ "error": why }).to_string())).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::{Board, Code};

    fn board(source: State, sinks: &[(&str, State)]) -> Status {
        let board = Board::default();
        board.source("shop", |status| status.state = source);
        for (name, state) in sinks {
            board.sink(name, |status| status.state = *state);
        }
        board.read()
    }

    #[test]
    fn the_summary_says_what_is_wrong_before_what_goes_on() {
        use State::{CatchingUp, Degraded, Halted, Paused, Streaming};
        let cases = [
            (board(Streaming, &[("a", Streaming)]), "all is well"),
            (board(Streaming, &[("a", Paused), ("b", Streaming)]), "receiving but not delivering to a, trying again"),
            (
                board(Paused, &[("a", Halted)]),
                "not delivering to a: halted, needs an operator; not receiving from shop, trying again",
            ),
            (board(Halted, &[("a", Streaming)]), "source shop is halted and needs an operator"),
            (
                board(Streaming, &[("a", CatchingUp), ("b", Degraded)]),
                "rows were refused by b; see its dead letters; a is catching up",
            ),
            (Status::default(), "nothing has started yet"),
        ];
        for (status, wanted) in cases {
            assert_eq!(summary(&status), wanted);
        }
    }

    #[test]
    fn the_whole_is_in_the_most_urgent_state_of_its_parts() {
        let status = board(State::Streaming, &[("a", State::CatchingUp), ("b", State::Paused)]);
        let view = StatusView::of(&status, Timestamp::from_unix_micros(0));
        assert_eq!((view.state.as_str(), view.ready), ("paused", false));
    }

    #[test]
    fn who_is_not_ready_is_named_with_its_code() {
        let board = Board::default();
        board.source("shop", |status| status.state = State::Streaming);
        board.sink("cache", |status| {
            status.state = State::Paused;
            status.code = Some(Code::SinkUnavailable);
            status.message = Some("connection refused".to_owned());
        });
        assert_eq!(unready(&board.read()), ["sink cache is paused sink.unavailable: connection refused"]);
    }
}
