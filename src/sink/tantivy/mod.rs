//! A full-text index in a local directory, and the search over it.
//!
//! - **What is kept.** Each document whole, as JSON text, in `_source`; its columns as fields to search by (`fields`).
//! - **Transactions.** What is staged becomes visible with the commit and not before, and the checkpoint is the commit's
//!   payload: after a crash either both are there or neither.
//! - **Order.** Mutations at or below the checkpoint's Position are skipped, so a redelivery changes nothing.
//! - **Whole rows.** A row that lacks unchanged TOAST values is completed from the document it replaces.
//! - **Terms.** How each column's text becomes terms is in the index's schema (`analysis`). An index that was made with other
//!   analyzers than the configuration now has is not gone on with (`agree`).
//! - **Rebuilding.** The index holds nothing that the log does not: it can be built anew at any time, which is also the way to have a
//!   column indexed that was added later, and until then is in `_source` only.
//! - **One writer.** The lock is an `flock`: it is gone with its process, however that ends.
//!
//! Tantivy's calls block, on its indexing thread and on the disk, so all run on tokio's blocking pool.

mod agree;
mod analysis;
mod directory;
mod document;
mod engine;
mod error;
mod fields;
mod keys;
mod opened;
mod prefixes;
mod replace;
mod search;
mod seen;

use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use self::analysis::{Analysis, Analyzer};
pub use self::search::{
    DEPTH_MAX, FACET_LIMIT_MAX, Facet, FacetValue, Hit, LIMIT_MAX, SEARCH_TIME_MAX, SearchAnswer, SearchError,
    SearchHandle, SearchRequest, Sort,
};

use self::engine::Engine;
use self::search::View;
use super::blocking::Blocking;
use super::disk::unusable;
use super::{Checkpoint, Image, KeyPage, Old, Replaceable, Sink, SinkError, Staged};
use crate::event::{Relation, TableName};
use crate::project::mutation::{Key, Mutation};

/// What a search index is made of.
#[derive(Clone, Debug)]
pub struct Options {
    /// The sink's name in the configuration.
    pub name: String,
    /// The index's directory. Made if it is not there; mode 0700.
    pub path: PathBuf,
    /// The columns to index; `None` for all. The others are in the documents but cannot be searched by.
    pub fields: Option<Vec<String>>,
    /// How the columns' texts are looked at.
    pub analysis: Analysis,
    /// The tables, as they are now, for an index that is to be made. Without any, one that is there is gone on with as it is.
    pub relations: Vec<Arc<Relation>>,
    /// Memory for documents on their way into the index, in bytes: for the indexing thread, for its queue, and for what is
    /// kept to complete rows from, each. At least [`MEMORY_BYTES_MIN`].
    pub memory_bytes: usize,
}

impl Options {
    /// Of what is built beside.
    #[must_use]
    pub fn beside(&self) -> Options {
        Options { path: replace::beside(&self.path), ..self.clone() }
    }
}

/// [`Options::memory_bytes`] if nothing else is configured.
pub const MEMORY_BYTES_DEFAULT: usize = MEMORY_BYTES_MIN;
/// Tantivy works with no less.
pub const MEMORY_BYTES_MIN: usize = 15_000_000;

/// See the module.
pub struct TantivySink {
    engine: Blocking<Engine>,
    view: View,
}

impl TantivySink {
    /// Checks the options. Nothing is opened before the first [`Sink::resume`].
    ///
    /// # Errors
    /// [`SinkError::Unusable`]: `fields` names a column that no table has or that cannot be indexed, or too little memory.
    pub fn new(options: Options) -> Result<TantivySink, SinkError> {
        let plan = fields::plan(&options.relations, options.fields.as_deref(), &options.analysis);
        let plan = Some(plan).filter(|_| !options.relations.is_empty());
        let is_missing = |name: &&String| plan.as_ref().is_some_and(|plan| !plan.contains_key(*name));
        let missing = options.fields.iter().flatten().find(is_missing);
        if let Some(name) = missing {
            let detail = format!("no table has a column `{name}` that can be indexed");
            return Err(agree::correct(&options.path, &detail));
        }
        if let Some(plan) = &plan {
            let checked = fields::check(&options.analysis, |name| plan.get(name).copied());
            checked.map_err(|detail| agree::correct(&options.path, &detail))?;
        }
        if options.memory_bytes < MEMORY_BYTES_MIN {
            let detail = format!("{} bytes of memory are too few", options.memory_bytes);
            return Err(unusable(&options.path, &detail, "Give it 15 MB or more"));
        }
        let view = View::default();
        let path = options.path.clone();
        let engine = Blocking::new(path.display().to_string(), Engine::new(options, plan, view.clone()));
        Ok(TantivySink { engine, view })
    }

    /// The search over this index, before and after it has been opened, and across its rebuilding.
    #[must_use]
    pub fn search_handle(&self) -> SearchHandle {
        SearchHandle::new(self.view.clone())
    }
}

/// Whether there is an index in this directory, so that nobody has to be asked what the tables are like.
#[must_use]
pub fn has_index(path: &Path) -> bool {
    directory::identify(path).is_some()
}

impl Sink for TantivySink {
    async fn resume(&mut self) -> Result<Option<Checkpoint>, SinkError> {
        self.engine.run(Engine::resume).await
    }

    async fn stage(&mut self, mutations: &[Mutation]) -> Result<Staged, SinkError> {
        // Copies no row data.
        let mutations = mutations.to_vec();
        self.engine.run(move |engine| engine.stage(mutations)).await
    }

    async fn keys(&mut self, table: &TableName, from: Option<u64>) -> Result<KeyPage, SinkError> {
        let table = table.to_string();
        self.engine.run(move |engine| engine.keys(&table, from)).await
    }

    async fn read(&mut self, keys: &[Key]) -> Result<Vec<Option<Image>>, SinkError> {
        let keys = keys.to_vec();
        self.engine.run(move |engine| engine.read(&keys)).await
    }

    async fn commit(&mut self, upto: Checkpoint) -> Result<(), SinkError> {
        self.engine.run(move |engine| engine.commit(upto)).await
    }

    async fn probe(&mut self) -> Result<(), SinkError> {
        self.engine.run(Engine::probe).await
    }
}

impl Replaceable for TantivySink {
    async fn identity(&mut self) -> Result<String, SinkError> {
        self.engine.run(|engine| engine.identity()).await
    }

    async fn replace(&mut self, by: &str, old: Old) -> Result<(), SinkError> {
        let by = by.to_owned();
        self.engine.run(move |engine| engine.replace(&by, old)).await
    }

    async fn remove(&mut self) -> Result<(), SinkError> {
        self.engine.run(Engine::remove).await
    }
}
