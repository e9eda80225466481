//! Source to log: connects, streams, copies existing rows, confirms what is durable, and comes back after whatever passes.
//!
//! Invariant: `confirmed_flush_lsn ≤ durable in log ≤ received`.

mod assemble;
mod budget;
mod command;
mod copies;
mod ended;
mod epoch;
mod error;
mod flow;
mod memory;
mod monitor;
mod patience;
mod place;
mod plan;
mod preflight;
mod prepare;
mod redefine;
mod relations;
mod report;
mod retell;
mod source;
mod spill;
mod transactions;
mod turn;
mod versions;
mod watch;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::sync::DropGuard;
use tokio_util::task::AbortOnDropHandle;

pub use self::budget::OverBudget;
use self::command::Commands;
pub use self::command::{Answer, Resnapshot};
use self::copies::Copies;
use self::ended::{AFTER_LETTING_GO, Ended, heed, needs_text, shutting_down};
pub use self::error::{Halt, IngestError};
use self::flow::Flow;
pub use self::memory::FILE_NAME as CATALOG_FILE_NAME;
use self::memory::Memory;
use self::monitor::{Monitor, Signal};
use self::patience::Patience;
pub(crate) use self::preflight::{Past, preflight};
use self::prepare::{Preparation, Prepared};
use self::report::{show, status_of};
use self::retell::Retold;
pub use self::source::{OnBreak, OnSchemaChange, OnTableDrop, OnTruncate, Source};
use self::watch::{Hints, News, Watcher};
use crate::capture::catalog::Table;
use crate::capture::feedback::Feedback;
use crate::capture::snapshot::window::Windows;
use crate::capture::snapshot::{Request, worker};
use crate::capture::stream::Stream;
use crate::capture::types::Types;
use crate::capture::{CaptureError, continuity};
use crate::event::Offset;
use crate::log::{Entry, Log, LogError, LogWriter, Recovered, TableSnapshot};
use crate::retry::Backoff;
use crate::status::{Board, Code, Disposition, State};

/// The loop and what outlives a connection.
pub struct Ingest<W> {
    source: Source,
    writer: W,
    recovered: Recovered,
    copies: Copies,
    /// Outlives a connection: a transaction decoded before it broke may still be invisible to the next snapshot.
    windows: Windows,
    /// What is known of the tables' definitions. The watcher has it while it runs.
    memory: Arc<tokio::sync::Mutex<Memory>>,
    /// Where the monitor runs: not on the loop's own thread, if it has one.
    runtime: Option<Handle>,
    types: Types,
    /// Not any more once a stream has brought a type that is not known.
    binary: bool,
    board: Board,
    backoff: Backoff,
    patience: Patience,
    streamed: bool,
    /// The log, to be read.
    past: Option<Box<dyn Retold>>,
    /// It has told what unfinished copies owe, since it was opened.
    recollected: bool,
    commands: Commands,
    monitor: Monitor,
    /// Why history is to begin anew, once that is decided.
    anew: Option<String>,
}

impl<W: LogWriter> Ingest<W> {
    /// A loop that goes on where the log ends.
    pub fn new(source: Source, writer: W, recovered: Recovered, board: Board) -> Self {
        let copies = Copies::new(&recovered.snapshots, source.snapshot_rate);
        board.source(&source.name, |status| {
            status.slot.clone_from(&source.slot);
            status.durable_lsn = recovered.durable.end_lsn;
            status.epoch = recovered.epoch.as_ref().map_or(0, |epoch| epoch.number);
        });
        let memory = Arc::new(tokio::sync::Mutex::new(Memory::open(source.catalog_file.clone())));
        Ingest {
            memory,
            monitor: Monitor::new(&source, board.clone()),
            binary: source.binary,
            source,
            writer,
            recovered,
            copies,
            windows: Windows::default(),
            runtime: None,
            types: Types::default(),
            board,
            backoff: Backoff::default(),
            patience: Patience::default(),
            streamed: false,
            past: None,
            recollected: false,
            commands: None,
            anew: None,
        }
    }

    /// Lets a copy that a former process began go on with all that process knew of it.
    #[must_use]
    pub fn reading(mut self, log: impl Log) -> Self {
        self.past = Some(Box::new(log));
        self
    }

    /// Serves commands. One that halts then waits for them instead of ending.
    #[must_use]
    pub fn commanded_by(mut self, commands: mpsc::Receiver<Resnapshot>) -> Self {
        self.commands = Some(commands);
        self
    }

    /// Lets the monitor run elsewhere than the loop.
    #[must_use]
    pub fn monitored_on(mut self, runtime: Handle) -> Self {
        self.runtime = Some(runtime);
        self
    }

    /// Runs until told to stop, or until an operator is needed; that error is on the board by then.
    ///
    /// # Errors
    /// What calls for an operator.
    pub async fn run(mut self, stop: &CancellationToken) -> Result<(), Halt> {
        self.monitor.start(&self.runtime.clone().unwrap_or_else(Handle::current));
        loop {
            let mut may_mend = true;
            let error = match self.session(stop).await {
                Ok(Ended::Stopped) => return Ok(()),
                Ok(Ended::TextNeeded) => continue,
                Ok(Ended::OverBudget(why)) => {
                    // A new slot would be held by the same thing: what it is has to be found out first.
                    may_mend = false;
                    self.let_go(&why).await
                }
                Ok(Ended::ShuttingDown) => shutting_down(&self.source.address),
                Err(error) => error,
            };
            if may_mend && self.may_copy_again(&error) {
                self.anew = Some(error.to_string());
                continue;
            }
            let passes = error.is_servers_own() && self.patience.lasts(self.writer.durable().borrow().end_lsn);
            let (code, retry) = (error.code(), passes || error.disposition() == Disposition::Retry);
            self.board.source(&self.source.name, |status| {
                status.state = if retry { State::Paused } else { State::Halted };
                status.code = Some(code);
                status.message = Some(error.to_string());
            });
            if retry {
                if !self.pause(&error, stop).await {
                    return Ok(());
                }
                continue;
            }
            tracing::error!(source = %self.source.name, %code, %error, "halted");
            let halt = Halt { error, streamed: self.streamed };
            if self.commands.is_none() || halt.is_setup() {
                return Err(halt);
            }
            if !self.halted(&halt.error, stop).await {
                return Ok(());
            }
        }
    }

    /// Whether the configuration has decided already that a break is answered by a copy. Once it has been, the next break of
    /// the same process is an operator's, unless it streamed in between.
    fn may_copy_again(&self, error: &IngestError) -> bool {
        self.source.on_break == OnBreak::CopyAgain
            && self.anew.is_none()
            && error.disposition() == Disposition::Stop
            && continuity::is_break(error.code())
    }

    /// Waits a while before trying again. False: told to stop.
    async fn pause(&mut self, error: &IngestError, stop: &CancellationToken) -> bool {
        let delay = self.backoff.next_delay();
        // One line when it begins, then ever fewer.
        if self.backoff.failures().is_power_of_two() {
            let code = error.code();
            tracing::warn!(source = %self.source.name, %code, %error, attempt = self.backoff.failures(), "paused; trying again");
        }
        let until = tokio::time::Instant::now() + delay;
        loop {
            tokio::select! {
                () = stop.cancelled() => return false,
                () = tokio::time::sleep_until(until) => return true,
                command = command::next(&mut self.commands) => {
                    let why = format!("the source is paused: {error}. Ask again when it streams");
                    let _ = command.answer.send(Err(why));
                }
                // A slot that holds too much goes even while nothing can be read from it.
                Some(signal) = self.monitor.signals.recv() => self.heed_idle(signal).await,
            }
        }
    }

    /// While there is no session: only a slot that holds too much is acted on.
    async fn heed_idle(&mut self, signal: Signal) {
        if let Signal::OverBudget(why) = signal {
            let outcome = self.let_go(&why).await;
            tracing::warn!(source = %self.source.name, %outcome, "the budget was enforced");
        }
    }

    /// Waits for an operator. True: history is to begin anew; false: told to stop.
    async fn halted(&mut self, error: &IngestError, stop: &CancellationToken) -> bool {
        // What goes wrong after an order is no reason to end the process.
        self.streamed = true;
        loop {
            let Resnapshot { tables, answer } = tokio::select! {
                () = stop.cancelled() => return false,
                Some(signal) = self.monitor.signals.recv() => {
                    self.heed_idle(signal).await;
                    continue;
                }
                command = command::next(&mut self.commands) => command,
            };
            let refusal = if !continuity::is_break(error.code()) {
                format!("a copy does not mend this: {error}. Mend it and restart walbridge")
            } else if !tables.is_empty() {
                "history is broken, so all tables have to be copied: name none".to_owned()
            } else {
                self.anew = Some(format!("an operator asked for it, after {}: {error}", error.code()));
                let _ = answer.send(Ok(Vec::new()));
                return true;
            };
            let _ = answer.send(Err(refusal));
        }
    }

    /// One connection, from the first look to its end.
    async fn session(&mut self, stop: &CancellationToken) -> Result<Ended, IngestError> {
        if !self.open_log(stop).await? {
            return Ok(Ended::Stopped);
        }
        if self.writer.in_transaction() {
            self.writer.append(Entry::Abort)?;
        }
        self.recovered.durable = self.writer.sync().await?;
        let prepared = tokio::select! {
            () = stop.cancelled() => return Ok(Ended::Stopped),
            prepared = self.prepare() => prepared?,
        };
        self.is_prepared();
        self.monitor.address.send_replace(prepared.address.clone());
        let values = if prepared.binary { "binary" } else { "text" };
        self.board.source(&self.source.name, |status| status.values = values);
        tracing::info!(source = %self.source.name, slot = %self.source.slot, from = %prepared.from, values, "streaming");
        let (to_loop, requests) = mpsc::channel(16);
        let _workers = self.start_copies(&prepared, &to_loop);
        let (_watcher, news, hints) = self.start_watcher(&prepared, &to_loop);
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
            requests,
            news,
            heard: VecDeque::new(),
            hints,
            via_root: prepared.via_root,
            whole_rows: self.source.whole_rows,
            idle: VecDeque::new(),
            waiting: VecDeque::new(),
            rooms: Vec::new(),
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
        let orders = command::serve(&mut self.commands, &self.source, &prepared.address, prepared.via_root, &to_loop);
        let outcome = tokio::select! {
            biased;
            outcome = flow.run(stop) => outcome.map(|()| Ended::Stopped),
            Some(signal) = self.monitor.signals.recv() => Ok(heed(signal)),
            never = orders => match never {},
        };
        self.windows = flow.window;
        self.types = flow.types;
        let (stream, binary) = (flow.stream, flow.binary);
        self.end_session(stream, binary, outcome).await
    }

    /// A session has come as far as the stream.
    fn is_prepared(&mut self) {
        // An error that comes with the stream, again and again, would be tried again without a pause.
        if !self.patience.is_tried(self.recovered.durable.end_lsn) {
            self.backoff.reset();
        }
        self.streamed = true;
        if self.anew.take().is_some() {
            // What was seen of another history says nothing of this one.
            self.windows = Windows::default();
        }
    }

    /// Makes sure that the log is open. What was begun and is not in an opened log was never begun. False: told to stop.
    async fn open_log(&mut self, stop: &CancellationToken) -> Result<bool, IngestError> {
        let open = async {
            if !self.writer.is_open() {
                preflight::await_free_slot(&self.source).await?;
            }
            Ok::<_, IngestError>(self.writer.open().await?)
        };
        let opened = tokio::select! {
            () = stop.cancelled() => return Ok(false),
            opened = open => opened?,
        };
        if let Some(recovered) = opened {
            self.copies = Copies::new(&recovered.snapshots, self.source.snapshot_rate);
            self.board.source(&self.source.name, |status| {
                status.durable_lsn = recovered.durable.end_lsn;
                status.epoch = recovered.epoch.as_ref().map_or(0, |epoch| epoch.number);
            });
            self.recovered = recovered;
            self.recollected = false;
        }
        Ok(true)
    }

    /// Watches the tables' definitions until the handle is dropped.
    fn start_watcher(
        &self,
        prepared: &Prepared,
        to_loop: &mpsc::Sender<Request>,
    ) -> (AbortOnDropHandle<()>, mpsc::Receiver<News>, Arc<Hints>) {
        let (to_flow, news) = mpsc::channel(1);
        let hints = Arc::new(Hints::default());
        self.copies.unfinished().for_each(|oid| hints.copying(oid));
        let watcher = Watcher {
            source: self.source.clone(),
            address: prepared.address.clone(),
            board: self.board.clone(),
            memory: self.memory.clone(),
            hints: hints.clone(),
            news: to_flow,
            copies: to_loop.clone(),
        };
        (watcher.start(), news, hints)
    }

    /// Says goodbye where that is of use.
    async fn end_session(
        &mut self,
        stream: Stream,
        binary: bool,
        outcome: Result<Ended, IngestError>,
    ) -> Result<Ended, IngestError> {
        self.monitor.address.send_replace(self.source.address.clone());
        match outcome {
            Err(error) if binary && needs_text(&error) => {
                stream.close().await;
                self.binary = false;
                tracing::info!(source = %self.source.name, %error, "from here on values are asked for as text");
                Ok(Ended::TextNeeded)
            }
            Ok(ended) => {
                stream.close().await;
                Ok(ended)
            }
            Err(error) => Err(error),
        }
    }

    /// Has the log tell what unfinished copies owe.
    async fn recollect(&mut self) -> Result<(), IngestError> {
        let Some(past) = self.past.as_ref().filter(|_| !self.recollected) else { return Ok(()) };
        let begun = self.copies.begun_before();
        self.windows = Windows::recollecting(begun.iter().map(|(oid, _)| *oid));
        if let Some(from) = begun.iter().map(|(_, from)| *from).min() {
            let windows = &mut self.windows;
            match past.retell(from..self.recovered.durable.offset, &mut |event| windows.recollect(&event.change)).await
            {
                Err(LogError::Expired { .. }) => {
                    // What is no longer in the log cannot be asked: the rows are read once more.
                    self.windows = Windows::default();
                    self.copies.read_anew();
                }
                told => told?,
            }
        }
        self.recollected = true;
        Ok(())
    }

    async fn prepare(&mut self) -> Result<Prepared, IngestError> {
        self.recollect().await?;
        // Until the watcher of the session before has let go.
        let memory = self.memory.clone();
        let mut memory = memory.lock().await;
        self.preparation().run(&mut memory).await
    }

    fn preparation(&mut self) -> Preparation<'_, W> {
        Preparation {
            source: &self.source,
            recovered: &mut self.recovered,
            writer: &mut self.writer,
            copies: &mut self.copies,
            board: &self.board,
            types: self.binary.then_some(&mut self.types),
            anew: self.anew.as_deref(),
        }
    }

    /// Lets go of the slot, because the budget says so. Says so first, also in the log if that can be written.
    async fn let_go(&mut self, why: &str) -> IngestError {
        let decision = format!("the slot \"{}\" is dropped to protect the source: {why}", self.source.slot);
        tracing::error!(source = %self.source.name, code = %Code::SourceWalBudget, "{decision}");
        match self.preparation().let_go(&decision).await {
            Ok(()) => CaptureError::halt(Code::SourceSlotLost, decision, AFTER_LETTING_GO).into(),
            Err(error) => error,
        }
    }

    /// Starts workers, who copy what is not copied yet and what is to be copied later. They stop when the guard is dropped; the next
    /// session starts it again, and the log says where it was.
    fn start_copies(&mut self, prepared: &Prepared, requests: &mpsc::Sender<Request>) -> DropGuard {
        let tables: &[Table] = if self.source.snapshot { &prepared.tables } else { &[] };
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
            address: prepared.address.clone(),
            publication: self.source.publication.clone(),
            tables: self.source.tables.clone(),
            binary: self.source.binary,
            via_root: prepared.via_root,
        };
        worker::start(&setting, self.source.snapshot_workers.max(1), requests)
    }
}
