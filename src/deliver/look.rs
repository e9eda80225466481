//! A verification's look into the target, and what it has written there: see `verify`.

use std::time::Duration;

use tokio::sync::oneshot;

use super::parked::Later;
use super::{Deliver, DeliverError, Place, oversize};
use crate::event::TableName;
use crate::log::Log;
use crate::project::mutation::{Key, Mutation};
use crate::sink::{Checkpoint, Image, KeyPage, Rejection, Sink};

/// How long the loop holds still for who looks.
const HOLD_MAX: Duration = Duration::from_secs(10);

/// A look, between two transactions, with nothing staged.
#[derive(Debug)]
pub struct Look {
    /// At what.
    pub subject: Subject,
    /// If the loop is to hold still after it: what to write then. It goes on when the other end is dropped, and after some seconds.
    pub hold: Option<oneshot::Receiver<Mend>>,
    /// Hears what was seen, or why nothing was.
    pub answer: oneshot::Sender<Result<Sight, String>>,
}

/// What is looked at.
#[derive(Clone, Debug)]
pub enum Subject {
    /// The documents under these keys.
    Documents(Vec<Key>),
    /// A table's keys, from a page on ([`Sink::keys`]).
    Keys(TableName, Option<u64>),
}

/// What was seen.
#[derive(Debug)]
pub struct Sight {
    /// As of where.
    pub checkpoint: Checkpoint,
    /// The target holds nothing newer than that. If not, it is to be looked at again later.
    pub is_settled: bool,
    /// What.
    pub found: Found,
}

/// See [`Subject`].
#[derive(Debug)]
pub enum Found {
    /// One for each key; none at all if the target cannot be read.
    Documents(Vec<Option<Image>>),
    /// A page of keys.
    Keys(KeyPage),
}

/// What is to be written: whole documents and deletes, as of the checkpoint that was told.
#[derive(Debug)]
pub struct Mend {
    /// These. Their Positions mean nothing.
    pub mutations: Vec<Mutation>,
    /// Hears what of it the target refuses, once the rest is committed; or why nothing was.
    pub refused: oneshot::Sender<Result<Vec<Rejection>, String>>,
}

impl<L: Log, S: Sink> Deliver<L, S> {
    /// Looks, and writes what is wanted then. Everything staged is committed.
    pub(super) async fn look(&mut self, order: Look, place: &Place) -> Result<(), DeliverError> {
        let Look { subject, hold, answer } = order;
        let found = match subject {
            Subject::Documents(keys) => Found::Documents(self.sink.read(&keys).await?),
            Subject::Keys(table, from) => Found::Keys(self.sink.keys(&table, from).await?),
        };
        let checkpoint = place.checkpoint;
        // A session before this one may have written, without its checkpoint, what was in the log then.
        let is_settled = checkpoint.replay.is_none() && checkpoint.offset >= place.doubtful_until;
        let (true, Some(hold)) = (answer.send(Ok(Sight { checkpoint, is_settled, found })).is_ok(), hold) else {
            return Ok(());
        };
        let Ok(Ok(Mend { mutations, refused })) = tokio::time::timeout(HOLD_MAX, hold).await else { return Ok(()) };
        match self.mend(mutations, checkpoint).await {
            Ok(rejections) => drop(refused.send(Ok(rejections))),
            Err(error) => {
                drop(refused.send(Err(format!("the sink was held up: {error}"))));
                return Err(error);
            }
        }
        Ok(())
    }

    /// Through the same fence as everything, and with the checkpoint that is there.
    async fn mend(&mut self, mutations: Vec<Mutation>, place: Checkpoint) -> Result<Vec<Rejection>, DeliverError> {
        let (mut run, mut refused) = (Vec::with_capacity(mutations.len()), Vec::new());
        for mutation in mutations.into_iter().map(Mutation::late) {
            match oversize::reason(&mutation, self.limits.row_bytes_max).or_else(|| self.waits(&mutation)) {
                Some(reason) => refused.push(Rejection { mutation, reason }),
                None => run.push(mutation),
            }
        }
        if run.is_empty() {
            return Ok(refused);
        }
        refused.extend(self.sink.stage(&run).await?.rejected);
        refused.extend(self.sink.flush().await?);
        self.sink.commit(place).await?;
        tracing::info!(sink = %self.name, keys = run.len(), refused = refused.len(), place = %place.offset, "repaired");
        Ok(refused)
    }

    /// Why a row is not put right: it waits, and has no document until its letter is settled.
    fn waits(&self, mutation: &Mutation) -> Option<String> {
        let first = self.dead_letters.index().holding(&mutation.rows(), mutation.position)?;
        let list = format!("its change at {first} is set aside: walbridge dead-letters list {}", self.name);
        (self.later() == Later::Wait).then_some(list)
    }
}
