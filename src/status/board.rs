//! The board: what each loop says of itself, and what the admin port, `status` and the metrics read.
//!
//! Positions shown here are durable ones. A loop writes under a short lock and never waits on a reader.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::{Code, State};
use crate::event::{Lsn, Offset, Position, Span, Timestamp};

/// What a source says of itself.
#[derive(Clone, Debug, Default)]
pub struct SourceStatus {
    /// What it is doing.
    pub state: State,
    /// Why, unless all is well.
    pub code: Option<Code>,
    /// The same for people: cause and remedy.
    pub message: Option<String>,
    /// Its replication slot.
    pub slot: String,
    /// The last LSN read from the connection.
    pub received_lsn: Lsn,
    /// Everything committed before it is in the log.
    pub durable_lsn: Lsn,
    /// What PostgreSQL has been told.
    pub confirmed_flush_lsn: Lsn,
    /// The server's own end of WAL, as last asked.
    pub server_lsn: Lsn,
    /// The oldest WAL the slot keeps on the server.
    pub restart_lsn: Lsn,
    /// `pg_replication_slots.wal_status`.
    pub wal_status: Option<String>,
    /// How much WAL the server may keep for the slot, if there is a limit.
    pub wal_budget_bytes: Option<u64>,
    /// What goes well and will not for long: the code and, for people, why and what to do.
    pub warning: Option<(Code, String)>,
    /// The stretch of history it is in; see [`crate::event::Position`].
    pub epoch: u32,
    /// What was decided last about its history.
    pub decision: Option<String>,
    /// In which form the stream carries values: `binary` or `text`; empty before the first stream.
    pub values: &'static str,
    /// Events in the log since its beginning.
    pub events: u64,
    /// Tables whose existing rows are being or have been copied.
    pub tables: BTreeMap<String, TableStatus>,
    /// What was found out about the tables: alarms, which have a code, as long as their cause stands; then what happened.
    pub findings: Vec<Finding>,
    /// The table that `code` and `message` are about, if it is one.
    pub trouble_with: Option<String>,
}

/// Something found out about a source's tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What is wrong; `None` if it only tells what happened.
    pub code: Option<Code>,
    /// The table, if it is about one.
    pub table: Option<String>,
    /// Cause and remedy, for people.
    pub message: String,
    /// When it was found.
    pub since: Timestamp,
}

/// Of what happened, the last are kept.
const NOTES_MAX: usize = 20;

impl SourceStatus {
    /// Replaces the alarms; returns those that are new.
    pub fn set_alarms(&mut self, alarms: Vec<(Code, Option<String>, String)>) -> Vec<(Code, Option<String>, String)> {
        let (known, notes): (Vec<Finding>, Vec<Finding>) =
            std::mem::take(&mut self.findings).into_iter().partition(|finding| finding.code.is_some());
        let mut new = Vec::new();
        for (code, table, message) in alarms {
            let same = known.iter().find(|known| known.code == Some(code) && known.message == message);
            let since = same.map_or_else(Timestamp::now, |known| known.since);
            if same.is_none() {
                new.push((code, table.clone(), message.clone()));
            }
            self.findings.push(Finding { code: Some(code), table, message, since });
        }
        self.findings.extend(notes);
        new
    }

    /// Keeps what happened.
    pub fn note(&mut self, table: Option<String>, message: String) {
        self.findings.retain(|finding| finding.code.is_some() || finding.message != message);
        self.findings.push(Finding { code: None, table, message, since: Timestamp::now() });
        let notes = self.findings.iter().filter(|finding| finding.code.is_none()).count();
        if notes > NOTES_MAX
            && let Some(oldest) = self.findings.iter().position(|finding| finding.code.is_none())
        {
            self.findings.remove(oldest);
        }
    }

    /// The alarm that matters most: of all that stand, the first.
    #[must_use]
    pub fn alarm(&self) -> Option<&Finding> {
        self.findings.iter().find(|finding| finding.code.is_some())
    }

    /// Going on with an alarm is not going well.
    fn show_alarm(&mut self) {
        if matches!(self.state, State::Streaming | State::CatchingUp)
            && let Some(Finding { code, message, .. }) = self.alarm().cloned()
        {
            self.state = State::Degraded;
            (self.code, self.message) = (self.code.or(code), self.message.take().or(Some(message)));
        }
    }

    /// WAL the server has that is not yet durable here.
    #[must_use]
    pub fn lag_bytes(&self) -> u64 {
        self.server_lsn.max(self.received_lsn).bytes_since(self.durable_lsn)
    }

    /// WAL the server keeps for the slot.
    #[must_use]
    pub fn retained_bytes(&self) -> u64 {
        if self.restart_lsn == Lsn::ZERO { 0 } else { self.server_lsn.bytes_since(self.restart_lsn) }
    }
}

/// How far the copy of a table has come.
#[derive(Clone, Debug, Default)]
pub struct TableStatus {
    /// All its rows are in the log.
    pub done: bool,
    /// Rows copied so far.
    pub rows: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Of the table's storage.
    pub percent: f64,
    /// At the speed so far; unknown before there is any, and when done.
    pub remaining_seconds: Option<f64>,
    /// Counts the table's copies: 1 is the first.
    pub generation: u32,
    /// Why it is copied again; empty for a first copy.
    pub reason: String,
    /// What its copy is held up by.
    pub message: Option<String>,
    /// Rows there may be in all, by the planner's estimate (`pg_class.reltuples`).
    pub rows_estimate: Option<u64>,
}

/// Where a log ends, as far as a lag is concerned.
#[derive(Clone, Copy, Debug, Default)]
pub struct LogEnd {
    /// Events in it.
    pub offset: Offset,
    /// Bytes in it.
    pub bytes: u64,
    /// The last transaction's commit time.
    pub commit_time: Option<Timestamp>,
}

/// What a sink says of itself.
#[derive(Clone, Debug, Default)]
pub struct SinkStatus {
    /// What it is doing.
    pub state: State,
    /// Why, unless all is well.
    pub code: Option<Code>,
    /// The same for people: cause and remedy.
    pub message: Option<String>,
    /// `redis`, `tantivy`, `file`.
    pub kind: &'static str,
    /// Whose log it reads.
    pub source: String,
    /// The first event it has not applied yet, as stored in the target.
    pub checkpoint: Option<Offset>,
    /// The Position of the last event it has applied.
    pub position: Option<Position>,
    /// The log's bytes before the checkpoint.
    pub checkpoint_bytes: u64,
    /// Events not applied yet.
    pub lag_events: u64,
    /// Bytes of log not applied yet.
    pub lag_bytes: u64,
    /// Since when there is more to apply, by the source's clock; `None` when up to date.
    pub behind_since: Option<Timestamp>,
    /// Mutations applied since the process started.
    pub applied: u64,
    /// Mutations the target refused since the process started.
    pub rejected: u64,
    /// Changes that are set aside, those that wait for another of their row included.
    pub dead_letters: usize,
    /// Keys whose later changes wait.
    pub parked_keys: usize,
    /// Failed attempts since the last success.
    pub attempts: u32,
    /// The events that it applies again.
    pub replay: Option<Span>,
    /// What is built to take its target's place.
    pub rebuild: Option<RebuildStatus>,
    /// When such a one did, the last time since the process started.
    pub rebuilt: Option<Timestamp>,
    /// What its last verification came to; `None`: there has been none since the process started.
    pub verified: Option<Verified>,
}

/// A target that is built anew beside the one that a sink's readers have.
#[derive(Clone, Debug, Default)]
pub struct RebuildStatus {
    /// The first event that is applied to it.
    pub from: Offset,
    /// The first event that is not applied yet.
    pub checkpoint: Offset,
    /// What it is doing; halted if it does not go on.
    pub state: State,
    /// What it is held up by, or why it does not go on.
    pub message: Option<String>,
    /// Changes that it refused.
    pub dead_letters: usize,
}

/// What a verification came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verified {
    /// When it ended.
    pub at: Timestamp,
    /// The first and the last place in the log as of which something was compared.
    pub from: Offset,
    /// See there.
    pub until: Offset,
    /// Keys that were not as they should be.
    pub differences: u64,
    /// Those of them that were not repaired.
    pub remaining: u64,
    /// All keys of all tables were compared.
    pub is_whole: bool,
}

impl SinkStatus {
    /// The first event that has still to be in the log for it.
    #[must_use]
    pub fn needs_from(&self) -> Offset {
        let own = self.checkpoint.unwrap_or_default();
        self.rebuild.as_ref().map_or(own, |rebuild| rebuild.checkpoint.min(own))
    }

    /// Takes the lag anew: the log ends at `end`, and the last transaction applied was committed at `applied`, if that is
    /// known better than before.
    pub fn set_lag(&mut self, end: &LogEnd, applied: Option<Timestamp>) {
        let checkpoint = self.checkpoint.unwrap_or_default();
        self.lag_events = end.offset.0.saturating_sub(checkpoint.0);
        self.lag_bytes = if self.lag_events == 0 { 0 } else { end.bytes.saturating_sub(self.checkpoint_bytes) };
        self.behind_since = match self.lag_events {
            0 => None,
            _ => applied.or(self.behind_since).or(end.commit_time),
        };
    }

    /// Age of the oldest event not applied; 0 when up to date.
    #[must_use]
    pub fn lag_seconds(&self, now: Timestamp) -> f64 {
        self.behind_since.map_or(0.0, |since| since.seconds_until(now))
    }
}

/// The whole board at one moment.
#[derive(Clone, Debug, Default)]
pub struct Status {
    /// By name.
    pub sources: BTreeMap<String, SourceStatus>,
    /// By name.
    pub sinks: BTreeMap<String, SinkStatus>,
}

impl Status {
    /// Whether everything does what it is for: sources streaming (or copying, with the stream running), no sink held up.
    #[must_use]
    pub fn ready(&self) -> bool {
        let source_ready = |state| matches!(state, State::Streaming | State::Snapshotting | State::CatchingUp);
        self.sources.values().all(|source| source_ready(source.state))
            && self.sinks.values().all(|sink| {
                matches!(sink.state, State::Streaming | State::CatchingUp | State::Replaying | State::Degraded)
            })
    }
}

/// The board. Cloning it gives another handle on the same one.
#[derive(Clone, Debug, Default)]
pub struct Board(Arc<Mutex<Status>>);

impl Board {
    /// Changes what a source says.
    pub fn source(&self, name: &str, change: impl FnOnce(&mut SourceStatus)) {
        let mut status = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match status.sources.get_mut(name) {
            Some(source) => change(source),
            None => change(status.sources.entry(name.to_owned()).or_default()),
        }
    }

    /// Changes what a sink says.
    pub fn sink(&self, name: &str, change: impl FnOnce(&mut SinkStatus)) {
        let mut status = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match status.sinks.get_mut(name) {
            Some(sink) => change(sink),
            None => change(status.sinks.entry(name.to_owned()).or_default()),
        }
    }

    /// The whole board, copied.
    #[must_use]
    pub fn read(&self) -> Status {
        let mut status = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        status.sources.values_mut().for_each(SourceStatus::show_alarm);
        status
    }
}
