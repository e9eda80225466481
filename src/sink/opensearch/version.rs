//! A document's version, out of the place of its event.

use crate::event::Position;

/// Commit records begin at multiples of this.
const LSN_STEP: u64 = 8;
const LSN_BITS: u32 = 53;
const EPOCH_BITS: u32 = 10;

/// Rises with the place, from one transaction to the next. A server's versions are 63 bits: 64 PiB of write-ahead log in each of 1023 epochs
/// go into that, but no place inside the transaction, so writes of one transaction count as equally old (`external_gte`).
/// `None`: the place is beyond.
pub(super) fn version(position: Position) -> Option<u64> {
    let lsn = position.commit_lsn.get() / LSN_STEP;
    let epoch = u64::from(position.epoch);
    (epoch >> EPOCH_BITS == 0 && lsn >> LSN_BITS == 0).then_some(epoch << LSN_BITS | lsn)
}

/// The smallest commit record takes five steps (a header of 24 bytes, two more, and a time of eight), so the first of them is a commit's own and four
/// are nobody's.
const SPARE: u64 = 4;

/// For what is written behind its time: newer than all of the transaction at this place, and than a few writes that somebody made there by hand; older
/// than every later transaction.
pub(super) fn late(position: Position) -> Option<u64> {
    version(position).map(|version| version + SPARE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Lsn;

    #[test]
    fn a_version_rises_with_the_transactions_and_the_epochs() {
        let at = |epoch, lsn, ordinal| version(Position { epoch, commit_lsn: Lsn::new(lsn), ordinal });
        assert!(at(1, 0x100, 9) < at(1, 0x108, 0));
        assert_eq!(at(1, 0x100, 9), at(1, 0x100, 0));
        assert!(at(1, (1 << 56) - 8, 0) < at(2, 8, 0));
        assert!(at(1023, (1 << 56) - 8, 0).is_some_and(|version| version <= i64::MAX.unsigned_abs()));
        assert_eq!((at(1024, 8, 0), at(1, 1 << 56, 0)), (None, None));
        // The next commit record is at least 40 bytes on.
        let here = Position { epoch: 1, commit_lsn: Lsn::new(0x100), ordinal: 9 };
        assert!(at(1, 0x100, 10) < late(here) && late(here) < at(1, 0x100 + 40, 0));
    }
}
