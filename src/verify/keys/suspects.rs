//! The sink's keys that the source may not have, each once, in bounded memory: by their hashes in a map, and in a file (`spill`) once they are too many.

use std::collections::BTreeMap;
use std::io;
use std::iter::Peekable;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::vec::IntoIter;

use bytes::Bytes;

use super::roster::Roster;
use super::spill::{Cutter, Spill, part_of, parts_of};
use crate::project::mutation::Key;

/// What a key takes in the map beside itself, about.
const ENTRY_BYTES: usize = 128;

/// See the module.
#[derive(Debug)]
pub(in crate::verify) struct Suspects {
    held: Held,
    bytes_max: usize,
    spill: Option<Spill>,
    directory: PathBuf,
}

/// Keys by their hashes: told twice, they are kept once.
#[derive(Debug, Default)]
struct Held {
    keys: BTreeMap<u128, Key>,
    bytes: usize,
}

impl Held {
    fn add(&mut self, hash: u128, key: Key) {
        let bytes = ENTRY_BYTES.saturating_add(key.0.len());
        if self.keys.insert(hash, key).is_none() {
            self.bytes = self.bytes.saturating_add(bytes);
        }
    }

    /// Takes the last one out; where it was.
    fn drop_last(&mut self) -> Option<u128> {
        let (hash, key) = self.keys.pop_last()?;
        self.bytes = self.bytes.saturating_sub(ENTRY_BYTES.saturating_add(key.0.len()));
        Some(hash)
    }
}

/// Suspects of a range of hashes, in the order of those: they are looked at in one turn.
#[derive(Debug)]
pub(in crate::verify) struct Batch {
    left: Peekable<IntoIter<(u128, Key)>>,
    /// There is no other up to here.
    end: u128,
    /// The last that was looked at.
    looked_at: u128,
}

impl Batch {
    /// The next ones, pinned; none once they are all, or the source's keys reach no further.
    pub(in crate::verify) fn next(&mut self, count_max: usize, roster: &mut Roster) -> Vec<Key> {
        let reach = self.end.min(roster.end());
        let within = std::iter::from_fn(|| self.left.next_if(|(hash, _)| *hash <= reach));
        let (hashes, keys): (Vec<u128>, Vec<Key>) = within.take(count_max).unzip();
        self.looked_at = hashes.last().copied().unwrap_or(self.looked_at);
        roster.pin(hashes.into_iter());
        keys
    }

    /// Where the next turn begins; `None`: this was the last.
    pub(in crate::verify) fn next_turn(&self, roster: &Roster) -> Option<u128> {
        self.end.min(roster.end()).max(self.looked_at).checked_add(1)
    }
}

impl Suspects {
    /// Takes about so many bytes; what does not fit goes to this directory.
    pub(in crate::verify) fn new(memory_bytes: usize, directory: PathBuf) -> Self {
        Suspects { held: Held::default(), bytes_max: memory_bytes, spill: None, directory }
    }

    /// Another one.
    pub(in crate::verify) fn add(&mut self, hash: u128, key: Key) {
        match &mut self.spill {
            Some(spill) => spill.append_key(part_of(hash), &key.0),
            None => self.held.add(hash, key),
        }
    }

    /// Makes room in memory again; to be called every some thousand keys.
    pub(in crate::verify) async fn settle(&mut self) -> io::Result<()> {
        if self.spill.is_none() && self.held.bytes > self.bytes_max {
            let mut spill = Spill::create(&self.directory)?;
            let Held { keys, .. } = std::mem::take(&mut self.held);
            keys.iter().for_each(|(hash, key)| spill.append_key(part_of(*hash), &key.0));
            self.spill = Some(spill);
        }
        match &mut self.spill {
            Some(spill) => spill.write().await,
            None => Ok(()),
        }
    }

    /// Those of this range, or of its beginning, that the source lacks.
    pub(in crate::verify) async fn load(&mut self, range: RangeInclusive<u128>, roster: &Roster) -> io::Result<Batch> {
        let mut end = *range.end();
        let Some(spill) = &mut self.spill else {
            let lacked = self.held.keys.range(range).filter(|(hash, _)| roster.lacks(**hash));
            let keys: Vec<_> = lacked.map(|(hash, key)| (*hash, key.clone())).collect();
            return Ok(Batch { left: keys.into_iter().peekable(), end, looked_at: 0 });
        };
        spill.write().await?;
        let mut found = Held::default();
        for part in parts_of(&range) {
            let (mut stored, mut cutter) = (spill.read(part), Cutter::default());
            while let Some(bytes) = stored.next().await? {
                cutter.cut(&bytes, |key| {
                    let hash = roster.hash(key);
                    if (*range.start()..=end).contains(&hash) && roster.lacks(hash) {
                        found.add(hash, Key(Bytes::copy_from_slice(key)));
                    }
                });
                while found.bytes > self.bytes_max
                    && found.keys.len() > 1
                    && let Some(dropped) = found.drop_last()
                {
                    end = dropped.saturating_sub(1);
                }
            }
        }
        let keys: Vec<_> = found.keys.into_iter().collect();
        Ok(Batch { left: keys.into_iter().peekable(), end, looked_at: 0 })
    }
}
