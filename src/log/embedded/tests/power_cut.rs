//! Power cuts at every moment, with every page that was not fsynced kept or lost at random.
//!
//! A disk that records what it is asked replays its record up to some moment into a fresh directory: what was fsynced
//! is there, of the rest each page may be. Opening must find at least what had been published at that moment.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::PathBuf;
use std::sync::Mutex;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::*;
use crate::log::embedded::disk::Disk;

const PAGE: usize = 512;

#[derive(Clone, Debug)]
enum Call {
    Write { path: PathBuf, bytes: Vec<u8>, byte: u64 },
    Sync(PathBuf),
    Cut { path: PathBuf, len: u64 },
    Rename { from: PathBuf, to: PathBuf },
    Remove(PathBuf),
    SyncDirectory,
}

/// Each call with what had been published before it.
type Record = Arc<Mutex<Vec<(Durable, Call)>>>;

#[derive(Clone, Debug, Default)]
struct Recorder {
    record: Record,
    published: Arc<Mutex<Option<watch::Receiver<Durable>>>>,
}

impl Recorder {
    fn note(&self, call: Call) {
        let published = self.published.lock().unwrap().as_ref().map(|watch| *watch.borrow()).unwrap_or_default();
        self.record.lock().unwrap().push((published, call));
    }
}

impl Disk for Recorder {
    fn write(&self, file: &File, path: &Path, bytes: &[u8], byte: u64) -> io::Result<()> {
        self.note(Call::Write { path: path.to_owned(), bytes: bytes.to_vec(), byte });
        file.write_all_at(bytes, byte)
    }

    fn sync(&self, _file: &File, path: &Path) -> io::Result<()> {
        self.note(Call::Sync(path.to_owned()));
        Ok(())
    }

    fn cut(&self, file: &File, path: &Path, len: u64) -> io::Result<()> {
        self.note(Call::Cut { path: path.to_owned(), len });
        file.set_len(len)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.note(Call::Rename { from: from.to_owned(), to: to.to_owned() });
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.note(Call::Remove(path.to_owned()));
        fs::remove_file(path)
    }

    fn sync_directory(&self, _path: &Path) -> io::Result<()> {
        self.note(Call::SyncDirectory);
        Ok(())
    }
}

/// A page written and not fsynced, and where.
type Page = (u64, Vec<u8>);

/// What a disk holds: what is safe, and what may or may not be there after a power cut.
#[derive(Clone, Debug, Default)]
struct Platter {
    files: Vec<(Vec<u8>, Vec<Page>)>,
    safe_names: BTreeMap<PathBuf, usize>,
    names: BTreeMap<PathBuf, usize>,
    /// Directory changes not yet safe, in order: a journal may keep any number of the first.
    journal: Vec<BTreeMap<PathBuf, usize>>,
}

impl Platter {
    fn apply(&mut self, call: &Call) {
        match call {
            Call::Write { path, bytes, byte } => {
                if !self.names.contains_key(path) {
                    self.files.push(Default::default());
                    self.names.insert(path.clone(), self.files.len() - 1);
                    self.journal.push(self.names.clone());
                }
                let pages = bytes.chunks(PAGE).enumerate();
                let pages = pages.map(|(page, bytes)| (byte + (page * PAGE) as u64, bytes.to_vec()));
                self.files[self.names[path]].1.extend(pages);
            }
            Call::Sync(path) => self.settle(path),
            Call::Cut { path, len } => {
                self.settle(path);
                self.files[self.names[path]].0.truncate(usize::try_from(*len).unwrap());
            }
            Call::Rename { from, to } => {
                let file = self.names.remove(from).unwrap();
                self.names.insert(to.clone(), file);
                self.journal.push(self.names.clone());
            }
            Call::Remove(path) => {
                self.names.remove(path).unwrap();
                self.journal.push(self.names.clone());
            }
            Call::SyncDirectory => {
                self.safe_names = self.names.clone();
                self.journal.clear();
            }
        }
    }

    fn settle(&mut self, path: &Path) {
        let (bytes, pending) = &mut self.files[self.names[path]];
        pending.drain(..).for_each(|(byte, page)| overlay(bytes, byte, &page));
    }

    /// A directory as a power cut may leave it.
    fn cut_power(&self, chance: &mut StdRng, directory: &Path) {
        fs::DirBuilder::new().mode(0o700).create(directory).unwrap();
        let kept = chance.random_range(0..=self.journal.len());
        let names = kept.checked_sub(1).map_or(&self.safe_names, |index| &self.journal[index]);
        let luck = [0.0, 0.5, 0.9, 1.0][chance.random_range(0..4)];
        for (path, &file) in names {
            let (bytes, pending) = &self.files[file];
            let mut bytes = bytes.clone();
            for (byte, page) in pending.iter().filter(|_| chance.random_bool(luck)) {
                overlay(&mut bytes, *byte, page);
            }
            let mut options = fs::OpenOptions::new();
            options.write(true).create_new(true).mode(0o600);
            let file = options.open(directory.join(path.file_name().unwrap())).unwrap();
            file.write_all_at(&bytes, 0).unwrap();
        }
    }
}

fn overlay(bytes: &mut Vec<u8>, byte: u64, page: &[u8]) {
    let at = usize::try_from(byte).unwrap();
    if bytes.len() < at + page.len() {
        bytes.resize(at + page.len(), 0);
    }
    bytes[at..at + page.len()].copy_from_slice(page);
}

/// Writes whole, aborted and large transactions over several segments. Returns what was committed.
async fn write_something(path: &Path, recorder: &Recorder) -> Vec<(u64, Bytes)> {
    let (mut writer, _log, _) = open_on(path, SMALL, Box::new(recorder.clone())).unwrap();
    *recorder.published.lock().unwrap() = Some(writer.durable());
    writer.append(Entry::Epoch(&epoch())).unwrap();
    let mut model = Vec::new();
    for number in 1..=12_u64 {
        let size = usize::try_from(number).unwrap() * 90;
        let values: Vec<Vec<u8>> = (0..9_u8).map(|row| vec![b'a' + row; size]).collect();
        if number % 4 == 0 {
            writer.append(Entry::Begin(&transaction(number))).unwrap();
            for value in &values {
                let (relation, body) = (relation(2), insert_body(value));
                writer.append(Entry::Change { op: Op::Insert, relation: &relation, body: &body }).unwrap();
                writer.flush().await.unwrap();
            }
            writer.append(Entry::Abort).unwrap();
        }
        append(&mut writer, number, &values);
        model.extend(values.into_iter().map(|value| (number, Bytes::from(value))));
        writer.sync().await.unwrap();
    }
    model
}

#[tokio::test]
async fn a_power_cut_at_any_moment_leaves_everything_that_was_published() {
    let root = tempfile::tempdir().unwrap();
    let recorder = Recorder::default();
    let model = write_something(&root.path().join("log"), &recorder).await;
    let record = recorder.record.lock().unwrap().clone();
    let mut platter = Platter::default();
    let mut chance = StdRng::seed_from_u64(90);
    let mut tried = 0;
    for (published, call) in &record {
        for _ in 0..6 {
            tried += 1;
            let copy = root.path().join(format!("cut{tried}"));
            platter.cut_power(&mut chance, &copy);
            let (writer, log, recovered) =
                open(&copy, SMALL).unwrap_or_else(|error| panic!("attempt {tried}, before {call:?}: {error}"));
            assert!(recovered.durable.offset >= published.offset, "attempt {tried}");
            assert!(recovered.durable.end_lsn >= published.end_lsn, "attempt {tried}");
            let values = read_all(&log, Offset(0)).await;
            assert_eq!(values, model[..values.len()], "attempt {tried}");
            drop((writer, log));
            assert_eq!(verify(&copy, |_, _| {}).unwrap().damages, []);
            fs::remove_dir_all(copy).unwrap();
        }
        platter.apply(call);
    }
    assert!(tried > 500, "{tried}");
}
