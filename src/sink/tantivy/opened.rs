//! An opened index, and what is done to it.
//!
//! Invariants: the payload of every commit is the checkpoint of the documents committed with it; and a key has at most
//! one live document, because each put of a key that may be there deletes its term first and one thread numbers the operations.

use std::sync::Arc;

use tantivy::{Directory as _, Index, IndexReader, IndexWriter, Searcher, TantivyError, Term};

use super::directory::{self, Identity};
use super::error::classify;
use super::fields::Fields;
use super::seen::Seen;
use super::{Options, document, keys};
use crate::event::{Position, TableName};
use crate::project::mutation::{Document, Effect, Key, Mutation};
use crate::sink::disk::regressed;
use crate::sink::saved::Saved;
use crate::sink::uncommitted::{Known, Uncommitted};
use crate::sink::{Checkpoint, Rejection, SinkError, whole};

/// An opened index, its writer lock held.
pub(super) struct Open {
    pub(super) index: Index,
    pub(super) fields: Fields,
    pub(super) writer: IndexWriter,
    pub(super) reader: IndexReader,
    /// The documents as they were when their keys began to be listed, while that goes on.
    pub(super) listing: Option<Searcher>,
    /// The directory it was opened in.
    pub(super) identity: Identity,
    /// The payload of the last commit, as the directory had it.
    pub(super) payload: Option<String>,
    /// Mutations up to here are in the index.
    pub(super) position: Option<Position>,
    /// Bytes handed to the indexing thread since it was last seen idle.
    pub(super) queued_bytes: usize,
    /// The keys that it may hold, staged ones among them.
    pub(super) seen: Seen,
}

/// What became of a mutation.
pub(super) enum Applied {
    Staged,
    Incomplete,
    Refused(Box<Rejection>),
}

impl Open {
    /// Drops what was staged; `None` if that fails, and the index must be opened anew.
    pub(super) fn roll_back(mut self) -> Option<Open> {
        self.writer.rollback().ok()?;
        self.reader.reload().ok()?;
        self.queued_bytes = 0;
        self.settle().ok()?;
        Some(self)
    }

    /// Prepares a writer that has just begun at the last commit.
    ///
    /// Tantivy numbers operations from the number of that commit on, itself included. A merge that begins before the next
    /// commit takes the first delete for one of before it: where a segment counts as brought up to that commit already, the
    /// delete is passed over for good, and an old document stays beside the new one. So the first number goes to a delete of
    /// nothing. And a process that was killed between writing a segment's deletes and the commit leaves a file whose name has
    /// the number that the next try arrives at again, and cannot write.
    pub(super) fn settle(&self) -> Result<(), TantivyError> {
        self.writer.garbage_collect_files().wait()?;
        // No key's term is empty: each begins with a byte of our own.
        self.writer.delete_term(Term::from_field_bytes(self.fields.id, b""));
        Ok(())
    }

    pub(super) fn apply(&mut self, mutation: Mutation, uncommitted: &mut Uncommitted) -> Result<Applied, TantivyError> {
        match &mutation.effect {
            Effect::Put { document, moved_from } => {
                let Some(source) = self.complete(&mutation.key, document, moved_from.as_ref(), uncommitted)? else {
                    return Ok(Applied::Incomplete);
                };
                self.put(mutation.key.clone(), &document.relation.name, source, uncommitted)?;
            }
            Effect::Delete => {
                self.delete_id(&document::id_of(&mutation.key));
                uncommitted.delete(mutation.key);
            }
            Effect::Clear(table) => {
                self.writer.delete_term(Term::from_field_text(self.fields.table, &table.to_string()));
                uncommitted.clear(table);
            }
            Effect::Sweep { .. } | Effect::Append(_) => {
                let reason = "a search index keeps rows, not their history".to_owned();
                return Ok(Applied::Refused(Box::new(Rejection { mutation, reason })));
            }
        }
        Ok(Applied::Staged)
    }

    fn put(
        &mut self,
        key: Key,
        table: &TableName,
        source: String,
        uncommitted: &mut Uncommitted,
    ) -> Result<(), TantivyError> {
        let id = document::id_of(&key);
        let document = document::document(&self.fields, &table.to_string(), (&key, &id), &source);
        if self.seen.note(&id) {
            self.delete_id(&id);
        }
        self.writer.add_document(document)?;
        // The text twice, as stored and as indexed.
        self.queued_bytes = self.queued_bytes.saturating_add(source.len().saturating_mul(2));
        uncommitted.put(key, table.clone(), source.into());
        Ok(())
    }

    fn delete_id(&self, id: &[u8]) {
        self.writer.delete_term(Term::from_field_bytes(self.fields.id, id));
    }

    /// The whole document as JSON; `None` if values are missing that are not here either.
    fn complete(
        &self,
        key: &Key,
        document: &Document,
        moved_from: Option<&Key>,
        uncommitted: &Uncommitted,
    ) -> Result<Option<String>, TantivyError> {
        let Document { relation, row } = document;
        if !row.lacks_values() {
            return Ok(whole::source(relation, row, None));
        }
        let known = match moved_from {
            Some(from) => uncommitted.find_moved(from, &relation.name),
            None => uncommitted.find(key, &relation.name),
        };
        let older: Option<Arc<str>> = match known {
            Known::Document(source) => Some(source),
            Known::Committed => {
                keys::source(&self.reader.searcher(), &self.fields, moved_from.unwrap_or(key))?.map(Arc::from)
            }
            Known::Nothing => None,
        };
        Ok(older.and_then(|older| whole::source(relation, row, Some(&older))))
    }

    /// Waits for the indexing thread once more than this many bytes may be waiting for it: its queue counts documents,
    /// not bytes. A prepared commit that is dropped only writes out what was staged.
    pub(super) fn bound_queue(&mut self, bytes_max: usize) -> Result<(), TantivyError> {
        if self.queued_bytes > bytes_max {
            drop(self.writer.prepare_commit()?);
            self.queued_bytes = 0;
        }
        Ok(())
    }

    pub(super) fn commit(&mut self, upto: Checkpoint) -> Result<(), TantivyError> {
        let payload = serde_json::to_string(&Saved::from(upto))
            .map_err(|error| TantivyError::InternalError(error.to_string()))?;
        let mut prepared = self.writer.prepare_commit()?;
        prepared.set_payload(&payload);
        prepared.commit()?;
        // Tantivy writes the list of segments under its name and leaves it there. Without this a power failure could bring back the commit
        // before, after the log has let go of what was between.
        self.index.directory().sync_directory()?;
        self.payload = Some(payload);
        self.position = upto.position.or(self.position);
        self.queued_bytes = 0;
        self.reader.reload()
    }

    pub(super) fn is_in_place(&self, options: &Options) -> bool {
        self.check_in_place(options).is_ok()
    }

    /// Whether the directory is the one that was opened, at the commit that we made.
    pub(super) fn check_in_place(&self, options: &Options) -> Result<(), SinkError> {
        if directory::identify(&options.path) != Some(self.identity) {
            return Err(regressed(&options.path, "the directory was removed or replaced"));
        }
        match self.index.load_metas() {
            Ok(metas) if metas.payload == self.payload => Ok(()),
            Ok(_) => Err(regressed(&options.path, "it holds another commit than the last one made here")),
            Err(error) => Err(classify(&options.path, &error)),
        }
    }

    /// An error of tantivy's; a removed directory shows as any of them.
    pub(super) fn judge(&self, options: &Options, error: &TantivyError) -> SinkError {
        if directory::identify(&options.path) == Some(self.identity) {
            return classify(&options.path, error);
        }
        regressed(&options.path, "the directory was removed or replaced")
    }
}
