//! Source to log: connects, streams, copies existing rows, confirms what is durable, and comes back after whatever passes.
//!
//! Invariant: `confirmed_flush_lsn ≤ durable in log ≤ received`.

mod assemble;
mod flow;
mod monitor;
mod prepare;

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use self::flow::{Flow, Report};
use self::prepare::Prepared;
pub(crate) use self::prepare::preflight;
use crate::capture::CaptureError;
use crate::capture::address::Address;
use crate::capture::feedback::Feedback;
use crate::capture::snapshot::task::{self, Job};
use crate::capture::snapshot::window::Window;
use crate::capture::types::Types;
use crate::event::TableFilter;
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
    /// Ask for values in binary form while every type is known.
    pub binary: bool,
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
    snapshots: BTreeMap<u32, TableSnapshot>,
    /// Outlives a connection: a transaction decoded before it broke may still be invisible to the next snapshot.
    window: Window,
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
        let snapshots = recovered.snapshots.iter().map(|snapshot| (snapshot.oid, snapshot.clone())).collect();
        board.source(&source.name, |status| {
            status.slot.clone_from(&source.slot);
            status.durable_lsn = recovered.durable.end_lsn;
        });
        Ingest {
            binary: source.binary,
            source,
            writer,
            recovered,
            snapshots,
            window: Window::default(),
            types: Types::default(),
            board,
            backoff: Backoff::default(),
            streamed: false,
        }
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
        let (to_loop, requests) = mpsc::channel(1);
        let _snapshot = self.start_snapshot(&prepared, to_loop);
        let _monitor = monitor::start(&self.source, &prepared.address, self.board.clone());
        let (board, name, now) = (self.board.clone(), self.source.name.clone(), Instant::now());
        let mut flow = Flow {
            stream: prepared.stream,
            assembler: prepared.assembler,
            window: std::mem::take(&mut self.window),
            feedback: Feedback::new(prepared.from, now),
            catalog: prepared.catalog,
            types: std::mem::take(&mut self.types),
            binary: prepared.binary,
            durable: self.writer.durable(),
            writer: &mut self.writer,
            snapshots: &mut self.snapshots,
            requests,
            waiting: None,
            appended: self.recovered.durable.offset.0,
            placed: VecDeque::new(),
            passed: prepared.from,
            logged: prepared.from,
            progress_logged_at: now,
            report: &mut |report| show(&board, &name, report),
        };
        let outcome = flow.run(stop).await;
        self.window = flow.window;
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
        let (source, recovered) = (&self.source, &mut self.recovered);
        let asked = self.binary.then_some(&mut self.types);
        prepare::prepare(source, recovered, &mut self.writer, &self.board, asked).await
    }

    /// Starts to copy what is not copied yet. A task that is dropped stops; the next session starts it again from the log's
    /// word.
    fn start_snapshot(
        &self,
        prepared: &Prepared,
        requests: mpsc::Sender<crate::capture::snapshot::Request>,
    ) -> Option<AbortOnDropHandle<()>> {
        let mut jobs = Vec::new();
        self.board.source(&self.source.name, |status| {
            status.state = State::Streaming;
            (status.code, status.message) = (None, None);
            for table in prepared.tables.iter().filter(|_| self.source.snapshot) {
                let known = self.snapshots.get(&table.oid);
                let done = known.is_some_and(|snapshot| snapshot.done);
                let rows = known.map_or(0, |snapshot| snapshot.rows);
                let entry = TableStatus { done, rows, rows_estimate: table.rows_estimate };
                status.tables.insert(table.name.to_string(), entry);
                if !done {
                    status.state = State::Snapshotting;
                    let resume_after = known.and_then(|snapshot| snapshot.resume_after.clone());
                    jobs.push(Job { table: table.clone(), resume_after });
                }
            }
        });
        if jobs.is_empty() {
            return None;
        }
        let (address, publication) = (prepared.address.clone(), self.source.publication.clone());
        Some(AbortOnDropHandle::new(tokio::spawn(task::run(address, publication, jobs, requests))))
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
        Report::Table(snapshot) => {
            let table = status.tables.entry(snapshot.name.to_string()).or_default();
            (table.done, table.rows) = (snapshot.done, snapshot.rows);
            // What was said of trouble with a table is over.
            (status.code, status.message) = (None, None);
            if status.tables.values().all(|table| table.done) {
                status.state = State::Streaming;
            }
        }
        Report::Trouble { table, error } => {
            tracing::warn!(source = name, table, %error, "the copy of a table was interrupted; it will go on");
            let stopped = error.disposition() != Disposition::Retry;
            status.code = Some(if stopped { error.code() } else { Code::SnapshotInterrupted });
            status.message = Some(format!("copying {table}: {error}"));
        }
    });
}
