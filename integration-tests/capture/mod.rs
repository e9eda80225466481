//! The source's side on a real PostgreSQL: the ingest loop in this process, its log in a temporary directory, and the log
//! replayed into tables that must equal what `SELECT` says.

mod connect;
mod copies;
mod held;
mod hosts;
mod key_order;
mod resume;
mod snapshot;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use walbridge::capture::setup::{Plan, statements};
use walbridge::event::{Cell, Change, Event, Offset, Relation, Row};
use walbridge::ingest::{
    CATALOG_FILE_NAME, Halt, Ingest, OnBreak, OnSchemaChange, OnTableDrop, OnTruncate, OverBudget, Resnapshot, Source,
};
use walbridge::log::embedded::{self, Log, Options};
use walbridge::log::{Limit, LogError};
use walbridge::postgres::address::Address;
use walbridge::postgres::connection::{Connection, Purpose};
use walbridge::status::{Board, SourceStatus};

use crate::support::postgres::role;
use crate::support::{Postgres, eventually, eventually_sync};

/// Generous: a loaded two-core machine must not fail a test that is right.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A running ingest loop.
pub(crate) struct Capture {
    pub(crate) log: Log,
    pub(crate) board: Board,
    commands: Option<mpsc::Sender<Resnapshot>>,
    stop: CancellationToken,
    task: JoinHandle<Result<(), Halt>>,
}

impl Capture {
    /// Captures every table of `public`, as source `test`.
    pub(crate) fn start(url: &str, directory: &Path) -> Capture {
        Self::start_with(url, directory, |source| source)
    }

    pub(crate) fn start_with(url: &str, directory: &Path, change: impl FnOnce(Source) -> Source) -> Capture {
        Self::begin(url, directory, false, change)
    }

    /// One that can be told to copy tables again, and therefore does not end where it halts.
    pub(crate) fn commanded(url: &str, directory: &Path, change: impl FnOnce(Source) -> Source) -> Capture {
        Self::begin(url, directory, true, change)
    }

    fn begin(url: &str, directory: &Path, commanded: bool, change: impl FnOnce(Source) -> Source) -> Capture {
        let source = change(Source {
            name: "test".to_owned(),
            address: Address::parse(url).expect("a valid url"),
            tables: Arc::new(|name| name.schema == "public"),
            named: Arc::new(|_| false),
            slot: "walbridge_test".to_owned(),
            publication: "walbridge_test".to_owned(),
            snapshot: true,
            whole_rows: false,
            on_schema_change: OnSchemaChange::Follow,
            on_table_drop: OnTableDrop::Clear,
            on_truncate: OnTruncate::Apply,
            watch_interval: Duration::from_millis(200),
            catalog_file: directory.join(CATALOG_FILE_NAME),
            snapshot_workers: 2,
            snapshot_rate: None,
            messages: Some(Arc::new(|_| true)),
            foreign: true,
            two_phase: false,
            binary: true,
            failover: None,
            on_break: OnBreak::Halt,
            wal_budget: None,
            on_wal_budget: OverBudget::Warn,
        });
        let plan = role::administrator_of(url).map(|administrator| (administrator, source.clone()));
        // A process that another test starts has all our locks for the moment between fork and exec.
        let (writer, log, recovered) =
            eventually_sync(PATIENCE, || match embedded::open(directory, Options::default()) {
                Err(LogError::Locked { path }) => Err(path),
                opened => Ok(opened.expect("the log opens")),
            });
        let (board, stop) = (Board::default(), CancellationToken::new());
        let mut ingest = Ingest::new(source, writer, recovered, board.clone()).reading(log.clone());
        let mut sender = None;
        if commanded {
            let (commands, receiver) = mpsc::channel(1);
            (ingest, sender) = (ingest.commanded_by(receiver), Some(commands));
        }
        let stopped = stop.clone();
        let task = tokio::spawn(async move {
            if let Some(plan) = plan {
                set_up(plan).await;
            }
            ingest.run(&stopped).await
        });
        Capture { log, board, commands: sender, stop, task }
    }

    /// Has a table copied from here on, or says why not.
    pub(crate) async fn copy_again(&self, table: &str) -> Result<Vec<String>, String> {
        let (answer, answered) = oneshot::channel();
        let command = Resnapshot { tables: vec![table.to_owned()], answer };
        self.commands.as_ref().expect("a commanded one").send(command).await.expect("it listens");
        answered.await.expect("an answer")
    }

    pub(crate) fn status(&self) -> SourceStatus {
        self.board.read().sources.get("test").cloned().unwrap_or_default()
    }

    /// Waits until the board satisfies the condition.
    pub(crate) async fn until(&self, what: &str, condition: impl Fn(&SourceStatus) -> bool) {
        eventually(PATIENCE, || async {
            let status = self.status();
            if condition(&status) { Ok(()) } else { Err(format!("waiting for {what}: {status:?}")) }
        })
        .await;
    }

    /// Waits until everything the server has committed by now is durable in the log, snapshots included.
    pub(crate) async fn caught_up(&self, postgres: &Postgres) {
        self.until("the snapshot", |status| {
            !status.tables.is_empty() && status.tables.values().all(|table| table.done)
        })
        .await;
        let end = postgres.end_of_wal();
        self.until("the stream", |status| status.durable_lsn >= end).await;
    }

    /// Stops cleanly.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        self.task.await.expect("no panic").expect("a clean stop");
    }

    /// Ends as a crash would: at whatever await it stands, nothing flushed.
    pub(crate) async fn crash(self) {
        self.task.abort();
        let _ = self.task.await;
    }

    /// The error that it halts with.
    pub(crate) async fn halted(self) -> Halt {
        let outcome = tokio::time::timeout(PATIENCE, self.task).await.expect("it halts in time").expect("no panic");
        outcome.expect_err("it must halt")
    }
}

/// Runs what `walbridge setup` would print for this source, as its administrator would. A server that is down, or tables that
/// are held by somebody, are the test's business.
async fn set_up((administrator, source): (String, Source)) {
    let address = Address::parse(&administrator).expect("a valid url");
    let Ok(mut connection) = Connection::open(&address, Purpose::Query).await else { return };
    // Not held up by a standby that a test has made it wait for.
    connection.query("setting up", "SET synchronous_commit = local").await.expect("it may be set");
    let plan =
        Plan { role: role::ROLE, tables: &source.tables, publication: &source.publication, snapshot: source.snapshot };
    for statement in statements(&mut connection, &plan).await.expect("the statements") {
        connection.query("setting up", &statement.sql).await.expect("it may all be run");
    }
    connection.close().await;
}

/// Every event in the log.
pub(crate) async fn events(log: &Log) -> Vec<Event> {
    let end = log.durable().borrow().offset;
    let mut reader = log.reader(Offset(0)).expect("a reader");
    let mut events = Vec::new();
    // The offset is the number of events before: told apart from what was read, a drift would be seen.
    while reader.offset() < end {
        let limit = Limit { events: 10_000, bytes: 16 << 20 };
        events.extend(reader.next(limit).await.expect("events").events);
    }
    assert_eq!(u64::try_from(events.len()).ok(), Some(reader.offset().0), "events read, and the offset behind them");
    events
}

/// The tables that the events leave behind: by table, then by key, the columns as text.
pub(crate) type Tables = BTreeMap<String, BTreeMap<Vec<String>, BTreeMap<String, Option<String>>>>;

/// Applies the events in order, checking on the way that their Positions rise.
pub(crate) fn replay(events: &[Event]) -> Tables {
    let mut tables = Tables::new();
    // What was put since each unfinished copy began.
    let mut copied: BTreeMap<u32, BTreeSet<Vec<String>>> = BTreeMap::new();
    let mut last = None;
    for event in events {
        assert!(last < Some(event.position()), "{} after {last:?}", event.position());
        last = Some(event.position());
        let Some(relation) = event.change.relation() else { continue };
        let table = tables.entry(relation.name.to_string()).or_default();
        if let (Some(copied), Change::Insert { new, .. } | Change::Read { row: new, .. } | Change::Update { new, .. }) =
            (copied.get_mut(&relation.oid), &event.change)
        {
            copied.insert(key(relation, new));
        }
        match &event.change {
            Change::Insert { new, .. } | Change::Read { row: new, .. } => {
                put(table, relation, new, &key(relation, new));
            }
            Change::Update { old, new, .. } => {
                let old_key = key(relation, old.as_ref().map_or(new, |old| old.row()));
                put(table, relation, new, &old_key);
            }
            Change::Delete { old, .. } => {
                table.remove(&key(relation, old.row()));
            }
            Change::Truncate { .. } => table.clear(),
            Change::CopyBegun { .. } => {
                copied.insert(relation.oid, BTreeSet::new());
            }
            Change::CopyDone { .. } => {
                let copied = copied.remove(&relation.oid).expect("a copy that has begun");
                table.retain(|key, _| copied.contains(key));
            }
            Change::Message { .. } => {}
        }
    }
    tables
}

fn put(
    table: &mut BTreeMap<Vec<String>, BTreeMap<String, Option<String>>>,
    relation: &Relation,
    row: &Row,
    old_key: &[String],
) {
    let old = table.remove(old_key).unwrap_or_default();
    let mut columns = BTreeMap::new();
    for (column, cell) in relation.columns.iter().zip(row.cells()) {
        let value = match cell {
            Cell::Text(text) => Some(String::from_utf8_lossy(text).into_owned()),
            // The stream may touch a row before its chunk brings it; the chunk must then bring the value too.
            Cell::Unchanged => old.get(&column.name).cloned().unwrap_or_else(|| Some("(nobody has it)".to_owned())),
            Cell::Null => None,
            Cell::Binary(_) => panic!("binary was not asked for"),
        };
        columns.insert(column.name.clone(), value);
    }
    table.insert(key(relation, row), columns);
}

fn key(relation: &Relation, row: &Row) -> Vec<String> {
    let text = |index: &usize| match row.cell(*index) {
        Some(Cell::Text(text)) => String::from_utf8_lossy(text).into_owned(),
        other => panic!("a key cell is {other:?}"),
    };
    relation.key.iter().map(text).collect()
}

/// What `SELECT` says of a table, in the same form.
pub(crate) async fn selected(postgres: &Postgres, table: &str, key: &[&str]) -> Tables {
    let client = postgres.client().await;
    let rows = client.simple_query(&format!("SELECT * FROM {table}")).await.expect("a SELECT");
    let mut result = BTreeMap::new();
    for message in rows {
        let tokio_postgres::SimpleQueryMessage::Row(row) = message else { continue };
        let columns: BTreeMap<String, Option<String>> = row
            .columns()
            .iter()
            .enumerate()
            .map(|(i, c)| (c.name().to_owned(), row.get(i).map(str::to_owned)))
            .collect();
        let key = key.iter().map(|name| columns[*name].clone().expect("a key")).collect();
        result.insert(key, columns);
    }
    Tables::from([(table.to_owned(), result)])
}

/// Compares one table, naming only what differs.
pub(crate) fn assert_same(replayed: &Tables, selected: &Tables) {
    for (name, wanted) in selected {
        let empty = BTreeMap::new();
        let found = replayed.get(name).unwrap_or(&empty);
        let keys: std::collections::BTreeSet<_> = wanted.keys().chain(found.keys()).collect();
        let differing: Vec<_> = keys.into_iter().filter(|key| wanted.get(*key) != found.get(*key)).take(5).collect();
        for key in &differing {
            eprintln!("{name} {key:?}:\n  SELECT {:?}\n  log    {:?}", wanted.get(*key), found.get(*key));
        }
        let counts = (wanted.len(), found.len());
        assert!(differing.is_empty(), "{name}: SELECT has {} rows, the log {}; they must be equal", counts.0, counts.1);
    }
}
