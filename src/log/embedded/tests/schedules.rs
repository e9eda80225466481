//! Random schedules of everything a writer can do, against a list.

use std::path::{Path, PathBuf};

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Action {
    /// A transaction of so many rows of such a size.
    Commit(usize, usize),
    /// One that is taken back; flushed after every so many rows.
    Abort(usize, usize),
    /// A transaction flushed in its middle.
    Large(usize, usize),
    Progress,
    Flush,
    Sync,
    /// Drop and open.
    Reopen,
    /// Leave the directory as it is, in the middle of a transaction, and go on with a copy.
    Crash(usize),
    /// Read from a place on, in batches of so many events.
    Read(u64, usize),
    Verify,
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        6 => (0..20_usize, 0..600_usize).prop_map(|(rows, size)| Action::Commit(rows, size)),
        2 => (0..80_usize, 1..20_usize).prop_map(|(rows, every)| Action::Abort(rows, every)),
        2 => (1..80_usize, 1..20_usize).prop_map(|(rows, every)| Action::Large(rows, every)),
        1 => Just(Action::Progress),
        2 => Just(Action::Flush),
        2 => Just(Action::Sync),
        1 => Just(Action::Reopen),
        1 => (0..60_usize).prop_map(Action::Crash),
        2 => (any::<u64>(), 1..30_usize).prop_map(|(from, limit)| Action::Read(from, limit)),
        1 => Just(Action::Verify),
    ]
}

struct World {
    root: tempfile::TempDir,
    path: PathBuf,
    copies: u32,
    open: Option<(Writer, Log)>,
    number: u64,
    /// What has been committed, durable or not.
    model: Vec<(u64, Bytes)>,
}

impl World {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("log");
        let (mut writer, log, _) = reopen(&path, SMALL);
        writer.append(Entry::Epoch(&epoch())).unwrap();
        World { root, path, copies: 0, open: Some((writer, log)), number: 0, model: Vec::new() }
    }

    fn writer(&mut self) -> &mut Writer {
        &mut self.open.as_mut().unwrap().0
    }

    async fn rows(&mut self, rows: usize, size: usize, flush_every: usize) -> Vec<(u64, Bytes)> {
        self.number += 1;
        let number = self.number;
        self.writer().append(Entry::Begin(&transaction(number))).unwrap();
        let mut values = Vec::new();
        for row in 0..rows {
            let relation = relation(u32::try_from(row % 3).unwrap());
            let mut text = format!("{number}/{row} ").into_bytes();
            text.resize(text.len() + size, b'.');
            let body = insert_body(&text);
            self.writer().append(Entry::Change { op: Op::Insert, relation: &relation, body: &body }).unwrap();
            values.push((number, Bytes::from(text)));
            if row % flush_every == flush_every - 1 {
                self.writer().flush().await.unwrap();
            }
        }
        values
    }

    fn commit(&mut self, values: Vec<(u64, Bytes)>) {
        let end_lsn = Lsn::new(self.number * 100 + 50);
        self.writer().append(Entry::Commit { end_lsn }).unwrap();
        self.model.extend(values);
    }

    async fn act(&mut self, action: Action) {
        match action {
            Action::Commit(rows, size) => {
                let values = self.rows(rows, size, usize::MAX).await;
                self.commit(values);
            }
            Action::Large(rows, every) => {
                let values = self.rows(rows, 50, every).await;
                self.commit(values);
            }
            Action::Abort(rows, every) => {
                self.rows(rows, 50, every).await;
                self.writer().append(Entry::Abort).unwrap();
            }
            Action::Progress => {
                let lsn = Lsn::new(self.number * 100 + 70);
                self.writer().append(Entry::Progress(lsn)).unwrap();
            }
            Action::Flush => self.writer().flush().await.unwrap(),
            Action::Sync => {
                let durable = self.writer().sync().await.unwrap();
                assert_eq!(durable.offset.0, self.model.len() as u64);
            }
            Action::Reopen => {
                self.open = None;
                self.reopen(0);
            }
            Action::Crash(rows) => self.crash(rows).await,
            Action::Read(from, limit) => self.read(from, limit).await,
            Action::Verify => self.verify().await,
        }
    }

    async fn crash(&mut self, rows: usize) {
        let published = self.writer().durable().borrow().offset;
        self.rows(rows, 40, 7).await;
        // Wait until the flusher is idle, so that the copy is of one moment; what was not flushed is lost.
        while !self.writer().can_flush() {
            std::thread::yield_now();
        }
        self.copies += 1;
        let copy = self.root.path().join(format!("copy{}", self.copies));
        copy_directory(&self.path, &copy);
        self.open = None;
        self.path = copy;
        self.reopen(published.0);
    }

    fn reopen(&mut self, at_least: u64) {
        let (writer, log, recovered) = reopen(&self.path, SMALL);
        let kept = recovered.durable.offset.0;
        assert!(kept >= at_least && kept <= self.model.len() as u64, "{kept} of {}", self.model.len());
        self.model.truncate(usize::try_from(kept).unwrap());
        self.open = Some((writer, log));
        if recovered.epoch.is_none() {
            self.writer().append(Entry::Epoch(&epoch())).unwrap();
        }
    }

    async fn read(&mut self, from: u64, limit: usize) {
        self.writer().sync().await.unwrap();
        let from = from % (self.model.len() as u64 + 1);
        let (_, log) = self.open.as_ref().unwrap();
        let mut reader = log.reader(Offset(from)).unwrap();
        let end = *log.durable().borrow();
        let mut at = usize::try_from(from).unwrap();
        let mut bytes = 0;
        while reader.offset() < end.offset {
            let batch = reader.next(Limit { events: limit, bytes: 2000 }).await.unwrap();
            for event in &batch.events {
                assert_eq!(value(event), self.model[at]);
                at += 1;
            }
            assert_eq!(batch.next.0, at as u64);
            assert!(batch.bytes > bytes && batch.bytes <= end.bytes);
            bytes = batch.bytes;
            let ends = self.model.get(at).is_none_or(|next| next.0 != self.model[at - 1].0);
            assert_eq!(batch.ends_transaction, ends);
            let transactions = batch.events.iter().map(|event| event.transaction.commit_lsn);
            let whole = ends || transactions.clone().min() == transactions.clone().max();
            assert!(whole, "a batch with a whole transaction ends inside another");
        }
        assert_eq!(at, self.model.len());
        assert!(bytes == 0 || bytes == end.bytes);
    }

    async fn verify(&mut self) {
        self.writer().sync().await.unwrap();
        let report = super::verify(&self.path, |_, _| {}).unwrap();
        assert_eq!(report.damages, []);
        assert_eq!(report.end.0, self.model.len() as u64);
        let log = ReadOnly::open(&self.path).unwrap();
        assert_eq!(log.end(), *self.open.as_ref().unwrap().1.durable().borrow());
        let mut reader = log.reader(log.start()).unwrap();
        let mut values = Vec::new();
        while let Some(batch) = reader.next(&log, Limit { events: 9, bytes: 900 }).unwrap() {
            values.extend(batch.events.iter().map(value));
        }
        assert_eq!(values, self.model);
    }
}

pub(super) fn copy_directory(from: &Path, to: &Path) {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().mode(0o700).create(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, max_shrink_iters: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_schedule_of_transactions_and_crashes_reads_back_as_a_list_would(
        actions in proptest::collection::vec(action(), 1..40),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mut world = World::new();
            for action in actions {
                world.act(action).await;
            }
            world.act(Action::Verify).await;
            world.act(Action::Read(0, 5)).await;
            world.act(Action::Reopen).await;
            world.act(Action::Read(0, 1000)).await;
        });
    }
}
