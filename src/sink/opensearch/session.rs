//! From one look at the checkpoint until something goes wrong.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::value::RawValue;

use super::bulk::Bulk;
use super::checkpoint::Fence;
use super::client::Client;
use super::document::Source;
use super::held::{Held, Stretch, Write};
use super::indexes::Indexes;
use super::keys::{self, Scroll};
use super::place::Layout;
use super::{Options, document, pipeline, version};
use crate::event::{Position, TableName};
use crate::project::mutation::{Document, Effect, Key, Mutation};
use crate::sink::uncommitted::{Known, Uncommitted};
use crate::sink::{Checkpoint, Image, KeyPage, Rejection, SinkError, Staged, belief, whole};

/// Writes are held here up to this size, and beyond it sent ahead of the commit.
const HELD_BYTES_MAX: usize = 16 << 20;
/// Stored documents that are read, and kept in memory, at once.
const READ_TOGETHER: usize = 16;

/// See the module.
pub(super) struct Session {
    indexes: Indexes,
    layout: Layout,
    /// The name of the checkpoint.
    name: String,
    bulk: Bulk,
    fence: Fence,
    held: Held,
    uncommitted: Uncommitted,
    scroll: Option<Scroll>,
    /// The last mutation that was staged, and the last of those that were sent ahead of a commit.
    staged: Option<Position>,
    sent: Option<Position>,
    /// Of what was sent ahead of a commit; the next flush tells of them.
    refused: Vec<Rejection>,
}

/// A document in the index.
struct Older {
    source: Arc<str>,
    /// The event that put it.
    at: Option<Position>,
}

impl Session {
    pub(super) async fn open(options: &Options, client: &mut Client) -> Result<Self, SinkError> {
        Fence::prepare(client).await?;
        if let Some(pipeline) = &options.pipeline {
            pipeline::check(client, pipeline).await?;
        }
        let indexes = Indexes::open(options, client).await?;
        let name = options.checkpoint();
        let fence = Fence::read(client, &name).await?;
        let pipeline = options.pipeline.clone();
        let bulk = Bulk { alias: indexes.only().map(str::to_owned), pipeline };
        Ok(Session {
            indexes,
            layout: options.layout,
            name,
            bulk,
            fence,
            held: Held::default(),
            uncommitted: Uncommitted::new(2 * HELD_BYTES_MAX),
            scroll: None,
            staged: None,
            sent: None,
            refused: Vec::new(),
        })
    }

    /// See [`crate::sink::Replaceable::identity`].
    pub(super) fn identity(&self) -> String {
        self.indexes.uuids()
    }

    pub(super) fn belief(&self) -> Option<Checkpoint> {
        self.fence.checkpoint(|uuids| self.indexes.cover(uuids))
    }

    pub(super) async fn stage(&mut self, client: &mut Client, mutations: &[Mutation]) -> Result<Staged, SinkError> {
        let mut staged = Staged::default();
        self.uncommitted.begin_run();
        let position = self.belief().and_then(|belief| belief.position);
        let mut rest = mutations;
        while !rest.is_empty() {
            let (group, later) = rest.split_at(group_length(rest));
            let stored = self.read_stored(client, group).await?;
            let first = mutations.len().saturating_sub(rest.len());
            for (index, mutation) in (first..).zip(group) {
                if position.is_some_and(|position| mutation.position <= position) {
                    continue;
                }
                self.stage_one(client, mutation, index, &stored, &mut staged).await?;
            }
            rest = later;
        }
        let last = mutations.last().filter(|mutation| !mutation.is_late());
        self.staged = last.map(|mutation| mutation.position).max(self.staged);
        if self.held.bytes() > HELD_BYTES_MAX {
            self.send(client).await?;
        }
        Ok(staged)
    }

    async fn stage_one(
        &mut self,
        client: &mut Client,
        mutation: &Mutation,
        index: usize,
        stored: &HashMap<Key, Older>,
        staged: &mut Staged,
    ) -> Result<(), SinkError> {
        // What comes after its time is as old as what came last: nothing there is newer, and nothing later is older.
        let known = self.belief().and_then(|belief| belief.position).max(self.staged).unwrap_or_default();
        let position = if mutation.is_late() { known } else { mutation.position };
        let version = if mutation.is_late() { version::late(position) } else { version::version(position) };
        let version = version.ok_or_else(|| SinkError::Unusable {
            target: client.shown(),
            detail: format!("position {} is beyond what a document's version can tell", mutation.position),
            remedy:
                "Give the sink another `index`; it is filled from a new copy (docs/operating.md, \"Starting over\")"
                    .to_owned(),
        })?;
        if let Effect::Clear(table) = &mutation.effect {
            self.uncommitted.clear(table);
            self.held.clear(table.clone(), version);
            return Ok(());
        }
        let key = mutation.key.clone();
        let place = match (self.layout.locate(&key), &mutation.effect) {
            (Ok(place), _) => place,
            // There was none either.
            (Err(_), Effect::Delete) => return Ok(()),
            (Err(reason), _) => {
                staged.rejected.push(Rejection { mutation: mutation.clone(), reason });
                return Ok(());
            }
        };
        match &mutation.effect {
            Effect::Put { document, moved_from } => {
                let Some(row) = self.complete(mutation, document, moved_from.as_ref(), stored) else {
                    staged.incomplete.push(index);
                    return Ok(());
                };
                self.indexes.learn(client, &place, &document.relation).await?;
                let table = &document.relation.name;
                self.uncommitted.put(key.clone(), table.clone(), row.as_str().into());
                let text = document::with_own(row, table, position, &key, &place.id);
                let mutation = Some(mutation.clone());
                self.held.push(Write { key, place, version, document: Some(text), mutation });
            }
            Effect::Delete => {
                self.uncommitted.delete(key.clone());
                if self.indexes.have(&place) {
                    self.held.push(Write { key, place, version, document: None, mutation: None });
                }
            }
            Effect::Clear(_) | Effect::Sweep { .. } | Effect::Append(_) => {
                let reason = "a search index keeps rows, not their history".to_owned();
                staged.rejected.push(Rejection { mutation: mutation.clone(), reason });
            }
        }
        Ok(())
    }

    /// The row as JSON; `None` if values are missing that are not in the index either, or not as they were sent there.
    ///
    /// What is in the index may be ahead of the checkpoint, after a failure between the two. Of a row that kept its key that does no harm: what
    /// stands there is its own, or of one that comes later, whole. But under a row's former key may be another row by then, so that is
    /// only taken if it is not ahead; and what the row has become, if this very change was applied already.
    fn complete(
        &self,
        mutation: &Mutation,
        document: &Document,
        moved_from: Option<&Key>,
        stored: &HashMap<Key, Older>,
    ) -> Option<String> {
        let Document { relation, row } = document;
        if !row.lacks_values() {
            return whole::source(relation, row, None);
        }
        let older = match self.known(&mutation.key, moved_from, &relation.name) {
            Known::Document(source) => source,
            Known::Committed => Arc::clone(&self.older(mutation, moved_from, stored)?.source),
            Known::Nothing => return None,
        };
        whole::source(relation, row, Some(&older))
    }

    fn older<'a>(
        &self,
        mutation: &Mutation,
        moved_from: Option<&Key>,
        stored: &'a HashMap<Key, Older>,
    ) -> Option<&'a Older> {
        let here = stored.get(&mutation.key);
        let Some(from) = moved_from else { return here };
        let known_to = self.belief().and_then(|belief| belief.position).max(self.sent);
        let before = stored.get(from).filter(|older| older.at.is_some() && older.at <= known_to);
        here.filter(|here| here.at == Some(mutation.position)).or(before)
    }

    fn known(&self, key: &Key, moved_from: Option<&Key>, table: &TableName) -> Known {
        match moved_from {
            Some(from) => self.uncommitted.find_moved(from, table),
            None => self.uncommitted.find(key, table),
        }
    }

    /// The documents that rows of this group may be completed from. What came through a pipeline is not what was sent.
    async fn read_stored(&self, client: &mut Client, group: &[Mutation]) -> Result<HashMap<Key, Older>, SinkError> {
        let mut keys = Vec::new();
        for mutation in group {
            if let Effect::Put { document, moved_from } = &mutation.effect
                && document.row.lacks_values()
                && self.bulk.pipeline.is_none()
            {
                keys.push(mutation.key.clone());
                keys.extend(moved_from.clone());
            }
        }
        let stored = keys::sources(client, &self.indexes, self.layout, &keys).await?;
        let older = |(key, stored): (Key, Option<Box<RawValue>>)| {
            let source: Arc<str> = stored?.get().into();
            let at = serde_json::from_str(&source).map_or(None, |source: Source| source.own.at);
            Some((key, Older { source, at }))
        };
        Ok(keys.into_iter().zip(stored).filter_map(older).collect())
    }

    /// See [`crate::sink::Sink::read`].
    pub(super) async fn documents(&self, client: &mut Client, keys: &[Key]) -> Result<Vec<Option<Image>>, SinkError> {
        let sources = keys::sources(client, &self.indexes, self.layout, keys).await?;
        Ok(sources.into_iter().map(|source| document::image(source?.get())).collect())
    }

    /// See [`crate::sink::Sink::flush`].
    pub(super) async fn flush(&mut self, client: &mut Client) -> Result<Vec<Rejection>, SinkError> {
        self.send(client).await?;
        Ok(std::mem::take(&mut self.refused))
    }

    /// Sends what is held.
    async fn send(&mut self, client: &mut Client) -> Result<(), SinkError> {
        if self.held.is_empty() {
            return Ok(());
        }
        self.check(client).await?;
        for Stretch { writes, clears, .. } in self.held.take() {
            let refused = self.bulk.send(client, writes).await?;
            self.refused.extend(refused);
            if let Some((table, version)) = clears {
                self.clear(client, &table, version).await?;
            }
        }
        self.uncommitted.reset();
        self.sent = self.staged;
        Ok(())
    }

    /// Removes a table's documents.
    async fn clear(&self, client: &mut Client, table: &TableName, version: u64) -> Result<(), SinkError> {
        let (mut scroll, mut keys) = Scroll::begin(client, self.indexes.aliases(), table).await?;
        while let Some(now) = scroll {
            self.bulk.remove(client, self.layout, &keys, version).await?;
            (scroll, keys) = now.next(client).await?;
        }
        Ok(())
    }

    /// See [`crate::sink::Sink::keys`].
    pub(super) async fn keys(
        &mut self,
        client: &mut Client,
        table: &TableName,
        from: Option<u64>,
    ) -> Result<KeyPage, SinkError> {
        let (scroll, keys) = match (from, self.scroll.take()) {
            (Some(_), Some(scroll)) => scroll.next(client).await?,
            _ => Scroll::begin(client, self.indexes.aliases(), table).await?,
        };
        self.scroll = scroll;
        let next = self.scroll.as_ref().map(|_| from.unwrap_or_default().saturating_add(1));
        Ok(KeyPage { keys, next })
    }

    /// See [`crate::sink::Sink::commit`].
    pub(super) async fn commit(&mut self, client: &mut Client, upto: Checkpoint) -> Result<(), SinkError> {
        if let Some(first) = self.flush(client).await?.into_iter().next() {
            // The loop has flushed before it.
            let detail = format!("it refuses the row with key {}: {}", first.mutation.key, first.reason);
            let remedy = "Mend the row or the mapping".to_owned();
            return Err(SinkError::Unusable { target: client.shown(), detail, remedy });
        }
        self.check(client).await?;
        if self.fence.write(client, &self.name, &self.indexes.uuids(), upto).await? {
            return Ok(());
        }
        self.check(client).await?;
        let detail = "its checkpoint was written just now".to_owned();
        Err(SinkError::Fenced { target: client.shown(), detail })
    }

    /// Whether index and checkpoint are where we left them.
    pub(super) async fn check(&self, client: &mut Client) -> Result<(), SinkError> {
        self.indexes.check(client).await?;
        let found = Fence::read(client, &self.name).await?;
        if found.is(&self.fence) {
            return Ok(());
        }
        belief::verify(&client.shown(), found.checkpoint(|uuids| self.indexes.cover(uuids)), self.belief())?;
        let detail = "its checkpoint was written by somebody else".to_owned();
        Err(SinkError::Fenced { target: client.shown(), detail })
    }
}

/// How many mutations to take at once, so that no more than [`READ_TOGETHER`] documents have to be read for them.
fn group_length(mutations: &[Mutation]) -> usize {
    let mut reads = 0;
    let fits = mutations.iter().take_while(|mutation| {
        let lacks = matches!(&mutation.effect, Effect::Put { document, .. } if document.row.lacks_values());
        reads += usize::from(lacks);
        reads <= READ_TOGETHER
    });
    fits.count().max(1)
}
