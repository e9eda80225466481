//! A target that is built anew beside the one that readers have, while that goes on being delivered, and then takes its place.
//!
//! What is beside is fed by a loop like any other, with a checkpoint and letters of its own: there is no second way to apply an event. What
//! is special is the end:
//! 1. Once it has all that was in the log when it began, and all that the readers' target has, it is compared with the source. One that differs
//!    never takes the place.
//! 2. The readers' loop commits and stops; the other goes on until it is as far. So readers never go back in time.
//! 3. That it takes the place now, and which it is, is written down (`mark`).
//! 4. It takes the place, checkpoint and all, in one act of the target ([`Replaceable::replace`]); its letters become the sink's.
//! 5. The sink's loop begins a session like any other: it asks the target where it is, and goes on from there. The old target, if it is not to be
//!    kept, stands beside now, and is removed when searches that had begun in it are over.
//!
//! A crash before the third step finds a target beside and goes on with it; one behind it does the rest first, before anything is written.

mod building;
mod check;
mod mark;

use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use self::building::Building;
use self::mark::{Mark, Marks, Step};
use super::{Deliver, DeliverError};
use crate::dead_letter::DeadLetters;
use crate::event::{Span, Timestamp};
use crate::log::Log;
use crate::retry::Backoff;
use crate::sink::{Old, Replaceable, SinkError};
use crate::status::{Board, Disposition, RebuildStatus, State};

/// An answer to come.
pub type Pending<A> = Pin<Box<dyn Future<Output = A> + Send>>;

/// Makes the loop of what is built beside, which tells on this board how it is doing; or says why there is none yet.
pub type Begin<L, S> = Box<dyn Fn(Board) -> Pending<Result<Beside<L, S>, String>> + Send + Sync>;

/// What is built beside.
pub struct Beside<L, S> {
    /// Its loop.
    pub deliver: Deliver<L, S>,
    /// Compares it with the source, while its loop runs.
    pub verify: Verify,
}

/// See [`Beside::verify`].
pub type Verify = Box<dyn Fn() -> Pending<Verification> + Send + Sync>;

/// What a verification came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verification {
    /// So many keys are not as they should be. What has been refused is among them.
    Done {
        /// How many.
        differences: u64,
    },
    /// It could not be done, for now.
    Failed(String),
}

/// Has the sink's tables copied again, and says which those are, or why none.
pub type CopyTables = Box<dyn Fn() -> Pending<Result<Vec<String>, String>> + Send + Sync>;

/// Who hears which events are applied to what is built, as of now; `None`: nothing is any more. Or why nothing is done.
pub type Answer = oneshot::Sender<Result<Option<Span>, String>>;

/// What can be ordered.
#[derive(Debug)]
pub enum RebuildOrder {
    /// To begin.
    Begin {
        /// What becomes of the target that readers have now.
        old: Old,
        /// With new copies of the tables, and not with the log's beginning.
        copy: bool,
        /// See there.
        answer: Answer,
    },
    /// To leave off, and to remove what is beside.
    Cancel {
        /// See there.
        answer: Answer,
    },
}

/// What is needed to build a sink's target anew.
pub struct Rebuild<L, S> {
    /// Where what is told of rebuilds is kept until they are done.
    pub directory: PathBuf,
    /// The directory of all sinks' letters.
    pub letters: PathBuf,
    /// The source's name.
    pub source: String,
    /// See [`Begin`].
    pub begin: Begin<L, S>,
    /// See [`CopyTables`].
    pub copy: CopyTables,
    /// What an operator wants.
    pub orders: mpsc::Receiver<RebuildOrder>,
}

impl<L: Log, S: Replaceable> Rebuild<L, S> {
    /// Runs the sink's loop, and beside it whatever is ordered, until told to stop. What calls for an operator is on the board.
    ///
    /// # Errors
    /// What is remembered of a rebuild cannot be read.
    pub async fn run(mut self, mut live: Deliver<L, S>, stop: &CancellationToken) -> Result<(), DeliverError> {
        let marks = Marks::new(&self.directory, &self.letters, &live.name);
        let mut mark = marks.read()?;
        let mut failed = false;
        if let Some(Mark { from, step: Step::Building | Step::Replacing(_), .. }) = mark {
            let begun = RebuildStatus { from, checkpoint: from, ..RebuildStatus::default() };
            live.board.sink(&live.name, |status| status.rebuild = Some(begun));
        }
        while !stop.is_cancelled() {
            if let Some(ready @ Mark { step: Step::Replacing(_), .. }) = &mark {
                match self.replace(&mut live, &marks, ready, stop).await {
                    Some(Ok(next)) => mark = next,
                    Some(Err(why)) => {
                        failed = true;
                        show_failed(&live.board, &live.name, &why);
                        let again = Mark { step: Step::Building, ..ready.clone() };
                        marks.write(&again)?;
                        mark = Some(again);
                    }
                    None => return Ok(()),
                }
            }
            let (hold, held) = (stop.child_token(), CancellationToken::new());
            let mut building = Building {
                marks: &marks,
                mark,
                log: live.log.clone(),
                sink: live.name.clone(),
                board: live.board.clone(),
                failed,
                hold: hold.clone(),
                held: held.clone(),
                stop: stop.clone(),
                rebuild: &mut self,
            };
            let serving = async {
                live.serve(&hold).await;
                held.cancel();
            };
            tokio::join!(serving, building.run());
            (mark, failed) = (building.mark, building.failed);
        }
        Ok(())
    }

    /// Returns what is still to be done behind it. `None`: told to stop. An error is why it will not take the place; what readers have is as
    /// before then.
    async fn replace(
        &self,
        live: &mut Deliver<L, S>,
        marks: &Marks,
        mark: &Mark,
        stop: &CancellationToken,
    ) -> Option<Result<Option<Mark>, String>> {
        let Step::Replacing(by) = &mark.step else { return Some(Ok(None)) };
        let mut backoff = Backoff::default();
        loop {
            let error = match live.sink.replace(by, mark.old).await {
                Ok(()) => match self.take_over(live, marks, mark) {
                    Ok(next) => return Some(Ok(next)),
                    Err(error) => DeliverError::DeadLetters(error),
                },
                Err(error) if error.disposition() == Disposition::Stop => return Some(Err(error.to_string())),
                Err(error @ SinkError::Regressed { .. }) => return Some(Err(error.to_string())),
                Err(error) => error.into(),
            };
            tracing::warn!(sink = %live.name, %error, "not replaced yet; trying again");
            live.board.sink(&live.name, |status| {
                (status.state, status.code) = (State::Paused, Some(error.code()));
                status.message = Some(format!("what was rebuilt takes its place: {error}"));
            });
            tokio::select! {
                () = stop.cancelled() => return None,
                () = tokio::time::sleep(backoff.next_delay()) => {}
            }
        }
    }

    /// What is told of the new target is told of the sink.
    fn take_over(&self, live: &mut Deliver<L, S>, marks: &Marks, mark: &Mark) -> io::Result<Option<Mark>> {
        marks.move_letters()?;
        live.dead_letters = DeadLetters::open(&self.letters, &live.name, &self.source)?;
        let next = match mark.old {
            Old::Kept => None,
            Old::Dropped => Some(Mark { step: Step::Replaced, ..mark.clone() }),
        };
        match &next {
            Some(next) => marks.write(next)?,
            None => marks.remove()?,
        }
        live.board.sink(&live.name, |status| (status.rebuild, status.rebuilt) = (None, Some(Timestamp::now())));
        tracing::info!(sink = %live.name, "rebuilt: the new target has taken the place of the old one");
        Ok(next)
    }
}

impl<L: Log, S: Replaceable> Deliver<L, S> {
    /// Runs until told to stop; once it has halted, orders are answered with the reason.
    async fn serve(&mut self, stop: &CancellationToken) {
        let Err(error) = self.run(stop).await else { return };
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.orders.arrive() => self.orders.put_off(&error),
            }
        }
    }
}

fn show_failed(board: &Board, sink: &str, why: &str) {
    tracing::error!(%sink, why, "not rebuilt");
    board.sink(sink, |status| {
        let before = status.rebuild.take().unwrap_or_default();
        status.rebuild = Some(RebuildStatus { state: State::Halted, message: Some(why.to_owned()), ..before });
    });
}
