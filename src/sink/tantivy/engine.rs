//! The index itself, with blocking calls only.
//!
//! Invariants: the payload of every commit is the checkpoint of the documents committed with it; and a key has at most
//! one live document, because each put deletes the key's term first and one thread numbers the operations.

use std::collections::BTreeMap;
use std::sync::Arc;

use tantivy::collector::TopDocs;
use tantivy::directory::MmapDirectory;
use tantivy::indexer::IndexWriterOptions;
use tantivy::query::TermQuery;
use tantivy::schema::{IndexRecordOption, Value};
use tantivy::{Index, IndexReader, IndexSettings, IndexWriter, ReloadPolicy, TantivyDocument, TantivyError, Term};

use super::directory::{self, Identity};
use super::error::{REBUILD, classify};
use super::fields::{self, Fields, Kind};
use super::search::View;
use super::{Options, document, keys};
use crate::event::{Position, TableName};
use crate::project::mutation::{Document, Effect, Key, Mutation};
use crate::sink::disk::{not_open, regressed, unusable};
use crate::sink::saved::Saved;
use crate::sink::uncommitted::{Known, Uncommitted};
use crate::sink::{Checkpoint, KeyPage, Rejection, SinkError, Staged, whole};

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

/// An opened index, its writer lock held.
struct Open {
    index: Index,
    fields: Fields,
    writer: IndexWriter,
    reader: IndexReader,
    /// The directory it was opened in.
    identity: Identity,
    /// The payload of the last commit, as the directory had it.
    payload: Option<String>,
    /// Mutations up to here are in the index.
    position: Option<Position>,
    /// Bytes handed to the indexing thread since it was last seen idle.
    queued_bytes: usize,
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
        let open = self.open.as_ref().ok_or_else(|| not_open(&options.path))?;
        keys::page(&open.reader.searcher(), &open.fields, table, from).map_err(|error| open.judge(options, &error))
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
        fields::register_tokenizer(&index);
        let fields = self.agree_on_fields(&index)?;
        let options = IndexWriterOptions::builder()
            .num_worker_threads(1)
            .num_merge_threads(1)
            .memory_budget_per_thread(self.options.memory_bytes)
            .build();
        let writer = index.writer_with_options(options).map_err(judge)?;
        let reader = index.reader_builder().reload_policy(ReloadPolicy::Manual).try_into().map_err(judge)?;
        let payload = index.load_metas().map_err(judge)?.payload;
        let identity =
            directory::identify(path).ok_or_else(|| regressed(&self.options.path, "it was removed just now"))?;
        let open = Open { index, fields, writer, reader, identity, payload, position: None, queued_bytes: 0 };
        open.settle().map_err(judge)?;
        Ok(open)
    }

    /// The fields of an index that may be older than the configuration. What it lacks stays unindexed; what it has as
    /// something else makes it useless.
    fn agree_on_fields(&self, index: &Index) -> Result<Fields, SinkError> {
        let path = &self.options.path;
        let mut fields = fields::read(&index.schema())
            .ok_or_else(|| unusable(path, "it holds an index that walbridge did not make", REBUILD))?;
        let Some(plan) = &self.plan else { return self.only_configured(fields) };
        for (name, kind) in plan {
            match fields.columns.get(name) {
                Some((_, found)) if found == kind => {}
                Some((_, found)) => {
                    let detail =
                        format!("the index has column `{name}` as {found:?}, and the tables now call for {kind:?}");
                    return Err(unusable(path, &detail, REBUILD));
                }
                None if self.options.fields.is_some() => {
                    let detail = format!("the index was made without column `{name}`, which `fields` names");
                    return Err(unusable(path, &detail, REBUILD));
                }
                None => tracing::warn!(sink = %self.options.name, column = %name,
                    "this column came after the index was made: it is in the documents but not searchable; \
                     remove the index's directory to have it built anew"),
            }
        }
        fields.columns.retain(|name, _| plan.contains_key(name));
        Ok(fields)
    }

    /// Of an index's own fields those that are configured, if any are.
    fn only_configured(&self, mut fields: Fields) -> Result<Fields, SinkError> {
        let Some(only) = &self.options.fields else { return Ok(fields) };
        if let Some(name) = only.iter().find(|name| !fields.columns.contains_key(*name)) {
            let detail = format!("the index was made without column `{name}`, which `fields` names");
            return Err(unusable(&self.options.path, &detail, REBUILD));
        }
        fields.columns.retain(|name, _| only.contains(name));
        Ok(fields)
    }

    fn read_checkpoint(&self, open: &Open) -> Result<Option<Checkpoint>, SinkError> {
        let Some(payload) = &open.payload else { return Ok(None) };
        let saved = serde_json::from_str(payload).ok().and_then(|saved: Saved| saved.checkpoint());
        let damaged = || unusable(&self.options.path, "its commit does not hold a checkpoint", REBUILD);
        saved.map(Some).ok_or_else(damaged)
    }
}

/// What became of a mutation.
enum Applied {
    Staged,
    Incomplete,
    Refused(Box<Rejection>),
}

impl Open {
    /// Drops what was staged; `None` if that fails, and the index must be opened anew.
    fn roll_back(mut self) -> Option<Open> {
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
    fn settle(&self) -> Result<(), TantivyError> {
        self.writer.garbage_collect_files().wait()?;
        // No key's term is empty: each begins with a byte of our own.
        self.writer.delete_term(Term::from_field_bytes(self.fields.id, b""));
        Ok(())
    }

    fn apply(&mut self, mutation: Mutation, uncommitted: &mut Uncommitted) -> Result<Applied, TantivyError> {
        match &mutation.effect {
            Effect::Put { document, moved_from } => {
                let Some(source) = self.complete(&mutation.key, document, moved_from.as_ref(), uncommitted)? else {
                    return Ok(Applied::Incomplete);
                };
                self.put(mutation.key.clone(), &document.relation.name, source, uncommitted)?;
            }
            Effect::Delete => {
                self.delete_id(&mutation.key);
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
        let document = document::document(&self.fields, &table.to_string(), &key, &source);
        self.delete_id(&key);
        self.writer.add_document(document)?;
        // The text twice, as stored and as indexed.
        self.queued_bytes = self.queued_bytes.saturating_add(source.len().saturating_mul(2));
        uncommitted.put(key, table.clone(), source.into());
        Ok(())
    }

    fn delete_id(&self, key: &Key) {
        self.writer.delete_term(Term::from_field_bytes(self.fields.id, &document::id_of(key)));
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
            Known::Committed => self.committed_source(moved_from.unwrap_or(key))?.map(Arc::from),
            Known::Nothing => None,
        };
        Ok(older.and_then(|older| whole::source(relation, row, Some(&older))))
    }

    /// The document under this key as last committed.
    fn committed_source(&self, key: &Key) -> Result<Option<String>, TantivyError> {
        let searcher = self.reader.searcher();
        let term = Term::from_field_bytes(self.fields.id, &document::id_of(key));
        let query = TermQuery::new(term, IndexRecordOption::Basic);
        let found = searcher.search(&query, &TopDocs::with_limit(1).order_by_score())?;
        let Some((_, address)) = found.first() else { return Ok(None) };
        let document: TantivyDocument = searcher.doc(*address)?;
        Ok(document.get_first(self.fields.source).and_then(|source| source.as_str().map(str::to_owned)))
    }

    /// Waits for the indexing thread once more than this many bytes may be waiting for it: its queue counts documents,
    /// not bytes. A prepared commit that is dropped only writes out what was staged.
    fn bound_queue(&mut self, bytes_max: usize) -> Result<(), TantivyError> {
        if self.queued_bytes > bytes_max {
            drop(self.writer.prepare_commit()?);
            self.queued_bytes = 0;
        }
        Ok(())
    }

    fn commit(&mut self, upto: Checkpoint) -> Result<(), TantivyError> {
        let payload = serde_json::to_string(&Saved::from(upto))
            .map_err(|error| TantivyError::InternalError(error.to_string()))?;
        let mut prepared = self.writer.prepare_commit()?;
        prepared.set_payload(&payload);
        prepared.commit()?;
        self.payload = Some(payload);
        self.position = upto.position.or(self.position);
        self.queued_bytes = 0;
        self.reader.reload()
    }

    fn is_in_place(&self, options: &Options) -> bool {
        self.check_in_place(options).is_ok()
    }

    /// Whether the directory is the one that was opened, at the commit that we made.
    fn check_in_place(&self, options: &Options) -> Result<(), SinkError> {
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
    fn judge(&self, options: &Options, error: &TantivyError) -> SinkError {
        if directory::identify(&options.path) == Some(self.identity) {
            return classify(&options.path, error);
        }
        regressed(&options.path, "the directory was removed or replaced")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Lsn, Offset, Relation};
    use crate::log::LogId;
    use crate::project::testing::{relation, row};

    struct Fixture {
        engine: Option<Engine>,
        relation: Arc<Relation>,
        home: tempfile::TempDir,
        puts: u64,
    }

    impl Fixture {
        fn new() -> Fixture {
            let home = tempfile::tempdir().expect("a directory");
            let relation = Arc::new(relation("t", &["id", "v"], &[0]));
            let mut fixture = Fixture { engine: None, relation, home, puts: 0 };
            fixture.open_anew();
            fixture
        }

        /// As after a kill: nothing is waited for.
        fn open_anew(&mut self) {
            self.engine = None;
            let path = self.home.path().join("index");
            let relations = vec![self.relation.clone()];
            let plan = fields::plan(&relations, None);
            let memory_bytes = super::super::MEMORY_BYTES_MIN;
            let options = Options { name: "s".to_owned(), path, fields: None, relations, memory_bytes };
            let mut engine = Engine::new(options, Some(plan), View::default());
            engine.resume().expect("an index");
            self.engine = Some(engine);
        }

        fn put(&mut self, ids: impl IntoIterator<Item = u32>) -> Result<(), SinkError> {
            let engine = self.engine.as_mut().expect("open");
            let mut position = None;
            for id in ids {
                self.puts += 1;
                let (id, value) = (id.to_string(), self.puts.to_string());
                let document = Document { relation: self.relation.clone(), row: row(&[&id, &value]) };
                let at = Position { epoch: 1, commit_lsn: Lsn::new(self.puts), ordinal: 0 };
                let effect = Effect::Put { document, moved_from: None };
                engine.stage(vec![Mutation { key: Key(id.into()), position: at, effect }])?;
                position = Some(at);
            }
            engine.commit(Checkpoint {
                log: LogId(1),
                offset: Offset(self.puts),
                position,
                time: None,
                replay: None,
                ahead: None,
            })
        }

        fn keys(&mut self) -> Vec<String> {
            let page = self.engine.as_mut().expect("open").keys("public.t", None).expect("keys");
            let mut keys: Vec<String> = page.keys.iter().map(ToString::to_string).collect();
            keys.sort();
            keys
        }
    }

    /// Found by the checker: of a row that changed just after a start, the old document was found beside the new one.
    #[test]
    fn a_key_has_one_document_whatever_is_merged_while_a_writer_begins() {
        for _ in 0..3 {
            let mut fixture = Fixture::new();
            fixture.put([1, 2, 3]).expect("a commit");
            // As many segments as are merged, and the last commit deletes from the first of them. The merge does not end.
            (1..7).for_each(|n| fixture.put(n * 10..n * 10 + 4).expect("a commit"));
            fixture.put([1, 70, 71, 72, 73]).expect("a commit");
            fixture.open_anew();
            fixture.put([2]).expect("a commit");
            let merged = |fixture: &Fixture| {
                let open = fixture.engine.as_ref().and_then(|engine| engine.open.as_ref()).expect("open");
                open.index.load_metas().expect("its commit").segments.len() < 8
            };
            let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
            while !merged(&fixture) && std::time::Instant::now() < deadline {
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
            fixture.put([99]).expect("a commit");
            let keys = fixture.keys();
            let mut once = keys.clone();
            once.dedup();
            assert_eq!(keys, once);
        }
    }

    #[test]
    fn deletes_written_by_a_process_that_was_killed_before_its_commit_are_not_in_the_way() {
        let mut fixture = Fixture::new();
        (0..3).for_each(|id| fixture.put([id]).expect("a commit"));
        fixture.engine = None;
        let path = fixture.home.path().join("index");
        let metas = Index::open_in_dir(&path).expect("an index").load_metas().expect("its commit");
        let managed = path.join(".managed.json");
        let text = std::fs::read_to_string(&managed).expect("the list of files");
        let mut files: Vec<String> = serde_json::from_str(&text).expect("a list");
        for segment in &metas.segments {
            for opstamp in metas.opstamp..metas.opstamp + 20 {
                let file = format!("{}.{opstamp}.del", segment.id().uuid_string());
                std::fs::write(path.join(&file), "half of it").expect("a file");
                files.push(file);
            }
        }
        std::fs::write(&managed, serde_json::to_string(&files).expect("JSON")).expect("the list of files");
        fixture.open_anew();
        (0..3).for_each(|id| fixture.put([id]).expect("a commit"));
        assert_eq!(fixture.keys(), ["0", "1", "2"]);
    }
}
