//! Whether a sink holds what its source holds, found out while both are written; and what differs put right.
//!
//! # What is compared
//!
//! A *place* is an offset between two transactions of the log. A sink whose checkpoint is at a place must hold, under each key, the document that delivery makes of the row as
//! it was in the source at that place, or nothing where there was no row. Both sides are had as of one place, key by key, and neither stands still for it:
//!
//! - **The sink's documents** are read by its own loop, between two transactions, with nothing staged (`eye`). So what is read is as of the
//!   checkpoint, C. Where a target may be ahead of its checkpoint for a while (rows read back from the source, a replay, a crash of a target without transactions), that is waited for.
//! - **The source's rows** are read in short transactions, some at a time (`chunks`). A snapshot S sees the transactions that PostgreSQL says it sees
//!   (`pg_current_snapshot()`), and everything it sees was committed before an LSN that is asked for inside it. C is waited for until all before that LSN is in the log and applied. Then the row
//!   as of C is the row that S shows, and over it, in the log's order, those changes before C that S does not see, each told apart by its transaction's id (`unseen`). That is as true of a row that
//!   changes a hundred times a second as of one that never does, so there is nothing to be tried again until it is quiet, and no moment at which a change under way looks like damage.
//! - **What a row looks like in the sink** is decided by the projection and the sink's own encoder, the very code that delivers. A verification cannot have an opinion of its own.
//!
//! # Why no change is missed between the two
//!
//! S must see every change of the table that the log has *before* the stretch that is read beside it. A commit is in the log as soon as it is flushed, and visible only when its
//! backend says so, after a synchronous standby has answered, perhaps. So the log's end is noted first; then whoever was writing to the table is waited for
//! (a transaction holds its lock until it is visible; a standby shows what it has replayed), and only then is the first snapshot taken. From there on the log is read once, in order, and a change is forgotten only when a snapshot has seen it:
//! every later one does, too.
//!
//! # Why every key is compared
//!
//! - *Rows.* A table is walked over by places of its storage, as the copy does it. A row that is left alone stays where it is and is met. One that changes may move from a place
//!   that is still to be walked over to one that has been; the log tells of it, and it is compared by its key (`changed`).
//! - *Documents.* What the sink has too much is found by listing its keys against those of the rows: a set of hashes, kept up to C by the log's own changes. Where they do not fit into memory both lists
//!   are spread over a file by their hashes, and joined range by range (`keys`); source, sink and log are read no more often for that. A key that no row has is looked at in the
//!   target before it is told, as of a place up to which the log has been read.
//!
//! # Repair
//!
//! Keys that differ are looked at once more, and this time the loop holds still at C until it is told what to write. What is written is what the keys should have *as of C*, so nothing of it is
//! newer or older than all else in the sink; it is committed with the same checkpoint and through the same fence as everything the loop writes. Whatever was committed after C comes
//! behind it, in its time. A crash leaves the sink as it was or repaired, in part where the target has no transactions, and never otherwise. Then the keys are compared again, and only what is right by then
//! counts as repaired.
//!
//! # Bounds
//!
//! One connection, one short query at a time, half a megabyte of rows each; the sink's loop waits for as long as reading their documents takes. In memory are, each with a limit in bytes that no table and no load changes:
//!
//! | what | at the most | beyond that |
//! | --- | --- | --- |
//! | rows that are compared, and their documents | some MiB, or the largest row | fewer are read at once (`chunks`) |
//! | changes of the log that no snapshot shows yet | 64 MiB (`unseen`) | their transaction is waited for |
//! | keys of rows that changed, still to be compared | 16 MiB (`changed`) | a file |
//! | hashes of the source's keys | 64 MiB, or what is wanted | a file, with 4 MiB of it in memory (`keys`) |
//! | suspects among the sink's | a quarter of that | the same |
//! | findings | a thousand of a few KiB each (`report`) | counted |
//!
//! A file takes 16 bytes for each change of a key and four more than its length for each key of the sink, and 4 MiB of memory for each billion of them, to know its blocks. It has no name, so nothing is left of it whatever becomes of the process; and
//! it leaves 1 GiB of the disk to the log. What does not get on within a minute ends the verification with the reason: it never guesses.

mod changed;
mod chunks;
mod error;
mod extra;
mod eye;
mod judge;
mod keys;
mod mend;
mod report;
mod unseen;
mod walk;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

pub use self::error::VerifyError;
pub use self::report::{Finding, Progress, Report, TableReport, What};

use self::chunks::Chunks;
use self::eye::Eye;
use self::walk::{Start, Walk};
use crate::capture::CaptureError;
use crate::capture::catalog::{self, Table};
use crate::capture::schema;
use crate::capture::snapshot::throttle::Throttle;
use crate::capture::snapshot::{Refusal, survey};
use crate::deliver::Order;
use crate::event::{Lsn, TableFilter, TableName};
use crate::log::Log;
use crate::postgres::address::Address;
use crate::postgres::connection::{Connection, Purpose};
use crate::project::Projection;
use crate::sink::Imager;
use crate::status::{Board, Disposition};

/// A sink that can be verified, and all that is needed for it.
#[derive(Clone)]
pub struct Verifier<L> {
    /// The sink's name.
    pub sink: String,
    /// What it reads.
    pub log: L,
    /// What its loop makes of events.
    pub projection: Projection,
    /// What its documents look like.
    pub imager: Imager,
    /// Documents go away by themselves after some time.
    pub expires: bool,
    /// Where the rows are.
    pub origin: Origin,
    /// To its loop.
    pub orders: mpsc::Sender<Order>,
    /// Where its loop says how it is doing.
    pub board: Board,
    /// Where keys are kept that are too many for the memory.
    pub directory: PathBuf,
}

/// A source, as far as its rows are read.
#[derive(Clone)]
pub struct Origin {
    /// Its name.
    pub name: String,
    /// Where it is.
    pub address: Address,
    /// Its tables.
    pub tables: TableFilter,
    /// The publication.
    pub publication: String,
    /// Existing rows have been copied.
    pub copies: bool,
    /// Ask for values in binary form where every type is known.
    pub binary: bool,
    /// Bytes of rows a second; `None`: as many as there are.
    pub rate: Option<u64>,
}

/// What is wanted of a verification.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Options {
    /// Differences are put right.
    pub repair: bool,
    /// So many percent of each table are looked at; `None`: all.
    pub sample: Option<f64>,
    /// Memory for a table's keys; `None`: 64 MiB.
    pub memory_bytes: Option<usize>,
}

/// [`Options::memory_bytes`] is this at least: with less, a table is read back from disk too often.
pub const MEMORY_BYTES_MIN: usize = 64 << 10;

/// A report that is being written.
#[derive(Clone, Debug, Default)]
pub struct Shared(Arc<Mutex<Report>>);

impl Shared {
    /// One that begins so.
    #[must_use]
    pub fn begin(report: Report) -> Self {
        Shared(Arc::new(Mutex::new(report)))
    }

    /// As it is now.
    #[must_use]
    pub fn read(&self) -> Report {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// It cannot be gone on with.
    pub fn fail(&self, why: &str) {
        self.change(|report| (report.state, report.message) = (Progress::Failed, Some(why.to_owned())));
    }

    fn change(&self, change: impl FnOnce(&mut Report)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn table(&self, table: &TableName, change: impl FnOnce(&mut TableReport)) {
        let name = table.to_string();
        self.change(|report| {
            if let Some(table) = report.tables.iter_mut().find(|report| report.table == name) {
                change(table);
            }
        });
    }
}

/// Writers to a table, and a standby that lags, are waited for so long.
const PATIENCE: Duration = Duration::from_secs(60);

impl<L: Log> Verifier<L> {
    /// Verifies, and tells in the report how far it is. It ends by itself; dropping it leaves nothing half done but the report.
    pub async fn run(&self, options: Options, report: &Shared) {
        let outcome = self.verify(options, report).await;
        report.change(|report| match outcome {
            Ok(()) => (report.state, report.percent) = (Progress::Done, 100.0),
            Err(error) => (report.state, report.message) = (Progress::Failed, Some(error.to_string())),
        });
    }

    async fn verify(&self, options: Options, report: &Shared) -> Result<(), VerifyError> {
        self.log.open().await?;
        let mut eye = Eye {
            sink: self.sink.clone(),
            source: self.origin.name.clone(),
            orders: self.orders.clone(),
            board: self.board.clone(),
            durable: self.log.durable(),
        };
        let mut connection = Connection::open(&self.origin.address, Purpose::Query).await?;
        let publication = schema::publication(&mut connection, &self.origin.publication).await?;
        let via_root = publication.is_none_or(|publication| publication.via_root);
        let mut tables = catalog::tables(&mut connection, via_root).await?;
        tables.retain(|table| (self.origin.tables)(&table.name) && self.projection.takes(&table.name));
        report.change(|report| {
            let begin = |table: &Table| TableReport { table: table.name.to_string(), ..TableReport::default() };
            report.tables = tables.iter().map(begin).collect();
        });
        let mut throttle = Throttle::new(self.origin.rate);
        #[expect(clippy::cast_precision_loss, reason = "for the eye")]
        let own = 100.0 / tables.len().max(1) as f64;
        let mut before = 0.0;
        for table in &tables {
            let start = Begin { eye: &mut eye, connection: &mut connection, throttle: &mut throttle, via_root };
            match self.table(table, start, options, report, (before, own)).await {
                Ok(()) => {}
                Err(error) if error.is_of_one_table() => {
                    report.change(|report| report.forget(&table.name.to_string()));
                    report.table(&table.name, |table| table.skipped = Some(error.to_string()));
                }
                Err(error) => return Err(error),
            }
            before += own;
        }
        connection.close().await;
        Ok(())
    }

    async fn table(
        &self,
        table: &Table,
        begin: Begin<'_>,
        options: Options,
        report: &Shared,
        percent: (f64, f64),
    ) -> Result<(), VerifyError> {
        let Begin { eye, connection, throttle, via_root } = begin;
        self.check_copied(&table.name)?;
        // In this order: see the module.
        let durable = *self.log.durable().borrow();
        if connection.is_standby() {
            replayed(connection, durable.end_lsn).await?;
        } else {
            written(connection, table).await?;
        }
        let Origin { publication, tables, binary, .. } = &self.origin;
        let surveyed = survey::survey(connection, table, publication, tables, via_root, *binary).await;
        let survey = surveyed.map_err(|refusal| match refusal {
            Refusal::Failed(error @ CaptureError::Unreachable { .. }) => VerifyError::Source(error),
            Refusal::Failed(error) => VerifyError::Table(error),
            Refusal::Gone => VerifyError::Gone,
            Refusal::Changed | Refusal::TooLarge(_) | Refusal::TooSlow => VerifyError::Redefined,
        })?;
        let share = options.sample.map_or(1.0, |percent| percent / 100.0);
        let start = Start {
            verifier: self,
            eye,
            connection,
            report,
            throttle,
            chunks: Chunks::of(survey, share),
            from: durable.offset,
            since: durable.commit_time,
            repair: options.repair,
            sampled: share < 1.0,
            memory_bytes: options.memory_bytes.unwrap_or(keys::MEMORY_BYTES),
            percent,
        };
        Walk::begin(start)?.run().await
    }

    /// Whether all of a table's rows have come to the log.
    fn check_copied(&self, table: &TableName) -> Result<(), VerifyError> {
        let status = self.board.read();
        let source = status.sources.get(&self.origin.name).ok_or(VerifyError::Elsewhere)?;
        match source.tables.get(&table.to_string()) {
            Some(copy) if !copy.done => Err(VerifyError::BeingCopied(copy.percent)),
            None if self.origin.copies => Err(VerifyError::NotCaptured),
            Some(_) | None => Ok(()),
        }
    }
}

/// What tables are verified with, one after the other.
struct Begin<'a> {
    eye: &'a mut Eye,
    connection: &'a mut Connection,
    throttle: &'a mut Throttle,
    via_root: bool,
}

/// Waits for whoever was writing to the table. What he committed is visible then.
async fn written(connection: &mut Connection, table: &Table) -> Result<(), VerifyError> {
    let since = Instant::now();
    loop {
        match survey::wait_for_writers(connection, table).await {
            Ok(()) => return Ok(()),
            Err(error @ CaptureError::Refused { .. }) if error.disposition() == Disposition::Retry => {
                if since.elapsed() > PATIENCE {
                    return Err(VerifyError::Written(error));
                }
            }
            Err(error) => return Err(VerifyError::Source(error)),
        }
    }
}

/// Waits until a standby has replayed what the log has. It is visible then.
async fn replayed(connection: &mut Connection, upto: Lsn) -> Result<(), VerifyError> {
    let since = Instant::now();
    let sql = format!("SELECT pg_last_wal_replay_lsn() >= '{upto}'");
    loop {
        let rows = connection.query("asking what a standby has replayed", &sql).await?;
        if rows.first().and_then(|row| row.first()).is_some_and(|value| value.as_deref() == Some(b"t")) {
            return Ok(());
        }
        if since.elapsed() > PATIENCE {
            return Err(VerifyError::Stalled(format!("the standby that rows are read from does not come to {upto}")));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
