//! Log to one sink: read, project, stage, commit, again. One loop per sink; they share nothing but the log.
//!
//! Nothing is remembered across a failure. Whatever goes wrong, the loop asks the target how far it has come
//! ([`Sink::resume`]) and reads the log from there, so a lost reply, a crash between two steps and a target that was
//! emptied or restored are one case, not many. Invariant: `checkpoint ≤ durable in log`.

mod ahead;
mod batch;
mod complete;
mod error;
pub(crate) mod fresh;
mod gauge;
mod look;
mod orders;
mod oversize;
mod parked;
pub mod rebuild;
mod replay;
mod shared;
mod sweep;
mod whole;

use std::borrow::Cow;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use self::batch::Batch;
pub use self::batch::Limits;
pub use self::error::DeliverError;
pub use self::look::{Found, Look, Mend, Sight, Subject};
pub use self::orders::{Order, Orders};
use self::parked::Later;
pub use self::rebuild::{Rebuild, RebuildOrder};
use crate::capture::readback::Readback;
use crate::dead_letter::DeadLetters;
use crate::event::{Event, Offset, Timestamp};
use crate::log::Log;
use crate::log::share::{Share, SharedLog};
use crate::project::coalesce::{coalesce, take_deletes_of_returned};
use crate::project::mutation::{Effect, Mutation};
use crate::project::{Kind, Projection};
use crate::retry::Backoff;
use crate::sink::{Checkpoint, Rejection, SharedSink, Sink};
use crate::status::{Board, Code, Disposition, State};

/// What to do with a row that the target can never take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnReject {
    /// Keep it aside with its reason, and later changes of the row behind it.
    Park,
    /// Keep it aside with its reason and go on.
    DeadLetter,
    /// Halt this sink.
    Stop,
}

/// A sink's loop.
pub struct Deliver<L, S> {
    /// The sink's name.
    pub name: String,
    /// What it reads.
    pub log: L,
    /// What it writes.
    pub sink: S,
    /// What it makes of events.
    pub projection: Projection,
    /// When it commits.
    pub limits: Limits,
    /// What it does with refused rows.
    pub on_reject: OnReject,
    /// Where they go.
    pub dead_letters: DeadLetters,
    /// What an operator wants of it.
    pub orders: Orders,
    /// Where rows without their unchanged TOAST values are completed, if the target cannot.
    pub readback: Readback,
    /// Where it says how it is doing.
    pub board: Board,
}

/// How often an idle target is looked at.
const PROBE_INTERVAL: Duration = Duration::from_secs(2);

/// One kind of session: from asking the target where it is until something goes wrong, or until it is to begin again.
trait Session<L, S>: Send {
    fn session(
        &mut self,
        deliver: &mut Deliver<L, S>,
        backoff: &mut Backoff,
        stop: &CancellationToken,
    ) -> impl Future<Output = Result<Ended, DeliverError>> + Send;
}

/// How a session ended in which nothing went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    /// It was told to stop.
    Stopped,
    /// Another must follow.
    Over,
}

impl<L: Log, S: Sink> Deliver<L, S> {
    /// Runs until told to stop, or until an operator is needed; that error is on the board by then.
    ///
    /// # Errors
    /// What calls for an operator.
    pub async fn run(&mut self, stop: &CancellationToken) -> Result<(), DeliverError> {
        self.keep(whole::Whole, stop).await
    }

    /// The same for a sink that several processes share.
    ///
    /// # Errors
    /// What calls for an operator.
    pub async fn run_shared(&mut self, share: Arc<Share>, stop: &CancellationToken) -> Result<(), DeliverError>
    where
        L: SharedLog,
        S: SharedSink,
    {
        let outcome = self.keep(shared::Shared::new(Arc::clone(&share)), stop).await;
        share.leave().await;
        outcome
    }

    /// Holds one session after another.
    async fn keep(&mut self, mut kind: impl Session<L, S>, stop: &CancellationToken) -> Result<(), DeliverError> {
        let _gauge = gauge::start(self.name.clone(), self.log.clone(), self.board.clone());
        let mut backoff = Backoff::default();
        loop {
            let error = match kind.session(self, &mut backoff, stop).await {
                Ok(Ended::Stopped) => return Ok(()),
                Ok(Ended::Over) => continue,
                Err(error) => error,
            };
            let (code, retry) = (error.code(), error.disposition() == Disposition::Retry);
            self.orders.put_off(&error);
            let delay = backoff.next_delay();
            self.board.sink(&self.name, |status| {
                status.state = if retry { State::Paused } else { State::Halted };
                status.code = Some(code);
                status.message = Some(error.to_string());
                status.attempts = backoff.failures();
            });
            if !retry {
                tracing::error!(sink = %self.name, %code, %error, "halted");
                return Err(error);
            }
            // One line when it begins, then ever fewer.
            if backoff.failures().is_power_of_two() {
                tracing::warn!(sink = %self.name, %code, %error, attempt = backoff.failures(), "paused; trying again");
            }
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                // It may be what lets the sink go on.
                () = self.orders.arrive() => {}
                () = tokio::time::sleep(delay) => {}
            }
        }
    }

    /// What happens to later changes of a row that has a letter. A sink that is to stop at a refused row may have letters of before.
    fn later(&self) -> Later {
        match (self.on_reject, self.projection.kind()) {
            (OnReject::Park, _) | (OnReject::Stop, Kind::History) => Later::Wait,
            (OnReject::DeadLetter, _) | (OnReject::Stop, Kind::State) => Later::Pass,
        }
    }

    /// Whether so many rows are set aside that no more can be.
    fn check_letters(&self) -> Result<(), DeliverError> {
        let (open, limit) = (self.dead_letters.index().open(), self.limits.dead_letters_max);
        if open >= limit { Err(DeliverError::TooManyLetters { sink: self.name.clone(), open, limit }) } else { Ok(()) }
    }

    /// Projects and stages a run of events; `ends`: the last one ends its transaction; `before`: the
    /// checkpoint in front of them.
    async fn apply(
        &mut self,
        events: &[Event],
        ends: bool,
        before: Option<&Checkpoint>,
        batch: &mut Batch,
    ) -> Result<(), DeliverError> {
        let (mut mutations, mut refused) = (Vec::new(), Vec::new());
        let mut row_bytes = 0;
        for event in events {
            row_bytes += event.change.bytes();
            let before = mutations.len();
            match self.project(event, &mut mutations).await? {
                Ok(()) => oversize::refuse(self.limits.row_bytes_max, &mut mutations, before, &mut refused),
                Err(rejection) => refused.push(rejection),
            }
        }
        self.set_aside(&refused)?;
        let mut mutations = coalesce(mutations);
        let returned = take_deletes_of_returned(&mut mutations);
        self.deliver_run(&returned, events, false).await?;
        let is_ahead = before.is_some_and(|before| before.replay.is_some() || before.ahead.is_some());
        if let Some(replay) = before.and_then(|before| before.replay) {
            replay::forget_sweeps(&mut mutations, replay);
        }
        for run in mutations.chunk_by(|one, other| !is_sweep(one) && !is_sweep(other)) {
            match run {
                [Mutation { effect: Effect::Sweep { relation, since }, position, .. }] => {
                    self.sweep(relation, *since, *position).await?;
                }
                run => self.deliver_run(run, events, is_ahead).await?,
            }
        }
        // Before the checkpoint can move past them.
        self.dead_letters.flush()?;
        batch.staged(mutations.len(), row_bytes, ends, Instant::now());
        Ok(())
    }

    /// Stages a run, but for what waits for a letter of its row, and sets aside what is refused. A letter is of the row as it came, so what goes
    /// by the past of a target that is ahead is taken only behind that.
    async fn deliver_run(&mut self, run: &[Mutation], events: &[Event], is_ahead: bool) -> Result<(), DeliverError> {
        let later = self.later();
        let mut run = Cow::Borrowed(run);
        loop {
            if later == Later::Wait && !self.dead_letters.is_quiet() {
                run = Cow::Owned(parked::sift(&mut self.dead_letters, &run)?);
            }
            let mut refused = Vec::new();
            if is_ahead {
                let deletes = replay::forget_the_past(run.to_mut());
                self.stage(&deletes, events, &mut refused).await?;
            }
            let rest = self.stage(&run, events, &mut refused).await?;
            let (looked_at, rest) = run.split_at(rest.unwrap_or(run.len()).min(run.len()));
            if later == Later::Pass && !self.dead_letters.is_quiet() {
                parked::passed(&mut self.dead_letters, looked_at, &refused);
            }
            if !refused.is_empty() {
                self.set_aside(&refused)?;
                self.remove_documents(&refused).await?;
            }
            if rest.is_empty() {
                return Ok(());
            }
            run = Cow::Owned(rest.to_vec());
        }
    }

    /// A row that was refused has no document: a later change that leaves a value alone would be merged with what the row was before.
    async fn remove_documents(&mut self, refused: &[Rejection]) -> Result<(), DeliverError> {
        let puts = refused.iter().filter(|rejection| matches!(rejection.mutation.effect, Effect::Put { .. }));
        let deletes: Vec<Mutation> =
            puts.map(|rejection| Mutation { effect: Effect::Delete, ..rejection.mutation.clone() }).collect();
        if !deletes.is_empty() {
            // A key that the target takes nothing under has no document.
            self.sink.stage(&deletes).await?;
        }
        Ok(())
    }

    /// Keeps refused rows; [`DeadLetters::flush`] makes that durable. Whether one had no letter yet.
    fn set_aside(&mut self, refused: &[Rejection]) -> Result<bool, DeliverError> {
        let mut is_news = false;
        for rejection in refused {
            let mutation = &rejection.mutation;
            if self.on_reject == OnReject::Stop {
                return Err(DeliverError::Refused {
                    table: mutation.table().map_or_else(String::new, |table| format!(" of table {table}")),
                    key: mutation.key.to_string(),
                    position: mutation.position,
                    reason: rejection.reason.clone(),
                });
            }
            let Some(id) = self.dead_letters.keep(rejection, false)? else { continue };
            is_news = true;
            if self.later() == Later::Pass {
                self.dead_letters.supersede_rows(&mutation.rows(), mutation.position);
            }
            tracing::warn!(sink = %self.name, letter = id, key = %mutation.key, position = %mutation.position,
                reason = %rejection.reason, "row set aside in the dead letters");
            self.board.sink(&self.name, |status| status.rejected += 1);
        }
        Ok(is_news)
    }

    /// `applied`: so many have just been committed; `None` where the checkpoint was only read. A target that can be read but not
    /// written stays held up for who looks, or it would seem well for a moment at each attempt.
    fn show_progress(&self, place: &Place, applied: Option<usize>) {
        let end = *self.log.durable().borrow();
        let letters = self.dead_letters.index();
        let rows = if self.later() == Later::Wait { letters.rows() } else { 0 };
        self.board.sink(&self.name, |status| {
            (status.dead_letters, status.parked_keys) = (letters.open(), rows);
            status.checkpoint = Some(place.checkpoint.offset);
            status.position = place.checkpoint.position;
            status.replay = place.checkpoint.replay;
            status.checkpoint_bytes = place.bytes;
            status.set_lag(&end.log_end(), place.commit_time);
            if applied.is_none() && status.attempts > 0 && status.lag_events > 0 {
                return;
            }
            status.applied += applied.and_then(|count| u64::try_from(count).ok()).unwrap_or(0);
            status.attempts = 0;
            (status.code, status.message) = (None, None);
            if status.dead_letters > 0 {
                status.code = Some(Code::SinkRejected);
                status.message = Some(told(&self.name, status.dead_letters, rows));
            }
            status.state = if status.replay.is_some() {
                State::Replaying
            } else if status.dead_letters > 0 {
                State::Degraded
            } else if status.lag_bytes > CATCHING_UP_BYTES {
                State::CatchingUp
            } else {
                State::Streaming
            };
        });
    }
}

/// A sink further behind than this is catching up.
const CATCHING_UP_BYTES: u64 = 4 << 20;

/// How far the loop has read.
struct Place {
    checkpoint: Checkpoint,
    bytes: u64,
    commit_time: Option<Timestamp>,
    /// What was in the log when the session began. A session before it may have written that to a target without transactions, and not its checkpoint.
    doubtful_until: Offset,
}

impl Place {
    /// These were read.
    fn read(&mut self, events: &[Event]) {
        if let Some(last) = events.last() {
            self.checkpoint.position = Some(last.position());
            self.commit_time = Some(last.transaction.commit_time);
        }
    }
}

/// What is set aside, for people.
fn told(sink: &str, letters: usize, rows: usize) -> String {
    let waits = if rows > 0 { format!(", and {rows} keys wait for them") } else { String::new() };
    format!("{letters} changes are in the dead letters{waits}: walbridge dead-letters list {sink}")
}

fn is_sweep(mutation: &Mutation) -> bool {
    matches!(mutation.effect, Effect::Sweep { .. })
}
