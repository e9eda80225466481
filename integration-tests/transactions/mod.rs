//! Transactions of every kind on a real PostgreSQL, compared with what another plugin (`test_decoding`) tells of the same WAL.

mod full;
mod huge;
mod messages;
mod origins;
mod prepared;
mod routed;
mod statements;
mod streamed;

use std::path::Path;

use walbridge::event::{Cell, Change, Event};

use crate::support::{PgOptions, Postgres};

/// A server that streams every transaction of more than a few hundred rows.
fn streaming(major: u32) -> PgOptions {
    PgOptions {
        conf: vec!["logical_decoding_work_mem = 64kB".to_owned(), "max_prepared_transactions = 10".to_owned()],
        ..PgOptions::of_major(major)
    }
}

/// Makes the slot of another plugin, which sees the same WAL.
fn witness(postgres: &Postgres) {
    postgres.psql("SELECT pg_create_logical_replication_slot('witness', 'test_decoding')");
}

/// What it has seen: each change as `xid op id`, in commit order.
fn witnessed(postgres: &Postgres) -> Vec<String> {
    let sql = "SELECT xid, data FROM pg_logical_slot_get_changes('witness', NULL, NULL, 'skip-empty-xacts', '1', 'stream-changes', '0')";
    let told = postgres.psql(sql);
    let change = |line: &str| {
        let (xid, data) = line.split_once('|')?;
        // `table public.t: INSERT: id[integer]:7 …`
        let (_, rest) = data.strip_prefix("table ")?.split_once(": ")?;
        let (op, rest) = rest.split_once(": ")?;
        let rest = rest.split_once("new-tuple: ").map_or(rest, |(_, new)| new);
        let id = rest.split("]:").nth(1).map(|rest| rest.split(' ').next().unwrap_or_default()).unwrap_or_default();
        Some(format!("{xid} {} {id}", op.to_lowercase()))
    };
    told.lines().filter_map(change).collect()
}

/// The log's events in the same form. The first column is the key.
fn told(events: &[Event]) -> Vec<String> {
    let id = |row: &walbridge::event::Row| match row.cell(0) {
        Some(Cell::Text(text)) => String::from_utf8_lossy(text).into_owned(),
        other => panic!("a key cell is {other:?}"),
    };
    let told = |event: &Event| {
        let id = match &event.change {
            Change::Insert { new, .. } | Change::Update { new, .. } => id(new),
            Change::Delete { old, .. } => id(old.row()),
            Change::Truncate { .. } => "(no-flags)".to_owned(),
            _ => return None,
        };
        Some(format!("{} {} {id}", event.transaction.xid, event.change.op().as_str()))
    };
    events.iter().filter_map(told).collect()
}

/// The files in which transactions wait.
fn waiting_files(log: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(log.join("spill")).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}
