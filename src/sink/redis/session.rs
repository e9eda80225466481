//! Mutations become writes that are held back, rows that lack values are completed from what is stored, and all of it goes where the keys are ([`Home`]).
//!
//! A session is dropped at the first error, and everything unfinished with it.

mod hold;

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use redis::Pipeline;

use self::hold::{Outcome, Seen};
use super::held::{Before, Held};
use super::home::Home;
use super::kept::{self, Foreign};
use super::merge::Content;
use super::one::One;
use super::reply::Reply;
use super::stream::Tails;
use super::walk::Walks;
use super::{DocumentKeys, Target, ValueKind, error, member, rehearse};
use crate::event::{Position, TableName};
use crate::log::LogId;
use crate::log::share::{Part, Reached};
use crate::project::mutation::{Effect, Key, Mutation};
use crate::sink::{Checkpoint, Claim, Image, KeyPage, Rejection, SinkError, Staged};

/// Writes are held here up to this size, and beyond it sent ahead of the commit.
const HELD_BYTES_MAX: usize = 4 << 20;
/// Stored documents that are read, and kept in memory, at once.
const READ_TOGETHER: usize = 32;
/// The same for those who compare.
const COMPARED_TOGETHER: usize = 500;

/// From one look at the checkpoint until something goes wrong.
pub(super) struct Session {
    target: Arc<Target>,
    home: Home,
    held: Held,
    /// Nothing that was staged in its time is younger.
    staged: Option<Position>,
    /// Where the streams end, with what is staged.
    tails: Tails,
    /// Listings of members under way.
    walks: Walks,
    /// The sink has one table, so that a TRUNCATE removes all of its documents. Known with the first of them.
    one_table: Option<bool>,
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
        let home = Home::open(Arc::clone(&target)).await?;
        Ok(Session::new(target, home))
    }

    /// Makes these parts ours; see [`crate::sink::SharedSink::claim`].
    pub(super) async fn claim(
        target: Arc<Target>,
        log: LogId,
        parts: &[Part],
    ) -> Result<(Self, Vec<Claim>), SinkError> {
        let (one, claims) = One::claim(Arc::clone(&target), log, parts).await?;
        Ok((Session::new(target, Home::One(Box::new(one))), claims))
    }

    fn new(target: Arc<Target>, home: Home) -> Self {
        Session {
            target,
            home,
            held: Held::default(),
            staged: None,
            tails: Tails::default(),
            walks: Walks::default(),
            one_table: None,
        }
    }

    pub(super) fn belief(&self) -> Option<Checkpoint> {
        self.home.belief()
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
                if !mutation.is_late() {
                    self.staged = self.staged.max(Some(mutation.position));
                }
                if let Effect::Clear(table) = &mutation.effect {
                    self.clear(table, mutation.position).await?;
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
        self.home.commit(&self.held, upto).await?;
        self.held = Held::default();
        Ok(())
    }

    /// The same for parts.
    pub(super) async fn advance(&mut self, upto: &[(Part, Reached)]) -> Result<(), SinkError> {
        let Home::One(one) = &mut self.home else { return Err(error::strange(self.shown(), "advance")) };
        one.advance(&self.held, upto).await?;
        self.held = Held::default();
        Ok(())
    }

    /// How far some parts are, whoever has them.
    pub(super) async fn reached(&mut self, parts: &[Part]) -> Result<Vec<Option<Reached>>, SinkError> {
        let Home::One(one) = &mut self.home else { return Err(error::strange(self.shown(), "reached")) };
        one.reached(parts).await
    }

    /// See [`rehearse`].
    pub(super) async fn rehearse(&mut self, samples: &[Vec<u8>]) -> Result<(), SinkError> {
        match &mut self.home {
            Home::One(one) => rehearse::run(&self.target, one.reader().await?, samples).await,
            Home::Spread(spread) => spread.rehearse(samples).await,
        }
    }

    pub(super) async fn probe(&mut self) -> Result<(), SinkError> {
        self.home.probe().await
    }

    fn is_old(&self, mutation: &Mutation) -> bool {
        let form = &self.target.form;
        self.home.is_old(mutation.position, || match &mutation.effect {
            Effect::Append(_) => kept::key_of(form, mutation),
            Effect::Put { .. } | Effect::Delete => Some(member::redis_key(form.value, &mutation.key.0)),
            Effect::Clear(_) | Effect::Sweep { .. } => None,
        })
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
        kept::look(&self.target, group, &mut self.tails, &mut self.home).await
    }

    /// The documents, as committed, that rows of the group lack values of.
    async fn read_stored(&mut self, group: &[Mutation]) -> Result<HashMap<Bytes, Content>, SinkError> {
        let mut keys: Vec<Bytes> = Vec::new();
        for mutation in group {
            let Some(key) = self.source(mutation) else { continue };
            let is_untouched = self.held.before_run(&key.0) == Before::Untouched;
            if is_untouched && self.home.is_as_read(&key.0, *key != mutation.key, mutation.position) {
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
        let replies = self.home.ask(&pipeline).await?;
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
                Found::Content(content) => Some(content.image(self.target.form.value)),
                Found::Member(image) => Some(image),
                Found::Foreign => Some(Image::foreign("a value of another type than this sink writes")),
            }));
        }
        Ok(images)
    }

    /// Removes a table's documents: those in the target, and those staged before.
    async fn clear(&mut self, table: &TableName, position: Position) -> Result<(), SinkError> {
        let keys = (self.target.keys_of)(table);
        self.held.forget(|key| (keys.matches)(key));
        let sent = self.home.forget(&keys).await?.ok_or_else(|| SinkError::Unusable {
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
                if !self.home.is_old(position, || Some(member::redis_key(self.target.form.value, &key.0))) {
                    self.held.remove(key.0);
                    self.send_if_full().await?;
                }
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
            let (shown, kind) = (self.target.address.shown(), self.target.form.value);
            return self.walks.page(kind, keys, from, shown, &mut self.home).await;
        }
        let (next, found) = self.home.scan(from.unwrap_or_default(), &keys.glob).await?;
        let ours = found.into_iter().filter(|key| (keys.matches)(key) && !self.target.own.is_reserved(key));
        Ok(KeyPage { keys: ours.map(|key| Key(key.into())).collect(), next })
    }

    async fn send_if_full(&mut self) -> Result<(), SinkError> {
        if self.held.bytes() < HELD_BYTES_MAX {
            return Ok(());
        }
        self.home.send(&self.held, self.staged, self.one_table != Some(true)).await?;
        self.held.forget(|_| true);
        Ok(())
    }

    /// The server's address, for messages.
    fn shown(&self) -> &str {
        self.target.address.shown()
    }
}
