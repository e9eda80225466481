//! From one look at the checkpoint until something goes wrong.

use std::collections::HashMap;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use super::checkpoint::Fence;
use super::client::Client;
use super::document::Source;
use super::held::{Held, Stretch, Write};
use super::index::Index;
use super::keys::Scroll;
use super::{Options, bulk, document, version};
use crate::event::{Position, TableName};
use crate::project::mutation::{Document, Effect, Key, Mutation};
use crate::sink::uncommitted::{Known, Uncommitted};
use crate::sink::{Checkpoint, KeyPage, Rejection, SinkError, Staged, belief, whole};

/// Writes are held here up to this size, and beyond it sent ahead of the commit.
const HELD_BYTES_MAX: usize = 16 << 20;
/// Stored documents that are read, and kept in memory, at once.
const READ_TOGETHER: usize = 16;

/// See the module.
pub(super) struct Session {
    index: Index,
    fence: Fence,
    held: Held,
    uncommitted: Uncommitted,
    scroll: Option<Scroll>,
    /// The last mutation that was staged, and the last of those that were sent ahead of a commit.
    staged: Option<Position>,
    sent: Option<Position>,
    bulk_bytes_max: usize,
}

#[derive(Deserialize)]
struct Stored {
    docs: Vec<StoredDocument>,
}

#[derive(Deserialize)]
struct StoredDocument {
    #[serde(rename = "_id")]
    id: String,
    #[serde(default, rename = "_source")]
    source: Option<Box<RawValue>>,
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
        let index = Index::open(options, client).await?;
        let fence = Fence::read(client, &index.alias).await?;
        let uncommitted = Uncommitted::new(2 * HELD_BYTES_MAX);
        let bulk_bytes_max = options.bulk_bytes_max;
        Ok(Session {
            index,
            fence,
            held: Held::default(),
            uncommitted,
            scroll: None,
            staged: None,
            sent: None,
            bulk_bytes_max,
        })
    }

    pub(super) fn belief(&self) -> Option<Checkpoint> {
        self.fence.checkpoint(&self.index.uuid)
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
        self.staged = mutations.last().map(|mutation| mutation.position).max(self.staged);
        if self.held.bytes() > HELD_BYTES_MAX {
            staged.rejected.extend(self.flush(client).await?);
        }
        Ok(staged)
    }

    async fn stage_one(
        &mut self,
        client: &mut Client,
        mutation: &Mutation,
        index: usize,
        stored: &HashMap<String, Older>,
        staged: &mut Staged,
    ) -> Result<(), SinkError> {
        let version = version::version(mutation.position).ok_or_else(|| SinkError::Unusable {
            target: client.shown(),
            detail: format!("position {} is beyond what a document's version can tell", mutation.position),
            remedy:
                "Give the sink another `index`; it is filled from a new copy (docs/operating.md, \"Starting over\")"
                    .to_owned(),
        })?;
        let id = document::id_of(&mutation.key);

        match &mutation.effect {
            Effect::Put { document, moved_from } => {
                let Some(row) = self.complete(mutation, document, moved_from.as_ref(), stored) else {
                    staged.incomplete.push(index);
                    return Ok(());
                };
                self.index.learn(client, &document.relation).await?;
                let table = &document.relation.name;
                let text = document::with_own(&row, table, mutation.position, &mutation.key, &id);
                self.uncommitted.put(mutation.key.clone(), table.clone(), row.into());
                let mutation = Some(mutation.clone());
                self.held.push(Write { id, version, document: Some(text), mutation });
            }
            Effect::Delete => {
                self.uncommitted.delete(mutation.key.clone());
                self.held.push(Write { id, version, document: None, mutation: None });
            }
            Effect::Clear(table) => {
                self.uncommitted.clear(table);
                self.held.clear(table.clone(), version);
            }
            Effect::Sweep { .. } | Effect::Append(_) => {
                let reason = "a search index keeps rows, not their history".to_owned();
                staged.rejected.push(Rejection { mutation: mutation.clone(), reason });
            }
        }
        Ok(())
    }

    /// The row as JSON; `None` if values are missing that are not in the index either.
    ///
    /// What is in the index may be ahead of the checkpoint, after a failure between the two. Of a row that kept its key that does no harm: what
    /// stands there is its own, or of one that comes later, whole. But under a row's former key may be another row by then, so that is
    /// only taken if it is not ahead; and what the row has become, if this very change was applied already.
    fn complete(
        &self,
        mutation: &Mutation,
        document: &Document,
        moved_from: Option<&Key>,
        stored: &HashMap<String, Older>,
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
        stored: &'a HashMap<String, Older>,
    ) -> Option<&'a Older> {
        let here = stored.get(&document::id_of(&mutation.key));
        let Some(from) = moved_from else { return here };
        let known_to = self.belief().and_then(|belief| belief.position).max(self.sent);
        let before = stored.get(&document::id_of(from)).filter(|older| older.at.is_some() && older.at <= known_to);
        here.filter(|here| here.at == Some(mutation.position)).or(before)
    }

    fn known(&self, key: &Key, moved_from: Option<&Key>, table: &TableName) -> Known {
        match moved_from {
            Some(from) => self.uncommitted.find_moved(from, table),
            None => self.uncommitted.find(key, table),
        }
    }

    /// The documents that rows of this group may be completed from.
    async fn read_stored(&self, client: &mut Client, group: &[Mutation]) -> Result<HashMap<String, Older>, SinkError> {
        let mut ids = Vec::new();
        for mutation in group {
            if let Effect::Put { document, moved_from } = &mutation.effect
                && document.row.lacks_values()
            {
                ids.push(document::id_of(&mutation.key));
                ids.extend(moved_from.as_ref().map(document::id_of));
            }
        }
        if ids.is_empty() {
            return Ok(HashMap::new());
        }
        let answer = client.post(&format!("/{}/_mget", self.index.alias), &json!({ "ids": ids })).await?;
        let stored: Stored = client.read("reading documents", answer)?;
        let older = |stored: StoredDocument| {
            let source: Arc<str> = stored.source?.get().into();
            let at = serde_json::from_str(&source).map_or(None, |source: Source| source.own.at);
            Some((stored.id, Older { source, at }))
        };
        Ok(stored.docs.into_iter().filter_map(older).collect())
    }

    /// See [`crate::sink::Sink::flush`].
    pub(super) async fn flush(&mut self, client: &mut Client) -> Result<Vec<Rejection>, SinkError> {
        if self.held.is_empty() {
            return Ok(Vec::new());
        }
        self.check(client).await?;
        let mut rejected = Vec::new();
        for Stretch { writes, clears, .. } in self.held.take() {
            rejected.extend(bulk::send(client, &self.index.alias, writes, self.bulk_bytes_max).await?);
            if let Some((table, version)) = clears {
                self.clear(client, &table, version).await?;
            }
        }
        self.uncommitted.reset();
        self.sent = self.staged;
        Ok(rejected)
    }

    /// Removes a table's documents.
    async fn clear(&self, client: &mut Client, table: &TableName, version: u64) -> Result<(), SinkError> {
        let (mut scroll, mut keys) = Scroll::begin(client, &self.index.alias, table).await?;
        while let Some(now) = scroll {
            bulk::remove(client, &self.index.alias, &keys, version).await?;
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
            _ => Scroll::begin(client, &self.index.alias, table).await?,
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
        let Index { alias, uuid, .. } = &self.index;
        if self.fence.write(client, alias, uuid, upto).await? {
            return Ok(());
        }
        self.check(client).await?;
        let detail = "its checkpoint was written just now".to_owned();
        Err(SinkError::Fenced { target: client.shown(), detail })
    }

    /// Whether index and checkpoint are where we left them.
    pub(super) async fn check(&self, client: &mut Client) -> Result<(), SinkError> {
        self.index.check(client).await?;
        let found = Fence::read(client, &self.index.alias).await?;
        if found.is(&self.fence) {
            return Ok(());
        }
        belief::verify(&client.shown(), found.checkpoint(&self.index.uuid), self.belief())?;
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
