//! All of a sink's keys on one node: one transaction after another on a connection, each fenced by the checkpoints it starts from.
//!
//! `WATCH` on the checkpoint is set, and its value compared with what we left there, before each transaction begins ([`Fence`]): then
//! `EXEC` does nothing if anybody has touched it since, FLUSHALL included. Both travel behind the `EXEC` before, so a commit
//! is one round trip.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use redis::Pipeline;

use super::connect::Connection;
use super::fence::{self, Fence, Text};
use super::held::Held;
use super::merge::Sent;
use super::parts::{self, Owned};
use super::reply;
use super::{DocumentKeys, Target, checkpoint, rehearse, write};
use crate::log::LogId;
use crate::log::share::{Part, Reached};
use crate::sink::{Checkpoint, Claim, SinkError, belief};

/// What an `EXEC` may take for each held-full of writes that were sent before it.
const EXEC_TIMEOUT_PER_SEND: Duration = Duration::from_secs(1);

/// See the module.
pub(super) struct One {
    target: Arc<Target>,
    writer: Connection,
    /// Reads what is committed while the writer's transaction is open. Made when first needed.
    reader: Option<Connection>,
    /// Around the checkpoints in the target, as we last read or wrote them.
    fence: Fence,
    checkpoints: Checkpoints,
    /// Set while a transaction is open at the server.
    open: Option<Open>,
    /// Keys in the open transaction.
    sent: Sent,
}

/// What a sink's checkpoints are.
enum Checkpoints {
    /// One, of all that it takes.
    Whole(Option<Checkpoint>),
    /// One for each part that is ours.
    Parts(Owned),
}

/// A transaction at the server.
#[derive(Clone, Copy, Default)]
struct Open {
    /// Script calls so far.
    parts: u64,
    /// Pipelines so far.
    sends: u32,
}

impl One {
    pub(super) async fn open(target: Arc<Target>) -> Result<Self, SinkError> {
        let mut writer = target.address.connect().await?;
        rehearse::publish(&target, &mut writer).await?;
        let mut fence = Fence::around(vec![target.own.checkpoint.clone()]);
        let found = watch(&target, &fence, &mut writer, Pipeline::new()).await?;
        let belief = found.first().cloned().flatten().map(|text| checkpoint::read_whole(&target, &text)).transpose()?;
        fence.leave(found);
        Ok(One::new(target, writer, fence, Checkpoints::Whole(belief)))
    }

    /// Makes these parts ours; see [`crate::sink::SharedSink::claim`].
    pub(super) async fn claim(
        target: Arc<Target>,
        log: LogId,
        parts: &[Part],
    ) -> Result<(Self, Vec<Claim>), SinkError> {
        let mut writer = target.address.connect().await?;
        rehearse::publish(&target, &mut writer).await?;
        let (fence, owned, claims) = parts::claim(&target, &mut writer, log, parts).await?;
        Ok((One::new(target, writer, fence, Checkpoints::Parts(owned)), claims))
    }

    fn new(target: Arc<Target>, writer: Connection, fence: Fence, checkpoints: Checkpoints) -> Self {
        One { target, writer, reader: None, fence, checkpoints, open: None, sent: Sent::default() }
    }

    pub(super) fn belief(&self) -> Option<Checkpoint> {
        match self.checkpoints {
            Checkpoints::Whole(belief) => belief,
            Checkpoints::Parts(_) => None,
        }
    }

    /// Whether what is committed under a key is what the key has with what was sent.
    pub(super) fn is_committed(&self, key: &[u8]) -> bool {
        !self.sent.may_contain(key)
    }

    /// Reads what is committed.
    pub(super) async fn reader(&mut self) -> Result<&mut Connection, SinkError> {
        let reader = match self.reader.take() {
            Some(reader) => reader,
            None => self.target.address.connect().await?,
        };
        Ok(self.reader.insert(reader))
    }

    /// Sends what is held into the open transaction. `listed`: its keys are remembered one by one, for a TRUNCATE.
    pub(super) async fn send(&mut self, held: &Held, listed: bool) -> Result<(), SinkError> {
        let (pipeline, open) = self.part(held);
        let replies = self.writer.ask(&pipeline).await?;
        reply::queued(self.shown(), replies)?;
        for key in held.keys() {
            self.sent.insert(key);
            if listed {
                self.sent.list(key);
            }
        }
        self.open = Some(open);
        Ok(())
    }

    /// Takes back what was sent of a table that is emptied. What cannot be taken back, for it is in one transaction with other tables' rows, is
    /// returned, to be removed again; `None`: it is no longer known what that is.
    pub(super) async fn forget(&mut self, keys: &DocumentKeys) -> Result<Option<Vec<Bytes>>, SinkError> {
        if self.open.is_some() && keys.all {
            // All that was sent would be removed again.
            let mut discard = Pipeline::new();
            discard.cmd("DISCARD");
            let found = watch(&self.target, &self.fence, &mut self.writer, discard).await?;
            self.verify(&found)?;
            self.open = None;
            self.sent.clear();
        }
        Ok(self.sent.take_listed(|key| (keys.matches)(key)))
    }

    pub(super) async fn commit(&mut self, held: &Held, upto: Checkpoint) -> Result<(), SinkError> {
        self.execute(held, &[(0, checkpoint::encode(&upto, false))], Some(upto)).await
    }

    /// The same for parts.
    pub(super) async fn advance(&mut self, held: &Held, upto: &[(Part, Reached)]) -> Result<(), SinkError> {
        let writes = match &self.checkpoints {
            Checkpoints::Parts(owned) => owned.writes(upto),
            Checkpoints::Whole(_) => Vec::new(),
        };
        self.execute(held, &writes, None).await
    }

    /// How far some parts are, whoever has them.
    pub(super) async fn reached(&mut self, parts: &[Part]) -> Result<Vec<Option<Reached>>, SinkError> {
        let target = Arc::clone(&self.target);
        parts::reached(&target, self.reader().await?, parts).await
    }

    /// Makes what was sent and what is held visible, with these checkpoints, by the numbers of their keys. `whole`: the same where there is one.
    async fn execute(
        &mut self,
        held: &Held,
        writes: &[(usize, Vec<u8>)],
        whole: Option<Checkpoint>,
    ) -> Result<(), SinkError> {
        let (mut pipeline, open) = self.part(held);
        let keys: Vec<(&Vec<u8>, &Text)> = self.fence.keys().collect();
        let pairs = writes.iter().filter_map(|(number, text)| Some((keys.get(*number)?.0.as_slice(), text.as_slice())));
        pipeline.add_command(write::finish(&self.target.own, open.parts, &pairs.collect::<Vec<_>>()));
        pipeline.cmd("EXEC");
        let exec_at = pipeline.len().saturating_sub(1);
        let allowance = EXEC_TIMEOUT_PER_SEND.saturating_mul(open.sends);
        self.writer.set_response_timeout(self.target.address.response_timeout().saturating_add(allowance));
        self.fence.add_watch(&mut pipeline);
        let mut replies = self.writer.ask(&pipeline).await?;
        let mut tail = replies.split_off(exec_at);
        reply::queued(self.shown(), replies)?;
        let watched = tail.split_off(1);
        let applied = reply::executed(self.shown(), tail.pop())?;
        let found = self.fence.read_watch(self.shown(), watched)?;
        if applied {
            self.fence.leave(self.fence.behind(writes));
            if let Checkpoints::Whole(belief) = &mut self.checkpoints {
                *belief = whole;
            }
        }
        self.verify(&found)?;
        if !applied {
            let detail = "its checkpoint was touched during the transaction".to_owned();
            return Err(SinkError::Regressed { target: self.shown().to_owned(), detail });
        }
        self.open = None;
        self.sent.clear();
        Ok(())
    }

    /// Compares what was found with what we left.
    fn verify(&self, found: &[Text]) -> Result<(), SinkError> {
        if self.fence.keys().map(|(_, left)| left).eq(found) {
            return Ok(());
        }
        match &self.checkpoints {
            Checkpoints::Whole(belief) => {
                let found = found.first().cloned().flatten();
                let found = found.map(|text| checkpoint::read_whole(&self.target, &text)).transpose()?;
                belief::verify(self.shown(), found, *belief)
            }
            Checkpoints::Parts(owned) => Err(owned.judge(&self.target, found)),
        }
    }

    pub(super) async fn probe(&mut self) -> Result<(), SinkError> {
        let mut pipeline = Pipeline::new();
        self.fence.add_reads(&mut pipeline);
        // Inside a transaction the writer's commands would only be queued.
        let connection = if self.open.is_some() { self.reader().await? } else { &mut self.writer };
        let replies = connection.ask(&pipeline).await?;
        self.verify(&fence::read(self.shown(), replies.into_iter())?)
    }

    /// The commands that bring what is held into the transaction, which they open if none is; and what it is then.
    fn part(&self, held: &Held) -> (Pipeline, Open) {
        let mut pipeline = Pipeline::new();
        let mut open = self.open.unwrap_or_default();
        if self.open.is_none() {
            write::begin(&self.target.form, &self.target.own, &mut pipeline);
        }
        write::apply(held, &self.target.own, &self.target.form, &mut open.parts, &mut pipeline);
        open.sends = open.sends.saturating_add(1);
        (pipeline, open)
    }

    fn shown(&self) -> &str {
        self.target.address.shown()
    }
}

/// Watches some keys and reads them, after some other commands.
pub(super) async fn watch(
    target: &Target,
    fence: &Fence,
    connection: &mut Connection,
    mut pipeline: Pipeline,
) -> Result<Vec<Text>, SinkError> {
    fence.add_watch(&mut pipeline);
    let mut replies = connection.ask(&pipeline).await?;
    let watched = replies.split_off(replies.len().saturating_sub(fence.replies()));
    fence.read_watch(target.address.shown(), watched)
}
