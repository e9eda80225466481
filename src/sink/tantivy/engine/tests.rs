//! What happens around crashes: merges that begin with a writer, and what a killed process leaves.

use std::sync::Arc;

use super::super::analysis::Analysis;
use super::*;
use crate::event::{Lsn, Offset, Position, Relation};
use crate::log::LogId;
use crate::project::mutation::{Document, Effect};
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
        let plan = fields::plan(&relations, None, &Analysis::default());
        let memory_bytes = super::super::MEMORY_BYTES_MIN;
        let options = Options {
            name: "s".to_owned(),
            path,
            fields: None,
            analysis: Analysis::default(),
            relations,
            memory_bytes,
        };
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
        engine.commit(Checkpoint { position, ..Checkpoint::new(LogId(1), Offset(self.puts)) })
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
