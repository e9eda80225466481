//! The streaming loop: frames into the log, confirmations back, snapshot chunks at their places.
//!
//! Everything that waits is one arm of one `select!`; everything that decides is a state machine beside it: [`Transactions`],
//! [`Feedback`], [`Windows`]. Keepalives are answered whatever the disk, the catalog or a sink is doing, because nothing here
//! waits for any of them without a limit.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::IngestError;
use super::assemble::{Append, Step};
use super::copies::{Copies, Progress};
use super::place::{Awaited, Beginning, Waiting};
use super::transactions::Transactions;
use super::turn::Next;
use super::watch::{Hints, News};
use crate::capture::CaptureError;
use crate::capture::feedback::Feedback;
use crate::capture::snapshot::window::Windows;
use crate::capture::snapshot::{Request, Room, Work};
use crate::capture::stream::{Frame, Stream};
use crate::capture::types::Types;
use crate::event::{Lsn, Relation};
use crate::log::{Durable, Entry, LogError, LogWriter, TableSnapshot};
use crate::postgres::connection::Connection;
use crate::postgres::pace::WINDOW;

/// Under backlog, what is worth an fsync. An idle stream does not wait for it.
const FLUSH_BYTES: usize = 256 << 10;
/// Progress without changes is written to the log when it amounts to so much WAL, or so much time.
const PROGRESS_BYTES: u64 = 16 << 20;
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);
/// How often the server is asked how far it is while a chunk waits for its place.
const ASK_INTERVAL: Duration = Duration::from_millis(20);
/// While nothing is read, or so much that a question of the server stands behind megabytes of data, it is told this often that we
/// live.
const REMIND_INTERVAL: Duration = Duration::from_millis(500);

/// One connection's worth of streaming.
pub(super) struct Flow<'a, W: LogWriter> {
    pub(super) stream: Stream,
    pub(super) transactions: Transactions,
    pub(super) window: Windows,
    pub(super) feedback: Feedback,
    pub(super) catalog: Connection,
    pub(super) types: Types,
    /// Values come in binary form.
    pub(super) binary: bool,
    pub(super) writer: &'a mut W,
    pub(super) durable: watch::Receiver<Durable>,
    pub(super) publication: String,
    pub(super) copies: &'a mut Copies,
    /// How many workers copy.
    pub(super) workers: usize,
    pub(super) requests: mpsc::Receiver<Request>,
    /// What the watcher of the tables' definitions has to say.
    pub(super) news: mpsc::Receiver<News>,
    /// Of that, what waits for the stream.
    pub(super) heard: VecDeque<News>,
    pub(super) hints: Arc<Hints>,
    /// Partitions come as their root's rows.
    pub(super) via_root: bool,
    /// The whole row may be a table's key.
    pub(super) whole_rows: bool,
    pub(super) idle: VecDeque<oneshot::Sender<Work>>,
    pub(super) waiting: VecDeque<Waiting>,
    /// What chunks were read in, to be read in again.
    pub(super) rooms: Vec<Room>,
    pub(super) beginnings: VecDeque<Beginning>,
    pub(super) awaited: VecDeque<Awaited>,
    /// Tables that were found to be gone in the middle of their copy.
    pub(super) gone: VecDeque<u32>,
    /// Tables under copy, as they were last described.
    pub(super) relations: HashMap<u32, Arc<Relation>>,
    /// Where the log's next event will stand.
    pub(super) appended: u64,
    /// The stream has shown everything before this.
    pub(super) passed: Lsn,
    /// The log says so up to here, durably or soon.
    pub(super) logged: Lsn,
    pub(super) progress_logged_at: Instant,
    pub(super) report: &'a mut (dyn FnMut(Report<'_>) + Send),
}

/// What the outside is told of.
pub(super) enum Report<'a> {
    Moved { passed: Lsn, confirmed: Lsn, durable: &'a Durable },
    Table(&'a TableSnapshot, &'a Progress),
    Trouble { table: &'a str, error: &'a CaptureError },
}

impl<W: LogWriter> Flow<'_, W> {
    /// Streams until told to stop, which is the only good end.
    pub(super) async fn run(&mut self, stop: &CancellationToken) -> Result<(), IngestError> {
        loop {
            self.serve_all();
            let left = self.take_buffered().await?;
            self.place_chunks()?;
            self.redefine().await?;
            self.begin_copies().await?;
            self.log_progress(false)?;
            let pending = self.writer.pending_bytes();
            if pending > 0 && self.writer.can_flush() && (pending >= FLUSH_BYTES || !self.stream.busy()) {
                self.writer.flush().await?;
            }
            if let Some(update) = self.feedback.due(Instant::now()) {
                self.stream.send_status(update).await?;
                self.tell();
            }
            // What was handed over is room again, and nobody else would wake this loop to say so.
            let room = self.writer.pending_bytes() < W::PENDING_BYTES_MAX;
            let next = Next::of(room, left || self.transactions.is_replaying());
            if next != Next::Server {
                self.stream.not_reading();
            }
            if next != Next::Server || self.stream.busy() {
                self.feedback.remind_after(REMIND_INTERVAL, Instant::now());
            }
            let wake_at = self.wake_at().into();
            tokio::select! {
                biased;
                () = stop.cancelled() => return self.finish().await,
                changed = self.durable.changed() => self.note_durable(changed.is_err()).await?,
                Some(request) = self.requests.recv() => self.serve(request),
                Some(news) = self.news.recv() => self.heard.push_back(news),
                filled = self.stream.fill(), if next == Next::Server => filled?,
                // Not at once: the copy's tasks run on this thread too.
                () = tokio::task::yield_now(), if next == Next::Turn => {}
                () = tokio::time::sleep_until(wake_at) => {}
            }
        }
    }

    /// Takes every frame that has been read, as long as there is room for what it holds. Whether some may be left for want of it.
    async fn take_buffered(&mut self) -> Result<bool, IngestError> {
        while self.writer.pending_bytes() < W::PENDING_BYTES_MAX {
            if self.transactions.is_replaying() {
                match self.transactions.replay_some(&mut self.window, &mut ToLog(self.writer))? {
                    // The loop's turn.
                    Step::Done => return Ok(false),
                    step => self.act(step).await?,
                }
                continue;
            }
            match self.stream.buffered()? {
                None => return Ok(false),
                Some(Frame::Data { message, sent_at }) => {
                    match self.transactions.take(message, sent_at, &mut self.window, &mut ToLog(self.writer))? {
                        Step::Done => {}
                        step => self.act(step).await?,
                    }
                }
                Some(Frame::Keepalive { wal_end, reply_requested }) => self.keepalive(wal_end, reply_requested)?,
            }
        }
        Ok(true)
    }

    async fn act(&mut self, step: Step) -> Result<(), IngestError> {
        match step {
            Step::Done => Ok(()),
            Step::Committed { end_lsn, events } => {
                self.appended += events;
                if events > 0 {
                    self.logged = self.logged.max(end_lsn);
                }
                if let Some(root) = self.transactions.relations().take_missed() {
                    self.hints.missed(root);
                }
                self.pass(end_lsn)
            }
            Step::Announced => {
                self.hints.announced.notify_one();
                Ok(())
            }
            Step::Describe(relation) => self.describe(relation).await,
            Step::Settle { mut settling, end_lsn } => {
                let settled = tokio::task::spawn_blocking(move || settling.run().map(|()| settling));
                let settled = talking(&mut self.stream, &mut self.feedback, settled).await?;
                let settled =
                    settled.map_err(|error| LogError::Misuse(format!("a file could not be synced: {error}")))?;
                self.transactions.settled(settled?);
                self.pass(end_lsn)
            }
        }
    }

    /// Whether the stream stands inside a transaction, or the log waits for the rest of one: no place for anything else.
    pub(super) fn is_inside_unit(&self) -> bool {
        self.transactions.in_transaction() || self.writer.awaits_rest()
    }

    /// The stream has shown everything before this.
    fn pass(&mut self, lsn: Lsn) -> Result<(), IngestError> {
        self.passed = self.passed.max(lsn);
        self.feedback.received(lsn);
        self.place_chunks()
    }

    /// Inside a transaction a keepalive's position is no place: the open transaction lies before it.
    fn keepalive(&mut self, wal_end: Lsn, reply_requested: bool) -> Result<(), IngestError> {
        if !self.transactions.in_transaction() {
            self.pass(wal_end)?;
        }
        if reply_requested {
            self.feedback.reply_requested();
            self.log_progress(true)?;
        }
        Ok(())
    }

    /// Lets an idle source's slot follow: the progress is made durable first, then confirmed. `now`: the server waits for
    /// it, perhaps to shut down.
    fn log_progress(&mut self, now: bool) -> Result<(), IngestError> {
        let behind = self.passed.bytes_since(self.logged);
        let due = now || behind >= PROGRESS_BYTES || self.progress_logged_at.elapsed() >= PROGRESS_INTERVAL;
        if behind > 0 && due && !self.is_inside_unit() {
            self.writer.append(Entry::Progress(self.passed))?;
            self.logged = self.passed;
            self.progress_logged_at = Instant::now();
        }
        Ok(())
    }

    async fn note_durable(&mut self, writer_gone: bool) -> Result<(), IngestError> {
        if writer_gone {
            // The flusher ended; `sync` says why.
            self.writer.sync().await?;
        }
        let durable = *self.durable.borrow_and_update();
        self.feedback.durable(durable.end_lsn);
        self.transactions.durable(durable.end_lsn)?;
        self.tell();
        Ok(())
    }

    fn tell(&mut self) {
        let durable = *self.durable.borrow();
        self.tell_copies(durable.offset.0);
        (self.report)(Report::Moved { passed: self.passed, confirmed: self.feedback.confirmed(), durable: &durable });
    }

    /// When something is due although nothing happens.
    fn wake_at(&mut self) -> Instant {
        let mut wake_at = self.feedback.next_due();
        if self.passed > self.logged {
            wake_at = wake_at.min(self.progress_logged_at + PROGRESS_INTERVAL);
        }
        if self.writer.pending_bytes() > 0 {
            // Held back only as long as more keeps coming.
            wake_at = wake_at.min(Instant::now() + WINDOW);
        }
        if self.transactions.is_replaying() || self.writer.pending_bytes() >= W::PENDING_BYTES_MAX {
            wake_at = wake_at.min(Instant::now() + REMIND_INTERVAL);
        }
        let now = Instant::now();
        if let Some(at) = self.copies.wake_at(now).filter(|_| !self.idle.is_empty()) {
            wake_at = wake_at.min(at);
        }
        if !self.waiting.is_empty() || !self.heard.is_empty() {
            self.feedback.ask_again_after(ASK_INTERVAL, Instant::now());
            wake_at = wake_at.min(Instant::now() + ASK_INTERVAL);
        }
        wake_at
    }

    /// Stops cleanly: what is whole is made durable and confirmed, so that the next start gets little again.
    async fn finish(&mut self) -> Result<(), IngestError> {
        if self.transactions.in_transaction() {
            return Ok(());
        }
        self.log_progress(true)?;
        let durable = self.writer.sync().await?;
        self.feedback.durable(durable.end_lsn);
        self.feedback.reply_requested();
        if let Some(update) = self.feedback.due(Instant::now()) {
            self.stream.send_status(update).await?;
        }
        self.tell();
        Ok(())
    }
}

/// Waits for something while the server goes on hearing from us.
pub(super) async fn talking<T>(
    stream: &mut Stream,
    feedback: &mut Feedback,
    work: impl Future<Output = T>,
) -> Result<T, CaptureError> {
    let mut work = std::pin::pin!(work);
    let done = loop {
        tokio::select! {
            biased;
            done = &mut work => break done,
            () = tokio::time::sleep(REMIND_INTERVAL) => {
                feedback.remind_after(REMIND_INTERVAL, Instant::now());
                if let Some(update) = feedback.due(Instant::now()) {
                    stream.send_status(update).await?;
                }
            }
        }
    };
    stream.not_reading();
    Ok(done)
}

struct ToLog<'a, W>(&'a mut W);

impl<W: LogWriter> Append for ToLog<'_, W> {
    #[inline]
    fn append(&mut self, entry: Entry<'_>) -> Result<(), IngestError> {
        Ok(self.0.append(entry)?)
    }
}
