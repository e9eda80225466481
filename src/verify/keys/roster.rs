//! Which keys the source has, as of the log's place, in bounded memory.
//!
//! While they fit they are a set of hashes. Once they do not, everything that is said of a key goes to a file (`spill`), and what the set holds is a range of the hashes; the others have
//! their turn later, range by range, each read back from the file. Whatever the log says meanwhile goes to both. Neither the source nor the log is read again for it.

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;

use super::spill::{Spill, last_of, part_of};
use crate::deliver::fresh::Fresh;
use crate::project::mutation::{Effect, Key, Mutation};

/// Hashes that go to the file at once.
const TOGETHER: usize = 1 << 16;
/// What is said of a key: its hash, and in the last bit whether it is there.
const NOTE_BYTES: usize = size_of::<u128>();

/// See the module.
#[derive(Debug)]
pub(in crate::verify) struct Roster {
    held: Fresh,
    /// Of these keys it is known whether they are there, wherever the range ends.
    pinned: HashMap<u128, bool>,
    spill: Option<Spill>,
    directory: PathBuf,
    /// Why nothing is known any more.
    lost: Option<io::Error>,
}

impl Roster {
    /// Takes about so many bytes; what does not fit goes to this directory.
    pub(in crate::verify) fn new(memory_bytes: usize, directory: PathBuf) -> Self {
        Roster { held: Fresh::new(memory_bytes), pinned: HashMap::new(), spill: None, directory, lost: None }
    }

    /// What a mutation of the table does to its keys. In the order of the log.
    pub(in crate::verify) fn note(&mut self, mutation: &Mutation) {
        match &mutation.effect {
            Effect::Put { .. } => self.set(&mutation.key, true),
            Effect::Delete => self.set(&mutation.key, false),
            Effect::Clear(_) => {
                self.held.begin(self.held.range());
                self.pinned.values_mut().for_each(|is_there| *is_there = false);
                self.spill.iter_mut().for_each(Spill::clear);
            }
            Effect::Sweep { .. } | Effect::Append(_) => {}
        }
    }

    /// Whether the source has this key, as of now.
    pub(in crate::verify) fn set(&mut self, key: &Key, is_there: bool) {
        if self.lost.is_some() {
            return;
        }
        let hash = self.hash(&key.0);
        if let Some(pinned) = self.pinned.get_mut(&hash) {
            *pinned = is_there;
        }
        if let Some(spill) = &mut self.spill {
            append(spill, hash, is_there);
        }
        self.held.put(hash, is_there);
    }

    /// Makes room in memory again; to be called every some thousand keys. Without a disk for them the keys are lost, which [`Roster::load`] tells.
    pub(in crate::verify) async fn settle(&mut self) {
        if self.lost.is_none()
            && let Err(error) = self.make_room().await
        {
            self.held.begin(0..=0);
            (self.spill, self.lost) = (None, Some(error));
        }
    }

    async fn make_room(&mut self) -> io::Result<()> {
        if self.held.is_overfull() {
            if self.spill.is_none() {
                let mut spill = Spill::create(&self.directory)?;
                for (number, hash) in self.held.hashes().enumerate() {
                    append(&mut spill, hash, true);
                    if number % TOGETHER == 0 {
                        spill.write().await?;
                    }
                }
                self.spill = Some(spill);
            }
            self.held.narrow();
        }
        match &mut self.spill {
            Some(spill) => spill.write().await,
            None => Ok(()),
        }
    }

    /// A key's hash.
    pub(in crate::verify) fn hash(&self, key: &[u8]) -> u128 {
        self.held.hash(key)
    }

    /// Whether the source may have no such key, for all that is in memory.
    pub(in crate::verify) fn may_lack(&self, hash: u128) -> bool {
        !self.held.range().contains(&hash) || self.held.lacks(hash)
    }

    /// Whether the source certainly has no such key.
    pub(in crate::verify) fn lacks(&self, hash: u128) -> bool {
        self.held.lacks(hash)
    }

    /// The keys in memory end here.
    pub(in crate::verify) fn end(&self) -> u128 {
        *self.held.range().end()
    }

    /// Whether nothing is known any more.
    pub(in crate::verify) fn is_lost(&self) -> bool {
        self.lost.is_some()
    }

    /// Has the keys from here on in memory, as many as fit: `lacks` is certain up to [`Roster::end`].
    pub(in crate::verify) async fn load(&mut self, from: u128) -> io::Result<()> {
        if let Some(error) = self.lost.take() {
            return Err(error);
        }
        let Some(spill) = self.spill.as_mut().filter(|_| *self.held.range().start() != from) else { return Ok(()) };
        spill.write().await?;
        let mut part = part_of(from);
        self.held.begin(from..=last_of(part));
        loop {
            let mut stored = spill.read(part);
            while let Some(notes) = stored.next().await? {
                for note in notes.as_chunks::<NOTE_BYTES>().0 {
                    let note = u128::from_le_bytes(*note);
                    self.held.put(note & !1, note & 1 == 1);
                }
                self.held.narrow();
            }
            let is_last = last_of(part) == u128::MAX;
            let is_cut = *self.held.range().end() < last_of(part);
            part = part.saturating_add(1);
            if is_last || is_cut || spill.bytes(part) / NOTE_BYTES > self.held.room() {
                return Ok(());
            }
            self.held.extend(last_of(part));
        }
    }

    /// From now on it is known of these keys whether they are there, until others are pinned.
    pub(in crate::verify) fn pin(&mut self, hashes: impl Iterator<Item = u128>) {
        self.pinned = hashes.map(|hash| (hash, !self.held.lacks(hash))).collect();
    }

    /// Whether the source certainly has no such key; it must have been pinned.
    pub(in crate::verify) fn is_gone(&self, key: &Key) -> bool {
        self.pinned.get(&self.hash(&key.0)) == Some(&false)
    }
}

fn append(spill: &mut Spill, hash: u128, is_there: bool) {
    spill.append(part_of(hash), &(hash | u128::from(is_there)).to_le_bytes());
}
