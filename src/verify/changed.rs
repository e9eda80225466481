//! Rows that change while their table is walked over. An `UPDATE` puts a row's new version anywhere: it may leave a place that has not been walked over yet for
//! one that has. So each that is heard of is also compared by its key, once. Where a large transaction changes more than memory is meant for, the rest waits in a file.

use std::collections::HashSet;
use std::io;
use std::path::PathBuf;

use super::keys::{Cutter, Spill, Stored};
use crate::capture::snapshot::window::{Key, key_of};
use crate::event::{Relation, Row};

/// So many are compared at once.
const TOGETHER: usize = 500;
/// Keys are remembered up to so many bytes, so that a row which changes often is compared once. Beyond it all are forgotten, and some are compared twice.
const REMEMBERED_BYTES_MAX: usize = 16 << 20;
/// Keys that wait in memory.
const WAITING_BYTES_MAX: usize = 16 << 20;
/// What a key takes beside itself, about.
const KEY_BYTES: usize = 48;

/// See the module.
#[derive(Debug)]
pub(super) struct Changed {
    wanted: bool,
    waiting: Waiting,
    heard_of: HashSet<Key>,
    heard_of_bytes: usize,
    /// What came when too many waited.
    spill: Option<Spill>,
    /// What of that is being taken back.
    stored: Option<(Stored, Cutter)>,
    /// How many there are in those two.
    spilled: usize,
    directory: PathBuf,
}

#[derive(Debug, Default)]
struct Waiting {
    keys: Vec<Key>,
    bytes: usize,
}

impl Waiting {
    fn push(&mut self, key: Key) {
        self.bytes = self.bytes.saturating_add(bytes(&key));
        self.keys.push(key);
    }

    fn split_off(&mut self, at: usize) -> Vec<Key> {
        let taken = self.keys.split_off(at);
        self.bytes = self.bytes.saturating_sub(taken.iter().map(bytes).sum());
        taken
    }
}

fn bytes(key: &Key) -> usize {
    key.len().saturating_add(KEY_BYTES)
}

impl Changed {
    /// `wanted`: or else none is kept. `directory`: where too many go.
    pub(super) fn new(wanted: bool, directory: PathBuf) -> Self {
        let (waiting, heard_of) = (Waiting::default(), HashSet::new());
        Changed { wanted, waiting, heard_of, heard_of_bytes: 0, spill: None, stored: None, spilled: 0, directory }
    }

    /// This row has changed.
    pub(super) fn add(&mut self, relation: &Relation, row: &Row) {
        if !self.wanted {
            return;
        }
        let key = key_of(relation, row);
        if self.heard_of_bytes >= REMEMBERED_BYTES_MAX {
            self.heard_of.clear();
            self.heard_of_bytes = 0;
        }
        if self.heard_of.insert(key.clone()) {
            self.heard_of_bytes = self.heard_of_bytes.saturating_add(bytes(&key));
            self.waiting.push(key);
        }
    }

    /// This row could not be compared, and is to be once more.
    pub(super) fn again(&mut self, relation: &Relation, row: &Row) {
        if self.wanted {
            self.waiting.push(key_of(relation, row));
        }
    }

    /// Makes room in memory again; to be called every some thousand rows.
    pub(super) async fn settle(&mut self) -> io::Result<()> {
        if self.waiting.bytes <= WAITING_BYTES_MAX {
            return Ok(());
        }
        let spill = match self.spill.take() {
            Some(spill) => spill,
            None => Spill::create(&self.directory)?,
        };
        let spill = self.spill.insert(spill);
        let surplus = self.waiting.split_off(self.waiting.keys.len() / 2);
        self.spilled = self.spilled.saturating_add(surplus.len());
        surplus.iter().for_each(|key| spill.append_key(0, key));
        spill.write().await
    }

    /// Whether it is worth while to compare some.
    pub(super) fn are_many(&self) -> bool {
        self.len() >= TOGETHER
    }

    /// How many are to be compared.
    pub(super) fn len(&self) -> usize {
        self.waiting.keys.len().saturating_add(self.spilled)
    }

    /// Some of those that are to be compared.
    pub(super) async fn take(&mut self) -> io::Result<Option<Vec<Key>>> {
        while self.waiting.keys.is_empty() && self.take_back().await? {}
        let from = self.waiting.keys.len().saturating_sub(TOGETHER);
        Ok(Some(self.waiting.split_off(from)).filter(|keys| !keys.is_empty()))
    }

    /// Some of what went to the file; `false`: there is none.
    async fn take_back(&mut self) -> io::Result<bool> {
        let Some((stored, cutter)) = &mut self.stored else {
            let Some(mut spill) = self.spill.take() else { return Ok(false) };
            spill.write().await?;
            self.stored = Some((spill.read(0), Cutter::default()));
            return Ok(true);
        };
        match stored.next().await? {
            Some(bytes) => cutter.cut(&bytes, |key| {
                self.spilled = self.spilled.saturating_sub(1);
                self.waiting.push(key.into());
            }),
            None => self.stored = None,
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::project::testing::{relation, row};

    async fn take(changed: &mut Changed) -> Option<Vec<Key>> {
        changed.take().await.expect("a disk")
    }

    #[tokio::test]
    async fn a_row_that_changes_often_is_compared_once_unless_that_failed() {
        let t = relation("t", &["id", "v"], &[0]);
        let mut changed = Changed::new(true, "nowhere".into());
        (0..1200).for_each(|n| changed.add(&t, &row(&[&(n % 600).to_string(), "v"])));
        assert!(changed.are_many());
        let (some, others) = (take(&mut changed).await.expect("some"), take(&mut changed).await.expect("others"));
        assert_eq!((some.len(), others.len(), take(&mut changed).await), (TOGETHER, 600 - TOGETHER, None));
        changed.add(&t, &row(&["1", "w"]));
        assert_eq!(take(&mut changed).await, None);
        changed.again(&t, &row(&["1", "w"]));
        assert_eq!(take(&mut changed).await.map(|keys| keys.len()), Some(1));
        let mut unwanted = Changed::new(false, "nowhere".into());
        unwanted.add(&t, &row(&["1", "v"]));
        assert_eq!(take(&mut unwanted).await, None);
    }

    /// A transaction that changed every row of a large table was remembered key by key, in as much memory as that took.
    #[tokio::test]
    async fn more_rows_than_memory_is_meant_for_wait_on_disk_and_none_is_lost() {
        let directory = tempfile::tempdir().expect("a directory");
        let t = relation("t", &["id", "v"], &[0]);
        let mut changed = Changed::new(true, directory.path().to_owned());
        let filler = "k".repeat(1000);
        let count = 3 * WAITING_BYTES_MAX / 1000;
        let (mut taken, mut added) = (HashSet::new(), 0);
        while added < count || changed.len() > 0 {
            for _ in 0..2000.min(count - added) {
                changed.add(&t, &row(&[&format!("{filler}{added}"), "v"]));
                added += 1;
            }
            changed.settle().await.expect("a disk");
            assert!(
                changed.waiting.bytes < WAITING_BYTES_MAX * 3 / 2 && changed.heard_of_bytes < 2 * REMEMBERED_BYTES_MAX
            );
            for key in take(&mut changed).await.unwrap_or_default() {
                assert!(taken.insert(key), "twice");
            }
        }
        assert_eq!((taken.len(), take(&mut changed).await), (count, None));
        assert_eq!(std::fs::read_dir(directory.path()).expect("a directory").count(), 0);
        assert!(Spill::create(Path::new("nowhere")).is_err());
    }
}
