//! What does not fit in memory: records in the order they came, by the part of all hashes that they belong to, in a file without a name. It is gone when nobody has it
//! open any more, whatever becomes of the process.
//!
//! A part is a list of blocks of the file and a last block in memory, that is not full. So a part is read without the others, and a record takes on disk what it is long and no more.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::ops::RangeInclusive;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::fstatvfs;

/// Of so many bytes; for each part one is in memory.
const BLOCK_BYTES: usize = 32 << 10;
/// Parts of all hashes, by their first bits.
const PARTS: usize = 1 << PART_BITS;
const PART_BITS: u32 = 7;
/// Blocks that are read at once.
const READ_TOGETHER: usize = 32;
/// So much is left to whoever else writes there, the log above all.
const LEFT_BYTES_MIN: u64 = 1 << 30;

/// The part of a hash.
pub(super) const fn part_of(hash: u128) -> usize {
    (hash >> (u128::BITS - PART_BITS)) as usize
}

/// The last hash of a part.
pub(super) const fn last_of(part: usize) -> u128 {
    ((part as u128) << (u128::BITS - PART_BITS)) | (u128::MAX >> PART_BITS)
}

/// The parts in which a range of hashes lies.
pub(super) fn parts_of(range: &RangeInclusive<u128>) -> RangeInclusive<usize> {
    part_of(*range.start())..=part_of(*range.end())
}

/// See the module.
#[derive(Debug)]
pub(in crate::verify) struct Spill {
    file: Arc<File>,
    parts: Vec<Part>,
    /// Blocks that are full and not yet written, with their places.
    due: Vec<(u64, Vec<u8>)>,
    /// Where the next block goes.
    end: u64,
}

#[derive(Clone, Debug, Default)]
struct Part {
    blocks: Vec<u64>,
    last: Vec<u8>,
}

impl Spill {
    /// An empty one in this directory.
    pub(in crate::verify) fn create(directory: &Path) -> io::Result<Spill> {
        let path = directory.join(format!(".verify-{:016x}", rand::random::<u64>()));
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path)?;
        fs::remove_file(&path)?;
        Ok(Spill { file: Arc::new(file), parts: vec![Part::default(); PARTS], due: Vec::new(), end: 0 })
    }

    /// Adds a record to a part. It is whole only if it is read as it was written.
    pub(super) fn append(&mut self, part: usize, mut record: &[u8]) {
        let Some(part) = self.parts.get_mut(part) else { return };
        while !record.is_empty() {
            if part.last.capacity() == 0 {
                part.last.reserve_exact(BLOCK_BYTES);
            }
            let fits = record.len().min(BLOCK_BYTES.saturating_sub(part.last.len()));
            let (now, later) = record.split_at(fits);
            part.last.extend_from_slice(now);
            record = later;
            if part.last.len() == BLOCK_BYTES {
                part.blocks.push(self.end);
                self.due.push((self.end, std::mem::take(&mut part.last)));
                self.end = self.end.saturating_add(BLOCK_BYTES as u64);
            }
        }
    }

    /// Adds a key, for a [`Cutter`].
    pub(in crate::verify) fn append_key(&mut self, part: usize, key: &[u8]) {
        let length = u32::try_from(key.len()).unwrap_or(u32::MAX);
        self.append(part, &length.to_le_bytes());
        self.append(part, key);
    }

    /// Writes the blocks that are full.
    pub(in crate::verify) async fn write(&mut self) -> io::Result<()> {
        if self.due.is_empty() {
            return Ok(());
        }
        let (file, due) = (Arc::clone(&self.file), std::mem::take(&mut self.due));
        let write = move || {
            leave_room(&file)?;
            due.iter().try_for_each(|(at, block)| file.write_all_at(block, *at))
        };
        tokio::task::spawn_blocking(write).await.map_err(io::Error::other)?
    }

    /// How many bytes a part has.
    pub(super) fn bytes(&self, part: usize) -> usize {
        self.parts.get(part).map_or(0, |part| part.blocks.len().saturating_mul(BLOCK_BYTES) + part.last.len())
    }

    /// What a part has now. It must have been written.
    pub(in crate::verify) fn read(&self, part: usize) -> Stored {
        let Part { blocks, last } = self.parts.get(part).cloned().unwrap_or_default();
        Stored {
            file: Arc::clone(&self.file),
            blocks: blocks.into_iter(),
            last: Some(last).filter(|last| !last.is_empty()),
        }
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.parts.fill(Part::default());
        self.due.clear();
        self.end = 0;
    }
}

fn leave_room(file: &File) -> io::Result<()> {
    let found = fstatvfs(file)?;
    if found.f_bavail.saturating_mul(found.f_frsize) < LEFT_BYTES_MIN {
        return Err(io::Error::new(io::ErrorKind::StorageFull, "less than 1 GiB is left there"));
    }
    Ok(())
}

/// A part, some blocks at a time.
#[derive(Debug)]
pub(in crate::verify) struct Stored {
    file: Arc<File>,
    blocks: std::vec::IntoIter<u64>,
    last: Option<Vec<u8>>,
}

impl Stored {
    /// The next bytes; `None` at the end.
    pub(in crate::verify) async fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        let places: Vec<u64> = self.blocks.by_ref().take(READ_TOGETHER).collect();
        if places.is_empty() {
            return Ok(self.last.take());
        }
        let file = Arc::clone(&self.file);
        let read = move || {
            let mut bytes = vec![0; places.len().saturating_mul(BLOCK_BYTES)];
            let blocks = bytes.chunks_exact_mut(BLOCK_BYTES).zip(&places);
            blocks.into_iter().try_for_each(|(block, at)| file.read_exact_at(block, *at))?;
            Ok(Some(bytes))
        };
        tokio::task::spawn_blocking(read).await.map_err(io::Error::other)?
    }
}

/// Cuts keys out of the bytes that hold them one behind the other.
#[derive(Debug, Default)]
pub(in crate::verify) struct Cutter {
    rest: Vec<u8>,
}

impl Cutter {
    /// The keys that are whole by now.
    pub(in crate::verify) fn cut(&mut self, bytes: &[u8], mut take: impl FnMut(&[u8])) {
        self.rest.extend_from_slice(bytes);
        let mut rest = self.rest.as_slice();
        while let Some((length, behind)) = rest.split_first_chunk::<4>() {
            let length = usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX);
            let Some((key, behind)) = behind.split_at_checked(length) else { break };
            take(key);
            rest = behind;
        }
        let left = rest.len();
        self.rest.drain(..self.rest.len().saturating_sub(left));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn keys_of(spill: &Spill, part: usize) -> Vec<Vec<u8>> {
        let (mut stored, mut cutter, mut keys) = (spill.read(part), Cutter::default(), Vec::new());
        while let Some(bytes) = stored.next().await.expect("a disk") {
            cutter.cut(&bytes, |key| keys.push(key.to_vec()));
        }
        keys
    }

    #[test]
    fn the_parts_are_all_hashes_and_each_once() {
        assert_eq!((part_of(0), part_of(u128::MAX), last_of(PARTS - 1)), (0, PARTS - 1, u128::MAX));
        for part in 1..PARTS {
            assert_eq!((part_of(last_of(part - 1)), part_of(last_of(part - 1) + 1)), (part - 1, part));
        }
    }

    #[tokio::test]
    async fn each_part_has_its_keys_in_their_order_and_the_directory_nothing() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut spill = Spill::create(directory.path()).expect("a disk");
        // Longer than a block, empty, and more of them than are read at once.
        let key = |n: usize| match n % 5 {
            0 => vec![7; 3 * BLOCK_BYTES + n],
            1 => Vec::new(),
            _ => n.to_string().into_bytes(),
        };
        for n in 0..400 {
            spill.append_key(n % 3, &key(n));
            if n % 7 == 0 {
                spill.write().await.expect("a disk");
            }
        }
        spill.write().await.expect("a disk");
        for part in 0..4 {
            let wanted: Vec<_> = (0..400).filter(|n| n % 3 == part).map(key).collect();
            assert!(keys_of(&spill, part).await == wanted, "part {part}");
        }
        assert_eq!(fs::read_dir(directory.path()).expect("a directory").count(), 0);
        spill.clear();
        assert_eq!(spill.bytes(0), 0);
        spill.append_key(0, b"new");
        assert_eq!(keys_of(&spill, 0).await, [b"new"]);
    }
}
