//! One transaction after another on a connection, each fenced by the checkpoints it starts from.
//!
//! `WATCH` on the checkpoint is set, and its value compared with what we left there, before each transaction begins ([`Fence`]): then
//! `EXEC` does nothing if anybody has touched it since, FLUSHALL included. Both travel behind the `EXEC` before, so a commit
//! is one round trip. A session is dropped at the first error, and everything unfinished with it.

mod hold;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use redis::Pipeline;

use self::hold::{Outcome, Seen};
use super::checkpoint;
use super::connect::Connection;
use super::fence::{self, Fence, Text};
use super::kept::{self, Foreign};
use super::merge::{Content, Sent};
use super::parts::{self, Owned};
use super::reply::{self, Reply};
use super::stream::Tails;
use super::walk::Walks;
use super::write::{self, Before, Held};
use super::{DocumentKeys, Target, ValueKind, member, rehearse};
use crate::event::TableName;
use crate::log::LogId;
use crate::log::share::{Part, Reached};
use crate::project::mutation::{Effect, Key, Mutation};
use crate::sink::belief;
use crate::sink::{Checkpoint, Claim, Image, KeyPage, Rejection, SinkError, Staged};

/// Writes are held here up to this size, and beyond it sent into the open transaction.
const HELD_BYTES_MAX: usize = 4 << 20;
/// Stored documents that are read, and kept in memory, at once.
const READ_TOGETHER: usize = 32;
/// The same for those who compare.
const COMPARED_TOGETHER: usize = 500;
/// What an `EXEC` may take for each held-full of writes that were sent before it.
const EXEC_TIMEOUT_PER_SEND: Duration = Duration::from_secs(1);

/// A connection that has read the checkpoint.
pub(super) struct Session {
    target: Arc<Target>,
    writer: Connection,
    /// Reads what is committed while the writer's transaction is open. Made when first needed.
    reader: Option<Connection>,
    /// Around the checkpoints in the target, as we last read or wrote them.
    fence: Fence,
    checkpoints: Checkpoints,
    held: Held,
    /// Set while a transaction is open at the server.
    open: Option<Open>,
    /// Keys in the open transaction.
    sent: Sent,
    /// Where the streams end, with what is staged.
    tails: Tails,
    /// Listings of members under way.
    walks: Walks,
    /// The sink has one table, so that a TRUNCATE removes all of its documents. Known with the first of them.
    one_table: Option<bool>,
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

/// What stands under a key.
enum Found {
    Nothing,
    Content(Content),
    /// A member of a collection.
    Member(Image),
    /// A value of a type that we do not write.
    Foreign,
}

impl Session {
    pub(super) async fn open(target: Arc<Target>) -> Result<Self, SinkError> {
        let mut writer = target.address.connect().await?;
        rehearse::publish(&target, &mut writer).await?;
        let mut fence = Fence::around(vec![target.own.checkpoint.clone()]);
        let found = watch(&target, &fence, &mut writer, Pipeline::new()).await?;
        let belief = found.first().cloned().flatten().map(|text| checkpoint::read_whole(&target, &text)).transpose()?;
        fence.leave(found);
        Ok(Session::new(target, writer, fence, Checkpoints::Whole(belief)))
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
        Ok((Session::new(target, writer, fence, Checkpoints::Parts(owned)), claims))
    }

    fn new(target: Arc<Target>, writer: Connection, fence: Fence, checkpoints: Checkpoints) -> Self {
        Session {
            target,
            writer,
            reader: None,
            fence,
            checkpoints,
            held: Held::default(),
            open: None,
            sent: Sent::default(),
            tails: Tails::default(),
            walks: Walks::default(),
            one_table: None,
        }
    }

    pub(super) fn belief(&self) -> Option<Checkpoint> {
        match self.checkpoints {
            Checkpoints::Whole(belief) => belief,
            Checkpoints::Parts(_) => None,
        }
    }

    pub(super) async fn stage(&mut self, mutations: &[Mutation]) -> Result<Staged, SinkError> {
        let mut staged = Staged::default();
        self.held.begin_run();
        let mut rest = mutations;
        while !rest.is_empty() {
            let (group, later) = rest.split_at(self.group_length(rest));
            let seen = Seen { stored: self.read_stored(group).await?, foreign: self.look_at_kept(group).await? };
            let index = mutations.len().saturating_sub(rest.len());
            for (index, mutation) in (index..).zip(group) {
                if self.is_old(mutation) {
                    continue;
                }
                if let Effect::Clear(table) = &mutation.effect {
                    self.clear(table).await?;
                    continue;
                }
                match self.hold(mutation, &seen) {
                    Outcome::Staged => self.send_if_full().await?,
                    Outcome::Incomplete => staged.incomplete.push(index),
                    Outcome::Rejected(reason) => {
                        staged.rejected.push(Rejection { mutation: mutation.clone(), reason });
                        if self.target.form.value == ValueKind::Stream {
                            staged.rest = Some(index.saturating_add(1));
                            return Ok(staged);
                        }
                    }
                }
            }
            rest = later;
        }
        Ok(staged)
    }

    pub(super) async fn commit(&mut self, upto: Checkpoint) -> Result<(), SinkError> {
        self.execute(&[(0, checkpoint::encode(&upto, false))], Some(upto)).await
    }

    /// The same for parts.
    pub(super) async fn advance(&mut self, upto: &[(Part, Reached)]) -> Result<(), SinkError> {
        let writes = match &self.checkpoints {
            Checkpoints::Parts(owned) => owned.writes(upto),
            Checkpoints::Whole(_) => Vec::new(),
        };
        self.execute(&writes, None).await
    }

    /// How far some parts are, whoever has them.
    pub(super) async fn reached(&mut self, parts: &[Part]) -> Result<Vec<Option<Reached>>, SinkError> {
        let target = Arc::clone(&self.target);
        parts::reached(&target, self.reader().await?, parts).await
    }

    /// Makes what was staged visible, with these checkpoints, by the numbers of their keys. `whole`: the same where there is one.
    async fn execute(&mut self, writes: &[(usize, Vec<u8>)], whole: Option<Checkpoint>) -> Result<(), SinkError> {
        let (mut pipeline, open) = self.part();
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
        self.held = Held::default();
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

    /// The target has it already: an older mutation never wins over a newer.
    fn is_old(&self, mutation: &Mutation) -> bool {
        let position = self.belief().and_then(|belief| belief.position);
        position.is_some_and(|position| mutation.position <= position)
    }

    /// How many mutations to take at once, so that no more than [`READ_TOGETHER`] documents have to be read for them.
    fn group_length(&self, mutations: &[Mutation]) -> usize {
        let mut reads = 0;
        let fits = mutations.iter().take_while(|mutation| {
            reads += usize::from(self.source(mutation).is_some());
            reads <= READ_TOGETHER
        });
        fits.count()
    }

    /// The key whose document has what the row lacks; `None` if nothing lacks.
    fn source<'m>(&self, mutation: &'m Mutation) -> Option<&'m Key> {
        let Effect::Put { document, moved_from } = &mutation.effect else { return None };
        let needed = self.target.form.value.merges() && document.row.lacks_values() && !self.is_old(mutation);
        needed.then(|| moved_from.as_ref().unwrap_or(&mutation.key))
    }

    /// Which keys that the group would add to are another's.
    async fn look_at_kept(&mut self, group: &[Mutation]) -> Result<Foreign, SinkError> {
        if self.target.form.value.kept_type().is_none() {
            return Ok(Foreign::new());
        }
        let target = Arc::clone(&self.target);
        let mut tails = std::mem::take(&mut self.tails);
        let looked = kept::look(&target, group, &mut tails, self.reader().await?).await;
        self.tails = tails;
        looked
    }

    /// The documents, as committed, that rows of the group lack values of.
    async fn read_stored(&mut self, group: &[Mutation]) -> Result<HashMap<Bytes, Content>, SinkError> {
        let mut keys: Vec<Bytes> = Vec::new();
        for mutation in group {
            let Some(key) = self.source(mutation) else { continue };
            if self.held.before_run(&key.0) == Before::Untouched && !self.sent.may_contain(&key.0) {
                keys.push(key.0.clone());
            }
        }
        let found = self.look_up(keys.iter()).await?;
        // Where somebody else's value stands, ours will replace it.
        let ours = |(key, found)| if let Found::Content(content) = found { Some((key, content)) } else { None };
        Ok(keys.into_iter().zip(found).filter_map(ours).collect())
    }

    /// What stands under each of these keys, as committed.
    async fn look_up(&mut self, keys: impl Iterator<Item = &Bytes>) -> Result<Vec<Found>, SinkError> {
        let kind = self.target.form.value;
        let read = if matches!(kind, ValueKind::Hash | ValueKind::Fields) { "HGETALL" } else { "GET" };
        let mut pipeline = Pipeline::new();
        for key in keys {
            if kind.is_collection() {
                member::ask(kind, key, &mut pipeline);
            } else {
                pipeline.cmd(read).arg(key.as_ref());
            }
        }
        if pipeline.is_empty() {
            return Ok(Vec::new());
        }
        let replies = self.reader().await?.ask(&pipeline).await?;
        let found = |reply: Reply| match reply {
            Reply::Refused(refusal) if refusal.code() == "WRONGTYPE" => Ok(Found::Foreign),
            reply if kind.is_collection() => {
                let image = member::image(kind, &reply.accepted(self.shown(), "read")?);
                Ok(image.map_or(Found::Nothing, Found::Member))
            }
            reply => {
                let content = Content::from_reply(reply.accepted(self.shown(), read)?);
                let own = |content: Content| content.own(&self.target.own.field);
                let content = if kind == ValueKind::Fields { content.and_then(own) } else { content };
                Ok(content.map_or(Found::Nothing, Found::Content))
            }
        };
        replies.into_iter().map(found).collect()
    }

    /// See [`crate::sink::Sink::read`].
    pub(super) async fn read(&mut self, keys: &[Key]) -> Result<Vec<Option<Image>>, SinkError> {
        let mut images = Vec::with_capacity(keys.len());
        for group in keys.chunks(COMPARED_TOGETHER) {
            let found = self.look_up(group.iter().map(|key| &key.0)).await?;
            images.extend(found.into_iter().map(|found| match found {
                Found::Nothing => None,
                Found::Content(content) => Some(content.image()),
                Found::Member(image) => Some(image),
                Found::Foreign => Some(Image::foreign("a value of another type than this sink writes")),
            }));
        }
        Ok(images)
    }

    /// Removes a table's documents: those in the target, and those staged before.
    async fn clear(&mut self, table: &TableName) -> Result<(), SinkError> {
        let keys = (self.target.keys_of)(table);
        if self.open.is_some() && keys.all {
            // All that was sent would be removed again.
            let mut discard = Pipeline::new();
            discard.cmd("DISCARD");
            let found = watch(&self.target, &self.fence, &mut self.writer, discard).await?;
            self.verify(&found)?;
            self.open = None;
            self.sent.clear();
        }
        self.held.forget(|key| (keys.matches)(key));
        let sent = self.sent.take_listed(|key| (keys.matches)(key)).ok_or_else(|| SinkError::Unusable {
            target: self.shown().to_owned(),
            detail: format!("{table} was truncated in one transaction with some million other changes"),
            remedy: "Give each table a sink of its own".to_owned(),
        })?;
        for key in sent {
            self.held.remove(key);
            self.send_if_full().await?;
        }
        let mut from = None;
        loop {
            let page = self.scan(&keys, from).await?;
            for key in page.keys {
                self.held.remove(key.0);
                self.send_if_full().await?;
            }
            from = page.next;
            if from.is_none() {
                return Ok(());
            }
        }
    }

    /// See [`crate::sink::Sink::keys`].
    pub(super) async fn keys(&mut self, table: &TableName, from: Option<u64>) -> Result<KeyPage, SinkError> {
        let keys = (self.target.keys_of)(table);
        self.scan(&keys, from).await
    }

    /// Some of the keys in the target. Redis promises to show each that is there from the first page to the last.
    async fn scan(&mut self, keys: &DocumentKeys, from: Option<u64>) -> Result<KeyPage, SinkError> {
        if self.target.form.value.is_collection() {
            let (target, kind) = (Arc::clone(&self.target), self.target.form.value);
            let mut walks = std::mem::take(&mut self.walks);
            let page = walks.page(kind, keys, from, target.address.shown(), self.reader().await?).await?;
            self.walks = walks;
            return Ok(page);
        }
        let (next, found) = self.reader().await?.scan(from.unwrap_or_default(), &keys.glob).await?;
        let ours = found.into_iter().filter(|key| (keys.matches)(key) && !self.target.own.is_reserved(key));
        Ok(KeyPage { keys: ours.map(|key| Key(key.into())).collect(), next })
    }

    async fn send_if_full(&mut self) -> Result<(), SinkError> {
        if self.held.bytes() < HELD_BYTES_MAX {
            return Ok(());
        }
        let (pipeline, open) = self.part();
        let replies = self.writer.ask(&pipeline).await?;
        reply::queued(self.shown(), replies)?;
        for key in self.held.keys() {
            self.sent.insert(key);
            if self.one_table != Some(true) {
                self.sent.list(key);
            }
        }
        self.held.forget(|_| true);
        self.open = Some(open);
        Ok(())
    }

    /// The commands that bring what is held into the transaction, which they open if none is; and what it is then.
    fn part(&self) -> (Pipeline, Open) {
        let mut pipeline = Pipeline::new();
        let mut open = self.open.unwrap_or_default();
        if self.open.is_none() {
            write::begin(&self.target.form, &self.target.own, &mut pipeline);
        }
        self.held.apply(&self.target.own, &self.target.form, &mut open.parts, &mut pipeline);
        open.sends = open.sends.saturating_add(1);
        (pipeline, open)
    }

    /// The server's address, for messages.
    fn shown(&self) -> &str {
        self.target.address.shown()
    }

    async fn reader(&mut self) -> Result<&mut Connection, SinkError> {
        let reader = match self.reader.take() {
            Some(reader) => reader,
            None => self.target.address.connect().await?,
        };
        Ok(self.reader.insert(reader))
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
