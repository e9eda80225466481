//! Where a sink's keys are: all on one node, which takes whole transactions, or spread over the slots of a cluster.

use std::sync::Arc;

use bytes::Bytes;
use redis::{Cmd, Pipeline};

use super::held::Held;
use super::one::One;
use super::reply::Reply;
use super::spread::Spread;
use super::{DocumentKeys, Target};
use crate::event::Position;
use crate::sink::{Checkpoint, SinkError};

/// See the module.
pub(super) enum Home {
    One(Box<One>),
    Spread(Box<Spread>),
}

impl Home {
    pub(super) async fn open(target: Arc<Target>) -> Result<Self, SinkError> {
        Ok(match target.is_spread {
            false => Home::One(Box::new(One::open(target).await?)),
            true => Home::Spread(Box::new(Spread::open(target).await?)),
        })
    }

    pub(super) fn belief(&self) -> Option<Checkpoint> {
        match self {
            Home::One(one) => one.belief(),
            Home::Spread(spread) => spread.belief(),
        }
    }

    /// The target has what happened at this Position: an older mutation never wins over a newer. `key`: the one that it goes to, if it is one.
    pub(super) fn is_old(&self, position: Position, key: impl FnOnce() -> Option<Bytes>) -> bool {
        if self.belief().and_then(|belief| belief.position).is_some_and(|reached| position <= reached) {
            return true;
        }
        match self {
            Home::One(_) => false,
            // Its slot may be further than all are.
            Home::Spread(spread) => key().is_some_and(|key| spread.is_behind(&key, position)),
        }
    }

    /// Whether what is read under a key is what the row of a mutation had before it. `moved`: under another key.
    pub(super) fn is_as_read(&self, key: &[u8], moved: bool, position: Position) -> bool {
        match self {
            Home::One(one) => one.is_committed(key),
            // Under its own key it may be younger than the mutation, too: then that comes next.
            Home::Spread(spread) => !moved || spread.is_older(key, position),
        }
    }

    /// Asks for what is committed. Each command has its key where [`Spread`] looks for it.
    pub(super) async fn ask(&mut self, commands: &Pipeline) -> Result<Vec<Reply>, SinkError> {
        match self {
            Home::One(_) if commands.is_empty() => Ok(Vec::new()),
            Home::One(one) => one.reader().await?.ask(commands).await,
            Home::Spread(spread) => spread.ask(commands).await,
        }
    }

    /// The same with one command.
    pub(super) async fn ask_one(&mut self, command: Cmd) -> Result<Reply, SinkError> {
        let mut pipeline = Pipeline::new();
        pipeline.add_command(command);
        Ok(self.ask(&pipeline).await?.pop().unwrap_or(Reply::Other))
    }

    /// See [`super::connect::Connection::scan`].
    pub(super) async fn scan(&mut self, from: u64, glob: &[u8]) -> Result<(Option<u64>, Vec<Vec<u8>>), SinkError> {
        match self {
            Home::One(one) => one.reader().await?.scan(from, glob).await,
            Home::Spread(spread) => spread.scan(from, glob).await,
        }
    }

    /// Sends what is held, of which nothing is younger than `staged`. `listed`: see [`One::send`].
    pub(super) async fn send(&mut self, held: &Held, staged: Option<Position>, listed: bool) -> Result<(), SinkError> {
        match self {
            Home::One(one) => one.send(held, listed).await,
            Home::Spread(spread) => spread.send(held, staged).await,
        }
    }

    /// See [`One::forget`]. What is spread shows what was sent, to whoever lists it.
    pub(super) async fn forget(&mut self, keys: &DocumentKeys) -> Result<Option<Vec<Bytes>>, SinkError> {
        match self {
            Home::One(one) => one.forget(keys).await,
            Home::Spread(_) => Ok(Some(Vec::new())),
        }
    }

    pub(super) async fn commit(&mut self, held: &Held, upto: Checkpoint) -> Result<(), SinkError> {
        match self {
            Home::One(one) => one.commit(held, upto).await,
            Home::Spread(spread) => spread.commit(held, upto).await,
        }
    }

    pub(super) async fn probe(&mut self) -> Result<(), SinkError> {
        match self {
            Home::One(one) => one.probe().await,
            Home::Spread(spread) => spread.probe().await,
        }
    }
}
