//! The index as the sink's calls find it: opened, rolled back, replaced. Blocking calls only.

use std::collections::BTreeMap;

use tantivy::directory::MmapDirectory;
use tantivy::directory::error::LockError;
use tantivy::indexer::IndexWriterOptions;
use tantivy::{Index, IndexSettings, IndexWriter, ReloadPolicy, TantivyError};

use super::directory;
use super::error::{REBUILD, classify};
use super::fields::{self, Kind};
use super::opened::{Applied, Open};
use super::search::View;
use super::seen::Seen;
use super::{Options, agree, keys, replace};
use crate::project::mutation::{Key, Mutation};
use crate::sink::disk::{not_open, patiently, regressed, unusable};
use crate::sink::saved::Saved;
use crate::sink::uncommitted::Uncommitted;
use crate::sink::{Checkpoint, Image, KeyPage, Old, SinkError, Staged};

/// Which keys are there is known with this part of the memory: with 15 MB, of up to three million.
const SEEN_SHARE: usize = 4;

/// What [`super::TantivySink`] runs on the blocking pool.
pub(super) struct Engine {
    options: Options,
    /// The columns to index; `None` until the index that is there has told.
    plan: Option<BTreeMap<String, Kind>>,
    /// Where searches find the index.
    view: View,
    open: Option<Open>,
    uncommitted: Uncommitted,
}

impl Engine {
    pub(super) fn new(options: Options, plan: Option<BTreeMap<String, Kind>>, view: View) -> Self {
        let uncommitted = Uncommitted::new(options.memory_bytes);
        Engine { options, plan, view, open: None, uncommitted }
    }

    /// See [`crate::sink::Sink::resume`].
    pub(super) fn resume(&mut self) -> Result<Option<Checkpoint>, SinkError> {
        self.uncommitted.reset();
        // Rolling back keeps one list of files in the index; opening it anew beside its own merges would make two.
        let rolled_back = self.open.take().filter(|open| open.is_in_place(&self.options)).and_then(Open::roll_back);
        let open = match rolled_back {
            Some(open) => open,
            None => self.open_index()?,
        };
        // Should it be removed, it is built anew with the same.
        let kinds = || open.fields.columns.iter().map(|(name, (_, kind))| (name.clone(), *kind)).collect();
        self.plan.get_or_insert_with(kinds);
        let checkpoint = self.read_checkpoint(&open)?;
        let open = self.open.insert(open);
        open.position = checkpoint.and_then(|checkpoint| checkpoint.position);
        self.view.set(open.reader.clone(), open.fields.clone());
        Ok(checkpoint)
    }

    /// See [`crate::sink::Sink::stage`].
    pub(super) fn stage(&mut self, mutations: Vec<Mutation>) -> Result<Staged, SinkError> {
        let mut staged = Staged::default();
        let options = &self.options;
        self.uncommitted.begin_run();
        let open = self.open.as_mut().ok_or_else(|| not_open(&options.path))?;
        for (index, mutation) in mutations.into_iter().enumerate() {
            if open.position.is_some_and(|applied| mutation.position <= applied) {
                continue;
            }
            match open.apply(mutation, &mut self.uncommitted).map_err(|error| open.judge(options, &error))? {
                Applied::Staged => {}
                Applied::Incomplete => staged.incomplete.push(index),
                Applied::Refused(rejection) => staged.rejected.push(*rejection),
            }
            open.bound_queue(options.memory_bytes).map_err(|error| open.judge(options, &error))?;
        }
        Ok(staged)
    }

    /// See [`crate::sink::Sink::keys`].
    pub(super) fn keys(&mut self, table: &str, from: Option<u64>) -> Result<KeyPage, SinkError> {
        let options = &self.options;
        let open = self.open.as_mut().ok_or_else(|| not_open(&options.path))?;
        let listing = open.listing.take().filter(|_| from.is_some());
        // One that was cut short, as the index was opened anew, begins again.
        let from = from.filter(|_| listing.is_some());
        let searcher = listing.unwrap_or_else(|| open.reader.searcher());
        let page = keys::page(&searcher, &open.fields, table, from).map_err(|error| open.judge(options, &error))?;
        open.listing = page.next.map(|_| searcher);
        Ok(page)
    }

    /// See [`crate::sink::Sink::read`].
    pub(super) fn read(&self, keys: &[Key]) -> Result<Vec<Option<Image>>, SinkError> {
        let options = &self.options;
        let open = self.open.as_ref().ok_or_else(|| not_open(&options.path))?;
        let searcher = open.reader.searcher();
        let read = |key| keys::source(&searcher, &open.fields, key).map(|source| source.map(Image::of_json));
        keys.iter().map(read).collect::<Result<_, _>>().map_err(|error| open.judge(options, &error))
    }

    /// See [`crate::sink::Sink::commit`].
    pub(super) fn commit(&mut self, upto: Checkpoint) -> Result<(), SinkError> {
        let options = &self.options;
        let open = self.open.as_mut().ok_or_else(|| not_open(&options.path))?;
        open.check_in_place(options)?;
        open.commit(upto).map_err(|error| open.judge(options, &error))?;
        self.uncommitted.reset();
        Ok(())
    }

    /// See [`crate::sink::Sink::probe`].
    pub(super) fn probe(&mut self) -> Result<(), SinkError> {
        self.open.as_ref().ok_or_else(|| not_open(&self.options.path))?.check_in_place(&self.options)
    }

    /// See [`crate::sink::Replaceable::identity`].
    pub(super) fn identity(&self) -> Result<String, SinkError> {
        self.open.as_ref().map(|open| open.identity.to_string()).ok_or_else(|| not_open(&self.options.path))
    }

    /// See [`crate::sink::Replaceable::replace`]. Searches go on in the index that was there, until this is opened again.
    pub(super) fn replace(&mut self, by: &str, old: Old) -> Result<(), SinkError> {
        self.open = None;
        // It may have columns that the old one did not have.
        self.plan = None;
        replace::replace(&self.options.path, by, old)
    }

    /// See [`crate::sink::Replaceable::remove`].
    pub(super) fn remove(&mut self) -> Result<(), SinkError> {
        self.open = None;
        replace::remove(&self.options.path)
    }

    fn open_index(&self) -> Result<Open, SinkError> {
        let path = &self.options.path;
        let judge = |error: TantivyError| classify(path, &error);
        let is_index = directory::prepare(path)?;
        let files = MmapDirectory::open(path).map_err(|error| judge(error.into()))?;
        let index = if is_index {
            Index::open(files).map_err(judge)?
        } else {
            tracing::info!(sink = %self.options.name, path = %path.display(), "index created");
            Index::create(
                files,
                fields::schema(self.plan.as_ref().unwrap_or(&BTreeMap::new())),
                IndexSettings::default(),
            )
            .map_err(judge)?
        };
        fields::register_analyzers(&index);
        let fields = agree::fields(&index, self.plan.as_ref(), &self.options)?;
        let options = IndexWriterOptions::builder()
            .num_worker_threads(1)
            .num_merge_threads(1)
            .memory_budget_per_thread(self.options.memory_bytes)
            .build();
        let writer = writer(&index, &options).map_err(judge)?;
        let reader = index.reader_builder().reload_policy(ReloadPolicy::Manual).try_into().map_err(judge)?;
        let payload = index.load_metas().map_err(judge)?.payload;
        let seen = Seen::of(&reader.searcher(), fields.id, self.options.memory_bytes / SEEN_SHARE).map_err(judge)?;
        let identity =
            directory::identify(path).ok_or_else(|| regressed(&self.options.path, "it was removed just now"))?;
        let open = Open {
            index,
            fields,
            writer,
            reader,
            listing: None,
            identity,
            payload,
            position: None,
            queued_bytes: 0,
            seen,
        };
        open.settle().map_err(judge)?;
        Ok(open)
    }

    fn read_checkpoint(&self, open: &Open) -> Result<Option<Checkpoint>, SinkError> {
        let Some(payload) = &open.payload else { return Ok(None) };
        let saved = serde_json::from_str(payload).ok().and_then(|saved: Saved| saved.checkpoint());
        let damaged = || unusable(&self.options.path, "its commit does not hold a checkpoint", REBUILD);
        saved.map(Some).ok_or_else(damaged)
    }
}

fn writer(index: &Index, options: &IndexWriterOptions) -> Result<IndexWriter, TantivyError> {
    let is_held = |error: &TantivyError| matches!(error, TantivyError::LockFailure(LockError::LockBusy, _));
    patiently(|| index.writer_with_options(options.clone()), is_held)
}

#[cfg(test)]
mod tests;
