//! Source to log: connects, streams, copies existing rows, confirms what is durable, and comes back after whatever passes.
//!
//! Invariant: `confirmed_flush_lsn ≤ durable in log ≤ received`.

mod assemble;
mod copies;
mod flow;
mod monitor;
mod place;
mod prepare;
mod spill;
mod throttle;
mod transactions;

use std::collections::{HashMap, VecDeque};
use std::time::Instant;

use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use self::copies::{Copies, Progress};
use self::flow::{Flow, Report};
pub use self::place::Copier;
use self::prepare::Prepared;
pub(crate) use self::prepare::preflight;
use crate::capture::CaptureError;
use crate::capture::address::Address;
use crate::capture::catalog::Table;
use crate::capture::feedback::Feedback;
use crate::capture::snapshot::window::Windows;
use crate::capture::snapshot::{Request, worker};
use crate::capture::types::Types;
use crate::event::{MessageFilter, Offset, TableFilter};
use crate::log::{Entry, LogError, LogWriter, Recovered, TableSnapshot};
use crate::retry::Backoff;
use crate::status::{Board, Code, Disposition, State, TableStatus};

/// A source, as configured.
#[derive(Clone)]
pub struct Source {
    /// Its name.
    pub name: String,
    /// Where it is.
    pub address: Address,
    /// Its tables.
    pub tables: TableFilter,
    /// The replication slot.
    pub slot: String,
    /// The publication.
    pub publication: String,
    /// Copy existing rows.
    pub snapshot: bool,
    /// So many workers copy.
    pub snapshot_workers: usize,
    /// They read so many bytes a second together; `None`: as many as they can.
    pub snapshot_rate: Option<u64>,
    /// Ask for values in binary form while every type is known.
    pub binary: bool,
    /// Which logical messages become events; `None` asks the server for none.
    pub messages: Option<MessageFilter>,
    /// Whether transactions that came to the source by replication become events.
    pub foreign: bool,
    /// Have prepared transactions sent when they are prepared.
    pub two_phase: bool,
}

/// An error of the ingest loop: the source's or the log's.
#[derive(Debug, thiserror::Error)]
pub enum IngestError {
    /// The source.
    #[error(transparent)]
    Capture(#[from] CaptureError),
    /// The log.
    #[error(transparent)]
    Log(#[from] LogError),
    /// Values came in binary form, and the next could not be read. Nothing of their transaction is kept; the server sends it
    /// again, as text.
    #[error("column {column} of {table} has a type whose binary form is not known")]
    TextNeeded {
        /// The table.
        table: String,
        /// The column.
        column: String,
    },
}

impl IngestError {
    /// The public code.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            IngestError::Capture(error) => error.code(),
            IngestError::Log(error) => error.code(),
            IngestError::TextNeeded { .. } => Code::SourceProtocol,
        }
    }

    /// What it calls for.
    #[must_use]
    pub fn disposition(&self) -> Disposition {
        match self {
            IngestError::Capture(error) => error.disposition(),
            IngestError::Log(error) => error.disposition(),
            IngestError::TextNeeded { .. } => Disposition::Retry,
        }
    }
}

/// Why a loop ended that was not told to.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct Halt {
    /// What calls for an operator.
    #[source]
    pub error: IngestError,
    /// Whether the source has ever streamed in this process.
    pub streamed: bool,
}

impl Halt {
    /// Whether the set-up was never right: then the process ends at once, as with a wrong configuration. What is wrong with
    /// the source's *history*, or turns wrong later, is shown and waits for an operator.
    #[must_use]
    pub fn is_setup(&self) -> bool {
        let about_setup = matches!(
            self.error.code(),
            Code::SourceAuth
                | Code::SourceUnreachable
                | Code::SourcePrivilege
                | Code::SourceWalLevel
                | Code::SourcePublication
                | Code::SourceIdentity
                | Code::SourceProtocol
                | Code::SecurityTls
                | Code::SecurityAuth
        );
        about_setup && !self.streamed
    }
}

/// The loop and what outlives a connection.
pub struct Ingest<W> {
    source: Source,
    writer: W,
    recovered: Recovered,
    copies: Copies,
    /// To the loop: from its workers, and from whoever wants a table copied.
    to_loop: mpsc::Sender<Request>,
    requests: mpsc::Receiver<Request>,
    /// Outlives a connection: a transaction decoded before it broke may still be invisible to the next snapshot.
    windows: Windows,
    /// Where workers run: not on the loop's own thread, if it has one.
    runtime: Option<Handle>,
    types: Types,
    /// Not any more once a stream has brought a type that is not known.
    binary: bool,
    board: Board,
    backoff: Backoff,
    streamed: bool,
}

impl<W: LogWriter> Ingest<W> {
    /// A loop that goes on where the log ends.
    pub fn new(source: Source, writer: W, recovered: Recovered, board: Board) -> Self {
        let copies = Copies::new(&recovered.snapshots, source.snapshot_rate);
        let (to_loop, requests) = mpsc::channel(16);
        board.source(&source.name, |status| {
            status.slot.clone_from(&source.slot);
            status.durable_lsn = recovered.durable.end_lsn;
        });
        Ingest {
            binary: source.binary,
            source,
            writer,
            recovered,
            copies,
            to_loop,
            requests,
            windows: Windows::default(),
            runtime: None,
            types: Types::default(),
            board,
            backoff: Backoff::default(),
            streamed: false,
        }
    }

    /// For whoever wants a table copied.
    pub fn copier(&self) -> Copier {
        Copier(self.to_loop.clone())
    }

    /// Lets the workers of the copy run elsewhere than the loop.
    #[must_use]
    pub fn workers_on(mut self, runtime: Handle) -> Self {
        self.runtime = Some(runtime);
        self
    }

    /// Runs until told to stop, or until an operator is needed; that error is on the board by then.
    ///
    /// # Errors
    /// What calls for an operator.
    pub async fn run(mut self, stop: &CancellationToken) -> Result<(), Halt> {
        loop {
            let error = match self.session(stop).await {
                Ok(Ended::Stopped) => return Ok(()),
                Ok(Ended::TextNeeded) => continue,
                Err(error) => error,
            };
            let (code, retry) = (error.code(), error.disposition() == Disposition::Retry);
            self.board.source(&self.source.name, |status| {
                status.state = if retry { State::Paused } else { State::Halted };
                status.code = Some(code);
                status.message = Some(error.to_string());
            });
            if !retry {
                tracing::error!(source = %self.source.name, %code, %error, "halted");
                return Err(Halt { error, streamed: self.streamed });
            }
            let delay = self.backoff.next_delay();
            // One line when it begins, then ever fewer.
            if self.backoff.failures().is_power_of_two() {
                tracing::warn!(source = %self.source.name, %code, %error, attempt = self.backoff.failures(), "paused; trying again");
            }
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = tokio::time::sleep(delay) => {}
            }
        }
    }

    /// One connection, from the first look to its end.
    async fn session(&mut self, stop: &CancellationToken) -> Result<Ended, IngestError> {
        if self.writer.in_transaction() {
            self.writer.append(Entry::Abort)?;
        }
        self.recovered.durable = self.writer.sync().await?;
        let prepared = tokio::select! {
            () = stop.cancelled() => return Ok(Ended::Stopped),
            prepared = self.prepare() => prepared?,
        };
        self.backoff.reset();
        self.streamed = true;
        let values = if prepared.binary { "binary" } else { "text" };
        self.board.source(&self.source.name, |status| status.values = values);
        tracing::info!(source = %self.source.name, slot = %self.source.slot, from = %prepared.from, values, "streaming");
        let _workers = self.start_copies(&prepared.tables);
        let _monitor = monitor::start(&self.source, self.board.clone());
        let (board, name, now) = (self.board.clone(), self.source.name.clone(), Instant::now());
        let mut flow = Flow {
            stream: prepared.stream,
            transactions: prepared.transactions,
            window: std::mem::take(&mut self.windows),
            feedback: Feedback::new(prepared.from, now),
            catalog: prepared.catalog,
            types: std::mem::take(&mut self.types),
            binary: prepared.binary,
            durable: self.writer.durable(),
            writer: &mut self.writer,
            publication: self.source.publication.clone(),
            copies: &mut self.copies,
            workers: self.source.snapshot_workers.max(1),
            requests: &mut self.requests,
            idle: VecDeque::new(),
            waiting: VecDeque::new(),
            beginnings: VecDeque::new(),
            awaited: VecDeque::new(),
            gone: VecDeque::new(),
            relations: HashMap::new(),
            appended: self.recovered.durable.offset.0,
            passed: prepared.from,
            logged: prepared.from,
            progress_logged_at: now,
            report: &mut |report| show(&board, &name, report),
        };
        let outcome = flow.run(stop).await;
        self.windows = flow.window;
        self.types = flow.types;
        match outcome {
            Err(error) if flow.binary && needs_text(&error) => {
                flow.stream.close().await;
                self.binary = false;
                tracing::info!(source = %self.source.name, %error, "from here on values are asked for as text");
                Ok(Ended::TextNeeded)
            }
            Err(error) => Err(error),
            Ok(()) => {
                flow.stream.close().await;
                Ok(Ended::Stopped)
            }
        }
    }

    async fn prepare(&mut self) -> Result<Prepared, IngestError> {
        self.recovered.snapshots = self.copies.records();
        let (source, recovered) = (&self.source, &mut self.recovered);
        let asked = self.binary.then_some(&mut self.types);
        prepare::prepare(source, recovered, &mut self.writer, &self.board, asked).await
    }

    /// Starts workers, who copy what is not copied yet and what is to be copied later. A task that is dropped stops; the next
    /// session starts it again, and the log says where it was.
    fn start_copies(&mut self, tables: &[Table]) -> Vec<AbortOnDropHandle<()>> {
        let tables: &[Table] = if self.source.snapshot { tables } else { &[] };
        self.windows.abandon_chunks();
        self.copies.resume(tables);
        let (copies, now) = (&self.copies, Instant::now());
        self.board.source(&self.source.name, |status| {
            status.state = if copies.is_done() { State::Streaming } else { State::Snapshotting };
            (status.code, status.message) = (None, None);
            for table in tables {
                let begun = TableSnapshot::begin(table.oid, table.name.clone(), 1, Offset(0), String::new());
                let record = copies.record(table.oid).unwrap_or(&begun);
                status.tables.insert(table.name.to_string(), status_of(record, &copies.progress(table.oid, now)));
            }
        });
        let setting = worker::Setting {
            address: self.source.address.clone(),
            publication: self.source.publication.clone(),
            tables: self.source.tables.clone(),
            binary: self.source.binary,
        };
        let runtime = self.runtime.clone().unwrap_or_else(Handle::current);
        let start = |_| AbortOnDropHandle::new(runtime.spawn(worker::run(setting.clone(), self.to_loop.clone())));
        (0..self.source.snapshot_workers.max(1)).map(start).collect()
    }
}

fn status_of(record: &TableSnapshot, progress: &Progress) -> TableStatus {
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

/// How a connection ended that was not broken.
enum Ended {
    /// We were told to stop.
    Stopped,
    /// The next must ask for text.
    TextNeeded,
}

/// Whether a binary stream ended for a value's form: a type we do not know, or one that the server itself cannot send so (an
/// array of a type without `typsend` fails with 42883, in tables that nobody captures too). If it was something else, the
/// same comes again with text.
fn needs_text(error: &IngestError) -> bool {
    match error {
        IngestError::TextNeeded { .. } => true,
        IngestError::Capture(CaptureError::Server { source, .. }) => {
            matches!(source.sqlstate.get(..2), Some("0A" | "22" | "42"))
        }
        IngestError::Capture(_) | IngestError::Log(_) => false,
    }
}

/// A source further behind than this is catching up.
const CATCHING_UP_BYTES: u64 = 16 << 20;

/// Writes on the board what the flow tells.
fn show(board: &Board, name: &str, report: Report<'_>) {
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
