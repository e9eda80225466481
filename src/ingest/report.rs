//! What the loop says of itself, written on the board.

use super::copies::Progress;
use super::flow::Report;
use crate::log::TableSnapshot;
use crate::status::{Board, Code, Disposition, State, TableStatus};

pub(super) fn status_of(record: &TableSnapshot, progress: &Progress) -> TableStatus {
    TableStatus {
        done: record.done,
        rows: record.rows,
        bytes: record.bytes,
        rows_estimate: progress.rows_estimate,
        percent: progress.percent,
        remaining_seconds: progress.remaining.map(|left| left.as_secs_f64()),
        generation: record.generation,
        reason: record.reason.clone(),
        message: None,
    }
}

/// A source further behind than this is catching up.
const CATCHING_UP_BYTES: u64 = 16 << 20;

/// Writes on the board what the flow tells.
pub(super) fn show(board: &Board, name: &str, report: Report<'_>) {
    board.source(name, |status| match report {
        Report::Moved { passed, confirmed, durable } => {
            status.received_lsn = status.received_lsn.max(passed);
            status.durable_lsn = status.durable_lsn.max(durable.end_lsn);
            status.confirmed_flush_lsn = status.confirmed_flush_lsn.max(confirmed);
            status.events = durable.offset.0;
            if status.state != State::Snapshotting {
                let behind = status.lag_bytes() > CATCHING_UP_BYTES;
                status.state = if behind { State::CatchingUp } else { State::Streaming };
            }
        }
        Report::Table(record, progress) => {
            let name = record.name.to_string();
            let table = status.tables.entry(name.clone()).or_default();
            let rows_estimate = progress.rows_estimate.or(table.rows_estimate);
            *table = TableStatus { rows_estimate, ..status_of(record, progress) };
            // What was said of trouble with this table is over.
            if status.trouble_with.as_ref() == Some(&name) {
                (status.code, status.message, status.trouble_with) = (None, None, None);
            }
            status.state = match status.tables.values().all(|table| table.done) {
                true => State::Streaming,
                false => State::Snapshotting,
            };
        }
        Report::Trouble { table, error } => {
            tracing::warn!(source = name, table, %error, "the copy of a table was interrupted; it will go on");
            let stopped = error.disposition() != Disposition::Retry;
            status.code = Some(if stopped { error.code() } else { Code::SnapshotInterrupted });
            status.message = Some(format!("copying {table}: {error}"));
            status.trouble_with = Some(table.to_owned());
            status.tables.entry(table.to_owned()).or_default().message = Some(error.to_string());
        }
    });
}
